"""The journal of a workspace: the session folded from it, and lines added to it."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

from autoresearch.errors import IntegrityError, PreconditionError
from autoresearch.journal import file as journal
from autoresearch.journal.session import Event, Session, replay
from autoresearch.workspace.workspace import Workspace, no_session


def load_session(workspace: Workspace) -> Session:
    """Return the session that the journal describes; raise `NoSession` or `IntegrityError`."""
    try:
        with _without_gc():
            return replay(journal.read(workspace.journal))
    except FileNotFoundError:
        raise no_session(workspace.root) from None
    except journal.JournalError as error:
        raise IntegrityError(str(error), "remove or correct that line; nothing else was touched") from None
    except PermissionError:
        raise PreconditionError(f"{workspace.journal.name} cannot be read: no permission", "check its owner") from None


def append(workspace: Workspace, event: Event) -> None:
    """Append one event to the journal; raise `PreconditionError` when that is not permitted here."""
    try:
        journal.append(workspace.journal, event)
    except PermissionError:
        raise PreconditionError(f"no permission to write {workspace.journal.name}", "check who owns it") from None


def hooks_outdated(workspace: Workspace) -> bool:
    """Whether the session has changed since `for_hooks` was written."""
    try:
        written = workspace.for_hooks.stat().st_mtime_ns
    except OSError:
        return True
    pages = (workspace.root / name for name in ("autoresearch.md", "autoresearch.ideas.md"))
    return any(path.exists() and path.stat().st_mtime_ns > written for path in (workspace.journal, *pages))


@contextlib.contextmanager
def _without_gc() -> Iterator[None]:
    """Keep the cycle collector out of reading a long journal: it would go through all of it again and again, and
    there are no cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.freeze()  # a long session is many small objects that live on: later collections need not look at them
            gc.enable()
