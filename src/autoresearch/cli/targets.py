"""Where a command writes what it makes when nobody says: into the workspace, and over nothing that is a person's."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from pathlib import Path

from autoresearch.cli.output import here
from autoresearch.errors import PreconditionError, UsageError
from autoresearch.system.file_hashes import sha256_of
from autoresearch.system.files import write_atomic
from autoresearch.system.git import git_at
from autoresearch.workspace.workspace import Workspace

RECORD = "exports.json"
"""Name of a table in the workspace -> the hash of what an export has written there."""


def target(workspace: Workspace, output: str, name: str, *, table: bool = False) -> Path:
    """Return the file to write: `output` as seen from the current folder, else `name` in the workspace.

    Raises `PreconditionError` where the latter is a person's: git tracks it, or it is a `table` that no export has left
    there as it is now, since other tools keep their logs under the same names.
    """
    if output:
        return named(output, name)
    path = workspace.root / name
    what = "is tracked by git" if _is_tracked(workspace, name) else ""
    if table and os.path.lexists(path) and not _is_export(workspace, path):
        what = what or "is not as an export has left it"
    if what:
        raise PreconditionError(f"{name} {what}, and is not replaced", "name another file with -o NAME")
    return path


def named(output: str, name: str) -> Path:
    """Return the file that `-o` names, as seen from the current folder. Raises `UsageError` for a folder, in which the
    file could be `name`."""
    path = here() / output
    if path.is_dir():
        raise UsageError(f"{output} is a folder", f"name a file in it: -o {shlex.quote(str(Path(output, name)))}")
    return path


def exported(workspace: Workspace, path: Path) -> None:
    """Note that an export has written a file, so that the next one may replace it."""
    if path.parent.resolve() == workspace.root:
        with contextlib.suppress(OSError):  # then the next one asks for a name
            text = json.dumps(_exports(workspace) | {path.name: sha256_of(path.read_bytes())})
            write_atomic(workspace.state / RECORD, text)


def _is_tracked(workspace: Workspace, name: str) -> bool:
    try:
        git = git_at(workspace.root)
    except PreconditionError:  # a journal alone, in no repository
        return False
    return bool(git.tracked([f"{git.prefix}{name}"]))


def _is_export(workspace: Workspace, path: Path) -> bool:
    return path.is_file() and _exports(workspace).get(path.name) == sha256_of(path.read_bytes())


def _exports(workspace: Workspace) -> dict[str, str]:
    """Return the record; empty where there is none, or none that can be read."""
    try:
        record = json.loads((workspace.state / RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
