"""Which files of a folder are opened while something runs: Linux's inotify tells it. A convenience and no defence."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

_OPEN, _IS_DIR, _NONBLOCK, _CLOEXEC = 0x20, 0x40000000, 0o4000, 0o2000000
_EVENT = struct.Struct("iIII")

MOST_FOLDERS = 4096
"""Folders that are watched at once."""

MOST_FILES = 10_000


class OpenedFiles:
    """Collects the files of some folders that are opened, by whoever it is; nothing where there is no inotify."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self.paths: dict[Path, None] = {}
        """In the order in which they were first opened."""
        self.seen = False
        """Whether it could be seen at all, and in every folder."""
        self._folders: dict[int, Path] = {}
        self._descriptor = -1
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._descriptor = self._libc.inotify_init1(_NONBLOCK | _CLOEXEC)
        if self._descriptor >= 0:
            wanted = [*folders]
            for folder in wanted[:MOST_FOLDERS]:
                watch = self._libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _OPEN)
                if watch >= 0:
                    self._folders[watch] = folder
            self.seen = len(self._folders) == len(wanted)

    def read(self) -> None:
        """Take what has happened; to be called often, since the kernel keeps only so much."""
        if self._descriptor >= 0:
            with contextlib.suppress(BlockingIOError):
                while block := os.read(self._descriptor, 2**16):
                    self._take(block)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _take(self, block: bytes) -> None:
        at = 0
        while at + _EVENT.size <= len(block):
            watch, what, _, length = _EVENT.unpack_from(block, at)
            name = block[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
            at += _EVENT.size + length
            folder = self._folders.get(watch)
            if folder is None:  # among them that the kernel's queue was full
                self.seen = self.seen and watch >= 0
            elif name and not what & _IS_DIR and len(self.paths) < MOST_FILES:
                self.paths[folder / os.fsdecode(name)] = None


@contextlib.contextmanager
def opened_files(folders: Iterable[Path]) -> Iterator[OpenedFiles]:
    """Collect what is opened in `folders` themselves, not in folders in them."""
    collected = OpenedFiles(folders)
    try:
        yield collected
        collected.read()
    finally:
        collected.close()
