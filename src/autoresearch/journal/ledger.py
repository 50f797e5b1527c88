"""What proposals and runs have cost: dollars, tokens, seconds of the device. Pure.

Each cost is two lines of the journal: `reserve`, before anything is spent, with the most that it may be, and `settle`
with what it was. What was reserved and never settled, because of a kill, counts whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Usage:
    """What one proposal cost."""

    model: str = ""
    """As its maker names it; empty where no model was asked."""
    input: int = 0
    """Tokens read, those of the cache among them."""
    cached: int = 0
    """Tokens of `input` that were read from the cache."""
    cache_written: int = 0
    """Tokens of `input` that were written to the cache."""
    output: int = 0
    usd: float | None = 0.0
    """None: tokens were spent, and nobody knows what they cost."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One reservation, and what became of it."""

    id: str
    experiment: int
    """The one that it was for; what came to nothing counts for the one that came next."""
    agent: str = ""
    """Who was asked; empty for a run."""
    usd: float | None = 0.0
    """The most that it may cost; None where that is not known."""
    device_s: float = 0.0
    """The most seconds of the device that it may take."""
    settled: bool = False
    usage: Usage = field(default_factory=Usage)
    """What was spent, once that is settled."""
    used_s: float = 0.0
    began: int | None = None
    """When it was reserved, seconds since 1970."""
    ended: int | None = None
    """When it was settled."""

    @property
    def took_s(self) -> float | None:
        """The seconds from one to the other by the wall clock; None where they are not known."""
        return None if self.began is None or self.ended is None else float(max(0, self.ended - self.began))

    @property
    def dollars(self) -> float | None:
        """What it counts: what was spent, and what was reserved while that is not known; None when neither is."""
        spent = self.usage.usd if self.settled else None
        return self.usd if spent is None else spent

    @property
    def seconds(self) -> float:
        return self.used_s if self.settled else self.device_s


@dataclass(frozen=True, slots=True)
class Cost:
    """A sum of entries."""

    usd: float = 0.0
    unpriced: int = 0
    """Entries whose dollars nobody knows; they are not in `usd`."""
    input: int = 0
    cached: int = 0
    output: int = 0
    device_s: float = 0.0
    open: int = 0
    """Reservations that were not settled, and count whole."""

    def __bool__(self) -> bool:
        return self != Cost()


def total(entries: Iterable[Entry]) -> Cost:
    """Return what some entries cost together."""
    listed = list(entries)
    dollars = [entry.dollars for entry in listed]
    return Cost(
        usd=round(math.fsum(d for d in dollars if d is not None), 9),
        unpriced=dollars.count(None),
        input=sum(entry.usage.input for entry in listed),
        cached=sum(entry.usage.cached for entry in listed),
        output=sum(entry.usage.output for entry in listed),
        device_s=round(math.fsum(entry.seconds for entry in listed), 3),
        open=sum(not entry.settled for entry in listed),
    )


@dataclass(frozen=True, slots=True)
class Ledger:
    """All entries of a session, in the order of their reservations."""

    entries: tuple[Entry, ...] = ()

    @property
    def cost(self) -> Cost:
        return total(self.entries)

    def of(self, experiment: int) -> Cost:
        """Return what was spent for one experiment, and for the proposals before it that came to nothing."""
        return total(entry for entry in self.entries if entry.experiment == experiment)

    def since(self, count: int) -> Cost:
        """Return what was spent behind the first `count` entries."""
        return total(self.entries[count:])

    def find(self, id: str) -> Entry | None:
        return next((entry for entry in reversed(self.entries) if entry.id == id), None)
