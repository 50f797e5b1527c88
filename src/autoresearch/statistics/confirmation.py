"""What is left of a claimed gain on fresh seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoresearch.metrics import Metric
from autoresearch.statistics.distributions import student
from autoresearch.statistics.locked import lowered_by

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A claimed gain beside the confirmed one, in the metric's unit; positive is better."""

    claimed: float
    gain: float
    """Mean over the seeds of best against baseline, lowered by what earlier reads of the same data cost."""
    low: float
    high: float
    """The interval of the gain that holds its true value with the chance `LEVEL`, seed luck alone considered."""
    seeds: tuple[int, ...]
    baseline: float
    best: float
    """Means over the seeds."""
    baseline_error: float
    best_error: float
    """Their standard errors. Errors of one seed are shared by both sides, so that the gain is known better."""
    lowered: float = 0.0
    """By how much gain and low end are below what was measured."""

    @property
    def found(self) -> float | None:
        """The part of the claimed gain that was found again; None without a claim."""
        return self.gain / self.claimed if self.claimed > 0 else None

    @property
    def shrinkage(self) -> float | None:
        """The part of the claimed gain that was not found again; negative when more was. None without a claim."""
        return 1 - self.gain / self.claimed if self.claimed > 0 else None

    @property
    def holds(self) -> bool:
        """Whether the whole interval is on the good side."""
        return self.low > 0

    def as_result(self) -> dict[str, Any]:
        return {
            "claimed": self.claimed,
            "gain": self.gain,
            "interval": [self.low, self.high],
            "level": LEVEL,
            "shrinkage": self.shrinkage,
            "holds": self.holds,
            "seeds": list(self.seeds),
            "baseline": self.baseline,
            "best": self.best,
            "baseline_error": self.baseline_error,
            "best_error": self.best_error,
            "found": self.found,
            "lowered": self.lowered,
        }


def confirmation(
    metric: Metric,
    claimed: float,
    baseline: Mapping[int, float],
    best: Mapping[int, float],
    earlier: Sequence[Sequence[float]] | None = None,
) -> Confirmation:
    """Compare two experiments that ran the same seeds (seed -> value, two or more of them).

    The interval is Student's for the paired differences, which no noise estimate of the session has a part in. With
    `earlier`, the gains of the pairs of each earlier read of the same locked split, it is told lower by their price.
    """
    seeds = tuple(baseline)
    gains = [metric.gain(best[seed], baseline[seed]) for seed in seeds]
    mean, error = _mean(gains)
    reach = student((1 + LEVEL) / 2, len(gains) - 1) * error
    (first, first_error), (last, last_error) = _mean([*baseline.values()]), _mean([*best.values()])
    lowered = lowered_by(len(earlier) + 1, gains, earlier) if earlier is not None else 0.0
    gain, low, high = mean - lowered, mean - reach - lowered, mean + reach
    return Confirmation(claimed, gain, low, high, seeds, first, last, first_error, last_error, lowered)


def _mean(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of two values or more, and its standard error."""
    n = len(values)
    mean = math.fsum(values) / n
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)
