"""How much the metric moves when nothing changed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MOST_DECIMALS = 6
"""More are not shown; a value that would be zeros then has significant digits instead."""


@dataclass(frozen=True, slots=True)
class Noise:
    """Run-to-run spread of one commit, pooled over the commits that were run more than once."""

    sd: float | None
    """Standard deviation of one run, in the metric's unit; None while no commit was run twice."""
    dof: int
    """Degrees of freedom: runs beyond the first of each commit."""

    @property
    def exact(self) -> bool:
        """Whether every repeat gave the same value, so that one run is the whole truth."""
        return self.dof > 0 and self.sd == 0.0

    def decimals(self) -> int:
        """Return how many decimals of the metric carry information: down to a tenth of the noise, at least 1."""
        if not self.sd:
            return MOST_DECIMALS
        return 1 if math.isinf(self.sd) else max(1, 1 - math.floor(math.log10(self.sd)))


def spelled(value: float, decimals: int, most: int = MOST_DECIMALS, sign: str = "") -> str:
    """Return a value with so many decimals, of which at most `most` are shown: where these would be zeros, it has as
    many digits instead as reach the last of them."""
    if decimals > most and value and math.isfinite(value):
        return f"{value:{sign}.{max(1, min(15, decimals + 1 + math.floor(math.log10(abs(value)))))}g}"
    return f"{value:{sign}.{min(most, decimals)}f}"


def pooled(groups: Iterable[Sequence[float]]) -> Noise:
    """Return the noise pooled from groups of repeats: the square root of summed squares over summed dof."""
    squares, dof = 0.0, 0
    for values in groups:
        if len(values) > 1:
            if min(values) != max(values):
                squares += _squares(values)
            dof += len(values) - 1
    return Noise(math.sqrt(squares / dof) if dof else None, dof)


def _squares(values: Sequence[float]) -> float:
    """Return the summed squared deviations from the mean; infinite when an exploded value makes them too large."""
    try:
        mean = math.fsum(values) / len(values)
        return math.fsum((value - mean) ** 2 for value in values)
    except OverflowError:
        return math.inf


def mad_confidence(best_gain: float, values: Sequence[float]) -> float | None:
    """Return |best gain| / MAD of all values, the field's usual figure.

    None below three values, with no spread, or when it is too large for a number.
    It is written for other readers of the journal. No decision rests on it: the spread of *different* ideas is not
    the noise of one.
    """
    if len(values) < 3:
        return None
    values = sorted(values)  # from there the deviations fall and rise again, which is sorted in no time
    middle = median(values)
    mad = median([abs(value - middle) for value in values])
    confidence = abs(best_gain) / mad if mad > 0 else math.inf
    return confidence if math.isfinite(confidence) else None


def median(values: Sequence[float]) -> float:
    # Not the standard library's, whose module takes longer to import than many a command.
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2
