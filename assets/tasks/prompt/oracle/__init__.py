"""The frozen language model, and what an optimiser may ask of it: the evaluator's side and the optimiser's."""
