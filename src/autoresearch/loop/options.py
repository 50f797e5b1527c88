"""How one `run` is to go, and how it has ended."""

from __future__ import annotations

from dataclasses import dataclass

from autoresearch.journal.session import Session


@dataclass(frozen=True, slots=True)
class Options:
    """How one `run` is to go; None is no limit."""

    max_experiments: int | None = None
    """To be measured, those since the beginning included when it goes on after a kill."""
    max_hours: float | None = None
    max_usd: float | None = None
    strategy: str = ""
    """By name; empty leaves it to each agent."""
    seed: int = 0
    """Another one draws other proposals, where an agent draws."""
    workers: str = ""
    """The slots that make the runs, as `--workers` names them; empty is one run at a time, in this process."""

    @property
    def told(self) -> dict[str, object]:
        """What was asked for, as the journal has it."""
        names = ("max_experiments", "max_hours", "max_usd", "strategy", "seed", "workers")
        return {name: value for name in names if (value := getattr(self, name))}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run of the loop has ended, in order."""

    reason: str
    session: Session
    measured: tuple[int, ...]
    """The experiments of this run."""
