"""How often something happens, from how often it was seen."""

from __future__ import annotations

from autoresearch.statistics.confirmation import LEVEL
from autoresearch.statistics.distributions import beta_quantile


def interval_of(seen: int, of: int) -> tuple[float, float]:
    """Return the exact interval of a rate, from 0 to 1 (Clopper and Pearson, 1934); `of` is at least 1."""
    tail = (1 - LEVEL) / 2
    low = beta_quantile(tail, seen, of - seen + 1) if seen else 0.0
    return low, beta_quantile(1 - tail, seen + 1, of - seen) if seen < of else 1.0
