"""The refs of a repository, read from its files: one for each ref, and one of packed ones (gitrepository-layout(5))."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

MOST = 1000
"""Refs in files of their own that are read here; where there are more, git is asked."""

_NAME = re.compile(r"refs(?:/[A-Za-z0-9_@+=-][A-Za-z0-9_@+=.-]*)+")
_NO_NAME = re.compile(r"\.\.|\.(?:/|$)|\.lock(?:/|$)|@\{")
"""What git takes for no name, though it is made of such letters (git-check-ref-format(1))."""

_TARGET = re.compile(rb"(?!0+$)(?:[0-9a-f]{40}|[0-9a-f]{64})")


class _AskGit(Exception):
    """What is in a file is not what this module knows."""


def targets_in_files(common: Path, folders: Sequence[str]) -> dict[str, str] | None:
    """Return ref -> what it points at, for the refs in `folders` and those of these names themselves, in their order.

    `common` is the folder that all work trees of a repository share. None where git must be asked: refs are kept in
    another way (reftable), one points at another, has an odd name or no hash in it, or there are more than `MOST`.
    """
    if (common / "reftable").exists():
        return None
    loose: dict[str, str] = {}
    try:
        for name, content in _loose(common, folders):
            loose[name] = _target(content.rstrip())
            if len(loose) > MOST:
                return None
        # Last: whoever packs refs meanwhile deletes their files when they are packed, and not before.
        found = {**dict(_packed(common / "packed-refs", folders)), **loose}
    except (OSError, _AskGit):
        return None
    return {name: found[name] for name in sorted(found)}


def _loose(common: Path, folders: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (ref, content) of the files; a lock is none of them."""
    waiting = list(folders)
    while waiting:
        name = _named(waiting.pop())
        path = common / name
        kind = _kind(path)
        if kind == stat.S_IFDIR:
            waiting += [f"{name}/{below.name}" for below in path.iterdir() if not below.name.endswith(".lock")]
        elif kind == stat.S_IFREG:
            yield name, path.read_bytes()
        elif kind or name not in folders:  # a link, or what nobody would ever answer; or it is gone meanwhile
            raise _AskGit


def _packed(path: Path, folders: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (ref, target) of the packed refs; a line of what a tag points at, or of a comment, has none."""
    if (kind := _kind(path)) not in (0, stat.S_IFREG):
        raise _AskGit
    content = path.read_bytes() if kind else b""
    if content and not content.endswith(b"\n"):
        raise _AskGit
    inside = tuple(f"{folder}/" for folder in folders)
    for line in content.split(b"\n"):
        if line and not line.startswith((b"#", b"^")):
            target, _, ref = line.partition(b" ")
            name = os.fsdecode(ref)
            if name in folders or name.startswith(inside):
                yield _named(name), _target(target)


def _kind(path: Path) -> int:
    """Return what is at a place, as `stat.S_IFMT` does; 0 for nothing."""
    try:
        return stat.S_IFMT(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _named(name: str) -> str:
    if not _NAME.fullmatch(name) or _NO_NAME.search(name):
        raise _AskGit
    return name


def _target(content: bytes) -> str:
    if not _TARGET.fullmatch(content):
        raise _AskGit
    return content.decode()
