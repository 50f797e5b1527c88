"""Hashes of what must not change."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

_SETTLED_NS = 20_000_000
"""Nanoseconds: two changes of a file that are closer may have the same time, since kernels count it in ticks."""

_HASHED: dict[str, tuple[tuple[int, ...], str]] = {}
"""File -> its state and its hash, for this process."""

_MOST_HASHED = 100_000


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def hash_files(root: Path, paths: Iterable[str]) -> dict[str, str]:
    """Return path -> hash for every file in `paths` (folders: every file in them), relative to `root`."""
    hashes = {}
    for path in paths:
        target = root / path
        files = sorted(p for p in target.rglob("*") if p.is_file()) if target.is_dir() else [target]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                hashes[file.relative_to(root).as_posix()] = _hash_of(file)
    return hashes


def _hash_of(file: Path) -> str:
    """Return the hash of a file's content; it is read unless it must be what it was when it was read before.

    It must be where device, number, size and both times are the same: no program can set the time of the last change of
    its entry, and any change sets it. git tells by the same what it need not read (`core.trustctime`).
    """
    name, before = os.fspath(file), state_of(file.stat())
    known = _HASHED.get(name)
    if known is not None and known[0] == before:
        return known[1]
    now = time.time_ns()
    digest = sha256_of(file.read_bytes())
    if before == state_of(file.stat()) and max(before[-2:]) < now - _SETTLED_NS and len(_HASHED) < _MOST_HASHED:
        _HASHED[name] = (before, digest)
    return digest


def state_of(about: os.stat_result) -> tuple[int, ...]:
    """Return what differs after any change of a file."""
    return (about.st_dev, about.st_ino, about.st_mode, about.st_size, about.st_mtime_ns, about.st_ctime_ns)


def differences(expected: Mapping[str, str], present: Mapping[str, str]) -> dict[str, str]:
    """Return path -> what happened to it (`is missing`, `is new`, `has changed`) for each path that differs."""
    changes = {}
    for path in sorted({*expected, *present}):
        if path not in present:
            changes[path] = "is missing"
        elif path not in expected:
            changes[path] = "is new"
        elif expected[path] != present[path]:
            changes[path] = "has changed"
    return changes
