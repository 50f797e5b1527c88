"""The newcomer's first command, for real: data, training, evaluation, verdicts, table, plot and report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from autoresearch.cli import quickstart

pytestmark = pytest.mark.slow


def test_quickstart_ends_with_verdicts_on_real_trainings_a_picture_and_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUTORESEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(quickstart, "BASELINE_SEEDS", 1)  # each is a whole run
    monkeypatch.chdir(tmp_path)
    quickstart.run_quickstart(tmp_path / "first", experiments=1, tokens=4096, seed=2, as_json=True)
    printed = capsys.readouterr()
    view = json.loads(printed.out)
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
    assert "4/4" in printed.err
    assert " left" in printed.err
    command = [sys.executable, "-m", "autoresearch", "quickstart", "first"]
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 5
    assert "has a session already" in again.stderr
