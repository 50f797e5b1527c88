"""Jobs: a folder each under `.autoresearch/jobs/`, with what runs, what it had to say, and what it printed beside that.

`job.json` has the process, its command and the experiment that it was begun for, if that is known then. `output.json`
has what the command printed, as `view` and `sections`, or its `error`; and the `experiment` that it measured, with
`more_runs` when that had been decided on before. `log` is what a detached command wrote on its standard output and
error. The commands that decide on an experiment have a job wherever they run, the others when they are detached.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoresearch.system.files import remove_tree, write_atomic
from autoresearch.workspace.workspace import Workspace

JOB = "AUTORESEARCH_RUN_JOB"
"""Environment variable of a detached command: the folder of its job. No run inherits it."""

MEASURING = ("try", "baseline")
"""The commands that decide on an experiment; `wait N` asks for their output by its number."""

Output = dict[str, Any]
"""What a command printed: `view` and `sections`, or `error` with what `cli/output.py` says of it."""


@dataclass(frozen=True, slots=True)
class Job:
    """One job, by its folder."""

    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def about(self) -> dict[str, Any]:
        """What is known of it: `pid`, `created`, `command`, `detached`, `experiment`; empty while it is being begun."""
        about = _read(self.folder / "job.json")
        return about if {"pid", "created", "command", "detached", "experiment"} <= {*about} else {}

    @property
    def output(self) -> Output:
        """What it had to say; empty while it has said nothing."""
        return _read(self.folder / "output.json")

    @property
    def measures(self) -> bool:
        """Whether it decides on an experiment."""
        return self.about.get("command") in MEASURING

    @property
    def experiment(self) -> int | None:
        """The experiment that it measured, or was begun for."""
        number = self.output.get("experiment", self.about.get("experiment"))
        return number if self.measures else None

    @property
    def runs(self) -> bool:
        """Whether it has not ended. One that was not detached has ended with its output, whatever its process does."""
        from autoresearch.system.living import alive

        about = self.about
        done = about and not about["detached"] and self.output
        return bool(about) and not done and alive(about["pid"], about["created"])

    def begin(self, pid: int, command: str, *, detached: bool, experiment: int | None = None) -> None:
        """Write down who works on it."""
        from autoresearch.system.living import created

        about = {"pid": pid, "created": created(pid), "command": command, "detached": detached,
                 "experiment": experiment}  # fmt: skip
        write_atomic(self.folder / "job.json", json.dumps(about), durable=False)

    def keep(self, output: Mapping[str, Any]) -> None:
        """Store what the command says. What it said first stays: it is the most that is known of it."""
        path = self.folder / "output.json"
        with contextlib.suppress(OSError):  # the journal has it all the same
            if not path.exists():
                write_atomic(path, json.dumps(output, allow_nan=False))

    def remove(self) -> None:
        remove_tree(self.folder)


def new_job(workspace: Workspace) -> Job:
    """Return a job with an empty folder of its own, the next number."""
    workspace.jobs.mkdir(parents=True, exist_ok=True)
    number = next(_numbers(workspace), 0)
    while True:
        number += 1
        with contextlib.suppress(FileExistsError):
            job = Job(workspace.jobs / str(number))
            job.folder.mkdir()
            return job


def jobs_of(workspace: Workspace) -> Iterator[Job]:
    """Yield the jobs that were begun, the newest first."""
    for number in _numbers(workspace):
        job = Job(workspace.jobs / str(number))
        if job.about:
            yield job


def output_of(workspace: Workspace, experiment: int) -> Output:
    """Return what the command that measured an experiment has said; empty when nothing was kept.

    The newest job has it. Its error counts only when no job has more, since the experiment's number may have been
    expected by a command that was refused while another one measured it; or when it was of more runs for that.
    """
    error: Output = {}
    for job in jobs_of(workspace):
        if job.experiment == experiment:
            output = job.output
            if "error" not in output or "more_runs" in output:
                return output or error
            error = error or output
    return error


@contextlib.contextmanager
def own_job(workspace: Workspace, command: str, experiment: int | None) -> Iterator[Job]:
    """Yield the job of this process: the one that it was detached as, else one of its own, which goes when an error
    leaves it with nothing to say."""
    detached = detached_as()
    if detached is not None:
        yield detached
        return
    try:
        job = new_job(workspace)
        job.begin(os.getpid(), command, detached=False, experiment=experiment)
    except OSError:  # no room, or no permission: the command will say so itself
        job = Job(workspace.jobs / "none")
    try:
        yield job
    except BaseException:
        if not job.output:
            job.remove()
        raise


_DETACHED: list[Job] = []
"""The job that this process is, if it was detached."""


def adopt(environment: dict[str, str] | os._Environ[str]) -> None:
    """Take the job out of the environment, so that what this process starts is not taken for it."""
    folder = environment.pop(JOB, None)
    _DETACHED[:] = [Job(Path(folder))] if folder else []


def detached_as() -> Job | None:
    """Return the job that this process is; None for a command that somebody waits for."""
    return _DETACHED[0] if _DETACHED else None


def _numbers(workspace: Workspace) -> Iterator[int]:
    """Yield the numbers of the job folders, the highest first."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        names = [path.name for path in workspace.jobs.iterdir()]
        yield from sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
