"""The journal as it was when a run began: so a change can be found and undone, also when the engine was killed.

What an engine that lives puts back it has in memory. What the next command puts back, after a kill, is the mirror in
the repository with the lines behind it, which `running.json` has.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Any

from autoresearch.errors import AutoresearchError
from autoresearch.journal import file as journal
from autoresearch.journal.refs import mirror_ref
from autoresearch.runs.isolation.git_backup import Held
from autoresearch.system.files import write_atomic
from autoresearch.system.git import Git
from autoresearch.workspace.journal_mirror import read_mirror
from autoresearch.workspace.lock import changing_git
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace

MEANWHILE = ("note", "message", "message_shown", "steer")
"""Lines that other commands may append while a run goes on."""


def hold(workspace: Workspace, git: Git) -> dict[str, Any]:
    """Return what a later process knows the journal by, and has it from: its mirror, and the lines that are not in it.

    These are few: the mirror is brought up at each verdict. Where there is none, they are the whole journal.
    """
    content = workspace.journal.read_bytes()
    ref = mirror_ref(load_session(workspace).segment.tag)
    mirror, mirrored = read_mirror(git, ref), 0
    if mirror is not None and content.startswith(mirror.last, mirror.size - len(mirror.last)):
        mirrored = mirror.size
    return {
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "ref": ref,
        "tree": mirror.tree if mirror is not None else None,
        "mirrored": mirrored,
        "rest": content[mirrored:].decode("utf-8", "surrogateescape"),
    }


def objects_of_mirror(git: Git, workspace: Workspace) -> dict[str, Held]:
    """Return name -> object for all that the mirror consists of and that is whole."""
    mirror = read_mirror(git, mirror_ref(load_session(workspace).segment.tag))
    names = [mirror.tree, *(sha for _, sha in mirror.entries.values())] if mirror is not None else []
    found = {each.name: Held(each.kind, each.content) for each in git.reader.read_all(names) if each is not None}
    return {name: held for name, held in found.items() if held.name(name) == name}


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


def restored(workspace: Workspace, git: Git, about: dict[str, Any]) -> str | None:
    """Put back a journal, and its mirror, that were changed while a run went on whose engine was killed.

    Returns what to say of it. `about` is what `running.json` has; raises `KeyError` where the journal is not in it.
    """
    known, now = about["journal"], workspace.journal.read_bytes()
    changed = hashlib.sha256(now[: known["size"]]).hexdigest() != known["sha256"]
    ref, tree = known["ref"], known["tree"]
    here = read_mirror(git, ref)
    if tree is not None and (here is None or here.tree != tree) and read_mirror(git, tree) is not None:
        with contextlib.suppress(AutoresearchError), changing_git(workspace):
            git.set_ref(ref, tree)
    ran = f"while experiment {about['experiment']} ran"
    if not changed:
        return None
    content = _content(git, known)
    if content is None:
        return f"the journal was changed {ran}, and so was its mirror; see: autoresearch check"
    aside = workspace.run_dir(about["experiment"], about["seed"]) / "found"
    put_back(workspace, content, aside)
    return f"the journal was changed {ran}; it is put back, and what was found is in {aside}"


def _content(git: Git, known: dict[str, Any]) -> bytes | None:
    """Return the journal as it was held; None when it cannot be had any more."""
    content, mirror = b"", read_mirror(git, known["tree"]) if known["mirrored"] else None
    with contextlib.suppress(AutoresearchError):
        content = mirror.journal(git)[: known["mirrored"]] if mirror is not None else b""
    content += known["rest"].encode("utf-8", "surrogateescape")
    return content if hashlib.sha256(content).hexdigest() == known["sha256"] else None


def _from_another_command(line: bytes) -> bool:
    event = journal.parsed(line)
    return event is not None and event.get("type") in MEANWHILE
