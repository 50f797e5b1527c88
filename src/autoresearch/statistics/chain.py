"""The true values behind a chain of kept changes, as a hidden Markov chain on a grid, for one noise of a run.

Each change moves the true value of its base by an effect: none at all for many, else for better or for worse, each side
half normal or a mixture of two of them (the unimodal prior with a point mass at zero of Stephens, "False discovery
rates: a new deal", Biostatistics 2017). A run adds normal noise. Which base a change was tried on follows from what was
kept, so the true values of the bases are a hidden Markov chain, and every run speaks of it: the discards of a base tell
where it really is. Lower is better.

Everything is computed for all priors of a grid at once: the last axis of an array, P, counts them.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

NONE = (0.15, 0.4, 0.65, 0.85, 0.97)
"""Shares of changes without effect that are thought possible."""
GOOD = (0.01, 0.06, 0.2, 0.5)
"""Of the others, shares that are for the better."""
GOOD_SCALES = (0.6, 1.2, 2.5, 6.0, 20.0)
"""Sizes of good effects, in units of the noise of a run."""
BAD_SCALES = (0.12, 0.4, 1.0, 2.2)
"""Sizes of bad effects, in units of what the log's own worse runs are worse by. In units of the noise, a noise would
fit best with which one of a few sizes happens to be theirs, and most of a log may be harm."""
LEAST_BAD, MOST_BAD = 0.3, 50.0
"""Those sizes are at least, and at most, so many noises of a run."""
SMALL = (0.0, 0.85)
"""Shares of the effects of either side that are smaller by `SMALLER` than the others: none, or most of them."""
SMALLER = 0.08

ODD = 0.01
"""Share of runs, and of moves, that may be anything: diverged, or another data set."""
CELLS = 3
"""Grid cells in one noise."""
HALF = 8 * CELLS
"""A base is looked for so many cells around its own value: eight noises."""
WIDTH = 2 * HALF + 1
BETTER, WORSE = 30 * CELLS, 120 * CELLS
"""Further from its base than so many cells, a run is taken for an odd one."""
FURTHEST = 12 * CELLS * 50
"""No effect of a prior moves a base by more cells: twelve times the largest scale."""
PRUNE_EVERY, PRUNED = 5, 16.0
"""After so many bases, priors are dropped that fit worse than the best one by so much in log likelihood."""

FEW_PRIORS = 64
"""Up to so many, one product with a view of all shifts is faster than a sum over them."""

TOGETHER = 20
"""Bases whose discards are looked at together."""

APART = 2.0**50
"""Further from the first value than so many cells, a base has no digits left that tell one cell from the next."""


class TooFar(ValueError):
    """A base is too many noises away from the first value; `at` is its place among the trials."""

    def __init__(self, at: int) -> None:
        super().__init__(f"trial {at} is too far from the first")
        self.at = at


@dataclass(frozen=True, slots=True)
class Trial:
    """One experiment with a value, in the order of the log; the first is the baseline."""

    value: float
    kept: bool
    runs: int = 1
    """How many the value is the mean of."""


def priors(harm: float) -> Any:
    """Return the priors of the grid, [5, P]: share without effect, share of the others that is good, the scales of the
    good and of the bad, share of either that is small. `harm` is what `harm_of` says, in noises of a run."""
    import numpy as np

    bad = [min(max(harm * scale, LEAST_BAD), MOST_BAD) for scale in BAD_SCALES]
    return np.array([*itertools.product(NONE, GOOD, GOOD_SCALES, bad, SMALL)]).T


def harm_of(trials: Sequence[Trial]) -> float:
    """Return the size of the harm in a log: the scale of a half normal whose 90 % quantile is that of how much discards
    are worse than their base; 0 where none is."""
    worse, base = list[float](), trials[0].value
    for trial in trials[1:]:
        if not trial.kept and trial.value > base:
            worse.append(trial.value - base)
        base = trial.value if trial.kept else base
    return sorted(worse)[int(0.9 * len(worse))] / 1.645 if worse else 0.0


Kinds = tuple[tuple[int, float], ...]
"""Half normals that effects are drawn from: side (-1 is better) and scale of each."""
Mixture = tuple[Kinds, Any]
"""Half normals, and the share of all changes that is of no effect and of each of them, [1 + kinds, P]."""


def mixture(prior: Any) -> Mixture:
    """Return what priors mix."""
    import numpy as np

    none, good, good_scale, bad_scale, small = prior
    kinds, shares = list[tuple[int, float]](), [none]
    for side, share, scale in ((-1, (1 - none) * good, good_scale), (1, (1 - none) * (1 - good), bad_scale)):
        for each in np.unique(scale):
            mine = share * (scale == each)
            kinds += [(side, float(each)), (side, float(each) * SMALLER)]
            shares += [mine * (1 - small), mine * small]
    return tuple(kinds), np.array(shares)


@functools.lru_cache(64)
def sides(kinds: Kinds) -> Any:
    """Return the probability of each move by up to FURTHEST + WIDTH - 1 cells, without effect and of each kind."""
    import numpy as np

    cells = np.arange(-FURTHEST - WIDTH + 1, FURTHEST + WIDTH)[:, None]
    return np.hstack([1.0 * (cells == 0), *(half_normal(side * cells, scale * CELLS) for side, scale in kinds)])


class Chain:
    """The bases of a log, on a grid of true values, for one noise `sigma` of a run."""

    def __init__(self, trials: Sequence[Trial], sigma: float) -> None:
        """Raises `TooFar` where a kept value is so far from the first that the grid does not tell its cells."""
        import numpy as np

        self.sigma, self.step = sigma, sigma / CELLS
        self.zero = trials[0].value
        values = sorted(t.value for t in trials)
        # Of what is worse than most of the log, nobody asks how much: one run may have exploded.
        usual = values[: max(2, len(values) - len(values) // 20)]
        self.range = max(max(usual[-1], *(t.value for t in trials if t.kept)) - usual[0], sigma)
        self.odd = 0
        """Discards that are further from their base than the tables reach."""
        bases = [t for at, t in enumerate(trials) if t.kept or not at]
        for at, trial in enumerate(trials):
            if trial.kept and not abs(trial.value - self.zero) < APART * self.step:
                raise TooFar(at)
        self.centres = [round((t.value - self.zero) / self.step) for t in bases]
        cells = np.arange(-HALF, HALF + 1)
        self.own: list[Any] = []
        """Of each base the log likelihood of its own runs, [WIDTH]."""
        for trial, centre in zip(bases, self.centres, strict=True):
            sd = sigma / math.sqrt(trial.runs)
            off = (trial.value - self.zero - self.step * (centre + cells)) / sd
            self.own.append(-0.5 * off**2 - math.log(sd))
        self.children: dict[int, Any] = {}
        """Runs of a discard -> how many of each base's discards lie in each cell around its centre, [bases, cells]."""
        base = -1
        for at, trial in enumerate(trials):
            if trial.kept or not at:
                base += 1
                continue
            away = (trial.value - self.zero) / self.step - self.centres[base]
            if not -BETTER <= away <= WORSE:
                self.odd += 1
                continue
            runs = min(trial.runs, 16)
            if runs not in self.children:
                self.children[runs] = np.zeros((len(bases), BETTER + WORSE + 1))
            self.children[runs][base, round(away) + BETTER] += 1

    def moves(self, mixed: Mixture, by: int) -> Any:
        """Return the probability that one change moves a base by `by` cells, and by up to WIDTH - 1 less or more.

        [2 WIDTH - 1, P]; negative is better. `mixed` is what `mixture` returns of the priors.
        """
        kinds, shares = mixed
        at = min(max(by, -FURTHEST), FURTHEST) + FURTHEST  # so far away a move is an odd one anyway
        found = sides(kinds)[at : at + 2 * WIDTH - 1] @ shares
        return (1 - ODD) * found + ODD * self.step / (2 * self.range)

    def seen(self, prior: Any, runs: int) -> Any:
        """Return the log density of a discard's value by its cells from its base, for all that may be, [cells, P]."""
        import numpy as np

        sd = 1 / math.sqrt(runs)
        u = np.arange(-BETTER - HALF, WORSE + HALF + 1)[:, None] / CELLS  # in noises of a run
        (kinds, shares), columns = mixture(prior), [normal(u, sd)]
        for side, scale in kinds:
            both = math.hypot(scale, sd)
            columns.append(2 * normal(u, both) * normal_below(side * u * scale / (sd * both)))
        density = np.hstack(columns) @ shares
        return np.log((1 - ODD) * density / (self.step * CELLS) + ODD / self.range)

    def told(self, seen: dict[int, Any], first: int, priors: int) -> Any:
        """Return the log likelihood of the discards of `TOGETHER` bases from `first` on, [bases, WIDTH, P].

        `seen` is what `seen` returns, by the runs of a discard; P is the number of `priors`.
        """
        import numpy as np

        count = min(TOGETHER, len(self.own) - first)
        found = np.zeros((count, WIDTH, priors))
        for runs, table in seen.items():
            counts = self.children[runs][first : first + count]
            used = np.flatnonzero(counts.any(axis=0))
            for at in range(WIDTH):  # a base that is `at - HALF` cells from its own value
                found[:, at] += counts[:, used] @ table[used + WIDTH - 1 - at]
        return found

    def forward(self, prior: Any, *, keep: bool = False) -> tuple[Any, list[Any]]:
        """Return the log likelihood of the log for each prior, [P], and with `keep` what is known of each base from all
        up to it, [WIDTH, P] each. Without it, priors that fit far worse than the best one have minus infinity."""
        import numpy as np

        count = prior.shape[1]
        fit, alive, kept = np.full(count, -np.inf), np.arange(count), list[Any]()
        total = np.full(count, self.odd * math.log(ODD / self.range))
        alpha = np.full((WIDTH, count), self.step / self.range)
        seen = {runs: self.seen(prior, runs) for runs in self.children}
        mixed = mixture(prior)
        for k, own in enumerate(self.own):
            if k % TOGETHER == 0:
                told = self.told(seen, k, prior.shape[1])
            if k:
                alpha = moved(alpha, self.moves(mixed, self.centres[k] - self.centres[k - 1]))
            spoken = own[:, None] + told[k % TOGETHER]
            peak = spoken.max(axis=0)
            alpha = alpha * np.exp(spoken - peak)
            scale = alpha.sum(axis=0)
            total = total + np.log(scale) + peak
            alpha = alpha / scale
            if keep:
                kept.append(alpha)
            elif k % PRUNE_EVERY == PRUNE_EVERY - 1:
                good = total > total.max() - PRUNED
                if not good.all():
                    alive, prior, told = alive[good], prior[:, good], told[:, :, good]
                    alpha, total, mixed = alpha[:, good], total[good], mixture(prior)
                    seen = {runs: table[:, good] for runs, table in seen.items()}
        fit[alive] = total
        return fit, kept

    def draws(self, prior: Any, which: Any, rng: np.random.Generator) -> Any:
        """Draw the true values of all bases given the whole log, [D, bases]: backward through the chain.

        A value is anywhere in its cell, which may be as wide as what is known of it.
        `which` [D] is the prior, of those in `prior`, of each draw.
        """
        import numpy as np

        _, alphas = self.forward(prior, keep=True)
        cells = np.empty((len(which), len(alphas)), np.int64)
        cells[:, -1] = drawn(alphas[-1], which, rng)
        mixed = mixture(prior)
        for k in range(len(alphas) - 2, -1, -1):
            moves = self.moves(mixed, self.centres[k + 1] - self.centres[k])
            # Many draws are in the same cell of the next base, with the same prior: their chances are the same.
            same, mine = np.unique(cells[:, k + 1] * prior.shape[1] + which, return_inverse=True)
            cell, own = np.divmod(same, prior.shape[1])
            # From cell b to cell a of the next base the move is a - b.
            chances = alphas[k][:, own] * moves[cell - np.arange(WIDTH)[:, None] + WIDTH - 1, own]
            cells[:, k] = drawn(chances, mine, rng)
        places = np.array(self.centres) + cells - HALF
        within = rng.random(places.shape) - 0.5
        for k in range(1, len(self.centres)):  # what has no effect stays exactly where it was
            within[:, k] = np.where(places[:, k] == places[:, k - 1], within[:, k - 1], within[:, k])
        return self.zero + self.step * (places + within)


