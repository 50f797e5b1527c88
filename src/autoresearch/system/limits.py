"""What a run may use of the machine: memory, size of a file, number of processes."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from autoresearch.system.descendants import children

SAMPLE_S = 1.0
"""Seconds between two looks at what a run uses; walking the process table costs some milliseconds."""

SCARCE = 0.05
"""Below this part of the machine's memory available, a run is looked at without waiting."""

DEFAULT_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one run; None is no limit."""

    memory: int | None = None
    """Bytes that all processes of the run hold together."""
    file: int | None = None
    """Bytes of the largest file."""
    processes: int | None = None


class Meter:
    """Looks now and then at what the descendants of this process use."""

    def __init__(self, limits: Limits, before: set[int]) -> None:
        """`before` are children that we had and that are not the run's."""
        self.limits, self.before = limits, before
        self.looked = time.monotonic()
        self.over = ""
        """What was too much, in words."""
        self.memory = False
        """Whether that was memory."""
        self._least: int | None = None
        """Bytes below which memory is scarce."""

    def exceeded(self) -> bool:
        """Whether a limit is passed; then `over` says which."""
        now = time.monotonic()
        if now - self.looked < SAMPLE_S and not self._scarce():
            return False
        self.looked = now
        processes = [p for child in self._own() for p in (child, *_children(child))]
        most = self.limits.processes
        if most is not None and len(processes) > most:
            self.over = f"{len(processes)} processes at once, limit_processes is {most}"
            return True
        allowed = self.limits.memory
        if allowed is None or sum(map(_rss, processes)) <= allowed:
            return False
        held = sum(map(_pss, processes))  # pages that processes share count once
        if held > allowed:
            self.over = f"{held / 2**30:.2f} GB held, limit_memory_gb is {allowed / 2**30:.2f}"
            self.memory = True
        return self.memory

    def _own(self) -> list[psutil.Process]:
        return [child for child in children(psutil.Process()) if child.pid not in self.before]

    def _scarce(self) -> bool:
        if self.limits.memory is None:
            return False
        if self._least is None:
            self._least = int(SCARCE * psutil.virtual_memory().total)
        return _available() < self._least


def _available() -> int:
    """Return the bytes of memory that the machine has left; many times a second, so not with all else of it."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/meminfo").read_bytes().partition(b"MemAvailable:")[2].split(maxsplit=1)[0]) * 1024
    return int(psutil.virtual_memory().available)


def memory_of_machine() -> int:
    """Return the bytes of memory that this process may use: the machine's, or its container's where that is less."""
    total = int(psutil.virtual_memory().total)
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int(Path(name).read_text()))
    return total


def _children(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return children(process, recursive=True)
    return []


def _rss(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def _pss(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error, OSError, AttributeError):
        return int(getattr(process.memory_full_info(), "pss", 0)) or _rss(process)
    return _rss(process)
