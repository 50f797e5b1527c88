"""What goes to experiment trackers, read back by the tracker's own reader."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lab import call, cli

from autoresearch.errors import UsageError
from autoresearch.exchange.tracker_folder import made_anew, strange
from autoresearch.exchange.trackers import TrackedRun, tracked_runs
from autoresearch.journal import events
from autoresearch.journal.experiment import Speed
from autoresearch.metrics import Metric
from autoresearch.runs import tool_files
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


@pytest.mark.parametrize("axis", [[0.5, 1.5], [20, 10], [1e30, 2e30], [-1e30, 2], [None, 1]])
def test_what_is_no_rising_whole_number_is_no_step(workspace: Workspace, axis: list[Any]) -> None:
    place = workspace.run_dir(2, 1) / "curve.jsonl"
    place.write_text("".join(json.dumps({"step": step, "train": 1.0}) + "\n" for step in axis))
    history = runs_of(workspace)["t-0-2-1"].history
    assert [p.step for p in history] == [0, 1] and [p.time for p in history] == [130.0, 140.0]


def test_a_folder_with_files_of_a_person_is_refused_and_another_one_is_written(tmp_path: Path) -> None:
    mine = tmp_path / "there/mine"
    mine.parent.mkdir()
    mine.write_text("mine\n")
    with pytest.raises(UsageError, match="name another folder with -o"), made_anew(mine.parent):
        pass
    assert [*tmp_path.iterdir()] == [mine.parent] and mine.read_text() == "mine\n"
    for content in ("first", "second"):
        with made_anew(tmp_path / "another") as new:
            (new / content).write_text(content)
    assert not (tmp_path / "another/first").exists() and (tmp_path / "another/second").exists()


def test_what_a_person_has_a_tracker_write_into_an_export_is_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "export"

    def export() -> None:
        with made_anew(folder) as new:
            (new / "runs").mkdir()
            (new / "runs/latest").symlink_to("ours")
            (new / "runs/ours").write_text("ours")
            (new / "runs/empty").touch()

    export()
    for name in ("runs/ours.synced", "runs/empty"):  # what the programs of trackers leave when one looks with them
        (folder / name).touch()
    (folder / "db-shm").write_text("an index")
    export()
    assert sorted(path.name for path in folder.rglob("*") if not path.name.startswith(".")) == [
        "empty", "latest", "ours", "runs"
    ]  # fmt: skip
    (tmp_path / "elsewhere").mkdir()
    links = ("runs/latest", "a link")
    for name in ("runs/mine", "mine/events", "runs/ours", "runs/empty", *links):
        export()
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if name in links:
            path.unlink(missing_ok=True)
            path.symlink_to(tmp_path / "elsewhere")
        else:
            path.write_text("mine")
        with pytest.raises(UsageError, match=f"not as an export has left them, such as {name}"):
            export()
        assert path.is_dir() if name in links else path.read_text() == "mine"
        path.unlink()
        if name == "runs/ours":
            path.write_text("ours")
        elif name == "runs/latest":
            path.symlink_to("ours")
    (folder / ".autoresearch-export").write_text("{}")  # of a version that did not note what it has written
    with pytest.raises(UsageError, match="such as runs/"):
        export()


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


def test_a_tag_leads_nowhere(workspace: Workspace) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    text = workspace.journal.read_text().replace('"tag": "t"', '"tag": "../../out/t"')
    (workspace.root / "ws").mkdir()
    (workspace.root / "ws/autoresearch.jsonl").write_text(text)
    workspace.journal.unlink()
    done = call("export", "--to", "tensorboard", cwd=workspace.root / "ws")
    assert done.code == 0 and not (workspace.root / "out").exists(), done
    assert len([*(workspace.root / "ws/results.tensorboard").glob("..-..-out-t-*")]) == 4


def test_a_folder_of_a_persons_is_left_alone(workspace: Workspace) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    (workspace.root / "mine").mkdir()
    (workspace.root / "mine" / "file").write_text("mine")
    refused = call("export", "--to", "tensorboard", "-o", "mine", cwd=workspace.root)
    assert refused.code == 2 and (workspace.root / "mine" / "file").read_text() == "mine"


def exported(workspace: Workspace, to: str) -> Path:
    """Export by the real program, since such libraries read the environment once, over an older export; return the
    folder."""
    folder = workspace.root / f"results.{to}"
    (folder / "old").mkdir(parents=True)
    (folder / ".autoresearch-export").touch()
    done = cli("export", "--to", to, "--json", cwd=workspace.root)
    assert done.code == 0 and done.json == {"folder": str(folder), "runs": 4}, done
    assert not (folder / "old").exists() and not [
        path for path in workspace.root.iterdir() if path.name.startswith(".results")
    ]
    assert strange(folder) == "", "the library has gone on writing"
    return folder


@pytest.mark.slow
@pytest.mark.sampled(0.24)
def test_wandb_reads_what_was_written(workspace: Workspace) -> None:
    messages = pytest.importorskip("wandb.proto.wandb_internal_pb2", reason="wandb is not installed")
    folder = exported(workspace, "wandb") / "wandb"
    assert len([*folder.glob("offline-run-*")]) == 4
    for name, run in runs_of(workspace).items():
        (path,) = folder.glob(f"offline-run-*-{name}/run-{name}.wandb")
        rows, config, title = [], {}, ""
        for content in tool_files.records(path.read_bytes()):
            record = messages.Record.FromString(content)
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            title = record.run.display_name or title
            if record.history.item:
                rows.append(
                    {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
                )
        assert (title, {key: config[key] for key in run.config}) == (run.title, dict(run.config))
        curves = [{"curve/" + key: value for key, value in point.values.items()} for point in run.history]
        assert [{key: row[key] for key in row if key.startswith("curve/")} for row in rows] == curves
        assert [(row["_step"], row["_timestamp"]) for row in rows] == [(p.step, p.time) for p in run.history]
        last = tool_files.wandb(path, name)
        assert {key: last[key] for key in run.summary} == run.summary


@pytest.mark.slow
@pytest.mark.sampled(0.24)
def test_mlflow_reads_what_was_written(workspace: Workspace) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{exported(workspace, 'mlflow') / 'mlflow.db'}")
    place = client.get_experiment_by_name("t")
    found = {run.data.tags["autoresearch.run"]: run for run in client.search_runs([place.experiment_id])}
    ours = runs_of(workspace)
    assert {*found} == {*ours}
    for name, run in ours.items():
        data, info = found[name].data, found[name].info
        assert (info.run_name, info.status, info.end_time) == (run.title, "FINISHED", 1000 * run.time)
        assert data.params == run.config and {key: data.metrics[key] for key in run.summary} == run.summary
        curve = [(m.step, m.timestamp, m.value) for m in client.get_metric_history(info.run_id, "curve/train")]
        assert sorted(curve) == [(p.step, 1000 * p.time, p.values["train"]) for p in run.history]


TRACKIO = """
import json, sys
from trackio.sqlite_storage import SQLiteStorage as storage
runs = {run["name"]: run["id"] for run in storage.get_run_records("t")}
print(json.dumps({name: storage.get_logs("t", run_id=key) for name, key in runs.items()}))
print(json.dumps({name: storage.get_run_config("t", run_id=key) for name, key in runs.items()}))
"""


@pytest.mark.slow
@pytest.mark.sampled(0.24)
def test_trackio_reads_what_was_written(workspace: Workspace) -> None:
    pytest.importorskip("trackio", reason="trackio is not installed")
    env = {**os.environ, "TRACKIO_DIR": str(exported(workspace, "trackio")), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", TRACKIO], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    logs, configs = map(json.loads, done.stdout.splitlines())
    ours = {run.title: run for run in runs_of(workspace).values()}
    assert {*logs} == {*configs} == {*ours} and len(ours) == 4
    for name, run in ours.items():
        assert {key: configs[name][key] for key in run.config} == run.config
        *curve, last = logs[name]
        assert [(row["step"], row["curve/train"]) for row in curve] == [
            (p.step, p.values["train"]) for p in run.history
        ]
        times = [datetime.datetime.fromisoformat(row["timestamp"]).timestamp() for row in (*curve, last)]
        assert times == [*(p.time for p in run.history), run.time]
        assert {key: last[key] for key in run.summary} == run.summary
