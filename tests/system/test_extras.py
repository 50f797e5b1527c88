"""How an extra is installed where this program runs, and which of them a run has missed."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoresearch.system import extras


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment as uv makes it: a Python without pip, and not on the path."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(extras.sys, "prefix", str(tmp_path))
    monkeypatch.setattr(extras.sys, "executable", str(tmp_path / "bin/python"))
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return tmp_path


def test_the_command_installs_into_the_environment_of_this_program(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python, package = environment / "bin/python", "'autoresearch[plot]'"
    assert extras.install("plot") == f"uv pip install --python {python} {package}"
    (environment / "pipx_metadata.json").touch()
    assert extras.install("plot") == f"pipx runpip autoresearch install {package}"
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda _: object())
    assert extras.install("plot") == f"{python} -m pip install {package}"
    pip = environment / "bin/pip"
    pip.write_text("#!/bin/sh\n")
    pip.chmod(0o755)
    monkeypatch.setenv("PATH", f"{environment}/bin:/usr/bin:/bin")
    assert extras.install("plot") == f"pip install {package}"


def test_a_module_of_the_ml_tasks_that_a_run_did_not_find_is_known(tmp_path: Path) -> None:
    said = ["Traceback (most recent call last):", "ModuleNotFoundError: No module named 'torch.nn'"]
    assert extras.missing_ml(tmp_path, said) == "torch"
    assert extras.missing_ml(tmp_path, ["ModuleNotFoundError: No module named 'mine'", "torch"]) is None
    (tmp_path / ".venv").mkdir()  # runs use that one, and nothing is known of what it has
    assert extras.missing_ml(tmp_path, said) is None
