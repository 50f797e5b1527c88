"""Searches among weights over the vocabulary, of which the largest at each place make the string.

B starts, L tokens of a string, V vocabulary.
"""

from __future__ import annotations

import math

import numpy as np
from oracle.client import Oracle


def adc(
    oracle: Oracle, rng: np.random.Generator, *, starts: int = 4, rate: float = 10.0, momentum: float = 0.99
) -> None:
    """SGD with much momentum on dense weights, which become sparser as fewer target tokens are wrong: a place keeps as
    many weights as e to the power of that number, on average."""
    x = softmax(rng.normal(size=(starts, oracle.length, oracle.vocab)), oracle.allowed)
    speed = np.zeros_like(x)
    while True:
        at = oracle.grad(x)
        speed = momentum * speed + at.slope
        x = x - rate * speed
        oracle.loss(likeliest(x, oracle.allowed))
        for one, wrong in zip(x, at.wrong, strict=True):
            kept = min(math.exp(min(float(wrong), 20.0)), float(len(oracle.allowed)))
            counts = np.floor(kept) + (rng.random(oracle.length) < kept % 1)  # whole numbers with this mean
            one[:] = sparse(one, counts.astype(int), oracle.allowed)


def pgd(
    oracle: Oracle, rng: np.random.Generator, *, rate: float = 0.11, entropy: float = 0.4, patience: int = 100
) -> None:
    """Adam on the simplex: after each step, back to sums of one, then to an entropy that falls as the search goes on.
    Anew from the best string when `patience` steps have brought nothing."""
    x = softmax(rng.normal(size=(oracle.length, oracle.vocab)), oracle.allowed)
    first, second, step = np.zeros_like(x), np.zeros_like(x), 0
    best, best_ids, waited = math.inf, likeliest(x[None], oracle.allowed)[0], 0
    while True:
        slope = oracle.grad(x).slope
        norm = np.sqrt((slope**2).sum(1, keepdims=True))
        slope = slope / np.maximum(norm, 1e-12) * np.minimum(norm, 20.0)
        step += 1
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope**2
        x = x - rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        own = to_simplex(x[:, oracle.allowed])
        x = np.zeros_like(x)
        x[:, oracle.allowed] = less_entropy(own, entropy * (1 - oracle.progress))
        ids = likeliest(x[None], oracle.allowed)
        loss = float(oracle.loss(ids)[0])
        waited += 1
        if loss < best:
            best, best_ids, waited = loss, ids[0], 0
        if waited >= patience:
            x = 0.5 * softmax(rng.normal(size=x.shape), oracle.allowed)
            x[np.arange(len(x)), best_ids] += 0.5
            first, second, step, waited = np.zeros_like(x), np.zeros_like(x), 0, 0


def softmax(x: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """float32 weights [..., V] that sum to one, 0 where an id is not allowed."""
    out = np.zeros(x.shape, np.float32)
    e = np.exp(x[..., allowed] - x[..., allowed].max(-1, keepdims=True))
    out[..., allowed] = e / e.sum(-1, keepdims=True)
    return out


def likeliest(x: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """[B, L]: the allowed ids with the largest weights [B, L, V]."""
    return allowed[x[..., allowed].argmax(-1)]


def sparse(x: np.ndarray, counts: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """x [L, V] with the `counts` [L] largest weights of each place that are allowed, not negative, summing to one."""
    own = x[:, allowed]
    rank = np.empty(own.shape, int)
    np.put_along_axis(rank, (-own).argsort(1), np.arange(own.shape[1])[None], 1)
    kept = np.where(rank < np.maximum(counts, 1)[:, None], np.maximum(own, 0) + 1e-6, 0)
    out = np.zeros_like(x)
    out[:, allowed] = kept / kept.sum(1, keepdims=True)
    return out


def to_simplex(x: np.ndarray) -> np.ndarray:
    """The nearest rows to x [L, V] that are not negative and sum to one (Duchi et al., 2008)."""
    down = -np.sort(-x, axis=1)
    over = (np.cumsum(down, 1) - 1) / np.arange(1, x.shape[1] + 1)
    last = (down > over).sum(1) - 1
    return np.maximum(x - over[np.arange(len(x)), last][:, None], 0)


def less_entropy(x: np.ndarray, entropy: float) -> np.ndarray:
    """Rows of the simplex whose Gini entropy, 1 - |x|^2, is `entropy` at most: those with more are moved away from the
    middle of their own support."""
    count = (x > 0).sum(1, keepdims=True)
    middle = (x > 0) / count
    radius = np.sqrt(np.maximum(1 - entropy - 1 / count, 0))
    off = x - middle
    far = np.sqrt((off**2).sum(1, keepdims=True))
    moved = to_simplex(middle + off * radius / np.maximum(far, 1e-12))
    return np.where(far < radius, moved, x)
