"""How much of a claimed gain is luck: what a log of one run each, of which the better ones were kept, is worth.

The model is that of `chain.py`. What was kept because it was lucky needs no further correction, since all runs are in
the likelihood, the discards too. The prior is averaged over a grid by how well each fits the log (a full Bayes
treatment in place of one best fit, since short logs leave it open), and so is the noise where it is not known. Lower is
better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from autoresearch.statistics.chain import Chain, Trial, harm_of, priors
from autoresearch.statistics.noise import Noise

LEVEL = 0.9
"""What the intervals hold."""
NEAR = 0.1
"""A share of the claim is told when it is off by no more than this."""
DRAWS, LEAST_DRAWS, DRAWN_CELLS = 4000, 400, 1_000_000
"""Draws of the whole chain; fewer where it is so long that all of its draws would be more cells than this."""
SIGMAS = 18
"""Noises that are tried where it is not known."""
ENOUGH = 200
"""Degrees of freedom from which on repeats are taken to tell the noise exactly."""
LONG = 600
"""Experiments that an unknown noise is looked for in, the first of the log. Of a longer one, the most likely noise is
taken as known: it is known well then, and the whole costs a pass for each noise."""
IDENTIFIED = 3.0
"""The noise is known well enough when the ends of its interval are no further apart than this factor."""

COARSE = 10.0
"""Values that differ by less than so many times what their rounding makes tell no noise."""


@dataclass(frozen=True, slots=True)
class KeptGain:
    """What is left of the claim of one kept change."""

    at: int
    """Its place among the trials."""
    claimed: float
    """Over the value of the base before it."""
    mean: float
    low: float
    high: float
    real: float
    """The probability that it is a gain at all."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What the claim of a log is worth."""

    noise: float
    noise_low: float
    noise_high: float
    """The interval that holds it, of `LEVEL`; its own value where it was given."""
    claimed: float
    """Of the whole chain: the first value against the last kept one."""
    mean: float
    low: float
    high: float
    """What of it is expected to be there when both ends are run again, with the interval of `LEVEL`."""
    near: float
    """The probability that the share of the claim that is true is within `NEAR` of the expected one."""
    steps: tuple[KeptGain, ...]
    none: float
    """Share of the changes that have no effect, on average."""


class NotIdentifiable(ValueError):
    """The log does not tell its own noise."""