def moved(alpha: Any, moves: Any) -> Any:
    """Return what is known of the next base, [WIDTH, P], from what is known of this one and the chance of each move."""
    import numpy as np

    if alpha.shape[1] <= FEW_PRIORS:
        down, across = moves.strides
        shifted = np.lib.stride_tricks.as_strided(
            moves[WIDTH - 1 :], (WIDTH, WIDTH, alpha.shape[1]), (-down, down, across), writeable=False
        )  # [b, a, P]: from cell b to cell a
        return np.einsum("bp,bap->ap", alpha, shifted)
    found = np.zeros_like(alpha)
    for b in range(WIDTH):
        found += alpha[b] * moves[WIDTH - 1 - b : 2 * WIDTH - 1 - b]
    return found


def drawn(chances: Any, which: Any, rng: np.random.Generator) -> Any:
    """Draw a row for each of `which`, columns of `chances` that need not sum to one."""
    rows, columns = chances.shape
    reached = chances.cumsum(axis=0)
    # One after the other in one row of ascending numbers, column k between k and k + 1.
    ascending = (reached / reached[-1] + range(columns)).T.ravel()
    return (ascending.searchsorted(which + rng.random(len(which))) - rows * which).clip(0, rows - 1)


def half_normal(cells: Any, scale: float) -> Any:
    """Return the probability of each cell from 1 on, whose sum is 1, and 0 of the others; a small scale is one cell."""
    import numpy as np

    reach = np.arange(1, int(9 * scale) + 3)
    whole = np.exp(-0.5 * (reach / scale) ** 2).sum()
    if whole < 1e-3:  # all of it lies within the first cell
        return 1.0 * (cells == 1)
    return (cells > 0) * np.exp(-0.5 * (cells / scale) ** 2) / whole


def normal(x: Any, sd: float) -> Any:
    """Return the density of the normal distribution."""
    import numpy as np

    return np.exp(-0.5 * (x / sd) ** 2) / (sd * math.sqrt(2 * math.pi))


def normal_below(x: Any) -> Any:
    """Return the distribution function of the standard normal distribution."""
    import numpy as np

    return np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x.flat]).reshape(x.shape)
