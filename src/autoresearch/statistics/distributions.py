"""Quantiles of the beta and of Student's distribution, without the third of a second that importing scipy takes."""

from __future__ import annotations

import functools
import math


def beta_cdf(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b), for x from 0 to 1 and a, b above 0.

    By the continued fraction 8.17.22 of the NIST Digital Library of Mathematical Functions, with Lentz's method.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly
        return 1 - beta_cdf(1 - x, b, a)
    tiny = 1e-300
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    c, d = 1.0, 1 / _away(1 - (a + b) * x / (a + 1), tiny)
    fraction = d
    for m in range(1, 500):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        before = fraction
        for term in (even, odd):
            d = 1 / _away(1 + term * d, tiny)
            c = _away(1 + term / c, tiny)
            fraction *= c * d
        if abs(fraction - before) <= 1e-15 * abs(fraction):
            break
    return front * fraction


def beta_quantile(p: float, a: float, b: float) -> float:
    """Return the x with I_x(a, b) = p, by bisection in log x, so that small ones are as exact as others."""
    if p <= 0 or p >= 1:
        return float(p >= 1)
    low, high = -700.0, 0.0
    for _ in range(64):
        middle = (low + high) / 2
        if beta_cdf(math.exp(middle), a, b) < p:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)


@functools.lru_cache(4096)
def student(p: float, dof: int) -> float:
    """Return the quantile of Student's t for a probability p from one half on; infinite where p is 1, to which a float
    rounds what is closer than 1e-16.

    By Newton's method in log t and log tail, where the tail is nearly straight; close to one half by bisection.
    """
    if p >= 1:
        return math.inf
    if p < 0.6:
        x = beta_quantile(2 * (1 - p), dof / 2, 0.5)
        return math.sqrt(dof * (1 / x - 1)) if x < 1 else 0.0
    wanted, at = math.log(1 - p), 0.0
    front = math.lgamma((dof + 1) / 2) - math.lgamma(dof / 2) - math.log(dof * math.pi) / 2
    for _ in range(100):
        t = math.exp(at)
        tail = beta_cdf(1 / (1 + t * t / dof), dof / 2, 0.5) / 2
        density = math.exp(front - (dof + 1) / 2 * math.log1p(t * t / dof))
        if tail <= 0 or density <= 0:
            at -= 0.3
            continue
        step = (math.log(tail) - wanted) * tail / (density * t)
        at += max(-0.7, min(0.7, step))
        if abs(step) < 1e-13:
            break
    return math.exp(at)


def _away(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny
