"""Shares of pairs of answers, with intervals that take the prompts as a sample of those that there might be."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from autoresearch.statistics.distributions import beta_cdf

T = TypeVar("T")

LEVEL = 0.95
RESAMPLES = 2000
"""The ends of an interval are then the 50th value from either side."""


class Dice(Protocol):
    """Random numbers, as `random.Random` has them."""

    def choices(self, population: Sequence[T], *, k: int) -> list[T]: ...


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with an interval that holds the true one with the chance `LEVEL`."""

    value: float | None
    """None: there is nothing to compute it from."""
    low: float | None = None
    high: float | None = None
    n: int = 0
    """Prompts, or pairs, that it is computed from."""

    def __bool__(self) -> bool:
        return self.value is not None

    def as_view(self) -> dict[str, Any]:
        return {"value": self.value, "interval": [self.low, self.high], "n": self.n}


def bootstrap(units: Sequence[T], statistic: Callable[[Sequence[T]], float | None], dice: Dice) -> Estimate:
    """Return a statistic of some units and the percentile interval of its bootstrap over them.

    Resamples for which the statistic does not exist are left out (Efron and Tibshirani, 1993, chapter 13). One unit
    alone has no interval, and neither have units that are all alike: every resample gives the same, after two of them,
    too.
    """
    value = statistic(units) if units else None
    if value is None or len(units) < 2:
        return Estimate(value, n=len(units))
    drawn = (statistic(dice.choices(units, k=len(units))) for _ in range(RESAMPLES))
    found = sorted(v for v in drawn if v is not None)
    if not found or found[0] == found[-1]:
        return Estimate(value, n=len(units))
    outside = (1 - LEVEL) / 2
    low, high = (found[min(len(found) - 1, int(part * len(found)))] for part in (outside, 1 - outside))
    return Estimate(value, low, high, len(units))


@dataclass(frozen=True, slots=True)
class Part:
    """What one prompt adds to a share: so many of so many."""

    hits: float
    of: float


def share(parts: Sequence[Part], dice: Dice) -> Estimate:
    """Return the summed hits over the summed whole, with its interval; prompts without anything to count are left out.

    Where every prompt says the same, resampling sees no doubt, after three prompts, too. Then the interval is what is
    still possible: a part q of all prompts may say something else, up to (1 - q)^n = (1 - LEVEL) / 2, the chance to
    have met none of them among n. For a share of 1 that is the interval of Clopper and Pearson.
    """
    counted = [part for part in parts if part.of]
    if not counted:
        return Estimate(None)
    value = counted[0].hits / counted[0].of
    if all(part.hits / part.of == value for part in counted):
        others = 1 - ((1 - LEVEL) / 2) ** (1 / len(counted))
        return Estimate(value, value * (1 - others), value + (1 - value) * others, len(counted))
    return bootstrap(counted, _ratio, dice)


def _ratio(parts: Sequence[Part]) -> float:
    return math.fsum(part.hits for part in parts) / math.fsum(part.of for part in parts)


def win_rate(wins: int, ties: int, losses: int, dice: Dice) -> Estimate:
    """Return the share of prompts that were won, a tie counting half."""
    parts = [Part(1, 1)] * wins + [Part(0.5, 1)] * ties + [Part(0, 1)] * losses
    return share(parts, dice)


def sign_test(wins: int, losses: int) -> float | None:
    """Return the chance of a result at least as uneven if wins and losses were equally likely; None without any.

    Two-sided and exact. The tail of the binomial is the regularised incomplete beta function: P(X >= k) of n is
    I_0.5(k, n - k + 1).
    """
    n, more = wins + losses, max(wins, losses)
    if not n:
        return None
    return min(1.0, 2 * beta_cdf(0.5, more, n - more + 1))
