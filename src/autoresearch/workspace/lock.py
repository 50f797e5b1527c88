"""Who works in a workspace now: the lock of a command, the run that is being made, and git at work for us."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autoresearch.errors import PreconditionError
from autoresearch.system.files import Held, held_by_us, write_atomic
from autoresearch.system.living import alive, created
from autoresearch.workspace.workspace import Workspace, free_name


class Busy(PreconditionError):
    """Another command holds the workspace; it will not do so for ever."""


@contextlib.contextmanager
def lock(workspace: Workspace) -> Iterator[None]:
    """Hold the workspace for a command that changes it; raise `PreconditionError` when another one does."""
    held = contextlib.ExitStack()
    try:
        workspace.state.mkdir(exist_ok=True)
        if not os.access(workspace.state, os.W_OK) or not os.access(workspace.journal, os.W_OK):
            raise PermissionError
        held.enter_context(held_by_us(workspace.state / "lock"))
    except Held:
        now = current_run(workspace) or {}
        what = f"experiment {now['experiment']} (process {now['pid']})" if now else "another command"
        raise Busy(f"{what} is running here", "wait for it: autoresearch wait") from None
    except FileExistsError:
        name = workspace.state.name
        aside = f"mv {name} {free_name(workspace.root, 'autoresearch-file')}"
        raise PreconditionError(f"{workspace.state} is a file", f"the session needs a folder there: {aside}") from None
    except PermissionError:
        raise PreconditionError(f"no permission to write in {workspace.root}", "check who owns the folder") from None
    try:
        held.enter_context(_known(workspace))
        with contextlib.suppress(OSError):  # without it, only `wait` knows less
            write_atomic(workspace.holder, json.dumps(_myself()), durable=False)  # of a process that lives
        held.callback(_forget, workspace)
        yield
    finally:
        held.close()


_held: dict[Path, os.stat_result] = {}
"""Root -> which folder it was when this process took its lock."""


@contextlib.contextmanager
def _known(workspace: Workspace) -> Iterator[None]:
    """Know the folder again: while it is open, no other one gets its number."""
    descriptor = os.open(workspace.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    _held[workspace.root] = os.fstat(descriptor)
    try:
        yield
    finally:
        del _held[workspace.root]
        os.close(descriptor)


def _forget(workspace: Workspace) -> None:
    if not _made_anew(workspace):
        workspace.holder.unlink(missing_ok=True)


def _made_anew(workspace: Workspace) -> bool:
    known = _held.get(workspace.root)
    try:
        return known is not None and not os.path.samestat(known, workspace.root.stat())
    except OSError:
        return True


def check_still_there(workspace: Workspace) -> None:
    """Raise `PreconditionError` when the folder has been deleted, and perhaps made anew, since this process locked it.

    What a command measured there belongs to the session that is gone, and never into its successor.
    """
    if _made_anew(workspace):
        raise PreconditionError(
            f"{workspace.root} was deleted or made anew while this command ran, which has recorded nothing there since",
            "see what is there now: autoresearch status",
        )


@contextlib.contextmanager
def changing_git(workspace: Workspace) -> Iterator[None]:
    """Mark that git is changing the repository for us, so that a later command knows whose lock it finds."""
    was_there = workspace.git_marker.exists()
    if not was_there:
        workspace.git_marker.touch()
    try:
        yield
    except PreconditionError:
        if not was_there:  # git has refused, and left nothing behind
            workspace.git_marker.unlink(missing_ok=True)
        raise
    workspace.git_marker.unlink(missing_ok=True)


def current_run(workspace: Workspace) -> dict[str, Any] | None:
    """Return what `running.json` says, of the first slot with a run; None when no living process measures anything."""
    return next(iter(current_runs(workspace)), None)


_ours: set[Workspace] = set()
"""The slots in which this process has workers."""


def takes(slot: Workspace) -> None:
    """Know that this process has a worker in a slot: nobody needs to look at the files of one that is ours."""
    _ours.add(slot)


def leaves(slot: Workspace) -> None:
    """Know that it has none there any more."""
    _ours.discard(slot)


def in_use(workspace: Workspace) -> bool:
    """Whether a living process answers for a run in this slot, which another command must leave alone."""
    return workspace in _ours or (workspace.number > 0 and _of_the_living(workspace.running) is not None)


def current_runs(workspace: Workspace) -> list[dict[str, Any]]:
    """Return what is being measured by living processes, one for each slot with a run."""
    said = (_of_the_living(each.running) for each in workspace.in_slots)
    return [run for run in said if run is not None and all(type(run.get(key)) is int for key in ("experiment", "seed"))]


@contextlib.contextmanager
def only_loop(workspace: Workspace) -> Iterator[None]:
    """Be the only loop of a workspace; raise `PreconditionError` when another one runs."""
    workspace.state.mkdir(exist_ok=True)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(held_by_us(workspace.state / "loop.lock"))
        except Held:
            what = "autoresearch run is at work here already"
            raise PreconditionError(what, "end it with touch STOP, or see how it goes: autoresearch status") from None
        write_atomic(workspace.loop, json.dumps(_myself()))
        try:
            yield
        finally:
            workspace.loop.unlink(missing_ok=True)


def loop_runs(workspace: Workspace) -> bool:
    """Whether a living process runs the loop, also while an agent is at work and nothing is measured."""
    return _of_the_living(workspace.loop) is not None


def another_loop_runs(workspace: Workspace) -> bool:
    """Whether another living process than this one runs the loop."""
    loop = _of_the_living(workspace.loop)
    return loop is not None and loop["pid"] != os.getpid()


def is_locked(workspace: Workspace) -> bool:
    """Whether a living process holds the lock, between two runs of an experiment, too."""
    return _of_the_living(workspace.holder) is not None


def _of_the_living(path: Path) -> dict[str, Any] | None:
    """Return what a file says about a process, or None when that process is gone."""
    try:
        if not path.is_file():  # a run without a sandbox may put a FIFO there, which nobody would ever answer
            return None
        now: dict[str, Any] = json.loads(path.read_text())
        return now if alive(now["pid"], now["created"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _myself() -> dict[str, Any]:
    return {"pid": os.getpid(), "created": created(os.getpid())}
