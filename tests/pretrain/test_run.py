"""Whole runs: the real train.py with a small model, in processes of their own."""

from __future__ import annotations

import ast
import json
import math
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from pretrain_workspace import ASSETS, Workspace, engine_run, evaluation, new_workspace

METRIC = re.compile(r"METRIC ([A-Za-z_][\w.]*)=(\S+)")


@pytest.fixture(scope="module")
def trained(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a run under the engine."""
    run_dir = tmp_path_factory.mktemp("trained")
    done = engine_run(workspace, run_dir)
    assert done.returncode == 0, done.stderr
    assert "METRIC" not in done.stdout
    return run_dir


@pytest.mark.slow
def test_the_same_seed_gives_the_same_score_by_hand_and_under_the_engine(workspace: Workspace, trained: Path) -> None:
    done = workspace.run("train.py", AUTORESEARCH_SEED="3")
    assert done.returncode == 0, done.stderr
    block = done.stdout[done.stdout.index("---\n") :]
    metrics = {name: float(value) for name, value in METRIC.findall(block)}
    assert re.search(rf"^val_bpb: +{metrics['val_bpb']:.6f}$", block, re.MULTILINE)
    assert 0 < metrics["val_bpb"] < 6
    assert metrics["num_steps"] == 6
    result = evaluation(workspace, trained, AUTORESEARCH_TRAIN_SECONDS="30.5")
    assert result["outcome"] == "ok"
    assert result["reason"] is None
    assert result["split"] == "search"
    assert result["metrics"]["val_bpb"] == metrics["val_bpb"]
    assert result["metrics"]["total_seconds"] == 30.5
    assert result["metrics"]["val_bpb_reference"] == pytest.approx(metrics["val_bpb"], rel=0.01)
    documents = np.load(trained / "bits-search.npy")
    assert documents[:, 0].sum() / documents[:, 1].sum() == pytest.approx(metrics["val_bpb"], rel=1e-9)
    assert all(math.isfinite(value) for value in result["metrics"].values())
    assert len(result["manifest"]) == 64
    curve = [json.loads(line) for line in (trained / "curve.jsonl").read_text().splitlines()]
    assert [line["step"] for line in curve] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_the_locked_split_is_scored_apart(workspace: Workspace, trained: Path) -> None:
    target = trained / "locked.json"
    given = {"AUTORESEARCH_RUN_DIR": str(trained), "AUTORESEARCH_RESULT": str(target), "AUTORESEARCH_SPLIT": "locked"}
    assert workspace.run("prepare.py", "evaluate", **given).returncode == 0
    locked = json.loads(target.read_text())
    assert (locked["outcome"], locked["split"]) == ("ok", "locked")
    assert 0 < locked["metrics"]["val_bpb"] < 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pattern", "replacement", "outcome", "words"),
    [
        (r"distance < 0", "distance < -1", "tampered", "later tokens"),
        (r"WIDTH = 64", "WIDTH = 128", "crash", "do not fit"),
        (r"def build_model\(\).*", "def build_model():\n    raise SystemExit(0)", "crash", "SystemExit"),
        (r"\nif __name__", "\nprint('METRIC val_bpb=0.1')\nF.cross_entropy = None\nif __name__", "ok", None),
    ],
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
    second = Workspace(tmp_path / "second", workspace.env)
    second.folder.mkdir()
    for path in workspace.folder.iterdir():
        if path.is_file():
            (second.folder / path.name).write_bytes(path.read_bytes())
    second.edit("train.py", pattern, replacement)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    for name in ("model.pt", "clock.json", "summary.json"):
        (run_dir / name).write_bytes((trained / name).read_bytes())
    result = evaluation(second, run_dir)
    assert result["outcome"] == outcome
    assert result["metrics"].get("val_bpb", 9.0) > 1
    assert bool(result["metrics"]) == (outcome == "ok")
    if words:
        assert words in result["reason"]


def test_a_run_without_finish_has_no_metric(workspace: Workspace, tmp_path: Path) -> None:
    result = evaluation(workspace, tmp_path)
    assert result["outcome"] == "no_metric"
    assert "finish" in result["reason"]


def test_the_task_file_hides_all_that_is_held_out(workspace: Workspace) -> None:
    files = tomllib.loads((ASSETS / "autoresearch.toml").read_text())["files"]
    cache = Path(workspace.env["AUTORESEARCH_CACHE"])
    held_out = [path for path in cache.rglob("*.bin") if "search" in path.name or "locked" in path.name]
    hidden = {path for pattern in files["hidden"] if "{" not in pattern for path in cache.glob(pattern)}
    locked = {path for pattern in files["locked"] for path in cache.glob(pattern)}
    assert len(held_out) == 4
    for path in held_out:
        assert {path, *path.parents} & (hidden | locked)
        assert path.name == "search.bin" or {path, *path.parents} & locked


@pytest.mark.slow
def test_changed_data_is_refused(workspace: Workspace, trained: Path, tmp_path: Path) -> None:
    changed = workspace.copy(tmp_path / "ws", cache=tmp_path / "cache")
    [path] = (tmp_path / "cache").rglob("search.bin")
    path.write_bytes(path.read_bytes()[:-2] + b"\0\0")
    assert evaluation(changed, trained)["outcome"] == "tampered"


@pytest.mark.slow
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
    assert all((ASSETS / name).is_file() for key in ("mutable", "immutable") for name in table["files"][key])
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
