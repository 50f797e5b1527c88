"""Strict edits of the mutable files: a piece of text for another, found exactly once, or a whole file.

A set of changes is made whole or not at all, and what does not fit is refused in words that say what to do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from autoresearch.errors import AutoresearchError
from autoresearch.escaping import one_line
from autoresearch.system.files import write_atomic
from autoresearch.workspace.task_file import within

MOST_BYTES = 4 * 2**20
"""Of one file."""


class EditRefused(AutoresearchError):
    """The change does not fit the files; nothing was changed."""

    kind = "edit"


@dataclass(frozen=True, slots=True)
class Replacement:
    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class WholeFile:
    path: str
    content: str


Change = Replacement | WholeFile


def apply(folder: Path, mutable: Sequence[str], changes: Sequence[Change]) -> list[str]:
    """Make all changes in their order and return the paths of the files that differ now.

    Raises `EditRefused` when one does not fit; then no file was touched. The later changes see what the earlier made.
    """
    if not changes:
        raise EditRefused("there is no change in it", "give at least one")
    before: dict[Path, str | None] = {}
    after: dict[Path, str] = {}
    for number, change in enumerate(changes, 1):
        try:
            path = target(folder, mutable, change.path)
            if path not in before:
                before[path] = _read(path)
            old = after.get(path, before[path])
            after[path] = _changed(old, change)
            _check(after[path])
        except EditRefused as error:
            where = f"change {number} of {len(changes)}, {one_line(change.path, 100)}"
            raise EditRefused(f"{where}: {error.message}", error.fix) from None
    different = {path: text for path, text in after.items() if text != before[path]}
    if not different:
        raise EditRefused("the changes leave every file as it is", "make one that changes something")
    for path, text in different.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = path.stat().st_mode if path.exists() else None
        write_atomic(path, text)
        if mode is not None:
            path.chmod(mode)
    return sorted(path.relative_to(folder.resolve()).as_posix() for path in different)


def replace_once(text: str, old: str, new: str) -> str:
    """Return `text` with its one place that reads `old` reading `new`; raise `EditRefused` for none or several.

    In a file whose lines end with a carriage return, `old` and `new` may be written without.
    """
    if not old:
        raise EditRefused("the old text is empty", "give the text to be replaced, or the whole file")
    if old == new:
        raise EditRefused("the old and the new text are the same", "give a new text that differs")
    places = _places(text, old)
    if not places and "\r\n" in text and "\r" not in old:
        old, new = old.replace("\n", "\r\n"), re.sub(r"\r?\n", "\r\n", new)
        places = _places(text, old)
    if len(places) > 1:
        lines = ", ".join(str(text.count("\n", 0, place) + 1) for place in places[:5])
        what = f"the old text is there {len(places)} times, from lines {lines}{', ...' if len(places) > 5 else ''}"
        raise EditRefused(what, "take in a line before or after it, so that it is there once")
    if not places:
        raise EditRefused("the old text is not in the file" + _nearly(text, old), "copy it exactly, blanks included")
    return text[: places[0]] + new + text[places[0] + len(old) :]


def target(folder: Path, mutable: Sequence[str], name: str) -> Path:
    """Return the file that `name` means; raise `EditRefused` unless it is a plain one that may be changed.

    An absolute path into the folder is taken for a relative one.
    """
    may = f"may be changed: {', '.join(mutable)}"
    top = folder.resolve()
    path = PurePosixPath(name)
    if path.is_absolute() and path.is_relative_to(top.as_posix()):
        path = path.relative_to(top.as_posix())
    if not name.strip() or "\0" in name or path.is_absolute() or ".." in path.parts or ".git" in path.parts:
        raise EditRefused("that is no path in the folder", may)
    relative = path.as_posix()
    if not within(relative, tuple(mutable)):
        raise EditRefused("that file must not be changed", may)
    file = top / relative
    try:
        linked, odd = file.resolve() != file, file.exists() and not file.is_file()
    except OSError as error:  # a name that is too long
        raise EditRefused(f"that is no path in the folder: {error.strerror}", may) from None
    if linked:
        raise EditRefused("that is a symbolic link, or behind one", "change plain files")
    if odd:
        raise EditRefused("that is not a file", may)
    return file


def _check(text: str) -> None:
    """Raise `EditRefused` for a text that no file can be made of."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise EditRefused("the new text has half a character in it", "write valid Unicode") from None
    if size > MOST_BYTES:
        raise EditRefused(f"the file would have more than {MOST_BYTES // 2**20} MiB", "write less")


def _changed(text: str | None, change: Change) -> str:
    if isinstance(change, WholeFile):
        return change.content
    if text is None:
        raise EditRefused("there is no such file", "give a new file whole")
    return replace_once(text, change.old, change.new)


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except (UnicodeDecodeError, OSError) as error:
        raise EditRefused(f"the file cannot be read as text: {error}", "change another file") from None


def _places(text: str, old: str) -> list[int]:
    """Return where `old` begins in `text`, places that overlap included."""
    places: list[int] = []
    at = text.find(old)
    while at >= 0 and len(places) < 100:
        places.append(at)
        at = text.find(old, at + 1)
    return places


def _nearly(text: str, old: str) -> str:
    """Return in words where the file has nearly what was looked for; empty when it has nothing like it."""
    words = old.split()
    if not words or len(old) > 20_000:
        return ""
    loose = re.search(r"\s+".join(map(re.escape, words)), text)
    if loose:
        return f"; line {text.count(chr(10), 0, loose.start()) + 1} has it with other blanks or line ends"
    first = next(line.strip() for line in old.splitlines() if line.strip())
    lines = [number for number, line in enumerate(text.splitlines(), 1) if first in line]
    return f"; its first line is in line {lines[0]}, but what follows there differs" if lines else ""
