"""Tells whether files were opened, by any program and by any name of theirs: Linux's inotify.

It does not tell by whom. An evaluation of another session, or one by hand, may read the same prepared data at the same
time, so evaluations hold a lock beside the data, and what was opened meanwhile is put down to them. Who holds the lock
is asked of the kernel: what descends from us holds it in vain.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import struct
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_OPEN, _NONBLOCK, _CLOEXEC = 0x20, 0o4000, 0o2000000
_EVENT = struct.Struct("iIII")

MOST = 1000
"""Files that are watched at once."""

LINGER_S = 1.0
"""An evaluation keeps its lock for this long: others look a few times a second, and may be late to notice its reads."""

_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A file or folder that a process must not read."""

    path: Path
    label: str
    """How it is called in reports."""
    register: Path
    """The lock that evaluations hold which may read it."""


class FileAccessMonitor:
    """Collects the names of files that somebody opened since. Where there is no inotify, none."""

    def __init__(self, held_out: Iterable[HeldOut]) -> None:
        self.names: list[str] = []
        self._watched: dict[int, HeldOut] = {}
        self._descriptor = -1
        files = [(file, each) for each in held_out for file in _files(each.path)]
        if sys.platform == "linux" and files:
            self._descriptor = _LIBC.inotify_init1(_NONBLOCK | _CLOEXEC)
        if self._descriptor >= 0:
            for path, each in files[:MOST]:
                watch = _LIBC.inotify_add_watch(self._descriptor, os.fsencode(path), _OPEN)
                if watch >= 0:
                    self._watched[watch] = each

    def read(self) -> None:
        """Take what has happened; to be called often, while it can still be told whether somebody evaluates."""
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):
            while block := os.read(self._descriptor, 2**16):
                self._take(block)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _take(self, block: bytes) -> None:
        at = 0
        while at + _EVENT.size <= len(block):
            watch, _, _, length = _EVENT.unpack_from(block, at)
            at += _EVENT.size + length
            each = self._watched.get(watch)
            if each is not None and each.label not in self.names and not held_elsewhere(each.register):
                self.names.append(each.label)


@contextlib.contextmanager
def evaluating(register: Path) -> Iterator[None]:
    """Say to all other sessions that held-out data is being read by an evaluation."""
    try:
        descriptor = os.open(register, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:  # no cache, or not ours: then nobody else can be misled by us either
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        later = threading.Timer(LINGER_S, os.close, [descriptor])
        later.daemon = True  # the end of this process is the end of the lock
        later.start()


def held_elsewhere(register: Path) -> bool:
    """Whether a living process that is neither this one nor a descendant of it holds the lock.

    Every descendant of the engine stays one, since orphans come to it; and its own evaluations are not at the same time
    as what it watches.
    """
    import psutil

    try:
        inode = register.stat().st_ino
        locks = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return False
    # The device is not compared: some file systems (btrfs) show the kernel's locks another one than `stat`.
    fields = (line.split() for line in locks)
    holders = {int(f[4]) for f in fields if len(f) == 8 and f[1] == "FLOCK" and f[5].endswith(f":{inode}")}
    for pid in holders - {os.getpid()}:
        with contextlib.suppress(psutil.Error):
            if os.getpid() not in {parent.pid for parent in psutil.Process(pid).parents()}:
                return True
    return False


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
