"""The journal of a workspace: the session folded from it, and lines added to it."""

from __future__ import annotations

import contextlib
import gc
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autoresearch.errors import IntegrityError, PreconditionError
from autoresearch.journal import file as journal
from autoresearch.journal.session import Event, Fold, Session, replay
from autoresearch.workspace.lock import check_still_there
from autoresearch.workspace.workspace import Workspace, no_session


@dataclass(slots=True)
class _Carried:
    """A journal that was folded, to go on from when it has grown."""

    content: bytes
    """Its whole lines, which the fold has taken."""
    fold: Fold
    session: Session
    lines: int | None = None
    """How many they are; None until it has grown, and that is asked."""


_CARRIED: dict[Path, _Carried] = {}
"""Journal -> its fold, for the journals of this process."""

_PIECE = 2**16
"""Bytes that are compared at once."""

_MOST_CARRIED = 2
"""A workspace, and the one of its selftest; `carry` asks for more."""


def load_session(workspace: Workspace) -> Session:
    """Return the session that the journal describes; raise `NoSession` or `IntegrityError`.

    What was folded before is carried along: only lines behind it are folded. Whether the journal still begins with what
    was folded is compared byte by byte, since size and times of a file prove nothing.
    """
    try:
        return _carry(workspace.journal)
    except FileNotFoundError:
        raise no_session(workspace.root) from None
    except journal.JournalError as error:
        raise IntegrityError(str(error), "remove or correct that line; nothing else was touched") from None
    except PermissionError:
        raise PreconditionError(f"{workspace.journal.name} cannot be read: no permission", "check its owner") from None


def session_of(content: bytes) -> Session:
    """Return the session that the content of a journal describes; raise `IntegrityError`."""
    try:
        with _without_gc():
            return replay(journal.read_lines(content))
    except journal.JournalError as error:
        raise IntegrityError(str(error), "it was mirrored like that") from None


def carry(workspaces: int) -> None:
    """Carry the folds of so many workspaces along, and those of their selftests: for a program that shows them all."""
    global _MOST_CARRIED
    _MOST_CARRIED = 2 * workspaces


def content_of(path: Path) -> bytes:
    """Return what a journal has now; raise `OSError`.

    One that still is what was folded is compared with that piece by piece, and not in memory twice: for a long one, to
    get that memory takes longer than to read it.
    """
    carried = _CARRIED.get(path)
    known = carried.content if carried is not None else b""
    with path.open("rb", buffering=0) as file:
        if known and os.fstat(file.fileno()).st_size == len(known):
            at = 0
            while (piece := file.read(_PIECE)) and known.startswith(piece, at):
                at += len(piece)
            if not piece and at == len(known):
                return known
            file.seek(0)
        return file.readall()


def _carry(path: Path) -> Session:
    content = content_of(path)
    before = _CARRIED.pop(path, None)
    end = content.rfind(b"\n") + 1
    if end < len(content):  # a last line without an end may be cut or be ended: nothing can go on from it
        with _without_gc():
            return replay(journal.read_lines(content))
    if before is None or (content is not before.content and not content.startswith(before.content)):
        with _without_gc():
            fold = Fold()
            fold.take(journal.read_lines(content))
            before = _Carried(content, fold, fold.session())
    elif len(content) > len(before.content):
        added = content[len(before.content) :]
        lines = before.content.count(b"\n") if before.lines is None else before.lines
        before.fold.take(journal.read_lines(added, lines))
        before.content, before.lines = content, lines + added.count(b"\n")
        before.session = before.fold.session()
    while len(_CARRIED) >= _MOST_CARRIED:
        del _CARRIED[next(iter(_CARRIED))]
    _CARRIED[path] = before  # only now: a fold that a line has stopped in the middle is of no use
    return before.session


def how_to_begin(session: Session) -> str:
    """Return what to type to begin a session beside what a journal has, with its metric, where it has one."""
    metric, known = session.metric, bool(session.segment.name or session.experiments)
    name, direction = (metric.name, metric.direction) if known else ("NAME", "lower")
    words = f'--task command --command "bash bench.sh" --metric {shlex.quote(name)} --direction {direction}'
    return f"autoresearch init . {words} --mutable src"


def append(workspace: Workspace, event: Event | list[Event]) -> None:
    """Append one event to the journal, or several in one write.

    Raises `PreconditionError` when that is not permitted here or the folder is another one by now, and `NoSession` when
    somebody has deleted the journal meanwhile: one that began with this line would look like another tool's.
    """
    if not workspace.journal.exists():
        raise no_session(workspace.root)
    check_still_there(workspace)
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
