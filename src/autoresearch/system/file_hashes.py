"""Hashes of what must not change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path


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
                hashes[file.relative_to(root).as_posix()] = sha256_of(file.read_bytes())
    return hashes


def differences(expected: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    """Return path -> what happened to it (`is missing`, `is new`, `has changed`) for each path that differs."""
    changes = {}
    for path in sorted({*expected, *found}):
        if path not in found:
            changes[path] = "is missing"
        elif path not in expected:
            changes[path] = "is new"
        elif expected[path] != found[path]:
            changes[path] = "has changed"
    return changes
