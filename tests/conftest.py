"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from lab import INIT, TAG, WHERE, Lab, Maker, Repo, new_repo, task_file
from made_once import made_once

from autoresearch.runs.isolation.choice import missing
from autoresearch.runs.isolation.sandbox import SWITCH

pytest_plugins = ("drawn", "cpu_budget", "allowed_skips")

# Ignored signals are inherited: a shell leaves SIGINT so for what it starts in the background, nohup leaves SIGHUP.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # or threads of torch burn seconds while they wait for a busy core
gc.disable()  # until all is imported: what is imported stays, and looking at it again and again is a fifth of the start


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def _a_neutral_git(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing of the machine's own git configuration, nor of an outer repository, reaches a test."""
    empty = tmp_path_factory.mktemp("git") / "config"
    empty.write_text("")
    for name in [name for name in os.environ if name.startswith(("GIT_", "AUTORESEARCH_"))]:
        del os.environ[name]
    os.environ.update(GIT_CONFIG_GLOBAL=str(empty), GIT_CONFIG_SYSTEM=str(empty))


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    """A repository with a benchmark, a mutable folder, and one commit."""
    return new_repo(tmp_path / "repo")


@pytest.fixture(scope="session")
def _templates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[tuple[str, ...], str], Path]:
    def template(options: tuple[str, ...], tables: str) -> Path:
        def make(folder: Path) -> None:
            lab = new_repo(folder / "lab")
            if tables != "{}":
                lab.write("autoresearch.toml", task_file(**json.loads(tables)))
                lab.commit("the task")
            init = (*INIT, *options) if tables == "{}" else ("init", ".", "--task", "command", "--tag", TAG)
            for words in (init, ("baseline",)):
                done = lab.call(*words)
                assert done.code == 0, done

        return made_once(tmp_path_factory, f"lab {options} {tables}", make) / "lab"

    return template


@pytest.fixture
def make_lab(tmp_path: Path, _templates: Callable[[tuple[str, ...], str], Path]) -> Maker:
    """Return a function that makes a lab from options of `init`, or from tables of a task file of its own.

    A baseline of 100 is measured, three times the same.
    """

    def make(*options: str, **tables: Mapping[str, object]) -> Lab:
        root = tmp_path / "lab"
        shutil.copytree(_templates(options, json.dumps(tables)), root, symlinks=True)
        lab = Lab(root)
        lab.git("status")  # the copy's files have other inodes than the index knows
        return lab

    return make


@pytest.fixture
def lab(make_lab: Maker) -> Lab:
    """A workspace with a baseline of exactly 100, lower is better."""
    return make_lab()


@pytest.fixture(params=WHERE)
def sandboxed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run a test twice: without a sandbox, and in one where there is one."""
    inside: bool = request.param == WHERE[1]
    if inside and (why := missing()):
        pytest.skip(why)
    if not inside:
        monkeypatch.setenv(SWITCH, "off")
    return inside
