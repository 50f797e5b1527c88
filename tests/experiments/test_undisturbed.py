"""Disturbed runs: seen by load and speed, made again, in no noise, and told; never by their value."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from typing import Any

import pytest
from lab import Lab, Maker

from autoresearch.experiments import undisturbed
from autoresearch.experiments.disturbance import disturbance, speed_of
from autoresearch.journal.experiment import Speed
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import RunContext, RunSpec
from autoresearch.workspace.task_file import TaskFile


def run(steps: float | None, *, load: float | None = 3.0, share: float = 1.0, seconds: float = 20.0) -> Measurement:
    metrics = {} if steps is None else {"num_steps": steps, "training_seconds": seconds}
    return Measurement("ok", 1.0, metrics, seconds=seconds, cpu_s=share * seconds, load=load)


def test_a_run_far_slower_than_another_of_its_commit_was_disturbed_when_the_load_was_high() -> None:
    """Three runs of one baseline, of the same 20 seconds, once had 42, 71 and 177 steps, and nothing was said."""
    speeds = [speed_of(run(steps)) for steps in (42, 71, 177)]
    assert [bool(disturbance(run(steps), speeds)) for steps in (42, 71, 177)] == [True, True, False]
    assert "2.1 steps a second, 8.85 in another run of the same code" in disturbance(run(42), speeds)
    assert not disturbance(run(120, load=1.2), speeds), "nobody else was at work: some seeds are slower"
    for load in (1.2, None):  # the host of a virtual machine
        assert disturbance(run(42, load=load), speeds) == "2.1 steps a second, 8.85 in another run of the same code"
    assert not disturbance(run(42, seconds=1.0), speeds)
    few = [speed_of(run(steps, load=None)) for steps in (1, 3)]
    assert not disturbance(run(1, load=None), few), "of few steps none tells much"


def test_the_first_run_of_a_change_is_judged_by_the_processor_time_that_it_got() -> None:
    beside = [Speed(8.0, 1.9)]
    assert disturbance(run(100, share=0.9), (), beside)
    assert not disturbance(run(1, share=1.8), (), beside), "fewer steps of other code tell nothing"
    assert not disturbance(run(None, share=0.9), ())


def made(values: list[float], loads: list[float], paces: list[float]) -> Any:
    """Return a `measure` that gives these runs in turn, by the real one's bookkeeping of nothing."""
    given = iter(zip(values, loads, paces, strict=True))

    def measure(*_: object) -> Measurement:
        value, load, pace = next(given)
        return Measurement("ok", value, {"num_steps": pace * 20}, seconds=20.0, cpu_s=20.0, load=load)

    return measure


@pytest.fixture
def unmeasured(make_lab: Maker) -> Lab:
    lab = make_lab()
    shutil.rmtree(lab.workspace.run_dir(1, 1).parent)
    lab.git("update-ref", "-d", "refs/autoresearch/t/0-journal")
    (lab.root / "autoresearch.jsonl").write_text(
        "".join(line + "\n" for line in (lab.root / "autoresearch.jsonl").read_text().splitlines()[:1])
    )
    return lab


