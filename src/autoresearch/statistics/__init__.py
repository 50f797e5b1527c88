"""Is it better? Noise, the decision on a candidate, what a confirmation found. Pure."""
