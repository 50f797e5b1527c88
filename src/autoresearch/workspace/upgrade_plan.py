"""What an upgrade of a workspace would change: its harness, its task's fixed files, and what coding agents find.

A file that an earlier version wrote, and nobody has changed since, is replaced; one that a person has changed stays.
The harness is one thing: where a person has changed a file of it, none of it is replaced.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoresearch.errors import UsageError
from autoresearch.system.git import Git
from autoresearch.workspace import agent_files, assets, task_file
from autoresearch.workspace.given import is_given, is_noted
from autoresearch.workspace.task_file import TaskFile, within
from autoresearch.workspace.workspace import Workspace

HARNESS, AGENTS = "harness", "agents"
"""What is committed and measured with; what git ignores and agents read."""

CHANGED, COMMITTED = "you changed it", "it is committed in your repository"
UNKNOWN = "it cannot be told whether you changed it"
ELSEWHERE = "it lies outside of the workspace, behind a link"

HOOK_NAME = agent_files.HOOK.rpartition("/")[2]

_PYTHON = re.compile(rb'(?<=PY=\\")[^"\\]+|(?<=`)[^`\s]+(?= -m autoresearch )')
"""The Python in a hook's command and in AGENTS.md: whichever ran the program when it was written."""


@dataclass(frozen=True, slots=True)
class Item:
    """A file that is not as this package would write it."""

    path: str
    part: str
    now: bytes | None
    """None: it is not there."""
    ours: bytes | None
    """None: this package does not have it any more."""
    kept: str = ""
    """Why it stays as it is; empty where it is replaced."""
    fixed: bool = False
    """Whether runs are measured with it, so that a change of it begins a segment."""
    merged: bool = False
    """Whether it is a person's with ours in it: the next upgrade must not take all of it for ours."""

    @property
    def what(self) -> str:
        if self.kept:
            return "keep"
        return "remove" if self.ours is None else "write" if self.now is None else "change"


def plan(workspace: Workspace, git: Git, task: TaskFile, take: Collection[str] = ()) -> list[Item]:
    """Return what differs, sorted by part and path; `take` names files to replace although a person changed them.

    Raises `UsageError` when one of those does not differ.
    """
    harness = [_decided(workspace, item, source, take) for item, source in _harness(workspace, git, task)]
    stays = next((item for item in harness if item.kept and item.fixed), None)
    if stays is not None:
        why = f"{HARNESS} and its task stay together, and {stays.path} stays"
        harness = [replace(item, kept=why) if item.fixed and not item.kept else item for item in harness]
    items = [*harness, *_agents(workspace, git, task, take)]
    unknown = sorted({*take} - {item.path for item in items})
    if unknown:
        raise UsageError(f"{unknown[0]} is not among what differs", "see what does: autoresearch upgrade")
    return items


def changes(items: Iterable[Item]) -> list[Item]:
    """Return what is to be done of a plan."""
    return [item for item in items if not item.kept]


def _decided(workspace: Workspace, item: Item, source: str | None, take: Collection[str]) -> Item:
    if not (workspace.root / item.path).resolve().is_relative_to(workspace.root.resolve()):
        return replace(item, kept=ELSEWHERE)
    if item.now is None or item.path in take or is_given(workspace, item.path, item.now, source):
        return item
    certain = source is not None or is_noted(workspace, item.path)
    return replace(item, kept=CHANGED if certain else UNKNOWN)


def _harness(workspace: Workspace, git: Git, task: TaskFile) -> Iterator[tuple[Item, str]]:
    """Yield the committed files that differ, each with its place in the package's repository.

    The task file is the session's own, and what experiments may change is its code: neither is looked at.
    """
    if not task.task.harness:
        return
    ours = {f"harness/{name}": f"assets/harness/{name}" for name in _names(assets.harness_folder())}
    ours |= {name: f"assets/tasks/{task.task.name}/{name}" for name in _task_files(task)}
    there = {f"harness/{name}" for name in _names(workspace.root / "harness")}
    for path in sorted({*ours, *there}):
        now, source = _read(workspace.root / path), ours.get(path, f"assets/{path}")
        new = _read(assets.tasks_folder().parent / source.removeprefix("assets/")) if path in ours else None
        if now != new:
            yield Item(path, HARNESS, now, new, fixed=within(path, task.files.immutable)), source


