"""What next? History of the search, strategies, ideas, the sampler."""
