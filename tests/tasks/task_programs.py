"""The tasks that we ship, in tests: their programs as modules, and workspaces of their real files."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Iterator

ASSETS = Path(__file__).resolve().parents[2] / "assets"
HARNESS_TASKS = ("images", "mazes", "pretrain", "shakespeare")


def prepare_of(task: str) -> ModuleType:
    """assets/tasks/TASK/prepare.py as a module."""
    return module(f"{task}_prepare", ASSETS / "tasks" / task / "prepare.py")


@contextmanager
def train_of(task: str, prepare: ModuleType) -> Iterator[ModuleType]:
    """assets/tasks/TASK/train.py as a module, which finds that prepare.py."""
    held = sys.modules.get("prepare")
    sys.modules["prepare"] = prepare
    try:
        yield module(f"{task}_train", ASSETS / "tasks" / task / "train.py")
    finally:
        sys.modules.pop("prepare")
        if held is not None:
            sys.modules["prepare"] = held


def module(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


def workspace(folder: Path, task: str, **changes: Any) -> Path:
    """A copy of a task's files with `harness/`; `changes` are lines of autoresearch.toml."""
    for origin, target in ((ASSETS / "tasks" / task, folder), (ASSETS / "harness", folder / "harness")):
        shutil.copytree(origin, target, ignore=shutil.ignore_patterns("__pycache__", ".autoresearch"))
    return folder
