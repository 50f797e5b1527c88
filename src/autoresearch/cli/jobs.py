"""Commands that outlive the terminal and the agent that began them; waiting for them, and asking for their output."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Annotated

import typer

from autoresearch.cli.job_folders import JOB, MEASURING, Job, Output, jobs_of, new_job, output_of, own_job
from autoresearch.cli.output import emit, here, remark
from autoresearch.errors import AutoresearchError, MachineError, PreconditionError, StillRunning, error_of
from autoresearch.reports import views
from autoresearch.reports.time_left import running_words
from autoresearch.workspace.lock import current_run, is_locked
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace

BEGIN_S = 60.0
"""How long `--detach` waits for the measuring to begin: a baseline may prepare data first."""

GRACE_S = 2.0
"""How long the output of an experiment may come after its verdict."""

Flag = Annotated[
    bool, typer.Option("--detach", help="Come back at once; it goes on by itself. See: autoresearch wait.")
]

Workers = Annotated[
    str,
    typer.Option(
        "--workers",
        metavar="local:N",
        help="Make N runs at once; ray://HOST:PORT: on a Ray cluster.",
        show_default="one run at a time",
    ),
]


def detach(workspace: Workspace, line: list[str], as_json: bool) -> None:
    """Start `autoresearch LINE` as a session of its own and say what to wait for; if it has ended, what it said."""
    what = line[0]
    job, begun = _begin(workspace, line)
    if begun is None:
        output = _job_output(job, what)
        emit(as_json, output["view"], output["sections"])
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
    line = [command, *map(str, arguments)]
    for name, value in options.items():
        if value is not None and value is not False:
            line += [f"--{name}", *([] if value is True else [str(value)])]
    return line


def _begin(workspace: Workspace, line: list[str]) -> tuple[Job, int | None]:
    """Start the command; return its job, and the number of the experiment that it measures, once it does.

    The number is None when the command has ended already, and 0 when nothing is measured yet after `BEGIN_S` seconds.
    """
    job = new_job(workspace)
    # Where it was typed: the file or the module of an agent may be named from there.
    command = [sys.executable, "-m", "autoresearch", "-C", str(here()), *line]
    with job.log.open("wb") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, JOB: str(job.folder)},
        )
    job.begin(child.pid, line[0], detached=True)
    deadline = time.monotonic() + BEGIN_S
    while child.poll() is None:
        now = current_run(workspace)
        if now is not None and now["pid"] == child.pid:
            return job, int(now["experiment"])
        if time.monotonic() > deadline:
            return job, 0
        time.sleep(0.05)
    return job, None


def wait(workspace: Workspace, number: int | None, timeout: float) -> Output:
    """Return what a command has printed, once it has ended.

    With a number, the one that measures that experiment; else the one that runs, or the last one. Raises the error that
    the command ended with, `StillRunning` past the timeout (seconds), and `PreconditionError` when there is none.
    """
    deadline = time.monotonic() + timeout
    while is_locked(workspace) or any(job.runs for job in _latest(workspace)):
        session = load_session(workspace)
        latest = session.last.number if session.last else 1
        if number is not None and number < latest:
            break
        left = deadline - time.monotonic()
        if left <= 0:
            what = _underway(workspace) or f"experiment {latest}"
            raise StillRunning(f"still running: {what}", "wait on: autoresearch wait")
        time.sleep(min(0.2, left))
    for job in _latest(workspace):
        if number is None and not job.measures:
            return _job_output(job, job.about["command"])
    return _experiment_output(workspace, number)


def _underway(workspace: Workspace) -> str | None:
    """Return what is measured now, in words: here, or in the session of `selftest` inside; None between two runs."""
    from autoresearch.experiments.recovery import SELFTEST, laboratory
    from autoresearch.system.git import git_at

    now = current_run(workspace)
    if now is not None:
        return running_words(now, time.time())
    with contextlib.suppress(AutoresearchError):
        lab = laboratory(workspace, git_at(workspace.root))
        inside = current_run(lab) if lab is not None else None
        if inside is not None:  # one of many experiments: the end of this one is not the end
            return f"{SELFTEST}, {running_words(inside)}"
    return None


def _latest(workspace: Workspace) -> list[Job]:
    """Return the job that was begun last, if there is one."""
    return [job for job, _ in zip(jobs_of(workspace), range(1), strict=False)]


def _job_output(job: Job, command: str) -> Output:
    """Return what a detached command has printed; raise its error, or `MachineError` when it ended without a word."""
    output = job.output
    if not output:
        raise MachineError(f"{command} ended without a word", f"see what it printed: cat {shlex.quote(str(job.log))}")
    if "error" in output:
        raise error_of(output["error"])
    return output


@contextlib.contextmanager
def measuring(workspace: Workspace, command: str, *, again: int | None = None) -> Iterator[Job]:
    """Yield the job of a command that decides on an experiment, and store the error of one that had begun it.

    `again` is an experiment that gets more runs: what was said of it before holds no longer.
    """
    expected = load_session(workspace).next_number
    again = None if is_locked(workspace) else again
    with own_job(workspace, command, again) as job:
        try:
            yield job
        except AutoresearchError as error:
            with contextlib.suppress(AutoresearchError):
                if load_session(workspace).find(expected) is not None:
                    job.keep({"experiment": expected, "error": error.as_dict()})
                elif again is not None:
                    job.keep({"experiment": again, "more_runs": True, "error": error.as_dict()})
            raise


def _experiment_output(workspace: Workspace, number: int | None) -> Output:
    session = load_session(workspace)
    experiment = session.last if number is None else session.find(number)
    if experiment is None:
        what = "no experiment yet" if number is None else f"no experiment {number}"
        raise PreconditionError(f"there is {what}", "see: autoresearch status")
    deadline = time.monotonic() + (GRACE_S if experiment is session.last else 0)
    while not (output := output_of(workspace, experiment.number)) and time.monotonic() < deadline:
        time.sleep(0.05)
    if "error" in output and "more_runs" not in output:
        raise error_of(output["error"])
    if "view" in output and output["view"].get("status") == experiment.status:
        return output
    if experiment.status is None:
        raise MachineError(
            f"experiment {experiment.number} was interrupted before its verdict", "repair it with: autoresearch resume"
        )
    remark("its report was not kept; this is what the journal says")
    view = views.verdict_view(session, experiment, (), ())
    return {"view": view, "sections": views.verdict_sections(session, view)}
