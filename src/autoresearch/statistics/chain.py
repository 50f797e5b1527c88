"""How much of a chain of kept changes is luck: every change was run once, and each better number was kept.

Model. Each change moves the true value of its base by an effect: none at all for many, else for better or for worse,
each side half normal (the unimodal prior with a point mass at zero of Stephens, "False discovery rates: a new deal",
Biostatistics 2017). A run adds normal noise. Which base a change was tried on follows from what was kept, so the true
values of the bases are a hidden Markov chain, and all runs speak of it: the discards of a base tell where it really
is. Given every run, what was kept because it was lucky needs no further correction. What the prior is, is averaged
over a grid by how well each fits the log (a full Bayes treatment in place of one best fit, since short logs leave it
open), and so is the noise where it is not known. Lower is better.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

NONE = (0.2, 0.4, 0.6, 0.75, 0.88, 0.96)
"""Shares of changes without effect that are thought possible."""
GOOD = (0.08, 0.25, 0.5)
"""Of the others, shares that are for the better."""
GOOD_SCALES = (0.5, 1.0, 2.0, 4.0, 10.0, 30.0)
BAD_SCALES = (1.0, 4.0, 16.0)
"""Sizes of effects, in units of the noise of a run."""

OUTLIERS = 0.01
"""Share of runs that say nothing: diverged, or another data set."""
REACH = 40.0
"""Worse than its base by so many noises, a run tells nothing of where the base is."""
CELLS = 3
"""Grid cells in one noise."""
MOST_CELLS = 6000
MANY = 300
"""Runs from which on the grid of priors is searched along its axes instead of whole, as it is for an unknown noise."""
DRAWS = 4000
LEVEL = 0.9
SIGMAS = 14
"""Noises that are tried where it is not known."""
IDENTIFIED = 3.0
"""The noise is known well enough when the ends of its interval are no further apart than this factor."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One experiment with a value, in the order of the log; the first is the baseline."""

    value: float
    kept: bool
    runs: int = 1
    """How many the value is the mean of."""


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
class Audit:
    """What a log is worth."""

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
    steps: tuple[KeptGain, ...]
    none: float
    """Share of the changes that have no effect, on average."""


class NotIdentifiable(ValueError):
    """The log does not tell its own noise."""


