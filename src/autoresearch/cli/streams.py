"""The three standard streams: closed, full or gone, they change nothing of the work and nothing of the exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
from typing import TextIO

GIVE_UP_S = 5.0
"""How long a line waits for room in a pipe that is full and does not block."""

_CLOSED: set[int] = set()
"""The streams that were closed when the program began."""


def mend() -> None:
    """Open the null device in place of each standard stream that is closed.

    Without it the next file that is opened gets the number of that stream, and what is printed goes into it.
    """
    for number, mode in ((0, "r"), (1, "w"), (2, "w")):
        try:
            os.fstat(number)
        except OSError:
            _CLOSED.add(number)
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
        name = ("stdin", "stdout", "stderr")[number]
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def put(stream: TextIO, text: str) -> OSError | None:
    """Print a text; return what went wrong when it did not get there, and never raise for that."""
    try:
        stream.write(text)
        _flush(stream)
    except OSError as error:
        return error
    except ValueError:  # closed by somebody else
        return OSError(errno.EBADF, os.strerror(errno.EBADF))
    gone = {id(sys.stdout): 1, id(sys.stderr): 2}.get(id(stream)) in _CLOSED
    return OSError(errno.EBADF, os.strerror(errno.EBADF)) if gone else None


def is_nobody(error: OSError) -> bool:
    """Whether a stream failed because nobody reads it, and not because what was printed has been lost on its way."""
    return error.errno in (errno.EBADF, errno.EPIPE, errno.EIO)


def say(text: str, *, patient: bool = True) -> None:
    """Print a line on standard error, unless it is full: nobody reads there, and the work must go on."""
    if _has_room(sys.stderr, GIVE_UP_S if patient else 0):
        put(sys.stderr, text + "\n")


def settle() -> None:
    """Empty what the streams still hold, before the program ends without its usual end."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _flush(stream: TextIO) -> None:
    while True:
        try:
            stream.flush()
        except BlockingIOError:  # what is left stays in the buffer
            if not _has_room(stream, GIVE_UP_S):
                raise
        else:
            return


def _has_room(stream: TextIO, seconds: float) -> bool:
    """Whether a stream takes a line now, or within some seconds; yes where that cannot be told."""
    try:
        return bool(select.select([], [stream.fileno()], [], seconds)[1])
    except (OSError, ValueError):  # no file, as in a test
        return True
