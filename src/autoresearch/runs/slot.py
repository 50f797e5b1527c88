"""A snapshot folder that is kept: brought to the next commit by what differs, after every trace of a run is undone.

What a folder held when it was made is recorded file by file: number, mode, size, both times, links. No program can set
the time of the last change of an entry (`st_ctime`), so an entry whose record still holds is what it was; anything else
is removed and made anew as another file. git tells by the same what it need not write (`core.trustctime`).

Without a record, or with one in doubt, the folder is made anew. The record is away while a folder is being changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoresearch.errors import MachineError
from autoresearch.system.files import remove_tree, write_atomic
from autoresearch.system.git import Git
from autoresearch.system.git_plumbing import changed_between

SETTLED_NS = 20_000_000
"""Nanoseconds that a run waits after the last file was made: kernels count the times of files in ticks of up to 10 ms,
and what a run changes must have another time."""

State = tuple[int, ...]
"""Mode, number, size, owner and group, links, time of content, time of entry."""

_WIDTH = 7


@dataclass
class _Record:
    """What a folder held when it was made."""

    commit: str
    recipe: str
    """What else decides on the files that git writes for a commit."""
    index: State
    exported: list[list[str]]
    """(commit, path) of the submodules in it."""
    entries: dict[str, State]


@dataclass(frozen=True, slots=True)
class Slot:
    """One snapshot folder, the index that git has of it, and its record."""

    folder: Path

    @property
    def index(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.index")

    @property
    def record(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.record")

    def bring(self, git: Git, commit: str) -> dict[str, State]:
        """Make the folder what `commit` is, whatever it holds now, and return its entries.

        Raises `MachineError` when that is impossible.
        """
        known, recipe = self._read(), _recipe(git)
        if known is None or known.recipe != recipe or known.index != _state_at(self.index):
            return self._make(git, commit, recipe)
        gone = undo(self.folder, known.entries)
        if gone is None:
            return self._make(git, commit, recipe)
        exported = git.submodules_here(commit)
        inside = any(path == top or path.startswith(f"{top}/") for _, top in exported for path in gone)
        changes = changed_between(git, known.commit, commit) if known.commit != commit else []
        reaches = changes is None or any(_needs_all(*change) for change in changes)
        if exported != known.exported or inside or changes is None or reaches:
            return self._make(git, commit, recipe)
        if known.commit == commit and not gone:
            return known.entries
        forget(self)
        git.checkout(commit, self.folder, self.index, known=None if gone else known.commit)
        entries = known.entries
        paths = {*gone, *(path for path, _, _ in changes)}
        folders = {parent for path in paths for parent in _parents(path)}
        for path in (*paths, *folders):
            now = _state_at(self.folder / path)
            if now is None:
                entries.pop(path, None)
            else:
                entries[path] = now
        self._write(_Record(commit, recipe, _state_at(self.index) or (), exported, entries))
        return entries

    def clean(self, entries: dict[str, State]) -> None:
        """Delete what a run has added or changed: it takes no space, and no other process can read it.

        `entries` are what `bring` gave; what cannot be deleted now is told when the folder is wanted again.
        """
        with contextlib.suppress(OSError, MachineError):
            if undo(self.folder, entries) is None:
                _remove(self.folder)

    def _make(self, git: Git, commit: str, recipe: str) -> dict[str, State]:
        forget(self)
        _remove(self.folder)
        for path in (self.index, self.index.with_name(f"{self.index.name}.lock")):  # the lock of a git that was killed
            path.unlink(missing_ok=True)
        self.folder.mkdir(parents=True)
        git.checkout(commit, self.folder, self.index)
        exported = git.export_submodules(commit, self.folder)
        entries = dict(_walk(self.folder))
        self._write(_Record(commit, recipe, _state_at(self.index) or (), exported, entries))
        return entries

    def _write(self, record: _Record) -> None:
        times = [state[-1] for state in record.entries.values()]
        if all(changed % 10**9 == 0 for changed in times):
            return  # this file system keeps whole seconds: too few to tell by them what a run has changed
        about = {"commit": record.commit, "recipe": record.recipe, "index": record.index, "exported": record.exported}
        names = b"\0".join(map(os.fsencode, record.entries))
        numbers = array("Q", [number & (2**64 - 1) for state in record.entries.values() for number in state])
        head = json.dumps(about).encode() + b"\n" + str(len(names)).encode() + b"\n"
        # It need not survive the machine: after a start of the machine nothing is trusted (see the recipe).
        write_atomic(self.record, head + names + numbers.tobytes(), durable=False)
        wait = (max(times) + SETTLED_NS - time.time_ns()) / 1e9
        if 0 < wait <= SETTLED_NS / 1e9:
            time.sleep(wait)

    def _read(self) -> _Record | None:
        """Return the record, or None when there is none that can be read."""
        try:
            about, size, rest = self.record.read_bytes().split(b"\n", 2)
            read = json.loads(about)
            names = rest[: int(size)].split(b"\0")
            numbers = array("Q")
            numbers.frombytes(rest[int(size) :])
            states = zip(*[iter(numbers)] * _WIDTH, strict=True)
            entries = dict(zip(map(os.fsdecode, names), states, strict=True))
            return _Record(read["commit"], read["recipe"], tuple(read["index"]), read["exported"], entries)
        except (OSError, ValueError, KeyError, TypeError):
            return None


def forget(slot: Slot) -> None:
    """Take a slot's record away: from now on the folder is not trusted."""
    slot.record.unlink(missing_ok=True)


