"""What next? History of the search, strategies, ideas, the search space and its sampler."""
