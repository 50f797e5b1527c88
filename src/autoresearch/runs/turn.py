"""Where a run stands among those that one command makes: what whoever waits is told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turn:
    """Where a run stands among those that one command makes."""

    what: str
    """What they are made for, and this one for it: `experiment 4: the incumbent's seed 4`."""
    run: int
    """The first is 1."""
    most: int
    """How many there are at most."""
    exactly: bool = False
    """Whether there are so many, and not fewer."""
    run_s: float | None = None
    """What a run takes here, in seconds; None while none was made."""

    @property
    def words(self) -> str:
        """Which run it is, and of how many."""
        return f"{self.what}, run {self.run} of {'' if self.exactly else 'at most '}{self.most}"

    @property
    def left_s(self) -> float | None:
        """The most seconds until the last of them is made, from the beginning of this one."""
        return self.run_s * (self.most - self.run + 1) if self.run_s is not None else None
