"""Which Python a run gets: what the person's shell would use."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from autoresearch.workspace.python import search_path
from autoresearch.workspace.workspace import Workspace


def environment(root: Path) -> Path:
    (root / "bin").mkdir(parents=True)
    (root / "bin/python").symlink_to(sys.executable)
    return root


def first(root: Path) -> str:
    return search_path(Workspace(root)).split(os.pathsep)[0]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_an_activated_environment_comes_before_our_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    theirs = environment(tmp_path / "theirs")
    assert first(tmp_path) == str(Path(sys.executable).parent)
    monkeypatch.setenv(variable, str(theirs))
    assert first(tmp_path) == str(Path(sys.executable).parent), "it is named, and not on the PATH"
    monkeypatch.setenv("PATH", f"{theirs}/bin:/usr/bin:/bin")
    assert first(tmp_path) == f"{theirs}/bin"
    environment(tmp_path / ".venv")
    assert first(tmp_path) == f"{tmp_path}/.venv/bin", "the workspace's own comes first"


def test_of_two_the_one_that_the_shell_finds_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conda, inner = environment(tmp_path / "conda"), environment(tmp_path / "inner")
    monkeypatch.setenv("CONDA_PREFIX", str(conda))
    monkeypatch.setenv("VIRTUAL_ENV", str(inner))
    monkeypatch.setenv("PATH", f"{inner}/bin:{conda}/bin:/usr/bin")
    assert first(tmp_path) == f"{inner}/bin"
    monkeypatch.setenv("PATH", f"{conda}/bin:{inner}/bin:/usr/bin")
    assert first(tmp_path) == f"{conda}/bin"


def test_with_a_harness_it_is_what_this_program_was_installed_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = environment(tmp_path / "theirs")
    (tmp_path / "harness").mkdir()
    monkeypatch.setenv("VIRTUAL_ENV", str(theirs))
    monkeypatch.setenv("PATH", f"{theirs}/bin:/usr/bin")
    assert first(tmp_path) == str(Path(sys.executable).parent)
