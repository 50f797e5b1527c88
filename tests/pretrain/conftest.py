"""Fixtures of the pretrain task: its programs as modules, and text to train on."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from pretrain_workspace import ASSETS, story


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
    pytest.importorskip("torch")
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
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 400 kB of text in one file."""
    path = tmp_path_factory.mktemp("text") / "stories.txt"
    path.write_text("\n\n".join(story(n) for n in range(200)), encoding="utf-8")
    return path
