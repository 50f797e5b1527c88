"""The session of `stacked.py`, copied for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import stacked
from lab import Lab
from made_once import made_once

from autoresearch.runs.isolation.sandbox import SWITCH


@pytest.fixture(autouse=True)
def _without_a_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs may reach is not what these tests are about, and holding them to it costs more than they do."""
    monkeypatch.setenv(SWITCH, "off")


@pytest.fixture
def stack(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A session with three kept changes and a discarded one."""
    root = tmp_path / "lab"
    shutil.copytree(made_once(tmp_path_factory, "stacked", stacked.make) / "lab", root, symlinks=True)
    lab = Lab(root)
    lab.git("status")  # the copy's files have other inodes than the index knows
    return lab
