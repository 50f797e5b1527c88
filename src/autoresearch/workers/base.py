"""What a back-end is: slots that carry out attempts at a run, in processes that are not the engine's.

The engine decides and writes; a worker only measures. An attempt is one try at a run: it has an id, and only the result
with the id that is waited for counts. What a back-end has to do is little: start an attempt in a free slot, say which
have ended, and end one that is not wanted any more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from autoresearch.errors import AutoresearchError
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import RunSpec


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a run."""

    id: str
    spec: RunSpec


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt has ended: with a measurement, with an error, or lost with its worker."""

    id: str
    measurement: Measurement | None = None
    error: AutoresearchError | None = None
    lost: str = ""
    """How the worker was lost, in words; empty when it was not."""
    beside: int | None = None
    """How many other attempts were at work on its machine; None: all that were."""
    took_s: float | None = None
    """Seconds that its worker was at work, by the worker's clock; None where it has not said so. It may have ended long
    before anybody asked: while an agent proposes nobody does."""


class Workers(Protocol):
    """A back-end."""

    @property
    def slots(self) -> int:
        """How many attempts it carries out at once; fewer when machines are lost."""

    def env(self) -> Mapping[str, object]:
        """Return what a line of the journal says of the machine that a slot is, the same for each of them."""

    def spare(self) -> Collection[int]:
        """Return the cores that the engine's own work is to be held to meanwhile, by number: what is left beside the
        slots, else those of one of them, of a free one if there is one. Empty for all cores."""

    def submit(self, attempt: Attempt) -> None:
        """Begin an attempt in a free slot; there must be one. Raises `MachineError` when it cannot be started."""

    def poll(self, wait_s: float) -> list[Ended]:
        """Return the attempts that have ended since the last call; wait for the first so many seconds at most."""

    def cancel(self, ids: Collection[str]) -> None:
        """End attempts with everything that they started; none of them is told of by `poll` afterwards."""
