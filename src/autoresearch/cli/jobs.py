"""Experiments that outlive the command, the terminal and the agent that began them; asking for their reports."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from autoresearch.cli.messages import UNREAD
from autoresearch.cli.output import REPORT, emit, remark
from autoresearch.errors import AutoresearchError, MachineError, PreconditionError, StillRunning, error_of
from autoresearch.reports import views
from autoresearch.system.files import write_atomic
from autoresearch.workspace.lock import current_run, is_locked
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace

BEGIN_S = 60.0
"""How long `--detach` waits for the measuring to begin: a baseline may prepare data first."""

GRACE_S = 2.0
"""How long the report of an experiment may come after its verdict."""

MEASURING = ("try", "baseline")
"""The commands that decide on an experiment; `wait N` asks for their reports by its number."""

Flag = Annotated[
    bool, typer.Option("--detach", help="Come back at once; it goes on by itself. See: autoresearch wait.")
]

Told = dict[str, Any]
"""What a command printed: `view` and `lines`, or `error` with what `cli/output.py` says."""


def detach(workspace: Workspace, line: list[str], as_json: bool) -> None:
    """Start `autoresearch LINE` as a session of its own and say what to wait for; if it has ended, what it said."""
    what = line[0]
    begun = _begin(workspace, line)
    if begun is None:
        told = _job_report(workspace, what)
        emit(as_json, told["view"], told["lines"])
        return
    measures = what in MEASURING
    command = f"autoresearch wait {begun}" if measures and begun else "autoresearch wait"
    named = f"experiment {begun} is being measured" if measures and begun else f"{what} has begun"
    emit(
        as_json,
        {"experiment": begun if measures and begun else None, "running": True, "next": command},
        [f"{named}, on its own", f"next   {command}"],
    )


def words(command: str, *arguments: object, **options: object) -> list[str]:
    """Return a command line: the arguments, then `--name value` for each option that is neither None nor False."""
    said = [command, *map(str, arguments)]
    for name, value in options.items():
        if value is not None and value is not False:
            said += [f"--{name}", *([] if value is True else [str(value)])]
    return said


def _begin(workspace: Workspace, line: list[str]) -> int | None:
    """Start the command and return the number of the experiment that it measures, once it does.

    Returns None when it has ended already, and 0 when nothing is measured yet after `BEGIN_S` seconds.
    """
    from autoresearch.system.process import created

    after = load_session(workspace).next_number - 1
    folder = workspace.state / "detached"
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "autoresearch", "-C", str(workspace.root), *line]
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, UNREAD: "1", REPORT: str(report)},
        )
    job = {"pid": child.pid, "created": created(child.pid), "command": line[0], "after": after}
    write_atomic(folder / "job.json", json.dumps(job))
    deadline = time.monotonic() + BEGIN_S
    while child.poll() is None:
        now = current_run(workspace)
        if now is not None and now["pid"] == child.pid:
            return int(now["experiment"])
        if time.monotonic() > deadline:
            return 0
        time.sleep(0.05)
    return None


def wait(workspace: Workspace, number: int | None, timeout: float) -> Told:
    """Return what a command has printed, once it has ended.

    With a number, the one that measures that experiment; else the one that runs, or the last one. Raises the error that
    the command ended with, `StillRunning` past the timeout (seconds), and `PreconditionError` when there is none.
    """
    deadline = time.monotonic() + timeout
    while is_locked(workspace) or _job_runs(workspace):
        session = load_session(workspace)
        latest = session.last.number if session.last else 1
        if number is not None and number < latest:
            break
        left = deadline - time.monotonic()
        if left <= 0:
            now = current_run(workspace) or {"experiment": latest}
            what = f"experiment {now['experiment']}" + (f", seed {now['seed']}," if "seed" in now else "")
            told = f" for {time.time() - now['since']:.0f} s" if "since" in now else ""
            raise StillRunning(f"{what} is still running{told}", "wait on: autoresearch wait")
        time.sleep(min(0.2, left))
    job = _job(workspace)
    if number is None and job is not None and job["command"] not in MEASURING and _is_latest(workspace, job):
        return _job_report(workspace, job["command"])
    return _report(workspace, number)


def _job(workspace: Workspace) -> dict[str, Any] | None:
    """Return what is known of the command that was detached last, or None."""
    try:
        job: dict[str, Any] = json.loads((workspace.state / "detached" / "job.json").read_text())
        return job if {"pid", "created", "command", "after"} <= {*job} else None
    except (OSError, ValueError, TypeError):
        return None


def _is_latest(workspace: Workspace, job: dict[str, Any]) -> bool:
    """Whether nothing was measured since a detached command began, except by itself."""
    last = load_session(workspace).next_number - 1
    if last <= job["after"]:
        return True
    mine, theirs = workspace.state / "detached" / "report.json", _path(workspace, last)
    return mine.exists() and theirs.exists() and mine.stat().st_mtime_ns >= theirs.stat().st_mtime_ns


def _job_runs(workspace: Workspace) -> bool:
    from autoresearch.system.process import alive

    job = _job(workspace)
    return job is not None and alive(job["pid"], job["created"])


def _job_report(workspace: Workspace, command: str) -> Told:
    """Return what the detached command has printed; raise its error, or `MachineError` when it ended without a word."""
    folder = workspace.state / "detached"
    try:
        told: Told = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise MachineError(f"{command} ended without a word", f"see what it printed: cat {folder / 'log'}") from None
    if "error" in told:
        raise error_of(told["error"])
    return told


def keep(workspace: Workspace, number: int, told: Told) -> None:
    """Store what a command says about an experiment, for `wait`."""
    with contextlib.suppress(OSError):  # the journal has it all the same
        write_atomic(_path(workspace, number), json.dumps(told, allow_nan=False))


@contextlib.contextmanager
def error_kept(workspace: Workspace, *, again: int | None = None) -> Iterator[None]:
    """Store the error of a command that had begun an experiment, for `wait`.

    `again` is an experiment that gets more runs: what was reported of it before holds no longer.
    """
    expected = load_session(workspace).next_number
    if again is not None and not is_locked(workspace):
        _path(workspace, again).unlink(missing_ok=True)
    try:
        yield
    except AutoresearchError as error:
        with contextlib.suppress(AutoresearchError):
            if load_session(workspace).find(expected) is not None:
                keep(workspace, expected, {"error": error.as_dict()})
        raise


def _report(workspace: Workspace, number: int | None) -> Told:
    session = load_session(workspace)
    experiment = session.last if number is None else session.find(number)
    if experiment is None:
        what = "no experiment yet" if number is None else f"no experiment {number}"
        raise PreconditionError(f"there is {what}", "see: autoresearch status")
    deadline = time.monotonic() + (GRACE_S if experiment is session.last else 0)
    while not (path := _path(workspace, experiment.number)).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        told: Told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        told = {}
    if "error" in told:
        raise error_of(told["error"])
    if "view" in told and told["view"].get("status") == experiment.status:
        return told
    if experiment.status is None:
        raise MachineError(
            f"experiment {experiment.number} was interrupted before its verdict", "repair it with: autoresearch resume"
        )
    remark("its report was not kept; this is what the journal says")
    view = views.verdict_view(session, experiment, (), ())
    return {"view": view, "lines": views.verdict_lines(session, view)}


def _path(workspace: Workspace, number: int) -> Path:
    return workspace.run_dir(number, 0).parent / "report.json"
