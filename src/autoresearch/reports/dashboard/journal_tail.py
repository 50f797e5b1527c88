"""What was added to a journal since a place in it: exactly the whole lines behind that place, or that it is another."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from autoresearch.journal.events import experiment_of
from autoresearch.journal.fields import Event
from autoresearch.journal.file import parsed
from autoresearch.journal.import_events import entry_of

MOST_BYTES = 64 * 2**20
"""Read at once; a journal of 20,000 experiments has 27 MB."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place between two lines of a file that is known by its inode."""

    inode: int
    offset: int

    def __str__(self) -> str:
        return f"{self.inode}:{self.offset}"


@dataclass(frozen=True, slots=True)
class Tail:
    """What is behind a place."""

    end: Position
    changed: tuple[int, ...] = ()
    """The experiments that the lines are about, each once, in the order of their last line."""
    lines: int = 0
    reset: bool = False
    """Whether the place is none of this journal: another file, or one that has shrunk or was written anew."""


def position_of(text: str | None) -> Position | None:
    """Return the place that a browser names; None when it is none."""
    match = re.fullmatch(r"(\d{1,20}):(\d{1,15})", text or "", re.ASCII)
    return Position(int(match[1]), int(match[2])) if match else None


def tail_of(path: Path, since: Position | None) -> Tail | None:
    """Return what was added behind `since`; a line without its end waits. None without a journal that can be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            return None
        if since is not None and since.inode == about.st_ino and since.offset <= about.st_size:
            file.seek(max(0, since.offset - 1))
            before = file.read(1) if since.offset else b"\n"
            if before == b"\n":
                content = file.read(MOST_BYTES)
                whole = content[: content.rfind(b"\n") + 1]
                events = [event for line in whole.splitlines() if (event := parsed(line)) is not None]
                numbers = [number for event in events if (number := _number(event)) is not None]
                changed = tuple(reversed(dict.fromkeys(reversed(numbers))))
                return Tail(Position(since.inode, since.offset + len(whole)), changed, whole.count(b"\n"))
        return Tail(Position(about.st_ino, _whole(file.fileno(), about.st_size)), reset=since is not None)


def _number(event: Event) -> int | None:
    try:
        return experiment_of(entry_of(event) or event)
    except ValueError:  # the session cannot be folded either, and the page says which line it is
        return None


def _whole(descriptor: int, size: int) -> int:
    """Return where the last whole line ends."""
    end = size
    while end > 0:
        block = os.pread(descriptor, min(end, 65536), max(0, end - 65536))
        at = block.rfind(b"\n")
        if at >= 0:
            return max(0, end - 65536) + at + 1
        end -= len(block) or end
    return 0
