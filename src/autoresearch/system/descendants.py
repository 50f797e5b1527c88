"""The processes that a process has started, asked of the kernel where it tells: each run looks once a second, and where
many are made at once, to go through all processes of the machine would cost each of them what all others have.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil


def children(process: psutil.Process, *, recursive: bool = False) -> list[psutil.Process]:
    """Return the children of a process, and with `recursive` theirs; raise `psutil.Error` where it is gone.

    One that begins or ends meanwhile may be missed, so this is for looks that are repeated, and not to end them all.
    """
    try:
        numbers = _numbers(process.pid)
    except OSError:  # it is gone, or this system does not tell
        return list(process.children(recursive=recursive))
    found: list[psutil.Process] = []
    for number in numbers:
        with contextlib.suppress(psutil.Error):
            child = psutil.Process(number)
            found += [child, *(children(child, recursive=True) if recursive else [])]
    return found


def _numbers(pid: int) -> list[int]:
    """Return the children of a process as Linux lists them, for each of its threads by itself."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(number) for thread in threads for number in (thread / "children").read_text().split()]
