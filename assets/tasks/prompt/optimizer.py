"""The optimiser of the prompt task: greedy coordinate gradient. This is the file to improve.

    python optimizer.py        one evaluation with targets of its own, since what it prints is shown by hand

The evaluator starts this file as a process without the model, once for each target, and calls `optimize`. It asks the
oracle (`oracle/client.py`) until the FLOPs are spent; the best string of L tokens whose loss it asked for is the
result. A request that does not fit any more raises `Spent`, which ends the search unless it is caught.

L tokens of a string, V vocabulary, B strings.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from oracle.client import Oracle, run_by_hand

HERE = Path(__file__).resolve().parent

# ------------------------------------------------------------------------------------------------------------
# Hyperparameters
# ------------------------------------------------------------------------------------------------------------

CANDIDATES = 64  # strings that are tried in a step; [8, 512] pow2
TOP_K = 64  # tokens that a place may get, those of the steepest fall; [4, 512] pow2
SWAPS = 1  # places in which a candidate differs; {1, 2, 4}
SKIP_SCALE = 1.0  # of what goes back through residual branches; [0.3, 1]

# ------------------------------------------------------------------------------------------------------------
# Search
# ------------------------------------------------------------------------------------------------------------


def optimize(oracle: Oracle, rng: np.random.Generator) -> None:
    """Look for a string of low loss until the budget is spent (Zou et al., 2023, arXiv 2307.15043)."""
    ids = rng.choice(oracle.allowed, oracle.length)  # [L]
    while True:
        slope = oracle.grad(ids, SKIP_SCALE).slope  # [L, V]
        trials = swapped(ids, steepest(slope, oracle.allowed), rng)
        ids = trials[oracle.loss(trials).argmin()]


def steepest(slope: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """The TOP_K allowed ids with the lowest slope at each place, [L, TOP_K], in no order."""
    k = min(TOP_K, len(allowed))
    return allowed[np.argpartition(slope[:, allowed], k - 1, axis=1)[:, :k]]


def swapped(ids: np.ndarray, choices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """CANDIDATES strings, [B, L], that differ from ids [L] in SWAPS places, there by one of choices [L, k]."""
    places = rng.random((CANDIDATES, len(ids))).argsort(1)[:, :SWAPS]  # [B, SWAPS]
    picks = rng.integers(0, choices.shape[1], places.shape)
    trials = np.tile(ids, (CANDIDATES, 1))
    np.put_along_axis(trials, places, choices[places, picks], 1)
    return trials


if __name__ == "__main__":
    run_by_hand(HERE, globals())
