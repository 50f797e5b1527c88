"""Look again at what was decided: confirm, replicate, ablate, selftest."""
