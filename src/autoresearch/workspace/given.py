"""Which files of a workspace this package has written, and as what: so that what a person has changed can be told."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from autoresearch import __version__
from autoresearch.system.file_hashes import sha256_of
from autoresearch.system.files import write_atomic
from autoresearch.workspace.assets import shipped_table
from autoresearch.workspace.workspace import Workspace

RECORD = "given.json"


def remember(workspace: Workspace, files: Mapping[str, bytes], defaults: Mapping[str, object] | None = None) -> None:
    """Note that these files were written, path -> content, beside those noted before; the version is now ours.

    `defaults` are what this version takes for what a task file does not say; None leaves those that were noted.
    """
    record = _record(workspace)
    known = record.get("files", {}) | {path: sha256_of(content) for path, content in files.items()}
    workspace.state.mkdir(exist_ok=True)
    noted = record.get("defaults") if defaults is None else dict(defaults)
    about = {"version": __version__, "files": dict(sorted(known.items()))}
    text = json.dumps(about | ({"defaults": noted} if noted is not None else {}), indent=1)
    write_atomic(workspace.state / RECORD, text + "\n")


def version_of(workspace: Workspace) -> str | None:
    """Return the version that wrote the files last; None where an earlier one began the session, which told nobody."""
    version = _record(workspace).get("version")
    return version if isinstance(version, str) else None


def defaults_of(workspace: Workspace) -> dict[str, object] | None:
    """Return the defaults that were noted last; None where the version that began the session noted none."""
    noted = _record(workspace).get("defaults")
    return noted if isinstance(noted, dict) else None


def is_given(workspace: Workspace, path: str, content: bytes, source: str | None) -> bool:
    """Whether a file is as this package, or an earlier version of it, has written it.

    `source` is where it lies in the package's repository, None for what is made for each workspace.
    """
    digest = sha256_of(content)
    if _record(workspace).get("files", {}).get(path) == digest:
        return True
    return source is not None and any(digest.startswith(known) for known in _shipped().get(source, ()))


def is_noted(workspace: Workspace, path: str) -> bool:
    """Whether it was noted as what this file was written."""
    return path in _record(workspace).get("files", {})


@functools.cache
def _shipped() -> dict[str, list[str]]:
    try:
        found: dict[str, list[str]] = json.loads(shipped_table().read_text("utf-8"))
        return found
    except FileNotFoundError:
        return {}


def _record(workspace: Workspace) -> dict[str, Any]:
    """Return the record; empty where there is none, or none that can be read: then it only is known less."""
    try:
        record = json.loads((workspace.state / RECORD).read_text("utf-8"))
        return record if isinstance(record, dict) and isinstance(record.get("files", {}), dict) else {}
    except (OSError, ValueError):
        return {}
