"""Shares of pairs with their intervals, and how far two judges agree, beside what others compute."""

from __future__ import annotations

import math
import random

import pytest
from scipy import stats

from autoresearch.models.verdicts import Judged, preference
from autoresearch.statistics.agreement import FEW, agreement, kappa, kappa_estimate
from autoresearch.statistics.win_rate import LEVEL, Part, bootstrap, share, sign_test, win_rate


def dice() -> random.Random:
    return random.Random(1)


def pairs(counts: dict[tuple[str, str], int]) -> list[tuple[str, str]]:
    return [pair for pair, count in counts.items() for _ in range(count)]


def test_kappa_is_what_its_definition_gives() -> None:
    # Observed 35 of 50; by chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5: (0.7 - 0.5) / (1 - 0.5).
    assert kappa(pairs({("a", "a"): 20, ("a", "b"): 5, ("b", "a"): 10, ("b", "b"): 15})) == pytest.approx(0.4)
    # Three words: observed 0.6; by chance 0.5 * 0.4 + 0.3 * 0.4 + 0.2 * 0.2 = 0.36.
    counts = {("a", "a"): 3, ("a", "b"): 1, ("a", "tie"): 1, ("b", "b"): 2, ("b", "a"): 1, ("tie", "b"): 1,
              ("tie", "tie"): 1}  # fmt: skip
    assert kappa(pairs(counts)) == pytest.approx((0.6 - 0.36) / (1 - 0.36))
    assert kappa(pairs({("a", "a"): 7, ("b", "b"): 2})) == 1
    assert kappa(pairs({("a", "b"): 5, ("b", "a"): 5})) == -1
    assert kappa(pairs({("a", "a"): 5})) is None and kappa([]) is None


@pytest.mark.slow
def test_the_interval_of_kappa_is_as_wide_as_its_large_sample_error_says() -> None:
    # Fleiss, Cohen and Everitt (1969), where both use two words equally often: se = sqrt(po (1 - po) / n) / (1 - pe).
    found = kappa_estimate(pairs({("a", "a"): 80, ("a", "b"): 20, ("b", "a"): 20, ("b", "b"): 80}), dice())
    error = math.sqrt(0.8 * 0.2 / 200) / 0.5
    assert found.value == pytest.approx(0.6) and found.low is not None and found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert agreement([("a", "a")] * 8 + [("a", "b")] * 2, dice()).value == 0.8


@pytest.mark.slow
def test_at_few_labels_a_kappa_is_hardly_known() -> None:
    quarter = FEW // 10
    counts = {("a", "a"): 4 * quarter, ("a", "b"): quarter, ("b", "a"): quarter, ("b", "b"): 4 * quarter}
    found = kappa_estimate(pairs(counts), dice())
    assert found.value == pytest.approx(0.6) and found.low is not None and found.high is not None
    assert found.high - found.low > 0.4


@pytest.mark.slow
def test_the_bootstrap_of_a_mean_is_that_of_scipy() -> None:
    rng = random.Random(3)
    values = [rng.gauss(5, 2) ** 2 for _ in range(40)]
    ours = bootstrap(values, lambda v: sum(v) / len(v), dice())
    theirs = stats.bootstrap((values,), lambda v, axis: v.mean(axis), confidence_level=LEVEL, n_resamples=4000,
                             method="percentile", rng=1).confidence_interval  # fmt: skip
    width = theirs.high - theirs.low
    assert ours.value == pytest.approx(sum(values) / 40)
    assert ours.low == pytest.approx(theirs.low, abs=0.1 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.1 * width)


def test_a_tie_counts_half_and_the_interval_is_reproducible() -> None:
    found = win_rate(6, 8, 4, dice())
    assert found.value == pytest.approx(10 / 18) and found == win_rate(6, 8, 4, dice())
    assert found.low is not None and found.high is not None and found.low < 0.5 < 10 / 18 < found.high
    assert win_rate(0, 0, 0, dice()).value is None


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 3, 30])
def test_prompts_that_all_say_the_same_leave_the_doubt_of_so_few(n: int) -> None:
    won, lost, tied = (share([Part(value, 1)] * n, dice()) for value in (1, 0, 0.5))
    exact = stats.binomtest(n, n).proportion_ci(LEVEL, "exact")
    assert (won.value, won.high) == (1, 1) and won.low == pytest.approx(exact.low)
    assert (lost.value, lost.low) == (0, 0) and lost.high == pytest.approx(1 - exact.low)
    assert tied.value == 0.5 and tied.low is not None and tied.high is not None
    assert 0.5 - tied.low == pytest.approx(tied.high - 0.5) and tied.low < 0.5


def test_prompts_with_nothing_to_count_have_no_part_in_a_share() -> None:
    found = share([Part(0, 0)] * 50 + [Part(1, 2), Part(2, 2), Part(0, 1)], dice())
    assert found.value == pytest.approx(3 / 5) and found.n == 3
    assert share([Part(0, 0)], dice()).value is None and not share([], dice())


@pytest.mark.slow
@pytest.mark.parametrize(("wins", "losses"), [(6, 0), (9, 4), (4, 9), (5, 5), (40, 25), (1, 0), (300, 250)])
def test_the_sign_test_is_the_binomial_one(wins: int, losses: int) -> None:
    assert sign_test(wins, losses) == pytest.approx(stats.binomtest(wins, wins + losses).pvalue, rel=1e-9)


def test_one_value_has_no_interval() -> None:
    found = bootstrap([3.0], lambda values: sum(values) / len(values), dice())
    assert (found.value, found.low, found.high) == (3.0, None, None)


def test_without_a_decided_prompt_there_is_no_sign_test() -> None:
    assert sign_test(0, 0) is None


@pytest.mark.slow
def test_the_interval_of_a_win_rate_holds_the_true_one_about_as_often_as_it_says() -> None:
    rng, held = random.Random(5), 0
    for _ in range(60):
        drawn = rng.choices((1.0, 0.5, 0.0), (0.5, 0.2, 0.3), k=40)
        found = win_rate(drawn.count(1.0), drawn.count(0.5), drawn.count(0.0), rng)
        assert found.low is not None and found.high is not None
        held += found.low <= 0.6 <= found.high
    assert held >= 51  # 57 are expected; where 95 % hold, fewer than 51 are seen once in 1,300 times


def test_units_that_are_all_alike_have_no_interval() -> None:
    found = bootstrap([2.0, 2.0, 2.0], lambda values: sum(values) / len(values), dice())
    assert (found.value, found.low, found.high, found.n) == (2.0, None, None, 3)
    assert kappa_estimate([("a", "a"), ("b", "b")], dice()).value == 1.0


@pytest.mark.parametrize(("count", "sure"), [(2, False), (40, True)])
def test_a_few_pairs_that_all_say_the_same_tell_no_bias(count: int, sure: bool) -> None:
    pair = Judged("x", "other", "other", (10, 20), label="one")
    found = preference([pair] * count, lambda judged: judged.longer, dice()).excess
    assert found.value == 1 and found.low is not None and found.high is not None and (found.low > 0) is sure
