"""The first command of the README, made as short as it goes: real data, real trainings, real verdicts."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from drawn import drawn
from lab import call
from made_once import made_once
from wheel import installed_wheel

from autoresearch.cli import quickstart

pytestmark = pytest.mark.slow

ONE_SEED = """
import runpy, sys
from autoresearch.cli import quickstart
quickstart.BASELINE_SEEDS, sys.argv[0] = 1, "autoresearch"
runpy.run_module("autoresearch", run_name="__main__")
"""
"""The program with a single run for the baseline, for each is a whole run."""

SHORT = ("--experiments", "1", "--tokens", "4096", "--seed", "2")


def python_of_the_wheel(factory: pytest.TempPathFactory) -> str:
    """Return a Python that has nothing but the wheel, and torch and its like borrowed from that of the tests, for to
    install them would take minutes: a path in a .pth file gives packages and follows no other .pth, so that ours is
    still the one of the wheel."""
    environment = factory.mktemp("quickstart") / "env"
    shutil.copytree(installed_wheel(factory), environment, symlinks=True)
    [packages] = (environment / "lib").glob("python*/site-packages")
    (packages / "borrowed.pth").write_text("\n".join([*site.getsitepackages(), ""]))
    program = environment / "bin/python"
    # Or each process compiles it anew, where writing bytecode is off.
    subprocess.run([program, "-m", "compileall", "-q", packages / "autoresearch"], check=True)
    where = subprocess.run([program, "-c", "import autoresearch; print(autoresearch.__file__)"], capture_output=True,
                           text=True, cwd=environment, check=True).stdout  # fmt: skip
    assert Path(where.strip()).is_relative_to(packages)
    return str(program)


def made_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    """Run it in this process with a single run for the baseline; return what it prints on both streams."""
    monkeypatch.setattr(quickstart, "BASELINE_SEEDS", 1)
    quickstart.run_quickstart(Path("first").resolve(), experiments=1, tokens=4096, seed=2, as_json=True)
    printed = capsys.readouterr()
    return json.loads(printed.out), printed.err


@pytest.fixture
def cache(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache in which the text of the Python installation is prepared, by the same way."""

    def make(folder: Path) -> None:
        monkeypatch.setenv("AUTORESEARCH_CACHE", str(folder / "cache"))
        assert call("init", "lab", "--task", "pretrain", "--profile", "tiny", cwd=folder).code == 0

    made = made_once(tmp_path_factory, "python's text", make)
    shutil.copytree(made / "cache", tmp_path / "cache")
    monkeypatch.setenv("AUTORESEARCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def python(way: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return sys.executable if way == "checkout" else python_of_the_wheel(tmp_path_factory)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("way", drawn(("checkout", "wheel"), 0.5, "quickstart"))
def test_quickstart_ends_with_verdicts_on_real_trainings_a_picture_and_a_report(
    way: str, python: str, cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # another test is at work on the other core
    monkeypatch.chdir(tmp_path)
    program = [python, "-m", "autoresearch", "quickstart", "first"]
    if way == "checkout":
        view, told = made_here(monkeypatch, capsys)
    else:
        short = [python, "-c", ONE_SEED, *program[3:], *SHORT, "--json"]
        done = subprocess.run(short, env=dict(os.environ), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        view, told = json.loads(done.stdout), done.stderr
    assert view["experiments"] == 2
    assert view["baseline"]["experiment"] == 1
    baseline, other = view["log"]
    # An untrained model of this vocabulary is at about 3.7 bits per byte, uniform bytes at 8.
    assert 0.5 < baseline["metric"] < 3.7
    assert other["description"] == "STEPS 1200 -> 600"
    assert other["status"] == "discard"
    assert Path(view["plot"]).read_bytes().startswith(b"\x89PNG")
    assert Path(view["report"]).read_text(encoding="utf-8").startswith("<!doctype html>")
    curve = Path(view["workspace"], ".autoresearch/runs/1/1/curve.jsonl").read_text().splitlines()
    assert len(curve) > 1
    assert "4/4" in told
    assert " left" in told
    again = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 5
    assert "has a session already" in again.stderr
