"""The processes that a model process has left behind, which the grader ends before it goes on.

Killing a group leaves what has made itself a group of its own. On Linux such a process comes to the grader when its
parent ends, since the grader has asked for it, so it can be found: it is a child that the grader has not started. In a
sandbox with process numbers of its own nothing is left to find.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from harness.errors import Verdict

PR_SET_CHILD_SUBREAPER = 36
ROUNDS = 1000
"""How often to look again: one that is about to be killed may start another."""


def adopt_orphans() -> None:
    """Become the parent of every process below this one whose own parent ends. Linux alone has that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_strangers(known: set[int]) -> None:
    """Kill every child of this process but the `known`. Raises Verdict when they do not end."""
    for _ in range(ROUNDS):
        found = children() - known
        if not found:
            return
        for number in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(number, signal.SIGKILL)
        for number in found:
            with suppress(ChildProcessError):
                os.waitpid(number, 0)
    raise Verdict("tampered", "the model's process left others behind that do not end")


def children() -> set[int]:
    """The numbers of the processes whose parent is this one; none where there is no /proc."""
    found = set[int]()
    if sys.platform != "linux":
        return found
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            if int(path.read_text("latin-1").rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(path.parent.name))
    return found
