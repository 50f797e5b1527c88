"""What is asked of one run, and the environment that it gets."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from autoresearch.journal.study import SEARCH
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.turn import Turn
from autoresearch.system.git import Git
from autoresearch.system.hardware import BY_BUS, detect
from autoresearch.system.process import RUN_ID
from autoresearch.workspace.python import Python, search_path
from autoresearch.workspace.task_file import TaskFile
from autoresearch.workspace.workspace import Workspace

Tick = Callable[[str, float], None]
"""Called a few times a second with what is going on (`train`, `evaluate`, `checks`) and its seconds so far."""


class Skipped(KeyboardInterrupt):
    """A person does not want what is being proposed or measured; a `Tick` may raise it."""


@dataclass(slots=True)
class Account:
    """What is open while account is kept of the time of one run."""

    took_s: float | None = None
    """What whoever made the run says that it took; None: as long as the account was open, which is longer where
    nobody looked for its end."""


Meter = Callable[[float], AbstractContextManager[Account]]
"""Given the most seconds that a run may take; held while it is made, by whoever keeps account of the device."""


def unmetered(_limit_s: float) -> AbstractContextManager[Account]:
    """Keep no account: what a person types costs nobody's budget."""
    return nullcontext(Account())


OWN = tuple(f"AUTORESEARCH_{name}" for name in ("RUN", "SPLIT", "RESULT", "TRAIN_", "FEED", "STARTED", "MODEL_PREFIX"))
"""Beginnings of variables that an outer run may have set, and that this one must not inherit."""

SEED = "{seed}"
"""Stands in a command for the seed of the run."""


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One run: which commit, with which seed, and where its files go."""

    commit: str
    experiment: int
    seed: int
    folder: Path
    """Where its logs, its result and what it saves are; what an earlier run left there is moved aside."""
    split: str = SEARCH
    """What the evaluator is told to read; a run whose evaluator read another split has no metric."""
    parent: str | None = None
    """With it, what the commit changes is written into the folder as `diff.patch`."""
    turn: Turn | None = None
    """With it, whoever waits is told which run this is."""


class Slots(Protocol):
    """Where runs are made that are not made by this process, several at once."""

    def env(self) -> Mapping[str, object]:
        """Return what a line of the journal says of the machine that a slot is, the same for each of them."""

    def spare(self) -> Collection[int]:
        """Return the cores, by number, to which this process holds what it runs itself beside them; empty for all."""

    def ahead(self, specs: Sequence[RunSpec]) -> None:
        """Begin what will probably be asked for, in this order, as far as slots are free; what else was begun and not
        asked for is given up."""

    def measure(self, spec: RunSpec) -> Measurement:
        """Return the measurement of a run, made now unless it was begun ahead. Raises as a run here does."""

    def drop(self) -> None:
        """Give up everything that was begun and not asked for."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """Where and how the runs of a session are measured: the same for all of them."""

    workspace: Workspace
    git: Git
    task: TaskFile
    tick: Tick | None = None
    meter: Meter = unmetered
    python: Python | None = None
    """The one that the command runs, where there is one."""
    slots: Slots | None = None
    """With them, runs are made there and not by this process."""
    owner: int | None = None
    """The process that answers for what is measured, where it is not this one."""
    around: Path | None = None
    """A folder with this workspace and others, which is closed to a run that may not read this one either."""

    def env(self) -> dict[str, object]:
        """Return what a line of the journal says of the machine, and of the Python that ran there."""
        machine = detect().env() if self.slots is None else self.slots.env()
        return {**machine, **(self.python.env() if self.python is not None else {})}

    def ahead(self, specs: Sequence[RunSpec]) -> None:
        """Say which runs will probably be asked for next, so that free slots make them; without slots nothing is."""
        if self.slots is not None:
            self.slots.ahead(specs)

    def drop(self) -> None:
        """Give up what was begun and not asked for."""
        if self.slots is not None:
            self.slots.drop()

    def spec(
        self, commit: str, experiment: int, seed: int, *, parent: str | None = None, turn: Turn | None = None
    ) -> RunSpec:
        """Return what to ask for a run of an experiment, in the experiment's own folder."""
        return RunSpec(commit, experiment, seed, self.workspace.run_dir(experiment, seed), parent=parent, turn=turn)


@contextmanager
def giving_up(context: RunContext) -> Iterator[None]:
    """At the end, and when something is raised, give up what was begun ahead and not asked for."""
    try:
        yield
    finally:
        context.drop()


def seeded(command: str, seed: int) -> str:
    """Return the command of a run: nothing but these six characters is replaced, for braces mean much in a shell."""
    return command.replace(SEED, str(seed))


def environment(workspace: Workspace, spec: RunSpec, run_id: str) -> dict[str, str]:
    """Return the environment of a run: the user's, with the run's own variables and no way up to the repository."""
    env = BY_BUS | {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", *OWN))}
    return env | {
        "PATH": search_path(workspace),
        RUN_ID: run_id,
        "AUTORESEARCH_RUN_DIR": str(spec.folder),
        "AUTORESEARCH_SEED": str(spec.seed),
        "AUTORESEARCH_EXPERIMENT": str(spec.experiment),
        "GIT_CEILING_DIRECTORIES": str(workspace.slot),
        "PYTHONUNBUFFERED": "1",
    }
