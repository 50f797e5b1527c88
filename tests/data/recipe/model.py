"""A table of how often one character follows another."""

import math

smoothing = 2.0


class Pairs:
    def __init__(self, vocab_size):
        self.counts = [[smoothing] * vocab_size for _ in range(vocab_size)]

    def loss(self, tokens):
        totals = [sum(row) for row in self.counts]
        pairs = zip(tokens, tokens[1:])
        return sum(math.log(totals[a] / self.counts[a][b]) for a, b in pairs) / (len(tokens) - 1)

    def update(self, tokens):
        before = self.loss(tokens)
        for a, b in zip(tokens, tokens[1:]):
            self.counts[a][b] += 1
        return before
