from __future__ import annotations

import math
import statistics
from random import Random

import pytest

from autoresearch.statistics.noise import Noise, mad_confidence, pooled, spelled


def test_one_group_has_the_sample_standard_deviation() -> None:
    rng = Random(2)
    for size in range(2, 30):
        values = [rng.gauss(0.99, 0.0004) for _ in range(size)]
        noise = pooled([values])
        assert noise.sd == pytest.approx(statistics.stdev(values), rel=1e-9)
        assert noise.dof == size - 1


def test_groups_are_pooled_by_their_degrees_of_freedom() -> None:
    rng = Random(3)
    groups = [[rng.gauss(centre, 1.0) for _ in range(size)] for centre, size in ((0, 2), (1e6, 5), (-3, 9))]
    expected = math.sqrt(sum(statistics.variance(g) * (len(g) - 1) for g in groups) / 13)
    noise = pooled([*groups, [7.0], []])
    assert noise.sd == pytest.approx(expected)
    assert noise.dof == 13


def test_a_shift_between_commits_is_not_noise() -> None:
    assert pooled([[1.0, 1.0], [2.0, 2.0, 2.0]]) == Noise(0.0, 3)


def test_equal_repeats_are_exact_even_where_their_mean_rounds() -> None:
    assert pooled([[0.1] * 3, [0.7] * 7]).exact


def test_no_repeat_is_no_noise_rather_than_zero() -> None:
    noise = pooled([[1.0], [2.0], []])
    assert noise == Noise(None, 0)
    assert not noise.exact


def test_a_single_small_difference_is_not_exact() -> None:
    assert not pooled([[1.0, 1.0], [1.0, math.nextafter(1.0, 2.0)]]).exact


@pytest.mark.parametrize("values", [[1e200, -1e200], [1e308, 1e308, -1e308], [1e160, 0.0]])
def test_an_exploded_value_gives_infinite_noise_and_no_error(values: list[float]) -> None:
    noise = pooled([values, [1.0, 1.1]])
    assert noise.sd == math.inf
    assert noise.decimals() == 1


@pytest.mark.parametrize(
    ("sd", "decimals"),
    [(None, 6), (0.0, 6), (0.0004, 5), (0.001, 4), (0.05, 3), (0.5, 2), (3.0, 1), (1e4, 1), (1e-12, 13)],
)
def test_decimals_go_down_to_a_tenth_of_the_noise(sd: float | None, decimals: int) -> None:
    assert Noise(sd, 5).decimals() == decimals


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(1.23456, 3, "+1.235"), (1.5e-7, 9, "+1.5e-07"), (-3e-12, 13, "-3e-12"), (0.0, 13, "+0.000000"),
     (math.inf, 13, "+inf"), (2.5, 13, "+2.5")],
)  # fmt: skip
def test_a_value_that_few_decimals_would_make_zero_has_its_digits(value: float, decimals: int, text: str) -> None:
    assert spelled(value, decimals, sign="+") == text


def test_confidence_is_the_best_gain_over_the_mad() -> None:
    assert mad_confidence(-2.0, [1.0, 2.0, 3.0, 4.0, 100.0]) == pytest.approx(2.0)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [1.0, 1.0, 1.0], [1.0, 1.0, 9.0], [0.0, 5e-324, -5e-324]])
def test_confidence_is_absent_where_it_says_nothing(values: list[float]) -> None:
    assert mad_confidence(1.0, values) is None
