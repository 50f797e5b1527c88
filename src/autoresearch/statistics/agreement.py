"""How far two who sort the same things agree beyond what chance alone would give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from autoresearch.statistics.win_rate import Dice, Estimate, Part, bootstrap, share

Pair = tuple[str, str]
"""What the one and the other said of the same thing."""

FEW = 50
"""Below so many labelled pairs an agreement is hardly known: at 50, a kappa of 0.6 has an interval of more than 0.4."""


def kappa(pairs: Sequence[Pair]) -> float | None:
    """Return Cohen's kappa: agreement above chance, over the most that it could be above chance; 1 is full agreement.

    Chance is what two would agree who use each word as often as these did, and know nothing of each other. None where
    that is 1, because both said one and the same word only, and without pairs. (Cohen, 1960.)
    """
    if not pairs:
        return None
    n = len(pairs)
    observed = sum(one == other for one, other in pairs) / n
    first, second = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    expected = sum(count * second[word] for word, count in first.items()) / n**2
    return (observed - expected) / (1 - expected) if expected < 1 else None


def agreement(pairs: Sequence[Pair], dice: Dice) -> Estimate:
    """Return the share of pairs in which both said the same."""
    return share([Part(one == other, 1) for one, other in pairs], dice)


def kappa_estimate(pairs: Sequence[Pair], dice: Dice) -> Estimate:
    """Return Cohen's kappa with the interval of its bootstrap over the pairs."""
    return bootstrap(pairs, kappa, dice)
