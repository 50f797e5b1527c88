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
from wheel import installed_wheel

from autoresearch.cli import quickstart

pytestmark = pytest.mark.slow

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
    where = subprocess.run([program, "-c", "import autoresearch; print(autoresearch.__file__)"], capture_output=True,
                           text=True, cwd=environment, check=True).stdout  # fmt: skip
    assert Path(where.strip()).is_relative_to(packages)
    return str(program)


def made_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    """Run it in this process with a single run for the baseline; return what it prints on both streams."""
    monkeypatch.setattr(quickstart, "BASELINE_SEEDS", 1)  # each is a whole run
    quickstart.run_quickstart(Path("first").resolve(), experiments=1, tokens=4096, seed=2, as_json=True)
    printed = capsys.readouterr()
    return json.loads(printed.out), printed.err


@pytest.mark.sampled(1)
@pytest.mark.parametrize("way", drawn(("checkout", "wheel"), 0.5, "quickstart"))
def test_quickstart_ends_with_verdicts_on_real_trainings_a_picture_and_a_report(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    monkeypatch.setenv("AUTORESEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    python = sys.executable if way == "checkout" else python_of_the_wheel(tmp_path_factory)
    program = [python, "-m", "autoresearch", "quickstart", "first"]
    if way == "checkout":
        view, told = made_here(monkeypatch, capsys)
    else:
        done = subprocess.run([*program, *SHORT, "--json"], env=dict(os.environ), capture_output=True, text=True)
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
