"""Searches that swap tokens where a gradient says that it pays: GCG and what was made of it.

L tokens of a string, V vocabulary, D width of an embedding, B strings, k tokens that a place may get.
"""

from __future__ import annotations

import numpy as np
from oracle.client import Oracle


def gcg(oracle: Oracle, rng: np.random.Generator, *, candidates: int = 64, top_k: int = 64) -> None:
    """Single swaps by chance among the steepest tokens of each place; the best of a step goes on, better or not."""
    ids = rng.choice(oracle.allowed, oracle.length)
    while True:
        choices = steepest(oracle.grad(ids).slope, oracle.allowed, top_k)
        trials = swapped(ids, choices, candidates, 1, rng)
        ids = trials[oracle.loss(trials).argmin()]


def mac(
    oracle: Oracle, rng: np.random.Generator, *, candidates: int = 64, top_k: int = 64, momentum: float = 0.4
) -> None:
    """GCG whose gradient is a running mean over steps."""
    ids = rng.choice(oracle.allowed, oracle.length)
    mean = np.zeros((oracle.length, oracle.vocab), np.float32)
    while True:
        mean = momentum * mean + (1 - momentum) * oracle.grad(ids).slope
        trials = swapped(ids, steepest(mean, oracle.allowed, top_k), candidates, 1, rng)
        ids = trials[oracle.loss(trials).argmin()]


def acg(
    oracle: Oracle, rng: np.random.Generator, *, candidates: int = 64, top_k: int = 64, swaps: int = 4, buffer: int = 8
) -> None:
    """Several swaps at once, fewer as the search goes on, from the best of a buffer of strings, of which the worst
    makes way for a better one."""
    strings = rng.choice(oracle.allowed, (buffer, oracle.length))
    losses = oracle.loss(strings)
    while True:
        ids = strings[losses.argmin()]
        count = max(1, round(swaps * (1 - oracle.progress)))
        choices = steepest(oracle.grad(ids).slope, oracle.allowed, top_k)
        trials = swapped(ids, choices, candidates, count, rng)
        found = oracle.loss(trials)
        best, worst = found.argmin(), losses.argmax()
        if found[best] < losses[worst]:
            strings[worst], losses[worst] = trials[best], found[best]


def i_gcg(
    oracle: Oracle, rng: np.random.Generator, *, candidates: int = 64, top_k: int = 64, merged: int = 7,
    skip_scale: float = 0.5,
) -> None:  # fmt: skip
    """The best single swaps of a step are put into one string one after the other, and the best of these strings goes
    on. The gradient comes more through the residual stream than through its branches (LSGM)."""
    ids = rng.choice(oracle.allowed, oracle.length)
    scale = skip_scale if oracle.scales else 1.0
    while True:
        choices = steepest(oracle.grad(ids, scale).slope, oracle.allowed, top_k)
        trials = swapped(ids, choices, candidates, 1, rng)
        losses = oracle.loss(trials)
        together = merge(ids, trials[losses.argsort(kind="stable")[:merged]])
        trials = np.concatenate((trials, together[1:]))  # the first has one swap alone, and a loss
        losses = np.concatenate((losses, oracle.loss(together[1:])))
        ids = trials[losses.argmin()]


def tao(
    oracle: Oracle, rng: np.random.Generator, *, candidates: int = 64, top_k: int = 64, temperature: float = 0.3,
    skip_scale: float = 1.0,
) -> None:  # fmt: skip
    """Tokens whose step in the space of embeddings goes most nearly down the gradient, whatever its length; among
    these, tokens by the chance that how far they go down gives them. Always on from the current string."""
    ids = rng.choice(oracle.allowed, oracle.length)
    table = oracle.embeddings[oracle.allowed]  # [V', D], V' ids that are allowed
    square = (table**2).sum(1)
    scale = skip_scale if oracle.scales else 1.0
    while True:
        slope = oracle.grad(ids, scale).slope
        fall = np.take_along_axis(slope, ids[:, None], 1) - slope[:, oracle.allowed]  # [L, V'], of the loss, if linear
        here = oracle.embeddings[ids]
        far = np.sqrt(np.maximum((here**2).sum(1)[:, None] + square - 2 * here @ table.T, 1e-12))
        # The cosine but for the length of the gradient, which is the same for all tokens of a place.
        cosine = np.where(oracle.allowed == ids[:, None], -np.inf, fall / far)
        k = min(top_k, cosine.shape[1])
        choices = np.argpartition(-cosine, k - 1, axis=1)[:, :k]  # [L, k]
        down = np.take_along_axis(fall, choices, 1)
        down = (down - down.max(1, keepdims=True)) / (down.std(1, keepdims=True) + 1e-9)
        places = rng.integers(0, oracle.length, candidates)
        picks = (down[places] / temperature + rng.gumbel(size=(candidates, k))).argmax(1)
        trials = np.tile(ids, (candidates, 1))
        trials[np.arange(candidates), places] = oracle.allowed[choices[places, picks]]
        ids = trials[oracle.loss(trials).argmin()]


def steepest(slope: np.ndarray, allowed: np.ndarray, k: int) -> np.ndarray:
    """The k allowed ids with the lowest slope [L, V] at each place, [L, k], in no order."""
    k = min(k, len(allowed))
    return allowed[np.argpartition(slope[:, allowed], k - 1, axis=1)[:, :k]]


def swapped(ids: np.ndarray, choices: np.ndarray, count: int, swaps: int, rng: np.random.Generator) -> np.ndarray:
    """`count` strings, [B, L], that differ from ids [L] in `swaps` places, there by one of choices [L, k]."""
    places = rng.random((count, len(ids))).argsort(1)[:, :swaps]  # [B, swaps]
    picks = rng.integers(0, choices.shape[1], places.shape)
    trials = np.tile(ids, (count, 1))
    np.put_along_axis(trials, places, choices[places, picks], 1)
    return trials


def merge(ids: np.ndarray, trials: np.ndarray) -> np.ndarray:
    """[n, L]: the n-th has the swaps of the first n of trials [n, L]; of two in one place the first counts."""
    out, whole = [], ids.copy()
    for trial in trials:
        whole = np.where((trial != ids) & (whole == ids), trial, whole)
        out.append(whole)
    return np.array(out)
