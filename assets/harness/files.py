"""Files that are whole or not there, their hashes, and a line that tells of progress."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.errors import TaskError


def cache_dir() -> Path:
    """Where prepared data lives: AUTORESEARCH_CACHE, or ~/.cache/autoresearch."""
    return Path(os.environ.get("AUTORESEARCH_CACHE") or "~/.cache/autoresearch").expanduser()


def data_path(task: str, name: str, *parts: object) -> Path:
    """A folder of the cache whose name changes with `parts`, all that its content depends on."""
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    return cache_dir() / task / f"{name}-{key}"


def read_json(path: Path) -> Any:
    """Raises TaskError when the file is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise TaskError(f"{path} is missing or damaged; run: python prepare.py --force") from None


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path`, whole or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Written whole or not at all; NaN is an error."""
    with written(path) as part:
        part.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def digest(path: Path, pieces: int = 1024, length: int = 2**16) -> str:
    """SHA-256 of a file; of one over 64 MB: of its size and of 1,024 pieces at even distances."""
    size, result = path.stat().st_size, hashlib.sha256()
    with path.open("rb") as file:
        if size <= pieces * length:
            return hashlib.file_digest(file, "sha256").hexdigest()
        for number in range(pieces):
            file.seek(number * (size - length) // (pieces - 1))
            result.update(file.read(length))
    result.update(str(size).encode())
    return result.hexdigest()


def folder_digest(folder: Path, names: tuple[str, ...]) -> str:
    """One SHA-256 of files and of the Python files in folders, by their names below `folder`."""
    result = hashlib.sha256()
    for name in names:
        path = folder / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            result.update(f"{file.relative_to(folder).as_posix()} {digest(file)}\n".encode())
    return result.hexdigest()


class Progress:
    """One line, rewritten on a terminal; elsewhere a plain line every few seconds."""

    def __init__(self, label: str) -> None:
        self.label, self.tty = label, sys.stdout.isatty()
        self.start = self.last = time.monotonic()

    def update(self, text: str) -> None:
        if time.monotonic() - self.last >= (0.2 if self.tty else 5.0):
            self.last = time.monotonic()
            print(f"{self.label:<10}{text}".ljust(78 * self.tty), end="\r" if self.tty else "\n", flush=True)

    def done(self, text: str) -> None:
        seconds = time.monotonic() - self.start
        print(f"{self.label:<10}{text}  ({seconds:.1f} s)".ljust(78 * self.tty), flush=True)
