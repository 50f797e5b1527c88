"""The journal `autoresearch.jsonl`: append, fsync, read. `append` is the only function that writes it.

This module needs nothing but the standard library and Python 3.8, because `scripts/log-experiment.sh` runs it with a
bare python3. POSIX only (`flock`).
"""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

try:  # twice as fast on a long journal; the shell helpers do without
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment]

NAME = "autoresearch.jsonl"


class JournalError(ValueError):
    """The journal cannot be read or written; the message names the line."""


def append(path: Path, event: dict[str, Any] | list[dict[str, Any]] | Callable[[], dict[str, Any]]) -> None:
    """Append one event as one line, or several that belong together: lock, drop a torn tail, one write, fsync.

    An event that depends on what is in the journal is given as a function, which is called under the lock.

    A tail without a newline is what a kill in the middle of a write leaves: it is dropped when it is not a whole
    object, and ended with a newline when it is. If the write fails (disk full) the file is as it was before.
    Raises `OSError`, or `ValueError` for a value that JSON does not know (NaN).
    """
    line = b"" if callable(event) else lines_of(event)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        line = lines_of(event()) if callable(event) else line
        end = _whole_end(descriptor)
        size = os.fstat(descriptor).st_size
        if end < size:
            if _is_object(os.pread(descriptor, size - end, end)):
                line, end = b"\n" + line, size
            else:
                os.ftruncate(descriptor, end)
        try:
            written = os.pwrite(descriptor, line, end)
            if written != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, end)
            raise
        if end == 0:
            _fsync_folder(path)
    finally:
        os.close(descriptor)


def lines_of(event: dict[str, Any] | list[dict[str, Any]]) -> bytes:
    """Return events as the journal has them, a line each; raise `ValueError` for a value that JSON does not know."""
    if isinstance(event, list):
        return b"".join(map(lines_of, event))
    text = json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return (text + "\n").encode("utf-8", "backslashreplace")


def read(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) for each line; a torn last line is passed over.

    Raises `JournalError` that names the line when any other line is not a JSON object.
    """
    yield from read_lines(path.read_bytes())


def read_lines(content: bytes, before: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) for each line of a journal's content, or of its rest behind `before` lines.

    Passes over and raises as `read` does.
    """
    # One line after another, and not all at once: a long journal would be in memory a second time. `BytesIO` copies
    # nothing of it either.
    for number, line in enumerate(io.BytesIO(content), before + 1):
        try:
            event = _parse(line)
        except (ValueError, RecursionError):
            if not line.strip():
                continue
            try:
                event = json.loads(line.rstrip(b"\n"))
            except (ValueError, RecursionError) as error:
                if not line.endswith(b"\n"):
                    return
                raise JournalError(f"{NAME} line {number} is not JSON ({error})") from None
        if not isinstance(event, dict):
            if not line.endswith(b"\n"):
                return
            raise JournalError(f"{NAME} line {number} is not a JSON object")
        yield number, event


def parsed(line: bytes) -> dict[str, Any] | None:
    """Return the object of one line; None when it is none."""
    event: Any = None
    try:
        event = _parse(line)
    except (ValueError, RecursionError):
        with suppress(ValueError, RecursionError):
            event = json.loads(line)
    return event if isinstance(event, dict) else None


_parse: Callable[[bytes], Any] = json.loads if orjson is None else orjson.loads
"""Returns the JSON value of a line. What orjson refuses (a huge number, half a surrogate pair) json may accept."""


def _whole_end(descriptor: int) -> int:
    """Return the offset after the last newline."""
    end = os.fstat(descriptor).st_size
    while end > 0:
        step = min(end, 65536)
        block = os.pread(descriptor, step, end - step)
        at = block.rfind(b"\n")
        if at >= 0:
            return end - step + at + 1
        end -= step
    return 0


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _fsync_folder(path: Path) -> None:
    # The line itself is safe by now: a folder that cannot be opened or synced must not report it as lost.
    with suppress(OSError):
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
