"""What a run leaves whose engine was killed: processes with its mark, and a snapshot that nobody has looked at."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from autoresearch.system.files import read_plain, remove_tree, write_atomic
from autoresearch.workspace.lock import current_runs, loop_runs
from autoresearch.workspace.workspace import Workspace, free_name


def end_run(workspace: Workspace) -> tuple[dict[str, Any], int] | None:
    """End the processes of the run that a slot's running file tells of, and trust nothing that it left in the slot.

    The process that made it is gone. Returns what the file says and how many processes there were; None without a file.
    The file stays: whoever calls this removes it, when nothing of that run is owed any more.
    """
    about: dict[str, Any] = {}
    try:
        read = json.loads(workspace.running.read_text())
        about = read if isinstance(read, dict) else {}
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        pass
    from autoresearch.system.process import kill_run

    run_id = about.get("run_id")
    count = kill_run(run_id) if isinstance(run_id, str) and run_id else 0
    for record in workspace.slot.glob("*.record"):  # nobody has seen what that run did to it
        record.unlink(missing_ok=True)
    return about, count


BY_NUMBER = ("runs", "jobs", "studies", "proposal")
"""Folders of the state that name what is in them by the numbers of one session, which the next one has again: of its
experiments, jobs and studies, or of the entry of its ledger that has paid for an answer."""

ASIDE = "earlier"

OWNER = "session"
"""File beside these folders, also where they are put aside, that says whose numbers they have; an earlier version wrote
none."""


def owner_of(tag: str | None, begun: int | None) -> str:
    """Return what `OWNER` says of a session with this tag, begun at this time in seconds."""
    return f"{tag or ''} {begun}\n"


def forget(workspace: Workspace, owner: str) -> None:
    """End what runs of an earlier session of this folder have left: to one that begins now, `owner`, they owe nothing,
    and the journal that they were made under is not put back over its own. What is named by its numbers is put aside,
    into `earlier`: no later experiment shows it for its own, or writes over it."""
    if not current_runs(workspace) and not loop_runs(workspace):  # else a command that lives will find that out
        for here in workspace.in_slots:
            if end_run(here) is not None:
                remove_tree(here.scratch)
                here.running.unlink(missing_ok=True)
        _put_aside(workspace.state)
    write_atomic(workspace.state / OWNER, owner)


def come_back(workspace: Workspace, owner: str) -> None:
    """Make way, as `forget` does, for a session whose journal is restored, unless what is here is its own or nobody has
    written down whose; and bring back what was put aside of it."""
    if _owner(workspace.state) not in (None, owner):
        forget(workspace, owner)
    for aside in sorted(workspace.state.glob(f"{ASIDE}*")):
        if _owner(aside) == owner:
            _bring_back(aside)
    write_atomic(workspace.state / OWNER, owner)


def _owner(folder: Path) -> str | None:
    with contextlib.suppress(OSError, ValueError):
        return read_plain(folder / OWNER).decode()
    return None


def _put_aside(state: Path) -> None:
    left = [name for name in BY_NUMBER if (state / name).exists()]
    if not left:
        return
    aside, owner = state / free_name(state, ASIDE), _owner(state)
    aside.mkdir()
    if owner is not None:
        write_atomic(aside / OWNER, owner)
    for name in left:
        here = state / name
        if not here.is_symlink():
            here.rename(aside / name)
        elif ours := _ours(here):  # on another disk: there it stays, and the link, for what comes next
            kept = free_name(here, ASIDE)
            (here / kept).mkdir()
            (aside / name).symlink_to(Path("..", name, kept))
            for each in ours:
                each.rename(here / kept / each.name)


def _bring_back(aside: Path) -> None:
    """Bring back what was put aside here, but where something is in its place."""
    for name in BY_NUMBER:
        here, there = aside.parent / name, aside / name
        if not there.is_symlink():
            if there.exists() and not os.path.lexists(here):
                there.rename(here)
        elif there.exists() and not _ours(here):
            for each in _ours(there):
                each.rename(here / each.name)
            with contextlib.suppress(OSError):  # somebody has put more in there
                there.resolve().rmdir()
                there.unlink()
    if [path.name for path in aside.iterdir()] == [OWNER]:
        remove_tree(aside)


def _ours(folder: Path) -> list[Path]:
    """Return what of a linked folder is a session's: the rest of that disk is somebody else's."""
    whole = folder.name == "proposal"
    return [path for path in folder.iterdir() if path.name.isdecimal() or (whole and not path.name.startswith(ASIDE))]
