"""The folder of a session: where its files are."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

from autoresearch.errors import NoSession
from autoresearch.journal import file as journal

STATE = ".autoresearch"
"""Folder of a workspace with runs, locks and whatever else is not in git."""

IGNORED = (
    ".autoresearch/",
    "autoresearch.jsonl",
    "autoresearch.md",
    "autoresearch.sh",
    "autoresearch.checks.sh",
    "autoresearch.ideas.md",
    "autoresearch.hooks/",
    "results.tsv",
    "results.csv",
    "results.jsonl",
    "results.sqlite",
    "results.parquet",
    "results.tensorboard/",
    "autoresearch.zip",
    "progress.png",
    "report.html",
    "STOP",
)
"""What a session writes beside the task's files; git is told to ignore it."""

KEPT_UP = (".autoresearch/", "autoresearch.jsonl", "autoresearch.md", "autoresearch.ideas.md")
"""What of it a session goes on writing by itself; the rest only a person's command writes, or a person."""

HELPERS = ("autoresearch.sh", "autoresearch.checks.sh")
"""Scripts of the session that git ignores and a command may call: each snapshot gets a copy."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder with `autoresearch.jsonl`."""

    root: Path
    number: int = 0
    """Of the slot that a run takes, where several are made at once; 0 is that of the command itself."""

    def at(self, number: int) -> Workspace:
        """Return the same folder for a run in another slot."""
        return replace(self, number=number)

    @property
    def in_slots(self) -> list[Workspace]:
        """The same folder once for each slot that a run may be in, or may have been left in."""
        numbers = {0}
        with contextlib.suppress(OSError):
            names = (folder.name for folder in (self.state / "slots").iterdir())
            numbers |= {int(name) for name in names if name.isascii() and name.isdecimal()}
        return [self.at(number) for number in sorted(numbers)]

    @property
    def journal(self) -> Path:
        return self.root / journal.NAME

    @property
    def state(self) -> Path:
        return self.root / STATE

    @property
    def scratch(self) -> Path:
        """What a run gets and nobody keeps; emptied by the next command after a kill."""
        return self.state / (f"scratch.{self.number}" if self.number else "scratch")

    @property
    def slot(self) -> Path:
        """The folders that runs work in, one run at a time; kept, and brought to the commit of the next run."""
        return self.state / "slots" / str(self.number)

    @property
    def running(self) -> Path:
        """Says which process measures what right now, in this slot."""
        return self.state / (f"running.{self.number}.json" if self.number else "running.json")

    @property
    def holder(self) -> Path:
        """Says which process holds the workspace lock, from the preflight of an experiment to its verdict."""
        return self.state / "holder.json"

    @property
    def loop(self) -> Path:
        """Says which process runs the loop without a person."""
        return self.state / "loop.json"

    @property
    def jobs(self) -> Path:
        """A folder for each command that was detached or decided on an experiment, by its number."""
        return self.state / "jobs"

    @property
    def for_hooks(self) -> Path:
        """The brief as of the last command, for the hooks of coding agents, which may not take long."""
        return self.state / "brief.json"

    @property
    def git_marker(self) -> Path:
        """Is there exactly while the engine changes the repository."""
        return self.state / "git-at-work"

    @property
    def stop_file(self) -> Path:
        return self.root / "STOP"

    def run_dir(self, experiment: int, seed: int) -> Path:
        return self.state / "runs" / str(experiment) / str(seed)


def free_name(folder: Path, name: str) -> str:
    """Return a name that nothing in `folder` has: this one, or one with a number in it."""
    stem, suffix = Path(name).stem, Path(name).suffix
    names = (name, *(f"{stem}-{n}{suffix}" for n in range(2, 10_000)))
    return next(each for each in names if not (folder / each).exists())


def find(start: Path) -> Workspace:
    """Return the workspace that `start` is in; raise `NoSession` when there is none up to the root."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / journal.NAME).is_file():
            return Workspace(folder)
    raise no_session(start)


def no_session(folder: Path) -> NoSession:
    """Return the error for a folder without a journal; it says how to begin a session, or to get a lost one back."""
    from autoresearch.workspace import lost_session

    return lost_session.no_session(folder)