def undo(folder: Path, entries: dict[str, State]) -> set[str] | None:
    """Remove from `folder` whatever is not as recorded; return the recorded paths that are gone, or were removed.

    `entries` loses those; None when the folder itself is not the one that was made.
    """
    if _differs(folder, _state_at(folder), entries.get("")):
        return None
    seen = {""}
    touched: set[str] = set()
    waiting = [""]
    while waiting:
        base = waiting.pop()
        with os.scandir(folder / base if base else folder) as listing:
            found = [(entry, entry.stat(follow_symlinks=False)) for entry in listing]
        prefix = f"{base}/" if base else ""
        for entry, about in found:
            path = prefix + entry.name
            now, then = _state(about), entries.get(path)
            if now == then or (then is not None and not _differs(Path(entry.path), now, then)):
                seen.add(path)
                if stat.S_ISDIR(about.st_mode):
                    waiting.append(path)
                    if now != then:
                        entries[path] = now
            else:
                _remove(Path(entry.path))
                touched.add(base)
    gone = entries.keys() - seen
    for path in gone:
        del entries[path]
    for path in touched:
        entries[path] = _state_at(folder / path) or ()
    return set(gone)


def _differs(path: Path, now: State | None, then: State | None) -> bool:
    """Whether an entry is not what was recorded. A folder has other times after anything was added: these are found
    one by one, and its mode, owner and number must be the same, and it may have got no attributes."""
    if now is None or then is None:
        return True
    if not (stat.S_ISDIR(now[0]) and stat.S_ISDIR(then[0])):
        return now != then
    same = (now[0], now[1], now[3]) == (then[0], then[1], then[3])
    return not same or (now[-1] != then[-1] and _has_attributes(path))


def _has_attributes(path: Path) -> bool:
    if not hasattr(os, "listxattr"):
        return False
    try:
        return any(not name.startswith("security.") for name in os.listxattr(path, follow_symlinks=False))
    except OSError:
        return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
        if path.exists():
            raise MachineError(f"the snapshot of a run, {path}, cannot be removed", "remove it, and try again")
    else:
        path.unlink(missing_ok=True)


def _walk(folder: Path) -> Iterator[tuple[str, State]]:
    about = _state_at(folder)
    assert about is not None
    yield "", about
    waiting = [""]
    while waiting:
        base = waiting.pop()
        with os.scandir(folder / base if base else folder) as listing:
            for entry in listing:
                path = f"{base}/{entry.name}" if base else entry.name
                yield path, _state(entry.stat(follow_symlinks=False))
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)


def half_made(slots: Path) -> bool:
    """Whether one of the snapshot folders in `slots` has no record, which is away while the folder is changed."""
    try:
        with os.scandir(slots) as listing:
            folders = {entry.name: entry.is_dir() for entry in listing}
    except OSError:
        return False
    return any(is_folder and f"{name}.record" not in folders for name, is_folder in folders.items())


def _state(about: os.stat_result) -> State:
    owner = about.st_uid << 32 | about.st_gid
    mode, number, links = about.st_mode, about.st_ino, about.st_nlink if not stat.S_ISDIR(about.st_mode) else 0
    return (mode, number, about.st_size, owner, links, about.st_mtime_ns, about.st_ctime_ns)


def _state_at(path: Path) -> State | None:
    try:
        return _state(path.lstat())
    except OSError:
        return None


def _parents(path: str) -> Iterator[str]:
    while path:
        path = path.rpartition("/")[0]
        yield path


def _needs_all(path: str, before: str | None, after: str | None) -> bool:
    """Whether a changed path reaches other files: attributes decide on how files are written, submodules are many."""
    return path.rpartition("/")[2] == ".gitattributes" or path == ".gitmodules" or "160000" in (before, after)


def _recipe(git: Git) -> str:
    """Return what decides on the files that git writes beside the commit: its settings, our rights, this start."""
    home = Path.home()
    more = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "git"
    settings: Sequence[Path] = (
        git.git_dir / "config", git.git_dir / "config.worktree", git.object_dir.parent / "config",
        git.object_dir.parent / "info" / "attributes", home / ".gitconfig", more / "config", more / "attributes",
        Path("/etc/gitconfig"), Path(os.environ.get("GIT_CONFIG_GLOBAL", os.devnull)),
    )  # fmt: skip
    env = {name: value for name, value in os.environ.items() if name.startswith("GIT_")}
    told: list[object] = [env, os.getuid(), os.getgid(), _umask(), _this_start()]
    for path in settings:
        with contextlib.suppress(OSError):
            told.append(path.read_text("utf-8", "replace"))
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _this_start() -> str:
    """Return what is another after each start of the machine: what was written just before it may be lost."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(int(time.time() - time.monotonic()) // 60)
