"""The journal as it was when a run began: so a change can be found and undone, also when the engine was killed."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Any

from autoresearch.journal import file as journal
from autoresearch.system.files import write_atomic
from autoresearch.workspace.workspace import Workspace

MEANWHILE = ("note", "message", "message_shown", "steer")
"""Lines that other commands may append while a run goes on."""


def held(workspace: Workspace) -> Path:
    """Return where the copy lies."""
    return workspace.state / "journal.held"


def hold(workspace: Workspace) -> dict[str, Any]:
    """Keep a copy of the journal and return what a later process knows it by."""
    content = workspace.journal.read_bytes()
    write_atomic(held(workspace), content)
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def put_back(workspace: Workspace, content: bytes, aside: Path) -> bool:
    """Make the journal begin with `content` again, and return whether it did not.

    Notes and the like that were appended meanwhile stay. What was found is kept in the folder `aside`.
    """
    now = workspace.journal.read_bytes() if workspace.journal.is_file() else b""
    added = now[len(content) :].splitlines(keepends=True) if now.startswith(content) else []
    if now.startswith(content) and all(_from_another_command(line) for line in added):
        return False
    with contextlib.suppress(OSError):
        write_atomic(aside / journal.NAME, now)
    kept = [line for line in added if _from_another_command(line) and line.endswith(b"\n")]
    write_atomic(workspace.journal, content + b"".join(kept))
    return True


def restored(workspace: Workspace, about: dict[str, Any]) -> str | None:
    """Put back a journal that was changed while a run went on whose engine was killed; return what to say of it."""
    now = workspace.journal.read_bytes()
    size = about["journal"]["size"]
    if hashlib.sha256(now[:size]).hexdigest() == about["journal"]["sha256"]:
        return None
    content = held(workspace).read_bytes()
    if hashlib.sha256(content).hexdigest() != about["journal"]["sha256"]:
        return "the journal was changed while an experiment ran, and so was its copy; see: autoresearch check"
    aside = workspace.run_dir(about["experiment"], about["seed"]) / "found"
    put_back(workspace, content, aside)
    ran = f"while experiment {about['experiment']} ran"
    return f"the journal was changed {ran}; it is put back, and what was found is in {aside}"


def _from_another_command(line: bytes) -> bool:
    event = journal.parsed(line)
    return event is not None and event.get("type") in MEANWHILE
