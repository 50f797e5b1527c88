"""What reads of the locked split cost, and how much too good an adversary's claim is with them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from autoresearch.metrics import Metric
from autoresearch.statistics.confirmation import confirmation
from autoresearch.statistics.locked import PRICES, LockedReads, lowered_by, refusal

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import locked_reads

LOSS = Metric("loss", "lower")
SESSIONS = 300
"""Of each adversary: the bias of 0.1 standard errors is asked with room for the luck of so few."""


@pytest.mark.parametrize("adversary", sorted(locked_reads.ADVERSARIES))
def test_500_attempts_make_a_claim_hardly_better_than_it_is(adversary: str) -> None:
    found, error = locked_reads.bias(adversary, SESSIONS, 500, 3, 0.25)
    assert found <= 0.1 + 2 * error


def test_the_same_adversary_fools_plain_reads() -> None:
    found, error = locked_reads.bias("best of others", 60, 10, 3, 0.25, plain=True)
    assert found > 1.54 - 3 * error > 0.5, "the mean of the best of ten normal numbers is 1.54"


def test_the_first_read_is_told_as_it_was_measured_and_each_further_one_lower() -> None:
    gains, earlier = (0.03, 0.05, 0.04, 0.06), list[tuple[float, ...]]()
    told = []
    for nth in range(1, len(PRICES) + 1):
        told.append(lowered_by(nth, gains, earlier))
        earlier.append(gains)
    error = 0.012909944 / 2  # the standard deviation of the four, and the root of their number
    assert told == pytest.approx([price * error for price in PRICES])
    assert told[0] == 0 and told == sorted(told) and len(set(told)) == len(told)


def test_a_small_spread_of_few_seeds_is_no_cheaper_than_that_of_all_reads_together() -> None:
    wide = [(0.0, 0.1, 0.2), (0.3, 0.1, 0.2)]
    assert lowered_by(3, (0.20, 0.21, 0.20), wide) > 0.9 * lowered_by(3, (0.0, 0.1, 0.2), wide) * (2 / 3) ** 0.5
    assert lowered_by(3, (0.0, 0.5, 1.0), wide) > lowered_by(3, (0.0, 0.1, 0.2), wide)


@pytest.mark.parametrize("direction", ["lower", "higher"])
def test_a_gain_and_its_low_end_are_lowered_and_the_means_of_both_sides_are_not(direction: str) -> None:
    metric = Metric("m", direction)  # type: ignore[arg-type]
    sign = 1 if direction == "lower" else -1
    first = {1: 1.0, 2: 1.1, 3: 1.2}
    last = {1: 1.0 - sign * 0.50, 2: 1.1 - sign * 0.51, 3: 1.2 - sign * 0.52}
    plain, read = (confirmation(metric, 0.6, first, last, earlier) for earlier in (None, [(0.2, 0.21, 0.22)]))
    assert read.lowered == pytest.approx(PRICES[1] * 0.01 / 3**0.5) and plain.lowered == 0
    assert (plain.gain - read.gain, plain.low - read.low) == pytest.approx((read.lowered, read.lowered))
    assert (read.high, read.baseline, read.best) == (plain.high, plain.baseline, plain.best)
    assert read.found == pytest.approx(read.gain / 0.6)


def test_a_gain_that_its_price_takes_does_not_hold() -> None:
    first, last = dict.fromkeys(range(4), 1.0), {0: 0.97, 1: 0.96, 2: 0.95, 3: 0.96}
    assert confirmation(LOSS, 0.04, first, last, []).holds
    assert not confirmation(LOSS, 0.04, first, last, [(0.1, 0.0, 0.2)] * 3).holds


def test_past_the_limit_there_is_no_read_and_without_a_spread_only_one() -> None:
    spread, same = (0.1, 0.2), (0.3, 0.3, 0.3 + 1e-12)
    assert refusal(0, []) is None and refusal(len(PRICES) - 1, [spread] * (len(PRICES) - 1)) is None
    assert "would be luck" in (refusal(len(PRICES), [spread] * len(PRICES)) or "")
    assert "did not differ" in (refusal(1, [same]) or "")
    assert refusal(2, [same, spread]) is None, "one that differed tells what luck there is"
    assert refusal(1, [()]) is None, "a read that was interrupted at once says nothing of the spread"
    assert (LockedReads(1).left, LockedReads(1).next_price) == (len(PRICES) - 1, PRICES[1])
    assert (LockedReads(9).left, LockedReads(9).next_price) == (0, None)
