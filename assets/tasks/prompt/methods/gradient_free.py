"""Searches that ask for no gradient. L tokens of a string, V vocabulary, B strings."""

from __future__ import annotations

import numpy as np
from oracle.client import Oracle


def random_search(oracle: Oracle, rng: np.random.Generator, *, block: int = 4) -> None:
    """Change some tokens in a row, drawn anew, and keep them when the loss falls: `block` at first, one at the end."""
    ids = rng.choice(oracle.allowed, oracle.length)
    best = oracle.loss(ids[None])[0]
    while True:
        size = max(1, round(block * (1 - oracle.progress)))
        at = rng.integers(0, oracle.length - size + 1)
        trial = ids.copy()
        trial[at : at + size] = rng.choice(oracle.allowed, size)
        loss = oracle.loss(trial[None])[0]
        if loss < best:
            ids, best = trial, loss


def beam(
    oracle: Oracle, rng: np.random.Generator, *, width: int = 8, branch: int = 8, temperature: float = 1.0
) -> None:
    """From left to right: each of `width` beginnings is continued by `branch` tokens that the model itself would say,
    and the beginnings with the lowest loss so far go on. Again from the start while the budget lasts. A string by
    chance comes first, since a small budget may not reach the end of one."""
    oracle.loss(rng.choice(oracle.allowed, (1, oracle.length)))
    while True:
        strings = np.empty((1, 0), np.int64)
        for length in range(oracle.length):
            count = width * branch if length == 0 else branch
            chosen = sampled(oracle.next(strings)[:, oracle.allowed] / temperature, count, rng)  # [B, branch]
            told = np.repeat(strings, chosen.shape[1], 0)
            strings = np.concatenate((told, oracle.allowed[chosen].reshape(-1, 1)), 1)
            strings = strings[oracle.loss(strings).argsort(kind="stable")[:width]]


def sampled(scores: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """For each row of scores [B, V], log-probabilities up to a constant, `count` different columns by their chances."""
    noisy = scores + rng.gumbel(size=scores.shape)
    count = min(count, scores.shape[1])
    return np.argpartition(-noisy, count - 1, axis=1)[:, :count]
