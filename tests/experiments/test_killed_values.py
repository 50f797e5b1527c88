"""What recovery takes of the result files of an experiment that was killed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from lab import Lab, task_file

from autoresearch.experiments.pace import run_seconds
from autoresearch.experiments.recovery import killed
from autoresearch.journal import events
from autoresearch.journal.refs import mirror_ref
from autoresearch.statistics.alpha import spent_on
from autoresearch.statistics.rules import Rules
from autoresearch.workspace.session_journal import append


@pytest.mark.parametrize(
    "left",
    [{"outcome": "crash", "value": None, "seed": 1}, [1, 2], {"outcome": "ok", "value": None, "seed": 1}, {}, None],
    ids=["a run that crashed", "a list of the command's own", "a value that is none", "nothing in it", "null"],
)
def test_a_result_without_a_value_is_passed_over(lab: Lab, left: object) -> None:
    lab.write("src/run.sh", "exit 3\n")
    lab.call("try", "-m", "crashes", "--json")
    lines = lab.workspace.journal.read_text().splitlines()
    verdict = next(n for n, line in enumerate(lines) if json.loads(line).get("run") == 2)
    lab.workspace.journal.write_text("\n".join(lines[:verdict]) + "\n")  # killed before it was written
    lab.git("update-ref", "-d", mirror_ref(lab.session.segment.tag))
    path = lab.workspace.run_dir(2, 1) / "result.json"
    commit = json.loads(path.read_text())["commit"]
    path.write_text(json.dumps({**left, "commit": commit} if isinstance(left, dict) and left else left))
    done = lab.call("resume")
    assert done.code == 0, done.err
    found = lab.session.find(2)
    assert found is not None and found.outcome == "killed" and not found.values


@pytest.mark.parametrize(("pairs", "seeds"), [(None, 7), (2, 2)], ids=["by the rules", "as asked for"])
def test_looks_at_a_killed_experiment_are_paid_for_out_of_the_budget_of_the_night(
    lab: Lab, pairs: int | None, seeds: int
) -> None:
    rules, commit = Rules(night_alpha=0.05, seeds=7), lab.session.current[0].commit
    for seed, value in ((2, 100.3), (3, 99.8)):  # so that its repeats are not all equal
        append(lab.workspace, events.repeat_line(1, 10 + seed, value, {}, 1))
    lab.write("autoresearch.toml", task_file(keep={"night_alpha": 0.05, "seeds": 7}))
    append(lab.workspace, events.start_line(2, "c" * 40, commit, 1, "a change", {}, "f", 2, pairs=pairs))
    for seed, value in ((1, 90.0), (20, 91.0), (21, 92.0)):
        folder = lab.workspace.run_dir(2, seed)
        folder.mkdir(parents=True)
        result = {"outcome": "ok", "value": value, "seed": seed, "commit": "c" * 40}
        (folder / "result.json").write_text(json.dumps(result))
    append(lab.workspace, events.repeat_line(1, 20, 100.1, {}, 3))
    begun = lab.session.find(2)
    assert begun is not None and begun.pairs == pairs
    found = killed(lab.workspace, lab.session, begun, 4, "the machine failed")
    assert found["alpha"] == pytest.approx(spent_on(1, replace(rules, seeds=seeds))), "one pair is complete"
    append(lab.workspace, found)
    assert lab.session.alpha_spent == found["alpha"] and lab.session.unfinished is None


def test_the_hours_until_a_killed_experiment_was_found_are_no_length_of_a_run(lab: Lab) -> None:
    before = run_seconds(lab.session)
    details = {"outcome": "killed", "reason": "", "values": [1.0], "seeds": [5], "parent": None}
    line = events.run_line(2, "abcdef1", None, {}, "crash", "killed", 0, {}, 1_900_000_000, details=details)
    with lab.workspace.journal.open("a") as file:
        file.write(json.dumps(line) + "\n")
    assert lab.session.current[-1].outcome == "killed" and run_seconds(lab.session) == before
