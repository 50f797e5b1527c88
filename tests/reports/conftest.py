"""The workspace of `night.py`: made once for all, and a copy for tests that change it."""

from __future__ import annotations

import shutil
from pathlib import Path

import night
import pytest
from made_once import made_once

from autoresearch.workspace.workspace import Workspace


@pytest.fixture(scope="session")
def finished_night(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The workspace, for reading."""
    return Workspace(made_once(tmp_path_factory, "a night", lambda folder: night.make(folder / "ws")) / "ws")


@pytest.fixture
def a_night(tmp_path: Path, finished_night: Workspace) -> Workspace:
    """A copy of it without what its runs left, to change."""
    shutil.copytree(finished_night.root, tmp_path / "ws", symlinks=True, ignore=shutil.ignore_patterns("runs"))
    return Workspace(tmp_path / "ws")
