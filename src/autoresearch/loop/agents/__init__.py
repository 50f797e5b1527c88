"""Who can propose an edit: programs, APIs, the sampler; each behind `base.Agent`."""
