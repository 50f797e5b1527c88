"""What a run leaves whose engine was killed: processes with its mark, and a snapshot that nobody has looked at."""

from __future__ import annotations

import json
from typing import Any

from autoresearch.system.files import remove_tree
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


def forget(workspace: Workspace) -> None:
    """End what runs of an earlier session of this folder have left: to one that begins now they owe nothing, and the
    journal that they were made under is not put back over its own. What is named by its numbers is put aside, into
    `earlier`: no later experiment shows it for its own, or writes over it."""
    if current_runs(workspace) or loop_runs(workspace):
        return  # somebody has taken the journal away from under a command that lives; it will find that out
    for here in workspace.in_slots:
        if end_run(here) is not None:
            remove_tree(here.scratch)
            here.running.unlink(missing_ok=True)
    left = [name for name in BY_NUMBER if (workspace.state / name).exists()]
    if left:
        aside = workspace.state / free_name(workspace.state, "earlier")
        aside.mkdir()
        for name in left:
            (workspace.state / name).rename(aside / name)