def _names(folder: Path) -> Iterator[str]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    return (path.relative_to(folder).as_posix() for path in paths if ".autoresearch" not in path.parts)


def _agents(workspace: Workspace, git: Git, task: TaskFile, take: Collection[str]) -> Iterator[Item]:
    """Yield what differs of the files for agents, which git does not track unless a person made it so."""
    root = workspace.root
    settings = next((name for name in agent_files.SETTINGS if HOOK_NAME.encode() in (_read(root / name) or b"")), None)
    settings = settings or next((name for name in agent_files.SETTINGS if not agent_files.there(root / name)), None)
    files = agent_files.files_for_agents(task, settings)
    theirs = {path.removeprefix(git.prefix) for path in git.tracked([f"{git.prefix}{name}" for name in files])}
    for path, new in files.items():
        now = _read(root / path)
        if now is not None and _with_its_python(new, now) == now:
            continue
        if path in theirs:
            if path not in _task_files(task):  # those are looked at above
                yield Item(path, AGENTS, now, new, "" if path in take else COMMITTED)
            continue
        source = path.removeprefix(".agents/") if path.startswith(".agents/") or path == "program.md" else None
        item = _decided(workspace, Item(path, AGENTS, now, new), source, take)
        if item.kept in (CHANGED, UNKNOWN) and path.endswith(".json") and now is not None:
            item = _with_our_hooks(item, now, new)
        if item.now != item.ours:
            yield item


def committed_roots(task: TaskFile) -> tuple[str, ...]:
    """Return the files and folders of a workspace that come from this package and are committed there."""
    return ("harness", *_task_files(task)) if task.task.harness else ()


def _task_files(task: TaskFile) -> list[str]:
    known = task.task.harness and task.task.name in assets.task_names()
    names = _names(assets.task_folder(task.task.name)) if known else ()
    return [name for name in names if name != task_file.NAME and not within(name, task.files.mutable)]


def _with_its_python(ours: bytes, now: bytes) -> bytes:
    """Return our content with the Python that the file names, where it names one."""
    found = _PYTHON.search(now)
    return _PYTHON.sub(lambda _: found[0], ours) if found is not None else ours


def _with_our_hooks(item: Item, now: bytes, new: bytes) -> Item:
    """Return the item of settings that a person may have changed: only our own hooks in them are brought up to date.

    Settings that cannot be read stay as they are.
    """
    try:
        settings, ours = json.loads(now), json.loads(_with_its_python(new, now))["hooks"]
        theirs = settings.get("hooks", {})
        merged = {event: [*_without_ours(theirs.get(event, [])), *ours.get(event, [])] for event in {**theirs, **ours}}
        after = {**settings, "hooks": {event: groups for event, groups in merged.items() if groups}}
    except (ValueError, KeyError, TypeError, AttributeError):
        return item
    if _groups(after["hooks"]) == _groups(theirs):
        return replace(item, ours=now)  # nothing of ours in it is older
    return replace(item, ours=(json.dumps(after, indent=2, ensure_ascii=False) + "\n").encode(), kept="", merged=True)


def _without_ours(groups: list[Any]) -> list[Any]:
    return [group for group in groups if HOOK_NAME not in json.dumps(group)]


def _groups(hooks: Mapping[str, list[Any]]) -> dict[str, list[str]]:
    return {event: sorted(json.dumps(group, sort_keys=True) for group in groups) for event, groups in hooks.items()}


def _read(path: Path) -> bytes | None:
    """Return the content of a file; None where there is none. A pipe that a run may have put there is none."""
    return path.read_bytes() if path.is_file() else None