def test_disturbed_runs_of_a_baseline_are_made_again_and_not_in_the_noise(
    unmeasured: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = unmeasured
    runs = made([3.0, 2.0, 1.0, 1.01, 1.02], [4.0, 4.0, 4.0, 1.0, 1.0], [2.1, 3.5, 8.8, 8.9, 8.7])
    monkeypatch.setattr(undisturbed, "measure", runs)
    done = lab.call("baseline", "--json")
    assert done.code == 0, done
    assert [(e["seed"], e["value"]) for e in lab.events("disturbed")] == [(1, 3.0), (2, 2.0)]
    (line,) = lab.events("run")
    assert line["values"] == [1.01, 1.02, 1.0] and line["reason"].endswith("2 disturbed runs made again")
    assert lab.session.noise.dof == 2 and (lab.session.noise.sd or 1) < 0.02
    assert [e.speed.pace for e in lab.session.experiments[0].runs_for("verdict")] == [8.9, 8.7, 8.8]
    assert [r.purpose for r in lab.session.experiments[0].runs].count("disturbed") == 2


def test_where_every_run_does_the_same_work_a_slow_one_of_the_baseline_is_as_good(
    unmeasured: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TaskFile, "same_work", True)
    monkeypatch.setattr(undisturbed, "measure", made([3.0, 2.0, 1.0], [4.0, 4.0, 4.0], [2.1, 3.5, 8.8]))
    assert unmeasured.call("baseline").code == 0
    assert unmeasured.events("run")[0]["values"] == [3.0, 2.0, 1.0] and not unmeasured.events("disturbed")


def test_a_kill_after_a_disturbed_run_leaves_it_in_no_value(unmeasured: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = unmeasured
    given = made([1.0, 3.0], [1.0, 4.0], [8.8, 2.1])

    def measure(context: RunContext, spec: RunSpec) -> Measurement:
        try:
            run: Measurement = given()
        except StopIteration:
            raise KeyboardInterrupt from None
        spec.folder.mkdir(parents=True, exist_ok=True)
        about = {**asdict(run), "seed": spec.seed, "commit": spec.commit}
        (spec.folder / "result.json").write_text(json.dumps(about))
        return run

    monkeypatch.setattr(undisturbed, "measure", measure)
    assert lab.call("baseline").code != 0
    (line,) = lab.events("run")
    assert (line["outcome"], line["values"], line["seeds"]) == ("killed", [1.0], [1])
    assert [e["value"] for e in lab.events("disturbed")] == [3.0]
    lab.git("status")
    assert lab.call("resume").code == 0


def test_a_machine_that_is_always_disturbed_stops_no_session(unmeasured: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = unmeasured
    paces = [8.8, *[2.0] * 3, *[2.0] * 12]
    monkeypatch.setattr(undisturbed, "measure", made([1.0] * 16, [4.0] * 16, paces))
    assert lab.call("baseline").code == 0
    assert 2 <= len(lab.events("disturbed")) <= 8 and len(lab.events("run")[-1]["values"]) == 3
    assert any("counts" in words for words in lab.events("run")[-1]["warnings"])


@pytest.fixture
def calm(unmeasured: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A baseline of three runs on a machine that did nothing else."""
    monkeypatch.setattr(undisturbed, "measure", made([1.0, 1.01, 1.02], [1.0] * 3, [8.8, 8.9, 8.7]))
    assert unmeasured.call("baseline").code == 0
    return unmeasured


def test_more_seeds_of_a_baseline_are_compared_with_those_that_it_has(
    calm: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(undisturbed, "measure", made([3.0, 1.03], [4.0, 1.0], [2.1, 8.8]))
    done = calm.call("baseline", "--seeds", "4")
    assert done.code == 0 and "a disturbed run: 2.1 steps a second" in done.out, done
    assert [(e["seed"], e["value"]) for e in calm.events("disturbed")] == [(4, 3.0)]
    assert [(e["seed"], e["value"]) for e in calm.events("repeat")] == [(4, 1.03)]


def test_the_first_run_of_a_study_is_compared_with_earlier_ones_of_its_commit(
    calm: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(undisturbed, "measure", made([3.0, 1.03], [4.0, 1.0], [2.1, 8.8]))
    done = calm.call("replicate", "1", "--seed", "7", "--json").json
    assert done["replicated"] == 1.03 and len(done["disturbed"]) == 1
    assert [e["value"] for e in calm.events("disturbed")] == [3.0]


def test_the_last_of_several_disturbed_runs_counts_and_is_not_told_as_made_again(
    calm: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(undisturbed, "measure", made([3.0, 3.1, 3.2], [4.0] * 3, [2.1] * 3))
    done = calm.call("replicate", "1", "--seed", "7")
    assert "disturbed  2 runs were made again" in done.out and "and so it counts" in done.out, done
