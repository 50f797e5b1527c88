"""The interval of a confirmed gain, against the library's own."""

from __future__ import annotations

import pytest
from scipy import stats

from autoresearch.metrics import Metric
from autoresearch.statistics.confirmation import LEVEL, confirmation

GAINS = (0.03, 0.05, 0.02, 0.06)


@pytest.mark.parametrize("direction", ["lower", "higher"])
def test_the_interval_is_students_for_the_paired_differences(direction: str) -> None:
    sign = 1 if direction == "lower" else -1
    baseline = {7: 1.02, 8: 0.98, 9: 1.05, 11: 1.01}
    best = {seed: value - sign * gain for (seed, value), gain in zip(baseline.items(), GAINS, strict=True)}
    found = confirmation(Metric("loss", direction), 0.08, baseline, best)  # type: ignore[arg-type]
    known = stats.ttest_1samp(GAINS, 0).confidence_interval(LEVEL)
    assert found.gain == pytest.approx(0.04)
    assert (found.low, found.high) == pytest.approx((known.low, known.high))
    assert found.shrinkage == pytest.approx(0.5)
    assert found.holds and found.seeds == (7, 8, 9, 11)


def test_a_gain_whose_interval_reaches_zero_does_not_hold() -> None:
    found = confirmation(Metric("loss", "lower"), 0.1, {1: 1.0, 2: 1.0}, {1: 0.9, 2: 1.05})
    assert found.gain > 0 and found.low < 0 and not found.holds
