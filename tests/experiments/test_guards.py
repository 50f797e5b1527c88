"""Guards that compare, and a target, end to end: real runs of two metrics, whose luck is that of their seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lab import Lab, Maker, task_file

from autoresearch.experiments.guard_places import unplaced
from autoresearch.workspace.task_file import parse

pytestmark = pytest.mark.slow

COMMAND = """noise=(0 30 -20 10 -30 20 5 -10 25 -15)
hundredths=$(($(cat src/base) + ${noise[$AUTORESEARCH_SEED]}))
[ $AUTORESEARCH_SEED = 1 ] && [ -f src/lucky ] && hundredths=$(cat src/lucky)
accuracy=(0 3 -2 1 -3 2 0 -1 2 -1)
thousandths=$((900 - $(cat src/costs 2>/dev/null || echo 0) + ${accuracy[$AUTORESEARCH_SEED]}))
echo METRIC total_ms=${hundredths:0:-2}.${hundredths: -2}
[ -f src/silent ] || echo METRIC accuracy=0.$thousandths
"""
"""Prints the base value of this commit, in hundredths, and its accuracy, which a file lowers by thousandths."""


def run_of(lab: Lab) -> dict[str, Any]:
    return lab.events("run")[-1]


def tried(lab: Lab, value: float, costs: int) -> dict[str, Any]:
    lab.write("src/base", f"{round(value * 100)}\n")
    lab.write("src/costs", f"{costs}\n")
    assert lab.attempt().code == 0
    lab.assert_clean()
    return run_of(lab)


@pytest.fixture
def guarded(make_lab: Maker) -> Lab:
    """Another metric with a noise of 0.002 that may be worse by 0.01."""
    return make_lab(run={"command": COMMAND}, guard={"accuracy": {"worse_by": 0.01}})


def test_losses_that_are_each_allowed_do_not_add_up(guarded: Lab) -> None:
    lab = guarded
    said = "Whatever the gain, accuracy must be no more than 0.01 worse than the baseline's (higher is better)."
    assert said in lab.call("resume").out and said in lab.call("resume", "--brief").out
    assert run_of(lab)["guards"] == {"accuracy": [0.903, 0.898, 0.901]} and run_of(lab)["reason"] == "baseline"
    first = tried(lab, 90, costs=8)
    assert (first["status"], first["seeds"], first["guards"]) == ("keep", [1, 4], {"accuracy": [0.895, 0.889]})
    assert [(e["experiment"], e["seed"], e["guards"]) for e in lab.events("repeat")] == [(1, 4, {"accuracy": 0.897})]
    assert "not decided: worse by 0.0108 ± 0.0" in first["reason"]
    second = tried(lab, 80, costs=26)  # 0.018 more, which noise would explain beside the incumbent's
    assert second["status"] == "discard" and second["metric"] is not None
    assert second["reason"].startswith("accuracy is worse by 0.0") and "than the baseline's" in second["reason"]
    shown = lab.call("show", "3").out
    assert "accuracy is worse by 0.0" in shown and "and may be by 0.01" in shown
    cheap = tried(lab, 80, costs=0)
    assert cheap["status"] == "keep" and "accuracy" not in cheap["reason"]


def test_more_seeds_of_the_baseline_and_a_replica_have_it_too(guarded: Lab) -> None:
    assert guarded.call("baseline", "--seeds", "4").code == 0
    assert guarded.call("replicate", "1", "--seed", "5").code == 0
    assert [e["guards"] for e in guarded.events("repeat")] == [{"accuracy": 0.897}, {"accuracy": 0.902}]
    baseline = guarded.session.baseline
    assert baseline is not None and len(baseline.guarded("accuracy", "verdict", "repeat")) == 5


def test_what_a_change_no_longer_reports_is_told(guarded: Lab) -> None:
    guarded.write("src/silent", "")
    run = tried(guarded, 90, costs=0)
    assert run["status"] == "keep" and run["guards"] == {"accuracy": [None, None]}
    assert run["reason"].endswith("accuracy was not reported, so its guard tells nothing")


def test_a_target_is_reached_by_a_confirmed_value_and_not_by_a_lucky_run(make_lab: Maker) -> None:
    lab = make_lab(run={"command": COMMAND}, stop={"target": 95})
    lab.write("src/lucky", "8000\n")
    lucky = tried(lab, 96, costs=0)
    assert (lucky["status"], lucky["values"]) == ("keep", [80, 95.7])
    assert lab.call("status", "--json").json["stop"] is None
    (lab.root / "src/lucky").unlink()
    assert tried(lab, 94, costs=0)["status"] == "keep"
    assert lab.call("resume", "--json").json["stop"].endswith(", and the target is 95")
    lab.prints(1)
    assert lab.call("try", "-m", "more").code == 6


@pytest.mark.parametrize(
    ("prints", "says"),
    [
        (
            "loss: 0.5 - val_acc: 0.91",
            "the output has val_acc: add val_acc = { pattern = 'val_acc: (\\S+)' } to",
        ),
        ("val_acc 0.5 then: val_acc 0.7", "val_acc has a guard, and nothing reports it: print METRIC val_acc=number"),
        ("nothing", "val_acc has a guard, and nothing reports it"),
    ],
)
def test_a_baseline_says_where_a_metric_with_a_guard_is_in_its_output(tmp_path: Path, prints: str, says: str) -> None:
    (tmp_path / "run.log").write_text(f"started\n{prints}\n")
    task = parse(task_file() + "[guard]\nval_acc = { worse_by = 0.01 }\n")
    (told,) = unplaced(task, {}, tmp_path / "run.log")
    assert told.startswith(says) and told.endswith("commit that, then: autoresearch segment")
    assert unplaced(task, {"val_acc": 1.0}, tmp_path / "run.log") == []


def test_another_policy_is_held_to_the_same_guards(guarded: Lab) -> None:
    lab = guarded
    tried(lab, 90, costs=60)
    tried(lab, 85, costs=0)
    for policy in ("greedy", "confirm"):
        rows = {row["experiment"]: row for row in lab.call("log", "--policy", policy, "--json").json["experiments"]}
        assert rows[2]["would"] == "discard" and rows[3]["would"] == "keep", rows
