"""Whole runs: the real train.py with a small model, in processes of their own."""

from __future__ import annotations

import ast
import json
import math
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from drawn import drawn
from harness.task import Budget
from harness.text import documents
from made_once import made_once
from pretrain_workspace import ASSETS, HARNESS, Workspace, engine_run, evaluation, new_workspace


@pytest.fixture(scope="module")
def trained(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a run under the engine."""

    def make(folder: Path) -> None:
        done = engine_run(workspace, folder)
        assert done.returncode == 0, done.stderr
        assert "METRIC" not in done.stdout

    run_dir = tmp_path_factory.mktemp("trained") / "run"
    shutil.copytree(made_once(tmp_path_factory, "trained", make), run_dir)
    return run_dir


@pytest.mark.slow
@pytest.mark.sampled(0.08, "trainings")
def test_what_the_engine_reads_of_a_run_is_whole(workspace: Workspace, trained: Path) -> None:
    result = evaluation(workspace, trained, AUTORESEARCH_TRAIN_SECONDS="30.5")
    assert result["outcome"] == "ok"
    assert result["reason"] is None
    assert result["split"] == "search"
    score = result["metrics"]["val_bpb"]
    assert 0 < score < 6
    assert result["metrics"]["num_steps"] == 6
    assert result["metrics"]["total_seconds"] == 30.5
    assert result["metrics"]["val_bpb_reference"] == pytest.approx(score, rel=0.01)
    documents = np.load(trained / "bits-search.npy")
    assert documents[:, 0].sum() / documents[:, 1].sum() == pytest.approx(score, rel=1e-9)
    assert all(math.isfinite(value) for value in result["metrics"].values())
    data, dash, programs = result["manifest"].partition("-")
    assert len(data) == len(programs) == 32 and dash
    curve = [json.loads(line) for line in (trained / "curve.jsonl").read_text().splitlines()]
    assert [line["step"] for line in curve] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
@pytest.mark.sampled(0.08, "trainings")
def test_the_locked_split_is_scored_apart(workspace: Workspace, trained: Path) -> None:
    target = trained / "locked.json"
    given = {"AUTORESEARCH_RUN_DIR": str(trained), "AUTORESEARCH_RESULT": str(target), "AUTORESEARCH_SPLIT": "locked"}
    assert workspace.run("prepare.py", "evaluate", **given).returncode == 0
    locked = json.loads(target.read_text())
    assert (locked["outcome"], locked["split"]) == ("ok", "locked")
    assert 0 < locked["metrics"]["val_bpb"] < 6


@pytest.mark.slow
@pytest.mark.sampled(0.08, "trainings")
@pytest.mark.parametrize(
    ("pattern", "replacement", "outcome", "words"),
    drawn(
        [
            (r"return trunk\(self, ids", "return trunk(self, ids.roll(-1, 1)", "tampered", "later tokens"),
            (r"WIDTH = 64", "WIDTH = 128", "crash", "do not fit"),
            (r"def build_model\(\).*", "def build_model():\n    raise SystemExit(0)", "crash", "SystemExit"),
            (r"\nif __name__", "\nprint('METRIC val_bpb=0.1')\nF.cross_entropy = None\nif __name__", "ok", None),
        ],
        0.25,
        "what the evaluator judges",
    ),
)
def test_the_evaluator_judges_the_committed_file(
    workspace: Workspace,
    trained: Path,
    tmp_path: Path,
    pattern: str,
    replacement: str,
    outcome: str,
    words: str | None,
) -> None:
    second = workspace.copy(tmp_path / "second")
    second.edit("train.py", pattern, replacement)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    for name in ("model.pt", "clock.json", "summary.json"):
        (run_dir / name).write_bytes((trained / name).read_bytes())
    result = evaluation(second, run_dir)
    assert result["outcome"] == outcome
    own = evaluation(workspace, trained)["metrics"]["val_bpb"] if outcome == "ok" else None
    assert result["metrics"].get("val_bpb") == own
    assert bool(result["metrics"]) == (outcome == "ok")
    if words:
        assert words in result["reason"]


def test_a_run_without_finish_has_no_metric(workspace: Workspace, tmp_path: Path) -> None:
    result = evaluation(workspace, tmp_path)
    assert result["outcome"] == "no_metric"
    assert "finish" in result["reason"]


def test_a_run_may_read_nothing_of_the_cache_that_is_text(workspace: Workspace) -> None:
    files = tomllib.loads((ASSETS / "autoresearch.toml").read_text())["files"]
    cache = Path(workspace.env["AUTORESEARCH_CACHE"])
    readable = {path.name for pattern in files["readable"] for path in cache.glob(pattern)}
    assert readable == {"tokenizer.json"}
    assert "{source}" in files["hidden"]


@pytest.mark.slow
@pytest.mark.sampled(0.08, "trainings")
def test_the_held_out_part_of_the_python_text_is_hidden_and_needed_by_no_run(prepare: ModuleType) -> None:
    files = tomllib.loads((ASSETS / "autoresearch.toml").read_text())["files"]
    hidden = {pattern.removeprefix("{stdlib}/") for pattern in files["hidden"] if pattern.startswith("{stdlib}/")}
    assert hidden == set(documents.PYTHON_HELD_OUT)
    task = prepare.Pretrain(prepare.HERE, prepare.Options(source="python"), Budget("steps", 3.0))
    share = task.share(10**7)
    for path in documents.python_files():
        part, trains = share(path)
        held_out = path.relative_to(sysconfig.get_path("stdlib")).parts[0] in hidden
        assert (part > 0) == held_out == (not trains)
    loaded = "import sys, train; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", loaded], cwd=ASSETS, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(HARNESS.parent)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not {name.split(".")[0] for name in done.stdout.split()} & hidden


@pytest.mark.slow
@pytest.mark.sampled(0.08, "trainings")
def test_changed_data_is_refused(workspace: Workspace, trained: Path, tmp_path: Path) -> None:
    changed = workspace.copy(tmp_path / "ws", cache=tmp_path / "cache")
    [path] = (tmp_path / "cache").rglob("search.bin")
    path.write_bytes(path.read_bytes()[:-2] + b"\0\0")
    assert evaluation(changed, trained)["outcome"] == "tampered"


@pytest.mark.slow
@pytest.mark.sampled(0.08, "trainings")
def test_a_loss_that_is_not_finite_ends_the_run_at_once(workspace: Workspace, tmp_path: Path) -> None:
    bad = new_workspace(tmp_path / "ws", "unused", "steps = 6", tmp_path)
    bad.edit("train.py", r"MATRIX_LR = [\d.]+", 'MATRIX_LR = float("inf")')
    (bad.folder / "autoresearch.toml").write_bytes((workspace.folder / "autoresearch.toml").read_bytes())
    done = bad.run("train.py", AUTORESEARCH_CACHE=workspace.env["AUTORESEARCH_CACHE"])
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "the loss is nan" in line
    assert not (bad.folder / ".autoresearch" / "by-hand" / "model.pt").exists()


# The files themselves


def test_the_task_file_is_complete() -> None:
    table = tomllib.loads((ASSETS / "autoresearch.toml").read_text())
    assert table["files"]["mutable"] == ["train.py"]
    ours = {name: ASSETS.parents[1] if name == "harness" else ASSETS for name in table["files"]["immutable"]}
    assert all((folder / name).exists() for name, folder in {**ours, "train.py": ASSETS}.items())
    assert table["task"]["harness"] is True
    assert set(table["profile"]) == {"full", "small", "tiny"}
    for profile in table["profile"].values():
        assert set(profile) == {"budget", "limit_s", "source"}
        assert profile["limit_s"] > profile["budget"]["seconds"]


def test_the_hyperparameters_are_plain_literals_on_one_line_each() -> None:
    found = {}
    for line in (ASSETS / "train.py").read_text().splitlines():
        if match := re.fullmatch(r"([A-Z][A-Z0-9_]+) = ([\d.e-]+)  # \S.*", line):
            found[match[1]] = ast.literal_eval(match[2])
    assert {"MATRIX_LR", "EMBEDDING_LR", "HEAD_LR", "WARMDOWN", "WEIGHT_DECAY", "ROPE_BASE"} <= set(found)
    assert sum(isinstance(value, float) for value in found.values()) >= 12
