"""What goes to experiment trackers, read back by the tracker's own reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lab import call

from autoresearch.exchange.trackers import TrackedRun, tracked_runs
from autoresearch.journal import events
from autoresearch.journal.experiment import Speed
from autoresearch.metrics import Metric
from autoresearch.search.families import GENERIC
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace

ENV = {"cpu": "a cpu", "cores": 4}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A session with a baseline of two seeds, a keep with a curve, and a crash."""
    metric = Metric("loss", "lower", "nats")
    lines = [
        events.config_line(0, "s", metric, 100, {"tag": "t", "branch": "autoresearch/t"}),
        events.start_line(1, "a" * 40, None, 1, "baseline", {}, "f1", 100),
        events.run_line(1, "a" * 7, 3.0, {}, "keep", "baseline", 0, {}, 110, details={"values": [2.5, 3.5],
                                                                                      "seeds": [1, 2]}),
        events.start_line(2, "b" * 40, "a" * 40, 1, "wider", {"hypothesis": "it\npays"}, "f2", 120),
        events.run_line(2, "b" * 7, 2.0, {"memory": 7.0}, "keep", "wider", 0, {}, 140, details={
            "values": [2.0], "seeds": [1], "env": ENV, "parent": "a" * 40, "outcome": "ok"}),
        events.disturbed_line(2, 5, 9.0, "a load", Speed(1.0, 0.1), 141),
        events.start_line(3, "c" * 40, "b" * 40, 1, "too big", {}, "f3", 150),
        events.run_line(3, "c" * 7, None, {}, "crash", "too big", 0, {}, 160, details={"outcome": "oom"}),
    ]  # fmt: skip
    (tmp_path / "autoresearch.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    place = tmp_path / ".autoresearch" / "runs" / "2" / "1"
    place.mkdir(parents=True)
    curve = [{"step": 10 * n, "train": 3.0 / n, "progress": n / 4} for n in range(1, 5)]
    (place / "curve.jsonl").write_text("".join(json.dumps(line) + "\n" for line in curve))
    return Workspace(tmp_path)


def runs_of(workspace: Workspace) -> dict[str, TrackedRun]:
    return {run.name: run for run in tracked_runs(workspace, load_session(workspace), GENERIC)}


def test_each_seed_is_a_run_with_what_is_known_of_it_and_no_number_where_there_is_none(workspace: Workspace) -> None:
    runs = runs_of(workspace)
    assert [*runs] == ["t-0-1-1", "t-0-1-2", "t-0-2-1", "t-0-3"]
    assert runs["t-0-1-2"].summary["loss"] == 3.5 and runs["t-0-1-2"].history == ()
    wider = runs["t-0-2-1"]
    assert wider.summary["loss"] == 2.0 and wider.summary["experiment/gain"] == 1.0
    assert wider.summary["experiment/gain_error"] > 0 and wider.summary["metrics/memory"] == 7.0
    assert wider.config["asi/hypothesis"] == "it pays" and wider.config["family"] == "size"
    assert (wider.config["commit"], wider.config["env/cores"]) == ("b" * 40, "4")
    assert [(p.step, p.time) for p in wider.history] == [(10, 125.0), (20, 130.0), (30, 135.0), (40, 140.0)]
    crash = runs["t-0-3"]
    assert crash.summary == {} and crash.config["outcome"] == "oom" and "seed" not in crash.config


@pytest.mark.parametrize("axis", [[0.5, 1.5], [20, 10], [1e30, 2e30], [None, 1]])
def test_what_is_no_rising_whole_number_is_no_step(workspace: Workspace, axis: list[Any]) -> None:
    place = workspace.run_dir(2, 1) / "curve.jsonl"
    place.write_text("".join(json.dumps({"step": step, "train": 1.0}) + "\n" for step in axis))
    history = runs_of(workspace)["t-0-2-1"].history
    assert [p.step for p in history] == [0, 1] and [p.time for p in history] == [130.0, 140.0]


def test_tensorboard_reads_what_was_written_once_however_often_it_was(workspace: Workspace) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    reading = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    for _ in range(2):
        done = call("export", "--to", "tensorboard", "--json", cwd=workspace.root)
        assert done.code == 0 and done.json == {"folder": str(workspace.root / "results.tensorboard"), "runs": 4}, done
    for name, run in runs_of(workspace).items():
        (path,) = (workspace.root / "results.tensorboard" / name).iterdir()
        found = reading.EventAccumulator(str(path))
        found.Reload()
        scalars = {tag: found.Scalars(tag) for tag in found.Tags()["scalars"]}
        names = {f"curve/{key}" for point in run.history for key in point.values} | {*run.summary}
        assert {*scalars} == names
        for key in names & {*run.summary}:
            (event,) = scalars[key]
            assert event.value == pytest.approx(run.summary[key], rel=1e-6) and event.wall_time == run.time
        for at, point in enumerate(run.history):
            event = scalars["curve/train"][at]
            assert (event.step, event.wall_time) == (point.step, point.time)
            assert event.value == pytest.approx(point.values["train"], rel=1e-6)
        text = found.Tensors("run/text_summary")[0].tensor_proto.string_val[0].decode()
        assert run.title in text and all(f"{key}: {value}" in text for key, value in run.config.items())
    assert [path.name for path in workspace.root.iterdir() if path.name.startswith(".results")] == []


def test_a_folder_of_a_persons_is_left_alone(workspace: Workspace) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    (workspace.root / "mine").mkdir()
    (workspace.root / "mine" / "file").write_text("mine")
    refused = call("export", "--to", "tensorboard", "-o", "mine", cwd=workspace.root)
    assert refused.code == 2 and (workspace.root / "mine" / "file").read_text() == "mine"
