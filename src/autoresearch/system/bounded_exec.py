"""Becomes a command that dies with its parent and has limits: python -I -S PROGRAM PARENT FILE LC_CTYPE WORDS...

PARENT is the id of the process that starts it; FILE the bytes of the largest file that may be written, 0 for no limit;
LC_CTYPE what the environment has of that name behind a "=", or nothing: Python changes it where the locale is C.

A program, and not a function between fork and exec: the interpreter can run such a function only in a copy of itself,
which takes time with the memory that it holds, and may never return where it has threads. It uses the standard library
alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: str, file: str, lc_ctype: str, *words: str) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != int(parent):  # it died before this was asked for
            sys.exit(1)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if int(file):
        with contextlib.suppress(ValueError, OSError):
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            most = int(file) if hard == resource.RLIM_INFINITY else min(int(file), hard)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and the command would go on to do so
        signal.signal(number, signal.SIG_DFL)
    os.environ.pop("LC_CTYPE", None)
    if lc_ctype:
        os.environ["LC_CTYPE"] = lc_ctype.removeprefix("=")
    try:
        os.execvp(words[0], words)
    except OSError as error:
        sys.exit(f"{words[0]}: {error.strerror}")


if __name__ == "__main__":
    main(*sys.argv[1:])
