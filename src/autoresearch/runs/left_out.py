"""Why a run failed that works by hand: its snapshot has no file that git does not track, or the sandbox refused a
write."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from autoresearch.escaping import one_line
from autoresearch.runs.isolation.sandbox import SERVICES
from autoresearch.system.files import is_folder, is_there
from autoresearch.system.git import Git
from autoresearch.workspace.task_file import NAME, TaskFile, within

LAST = 30
"""Lines at the end of an output in which a program says what it missed."""

_ABSENT = re.compile(
    r"no such file|not found|notfound|does not exist|doesn't exist|missing|cannot (?:open|find|read|access|stat)"
    r"|could ?n[o']t (?:open|find|read)|can't (?:open|find|read)|unable to (?:open|find|read)|enoent|no data",
    re.IGNORECASE,
)
_MODULE = re.compile(r"No module named '([\w.]+)'")
_REFUSED = re.compile(r"read-only file system|permission denied|operation not permitted|erofs|eacces", re.IGNORECASE)
_UNREACHED = re.compile(r"connect|refused|unreachable|not running|is it running|permission denied|no such file", re.I)
_SERVICE = re.compile(rf"(?<![\w.-])(?:/var)?({'|'.join(map(re.escape, map(str, SERVICES)))})(?![\w-]|\.\w)")
_PATH = re.compile(r"[^\s'\"`,;()\[\]{}<>=|]+")


def outermost(path: str, fits: Callable[[str], bool]) -> str:
    """Return the outermost folder on the way to a path that fits, else the path itself."""
    parts = PurePosixPath(path).parts
    folders = (PurePosixPath(*parts[:n]).as_posix() for n in range(1, len(parts)))
    return next((folder for folder in folders if fits(folder)), path)


def left_out(output: str, git: Git, task: TaskFile, snapshot: Path) -> str:
    """Return what to say when the end of an output names a file as missing that lies in the workspace and that git
    ignores, so that the `snapshot` of a run has it not; else empty. It is the beginning of a sentence."""
    for path in _named(output, _ABSENT, snapshot):
        if within(path, task.files.link) or not is_there(git.root / path) or not git.ignored(f"{git.prefix}{path}"):
            continue
        whole = one_line(outermost(path, lambda folder: _is_ignored_as_a_whole(git, git.prefix + folder)), 120)
        add = f"add {json.dumps(whole, ensure_ascii=False)} to link under [files] in {NAME}"
        return f"; {one_line(path, 120)} is ignored by git, so no run has it: {add}"
    return ""


def not_in_git(output: str, git: Git, task: TaskFile, snapshot: Path) -> str:
    """Return what to say when the end of an output names a file, or a module of Python, as missing that lies in the
    workspace where no experiment takes it along, and that git does not track; else empty."""
    lines = reversed(output.rstrip().splitlines()[-LAST:])
    modules = [name.replace(".", "/") for line in lines for name in _MODULE.findall(line)]
    files = (f"{name}{end}" for name in modules for end in (".py", ""))
    for path in (*_named(output, _ABSENT, snapshot), *files):
        known = within(path, task.files.link) or git.ignored(f"{git.prefix}{path}")
        if is_there(git.root / path) and not known and not git.tracked([f"{git.prefix}{path}"]):
            into = one_line(" or ".join(task.files.mutable), 100)
            return f"; {one_line(path, 120)} is not in git, so no run has it: move what is needed of it into {into}"
    return ""


def not_writable(output: str, git: Git, task: TaskFile, snapshot: Path) -> str:
    """Return what to say when the end of an output names what the sandbox let it not write; else empty."""
    named = [*_named(output, _REFUSED, snapshot, outside=True)]
    for path in named:
        links = [link for link in task.files.link if within(path, (link,))]
        if links:
            link = json.dumps(one_line(links[0], 120), ensure_ascii=False)
            says = "is linked into the run, which may not write there"
            return f"; {one_line(path, 120)} {says}: if a run makes it, take {link} out of link under [files] in {NAME}"
    for path in named:
        place = Path(path)
        program = os.access(place, os.X_OK) and not is_folder(place)  # `/usr/bin/ld: cannot open`: it is who says so
        if place.is_absolute() and not place.is_relative_to(git.top) and not program:
            folder = place if is_folder(place) else place.parent
            told = json.dumps(one_line(str(folder), 120), ensure_ascii=False)
            return f"; a run in the sandbox may not write there: add {told} to writable under [files] in {NAME}"
    return ""


def not_asked(output: str) -> str:
    """Return what to say when the end of an output says that a socket cannot be reached which is closed to a run in
    bubblewrap; else empty."""
    for line in reversed(output.rstrip().splitlines()[-LAST:]):
        found = _SERVICE.search(line) if _UNREACHED.search(line) else None
        if found is not None:
            return (
                f'; a run in the sandbox may not ask {found[1]}: add "{found[1]}" to writable under [files] in {NAME}'
            )
    return ""


def and_then(measured: bool) -> str:
    """Return what follows an edit of the task file; `measured` is whether there is a baseline."""
    return ", commit that, then: autoresearch segment" if measured else ", then: autoresearch baseline"


def _is_ignored_as_a_whole(git: Git, folder: str) -> bool:
    return git.ignored(folder) and not git.tracked([folder])


def _named(output: str, about: re.Pattern[str], snapshot: Path, outside: bool = False) -> Iterator[str]:
    """Yield the paths that the last lines name which say `about`; those in the snapshot relative to it, which others
    are not, and left out unless `outside`."""
    for line in reversed(output.rstrip().splitlines()[-LAST:]):
        if about.search(line):
            yield from _paths(_PATH.findall(line), snapshot, outside)


def _paths(words: Iterable[str], snapshot: Path, outside: bool) -> Iterator[str]:
    for word in words:
        bare = word.rstrip(":.!?").removeprefix("./")
        if not re.search(r"[\w]", bare) or ".." in bare.split("/"):
            continue
        place = Path(bare)
        if place.is_absolute() and place.is_relative_to(snapshot):
            yield place.relative_to(snapshot).as_posix()
        elif outside or not place.is_absolute():
            yield bare
