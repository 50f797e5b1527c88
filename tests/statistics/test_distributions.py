"""Quantiles against published tables, and against scipy where it is installed."""

from __future__ import annotations

import math

import pytest

from autoresearch.statistics.distributions import beta_cdf, beta_quantile, student


@pytest.mark.parametrize(
    ("p", "dof", "value"),
    [(0.95, 1, 6.313752), (0.975, 1, 12.706205), (0.99, 2, 6.964557), (0.975, 4, 2.776445), (0.995, 10, 3.169273),
     (0.9995, 30, 3.645959), (0.975, 1000, 1.962339), (0.5, 7, 0.0)],
)  # fmt: skip
def test_students_quantiles_are_those_of_the_tables(p: float, dof: int, value: float) -> None:
    assert student(p, dof) == pytest.approx(value, rel=1e-6, abs=1e-6)


def test_quantiles_agree_with_scipy() -> None:
    from scipy import special

    for dof in (1, 2, 3, 5, 17, 120, 5000):
        for p in (0.6, 0.9, 0.988, 0.9999, 1 - 1e-7):
            assert student(p, dof) == pytest.approx(special.stdtrit(dof, p), rel=1e-8)
    for a, b in ((0.5, 0.5), (1, 20), (3, 18), (40, 2), (1, 1)):
        for p in (0.001, 0.025, 0.5, 0.975):
            assert beta_quantile(p, a, b) == pytest.approx(special.betaincinv(a, b, p), rel=1e-8)
            assert beta_cdf(p, a, b) == pytest.approx(special.betainc(a, b, p), rel=1e-10)


def test_a_probability_that_rounds_to_one_has_no_bound() -> None:
    assert student(1 - 1e-17, 5) == math.inf > student(1 - 1e-15, 5) > 100
