"""What a newer version changes of a task file that nobody touches: keys that are new, defaults that are others.

The task file is the session's own and no upgrade writes it, so what it leaves to a default is decided by the version
that reads it. `init` and `upgrade` note the defaults of their version (`given.py`), and what differs from them is told.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticUndefined

from autoresearch.workspace import assets, task_file
from autoresearch.workspace.given import defaults_of
from autoresearch.workspace.task_file import TaskFile
from autoresearch.workspace.workspace import Workspace

TABLES = ("metric", "run", "files", "keep", "stop", "search")
"""Tables whose keys have defaults. What is in the others is data, or is the task's own."""

CHOSEN = frozenset(("run.budget", "run.limit_s", "keep.policy", "keep.seeds", "files.link", "files.mutable"))
"""What `init` sets for each workspace, so that a difference from the task's own file says nothing."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A key of the task file that this version reads otherwise, or that the task's own file now has otherwise."""

    key: str
    what: str
    """`new`: earlier versions did not know it; `default`: it is not set, and its default was another; `task`: the file
    of this version's task has it, or has another value."""
    was: object
    """The earlier default, or what this workspace's file has; None where there is none."""
    now: object

    @property
    def noted(self) -> bool:
        """Whether an upgrade makes it known, so that it is told once."""
        return self.what in ("new", "default")


def defaults() -> dict[str, object]:
    """Return `table.key` -> what this version takes where a task file does not say it, as JSON has it."""
    found: dict[str, object] = {}
    for table in TABLES:
        model: Any = TaskFile.model_fields[table].annotation
        for name, field in model.model_fields.items():
            if field.default_factory is not None:
                found[f"{table}.{name}"] = {}
            elif field.default is not PydanticUndefined:
                found[f"{table}.{name}"] = _plain(field.default)
    return found


def changed_settings(workspace: Workspace) -> list[Setting]:
    """Return what this version changes of the workspace's task file, none where that file cannot be read."""
    try:
        theirs = _flat(tomllib.loads((workspace.root / task_file.NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return []
    return [*_other_defaults(defaults_of(workspace), theirs), *_other_task(theirs)]


def _other_defaults(before: Mapping[str, object] | None, theirs: Mapping[str, object]) -> Iterator[Setting]:
    if before is None:
        return  # written by a version that noted none
    for key, now in defaults().items():
        if key not in before:
            yield Setting(key, "new", None, now)
        elif before[key] != now and key not in theirs:
            yield Setting(key, "default", before[key], now)


def _other_task(theirs: Mapping[str, object]) -> Iterator[Setting]:
    """Yield what the task's own file has otherwise, where the task comes with this package."""
    name = theirs.get("task.name")
    if theirs.get("task.harness") is not True or name not in assets.task_names():
        return
    ours = _flat(tomllib.loads((assets.task_folder(str(name)) / task_file.NAME).read_text(encoding="utf-8")))
    for key, now in ours.items():
        if key.split(".")[0] in TABLES and key not in CHOSEN and theirs.get(key) != now:
            yield Setting(key, "task", theirs.get(key), now)


def _flat(data: Mapping[str, Any]) -> dict[str, object]:
    """Return `table.key` -> value."""
    return {
        f"{table}.{key}": value for table, keys in data.items() if isinstance(keys, dict) for key, value in keys.items()
    }


def _plain(value: object) -> object:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
