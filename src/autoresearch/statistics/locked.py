"""What reads of the locked split cost, so that a claim stays true however the reads before it were used.

Whoever may read the held-out data as often as they like finds a change that looks good on it by luck: the best of ten
reads is 1.5 standard errors too good, the best of 500 three, and changes put together from what looked good far more.
Dwork et al. ("The reusable holdout", Science 2015) answer with noise and a threshold, which hold as long as nobody sees
the raw numbers; here the one to guard against has a shell beside the journal. So the reads are few, and each but the
first is told lower than it was measured, by a price in standard errors that grows. The prices are chosen so that, with
everything known of earlier reads, the best number that a limit of reads can give is 0.1 standard errors too good at
most, also where a change is put together from the luck of the earlier ones, and where half of all luck is in the
rows, which the spread over seeds does not show (`benchmarks/locked_reads.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

PRICES = (0.0, 4.0, 5.0, 5.5, 6.0)
"""By how many standard errors the gain of the first read, the second and so on is lowered; there are no more reads."""

LEAST_SEEDS = 3
"""Of a read that has a price: two tell too little of its standard error."""

SAME = 1e-9
"""Differences of pairs that are equal to this part of their size have no spread."""


@dataclass(frozen=True, slots=True)
class LockedReads:
    """What was spent of the reads of one locked split."""

    spent: int

    @property
    def limit(self) -> int:
        return len(PRICES)

    @property
    def left(self) -> int:
        return max(0, self.limit - self.spent)

    @property
    def next_price(self) -> float | None:
        """By how many standard errors the next read is lowered; None where there is none left."""
        return PRICES[self.spent] if self.left else None


def refusal(spent: int, earlier: Sequence[Sequence[float]]) -> str | None:
    """Return why there is no further read; None where there is one.

    `earlier` are the gains of the pairs of each earlier read. Without a spread among them nothing tells by how much a
    read may be off, so that the first is the only one.
    """
    if spent >= len(PRICES):
        return f"the locked split was read {spent} times of {len(PRICES)}, and a further number of it would be luck"
    known = [gains for gains in earlier if len(gains) > 1]
    if spent and known and not any(map(spread, known)):
        return (
            "the locked split was read, and its pairs did not differ, so that nothing tells what luck a further one has"
        )
    return None


def lowered_by(nth: int, gains: Sequence[float], earlier: Sequence[Sequence[float]]) -> float:
    """Return by how much the mean of these gains of pairs, the `nth` read, is lowered before anybody is told of it.

    Its standard error is its own, or by the spread of the pairs of all reads together where that is larger: of many
    reads of few seeds one has a small spread by luck.
    """
    price = PRICES[min(nth, len(PRICES)) - 1]
    known = [each for each in (*earlier, gains) if len(each) > 1]
    dof = sum(len(each) - 1 for each in known)
    if price == 0 or dof == 0:
        return 0.0
    together = math.sqrt(sum((len(each) - 1) * spread(each) ** 2 for each in known) / dof)
    return price * max(spread(gains), together) / math.sqrt(len(gains))


def spread(gains: Sequence[float]) -> float:
    """Return the standard deviation of two gains or more, 0 where they are the same but for rounding."""
    mean = math.fsum(gains) / len(gains)
    found = math.sqrt(math.fsum((gain - mean) ** 2 for gain in gains) / (len(gains) - 1))
    return found if found > SAME * max(map(abs, gains)) else 0.0
