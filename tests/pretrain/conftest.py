"""Fixtures of the pretrain task: its programs as modules, and text to train on."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from made_once import made_once
from pretrain_workspace import ASSETS, Workspace, environment, new_workspace, story


@pytest.fixture(scope="session")
def prepare() -> ModuleType:
    """assets/tasks/pretrain/prepare.py as a module."""
    spec = importlib.util.spec_from_file_location("pretrain_prepare", ASSETS / "prepare.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def train(prepare: ModuleType) -> ModuleType:
    """assets/tasks/pretrain/train.py as a module."""
    sys.modules.setdefault("prepare", prepare)
    spec = importlib.util.spec_from_file_location("pretrain_train", ASSETS / "train.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTORESEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with a budget of 6 steps whose data is prepared, beside its text and its cache; to be copied."""

    def make(folder: Path) -> None:
        (folder / "stories.txt").write_text("\n\n".join(story(n) for n in range(200)), encoding="utf-8")
        made = new_workspace(folder / "ws", folder / "stories.txt", "steps = 6", folder / "cache")
        done = made.run("prepare.py")
        assert done.returncode == 0, done.stderr

    folder = made_once(tmp_path_factory, "prepared", make)
    return Workspace(folder / "ws", environment(folder / "cache"))


@pytest.fixture(scope="session")
def text_file(prepared: Workspace) -> Path:
    """About 400 kB of text in one file."""
    return prepared.folder.parent / "stories.txt"


@pytest.fixture(scope="module")
def workspace(prepared: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the prepared workspace; the cache is everybody's and only read."""
    return prepared.copy(tmp_path_factory.mktemp("workspace") / "ws")