def weighed(
    trials: Sequence[Trial], noise: float | None, *, repeats: Noise | None = None, rounding: float = 0.0, seed: int = 0
) -> Claim:
    """Return what the chain of a log is worth; `noise` is the standard deviation of one run, None where nobody knows.

    `repeats` is what runs of the same code told of it, which is not much when they were few. `rounding` is the unit of
    the last digit that the values have. Raises `NotIdentifiable` where the noise is not known and neither the repeats
    nor the log tell it, `TooFar` as a `Chain` does, `ValueError` without a kept change.
    """
    import numpy as np

    if not any(t.kept for t in trials[1:]):
        raise ValueError("nothing was kept")
    least = rounding / math.sqrt(12)
    harm = harm_of(trials)
    if noise is None and repeats is not None and repeats.sd is not None and repeats.dof >= ENOUGH:
        noise = repeats.sd
    if noise is not None:
        sigmas = [math.hypot(noise, least) or exact(trials)]
        low, middle, high = sigmas * 3
    else:
        sigmas, chances = possible_noises(trials, repeats, least, harm)
        low, middle, high = quantiles(sigmas, chances, ((1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2))
        if high > IDENTIFIED * low:
            raise NotIdentifiable(f"it may be anything from {low:.2g} to {high:.2g}")
        likely = [sigma for sigma, chance in zip(sigmas, chances, strict=True) if chance > 1e-3]
        sigmas = likely if len(trials) <= LONG else [middle]
    chains = [Chain(trials, sigma) for sigma in sigmas]
    grids = [priors(harm / sigma) for sigma in sigmas]
    both = [*zip(chains, grids, strict=True)]
    fits = np.array([chain.forward(grid)[0] + told_by(repeats, chain.sigma) for chain, grid in both])  # [sigmas, P]
    chance = np.exp(fits - fits.max())
    chance /= chance.sum()
    rng = np.random.default_rng(seed)
    bases = len(chains[0].own)
    count = max(LEAST_DRAWS, min(DRAWS, DRAWN_CELLS // bases))
    chosen = rng.choice(chance.size, count, p=chance.ravel())
    paths = []
    for at, (chain, grid) in enumerate(both):
        mine = chosen[chosen // chance.shape[1] == at] % chance.shape[1]
        if len(mine):
            used, which = np.unique(mine, return_inverse=True)
            paths.append(chain.draws(grid[:, used], which, rng))
    none = float((chance.sum(axis=0) * grids[0][0]).sum())  # the shares are the same in each grid
    return claim_of(trials, np.concatenate(paths), (low, middle, high), none)


def claim_of(trials: Sequence[Trial], paths: Any, noise: tuple[float, float, float], none: float) -> Claim:
    """Return the claim from draws of the true values of all bases, [D, bases]."""
    import numpy as np

    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    bases = [0, *(at for at, t in enumerate(trials) if t.kept and at)]
    steps = []
    for k in range(1, len(bases)):
        gains = paths[:, k - 1] - paths[:, k]
        low, high = np.quantile(gains, ends)
        claimed = trials[bases[k - 1]].value - trials[bases[k]].value
        real = float((gains > 0).mean())
        steps.append(KeptGain(bases[k], claimed, float(gains.mean()), float(low), float(high), real))
    total = paths[:, 0] - paths[:, -1]
    low, high = np.quantile(total, ends)
    claimed, mean = trials[0].value - trials[bases[-1]].value, float(total.mean())
    near = float((np.abs(total - mean) <= NEAR * abs(claimed)).mean())
    return Claim(noise[1], noise[0], noise[2], claimed, mean, float(low), float(high), near, tuple(steps), none)


def exact(trials: Sequence[Trial]) -> float:
    """Return the noise that stands for none at all: far below the smallest difference of two values."""
    values = sorted({t.value for t in trials})
    gaps = [b - a for a, b in pairwise(values)]
    return min(gaps, default=1.0) / 100


def possible_noises(
    trials: Sequence[Trial], repeats: Noise | None, least: float, harm: float
) -> tuple[list[float], Any]:
    """Return noises to try, ascending, and how likely each is.

    They lie around what repeats tell; without any, between far below the spread of the log and all of it. `least` is
    what the rounding of the values alone makes.
    """
    import numpy as np

    every = 3 if len(trials) > LONG else 1  # of the priors; one in three has all values of each axis
    trials = trials[:LONG]
    if repeats is not None and repeats.sd:
        reach = min(2.5, 3.5 / math.sqrt(2 * repeats.dof))
        smallest, widest = repeats.sd * math.exp(-reach), repeats.sd * math.exp(reach)
    else:
        values = sorted(t.value for t in trials)
        ends = [int(part * len(values)) for part in ((0.25, 0.05, 0.0) if len(values) >= 20 else (0.0,))]
        widest = 2 * next((width for at in ends if (width := values[-1 - at] - values[at]) > 0), 0.0)
        smallest = widest / 600
        if widest < COARSE * least:
            raise NotIdentifiable("its values are rounded to a few steps")
    smallest = max(smallest, least)
    if not 0 < smallest < widest:
        raise NotIdentifiable("its values hardly differ")
    sigmas = [smallest * (widest / smallest) ** (i / (SIGMAS - 1)) for i in range(SIGMAS)]
    fits = [
        np.logaddexp.reduce(Chain(trials, sigma).forward(priors(harm / sigma)[:, ::every])[0]) + told_by(repeats, sigma)
        for sigma in sigmas
    ]
    chances = np.exp(np.array(fits) - max(fits))
    return sigmas, chances / chances.sum()


def told_by(repeats: Noise | None, sigma: float) -> float:
    """Return the log likelihood of repeats of the same code, up to a constant: their squares are chi-square."""
    if repeats is None or repeats.sd is None:
        return 0.0
    return -repeats.dof * (math.log(sigma) + 0.5 * (repeats.sd / sigma) ** 2)


def quantiles(values: Sequence[float], chances: Any, at: Sequence[float]) -> tuple[float, float, float]:
    """Return three quantiles of a distribution on ascending values, between them along their logarithms."""
    import numpy as np

    reached = np.cumsum(chances) - np.asarray(chances) / 2
    low, middle, high = (float(np.exp(np.interp(q, reached, np.log(values)))) for q in at)
    return low, middle, high
