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
from typing import Any

from autoresearch.commands import views
from autoresearch.commands.edge import remark
from autoresearch.commands.messages import UNREAD
from autoresearch.core.errors import AutoresearchError, MachineError, PreconditionError, StillRunning, error_of
from autoresearch.io.workspace import Workspace, write_atomic

BEGIN_S = 60.0
"""How long `--detach` waits for the measuring to begin: a baseline may prepare data first."""

GRACE_S = 2.0
"""How long the report of an experiment may come after its verdict."""

Told = dict[str, Any]
"""What a command printed: `view` and `lines`, or `error` with what the edge of the command line says."""


def begin(workspace: Workspace, words: list[str]) -> int | None:
    """Start `autoresearch WORDS` as a session of its own and return the number of its experiment.

    Returns None when it has ended already (see `relay`), and 0 when nothing is measured yet after `BEGIN_S` seconds.
    """
    out = _folder(workspace)
    command = [sys.executable, "-m", "autoresearch.commands.cli", "-C", str(workspace.root), *words, "--json"]
    with (out / "out").open("wb") as stdout, (out / "err").open("wb") as stderr:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            env={**os.environ, UNREAD: "1"},
        )
    deadline = time.monotonic() + BEGIN_S
    while child.poll() is None:
        now = workspace.busy()
        if now is not None and now["pid"] == child.pid:
            return int(now["experiment"])
        if time.monotonic() > deadline:
            return 0
        time.sleep(0.05)
    return None


def relay(workspace: Workspace, as_json: bool) -> None:
    """Print what the command that `begin` started has printed; raise its error when it failed."""
    from autoresearch.commands.edge import emit

    out = _folder(workspace)
    try:
        view = json.loads((out / "out").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        last = [*(out / "err").read_text(errors="replace").splitlines(), "it said nothing"][0]
        raise MachineError(f"the experiment could not be started: {last}", "see: autoresearch doctor") from None
    if "error" in view:
        raise error_of(view["error"])
    emit(as_json, view, views.verdict_lines(workspace.session(), view))


def wait(workspace: Workspace, number: int | None, timeout: float) -> Told:
    """Return what the command that measures an experiment has printed, once it has ended.

    Without a number it is the experiment that is being measured, or the last one. Raises the error that the command
    ended with, `StillRunning` past the timeout (seconds), and `PreconditionError` when there is no such experiment.
    """
    deadline = time.monotonic() + timeout
    while workspace.held():
        session = workspace.session()
        latest = session.last.number if session.last else 1
        if number is not None and number < latest:
            break
        left = deadline - time.monotonic()
        if left <= 0:
            now = workspace.busy() or {"experiment": latest}
            what = f"experiment {now['experiment']}" + (f", seed {now['seed']}," if "seed" in now else "")
            told = f" for {time.time() - now['since']:.0f} s" if "since" in now else ""
            raise StillRunning(f"{what} is still running{told}", "wait on: autoresearch wait")
        time.sleep(min(0.2, left))
    return _report(workspace, number)


def keep(workspace: Workspace, number: int, told: Told) -> None:
    """Store what a command says about an experiment, for `wait`."""
    with contextlib.suppress(OSError):  # the journal has it all the same
        write_atomic(_path(workspace, number), json.dumps(told, allow_nan=False))


@contextlib.contextmanager
def error_kept(workspace: Workspace, *, again: int | None = None) -> Iterator[None]:
    """Store the error of a command that had begun an experiment, for `wait`.

    `again` is an experiment that gets more runs: what was reported of it before holds no longer.
    """
    expected = workspace.session().next_number
    if again is not None and not workspace.held():
        _path(workspace, again).unlink(missing_ok=True)
    try:
        yield
    except AutoresearchError as error:
        with contextlib.suppress(AutoresearchError):
            if workspace.session().find(expected) is not None:
                keep(workspace, expected, {"error": error.as_dict()})
        raise


def _report(workspace: Workspace, number: int | None) -> Told:
    session = workspace.session()
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


def _folder(workspace: Workspace) -> Path:
    folder = workspace.state / "detached"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