def audit(trials: Sequence[Trial], noise: float | None, *, rounding: float = 0.0, seed: int = 0) -> Audit:
    """Return what the chain of a log is worth; `noise` is the standard deviation of one run, None where nobody knows.

    `rounding` is the unit of the last digit that the values have. Raises `NotIdentifiable` where the noise is not known
    and the log does not tell it, `ValueError` without a kept change.
    """
    import numpy as np

    if not any(t.kept for t in trials[1:]):
        raise ValueError("nothing was kept")
    if noise is not None:
        sigmas = [math.hypot(noise, rounding / math.sqrt(12))]
    else:
        sigmas = possible_noises(trials, rounding)
    weights: list[tuple[float, float, tuple[float, ...]]] = []  # log likelihood, noise, prior
    for sigma in sigmas:
        chain = Chain(trials, sigma)
        weights += [(fit, sigma, prior) for prior, fit in chain.fits(whole=noise is not None and len(trials) < MANY)]
    best = max(fit for fit, _, _ in weights)
    chances = np.array([math.exp(fit - best) for fit, _, _ in weights])
    chances /= chances.sum()
    values = np.array([sigma for _, sigma, _ in weights])
    low, middle, high = quantiles(values, chances, ((1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2))
    if noise is None and high > IDENTIFIED * low:
        raise NotIdentifiable(f"the noise may be anything from {low:.3g} to {high:.3g}")
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(DRAWS, chances)
    paths: list[Any] = []
    for sigma in sigmas:
        chain = Chain(trials, sigma)
        for (_, mine, prior), count in zip(weights, counts, strict=True):
            if mine == sigma and count:
                paths.append(chain.draws(prior, int(count), rng))
    drawn = np.concatenate(paths)  # [DRAWS, bases]
    return summary(trials, drawn, (low, middle, high), float((chances * [p[0] for _, _, p in weights]).sum()))


def summary(trials: Sequence[Trial], drawn: Any, noise: tuple[float, float, float], none: float) -> Audit:
    import numpy as np

    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    bases = [0, *(at for at, t in enumerate(trials) if t.kept and at)]
    steps = []
    for k in range(1, len(bases)):
        gains = drawn[:, k - 1] - drawn[:, k]
        low, high = np.quantile(gains, ends)
        claimed = trials[bases[k - 1]].value - trials[bases[k]].value
        steps.append(KeptGain(bases[k], claimed, float(gains.mean()), float(low), float(high), float((gains > 0).mean())))
    total = drawn[:, 0] - drawn[:, -1]
    low, high = np.quantile(total, ends)
    claimed = trials[0].value - trials[bases[-1]].value
    return Audit(noise[1], noise[0], noise[2], claimed, float(total.mean()), float(low), float(high), tuple(steps), none)


def possible_noises(trials: Sequence[Trial], rounding: float) -> list[float]:
    """Return the noises to try: from far below the closest neighbours of the log to all of its spread."""
    values = sorted(t.value for t in trials)
    middle = values[len(values) // 4 : 3 * len(values) // 4 + 1]
    widest = max(middle[-1] - middle[0], (values[-1] - values[0]) / 1e3) or rounding
    least = max(widest / 300, rounding / math.sqrt(12))
    if not 0 < least < widest:
        raise NotIdentifiable("its values hardly differ")
    return [least * (widest / least) ** (i / (SIGMAS - 1)) for i in range(SIGMAS)]


def quantiles(values: Any, chances: Any, at: Sequence[float]) -> tuple[float, ...]:
    import numpy as np

    order = np.argsort(values, kind="stable")
    reached = np.cumsum(chances[order])
    return tuple(float(values[order][np.searchsorted(reached, q * reached[-1]).clip(0, len(order) - 1)]) for q in at)


class Chain:
    """The bases of a log, on a grid of true values, for one noise."""

    def __init__(self, trials: Sequence[Trial], sigma: float) -> None:
        import numpy as np

        self.sigma = sigma
        kept = [t.value for at, t in enumerate(trials) if t.kept or not at]
        low, high = min(kept) - 6 * sigma, max(kept) + 6 * sigma
        self.step = max(sigma / CELLS, (high - low) / MOST_CELLS)
        self.size = int((high - low) / self.step) + 2
        self.grid = low + self.step * np.arange(self.size)
        self.own: list[Any] = []
        """Of each base, the log likelihood of its own runs, [G]."""
        self.children: list[Any] = []
        """Of each base, how many discards lie in each cell of a grid that reaches REACH noises further, [G + more]."""
        self.more = int(REACH * sigma / self.step)
        self.count = len(trials)
        counts = np.zeros(self.size + 2 * self.more)
        for at, trial in enumerate(trials):
            if trial.kept or not at:
                if at:
                    self.children.append(counts)
                    counts = np.zeros(self.size + 2 * self.more)
                sd = sigma / math.sqrt(trial.runs)
                self.own.append(-0.5 * ((trial.value - self.grid) / sd) ** 2 - math.log(sd))
            else:
                cell = round((trial.value - low) / self.step) + self.more
                if 0 <= cell < len(counts):
                    counts[cell] += 1
        self.children.append(counts)
        self.kept = len(self.own) - 1

    # --- the prior on this grid ---

    def moved(self, prior: tuple[float, ...]) -> Any:
        """Probability of each move of a base by one change, from -(G - 1) to G - 1 cells, no effect in the middle."""
        import numpy as np

        none, good, good_scale, bad_scale = prior
        cells = np.arange(1, self.size)
        sides = []
        for share, scale in ((good, good_scale), (1 - good, bad_scale)):
            s = scale * self.sigma / self.step
            density = np.exp(-0.5 * (cells / s) ** 2)
            sides.append((1 - none) * share * density / max(density.sum(), 1e-300))
        return np.concatenate((sides[0][::-1], [none], sides[1]))

    def seen(self, prior: tuple[float, ...]) -> Any:
        """Log probability density of a discard's value, by its distance from its base, for all distances that occur."""
        import numpy as np

        none, good, good_scale, bad_scale = prior
        u = self.step * np.arange(-(self.size + self.more - 1), self.size + self.more)
        density = none * normal(u, self.sigma)
        for share, scale, sign in ((good, good_scale, -1), (1 - good, bad_scale, 1)):
            s = scale * self.sigma
            both = math.hypot(s, self.sigma)
            density = density + (1 - none) * share * 2 * normal(u, both) * phi(sign * u * s / (self.sigma * both))
        flat = OUTLIERS / (u[-1] - u[0])
        return np.log((1 - OUTLIERS) * density + flat)

    def spoken(self, prior: tuple[float, ...]) -> list[Any]:
        """Log likelihood of each base's runs and discards, [G] each."""
        import numpy as np

        told = self.seen(prior)
        size = self.size + 2 * self.more
        length = 1 << (size + len(told) - 1).bit_length()
        filters = np.fft.rfft(told[::-1], length)
        out = []
        for own, counts in zip(self.own, self.children, strict=True):
            if counts.any():
                both = np.fft.irfft(np.fft.rfft(counts, length) * filters, length)
                at = self.size + self.more - 1 + self.more
                own = own + both[at : at + self.size]
            out.append(own)
        return out

    # --- how well a prior fits, and draws ---

    def forward(self, prior: tuple[float, ...], *, keep: bool = False) -> tuple[float, list[Any]]:
        """Log likelihood of the log, and with `keep` the probabilities of each base's true value given all up to it."""
        import numpy as np

        moved = self.moved(prior)
        length = 1 << (self.size + len(moved) - 1).bit_length()
        filters, total, kept = np.fft.rfft(moved, length), 0.0, []
        alpha = np.full(self.size, 1 / self.size)
        for k, told in enumerate(self.spoken(prior)):
            if k:
                alpha = np.fft.irfft(np.fft.rfft(alpha, length) * filters, length)[self.size - 1 : 2 * self.size - 1]
                alpha = np.maximum(alpha, 0)
            peak = told.max()
            alpha = alpha * np.exp(told - peak)
            scale = alpha.sum()
            if not scale > 0:
                return -math.inf, []
            total += math.log(scale) + peak
            alpha = alpha / scale
            if keep:
                kept.append(alpha)
        return total, kept

    def fits(self, *, whole: bool) -> list[tuple[tuple[float, ...], float]]:
        """Return the priors that are thought possible, each with its log likelihood; without `whole` those that lie on
        the way to the best one."""
        axes = (NONE, GOOD, GOOD_SCALES, BAD_SCALES)
        known: dict[tuple[float, ...], float] = {}

        def fit(prior: tuple[float, ...]) -> float:
            if prior not in known:
                known[prior] = self.forward(prior)[0]
            return known[prior]

        if whole:
            for prior in itertools.product(*axes):
                fit(prior)
        else:
            best = (0.75, 0.25, 2.0, 4.0)
            for _ in range(3):
                before = best
                for axis, values in enumerate(axes):
                    best = max((best[:axis] + (v,) + best[axis + 1 :] for v in values), key=fit)
                if best == before:
                    break
        return [*known.items()]

    def draws(self, prior: tuple[float, ...], count: int, rng: np.random.Generator) -> Any:
        """Draw true values of all bases, [count, bases], given everything: backward through the chain."""
        import numpy as np

        _, alphas = self.forward(prior, keep=True)
        moved, out = self.moved(prior), np.empty((count, len(alphas)), int)
        out[:, -1] = rng.choice(self.size, count, p=alphas[-1])
        for k in range(len(alphas) - 2, -1, -1):
            for cell in np.unique(out[:, k + 1]):
                mine = out[:, k + 1] == cell
                # From base b the move to `cell` is cell - b.
                chance = alphas[k] * moved[self.size - 1 + cell - np.arange(self.size)]
                out[mine, k] = rng.choice(self.size, int(mine.sum()), p=chance / chance.sum())
        return self.grid[out]


def normal(x: Any, sd: float) -> Any:
    import numpy as np

    return np.exp(-0.5 * (x / sd) ** 2) / (sd * math.sqrt(2 * math.pi))


def phi(x: Any) -> Any:
    """The normal distribution function of an array."""
    import numpy as np

    return np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x])
