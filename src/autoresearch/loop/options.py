"""How one `run` is to go, and how it has ended."""

from __future__ import annotations

from dataclasses import dataclass, fields

from autoresearch.journal.loop import run_again
from autoresearch.journal.session import Session


@dataclass(frozen=True, slots=True)
class Options:
    """How one `run` is to go; None is no limit."""

    max_experiments: int | None = None
    """To be measured, those since the beginning included when it goes on after a kill or Ctrl-C."""
    max_hours: float | None = None
    max_usd: float | None = None
    strategy: str = ""
    """By name; empty leaves it to each agent."""
    seed: int = 0
    """Another one draws other proposals, where an agent draws."""
    workers: str = ""
    """The slots that make the runs, as `--workers` names them; empty is one run at a time, in this process."""
    aa_every: int | None = None
    """Experiments between two A/A candidates; 0 for none, None where the number of slots says it."""
    agent: str = ""
    """Who proposes, as it was typed; empty when nobody has typed it."""

    @property
    def told(self) -> dict[str, object]:
        """What was asked for, as the journal has it."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != f.default}

    @property
    def again(self) -> str:
        """What to type to go on."""
        return run_again(self.told)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run of the loop has ended, in order."""

    reason: str
    session: Session
    measured: tuple[int, ...]
    """The experiments of this run."""
