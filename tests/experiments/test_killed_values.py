"""What recovery takes of the result files of an experiment that was killed."""

from __future__ import annotations

import json

import pytest
from lab import Lab

from autoresearch.experiments.pace import run_seconds
from autoresearch.journal import events


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
    path = lab.workspace.run_dir(2, 1) / "result.json"
    commit = json.loads(path.read_text())["commit"]
    path.write_text(json.dumps({**left, "commit": commit} if isinstance(left, dict) and left else left))
    done = lab.call("resume")
    assert done.code == 0, done.err
    found = lab.session.find(2)
    assert found is not None and found.outcome == "killed" and not found.values


def test_the_hours_until_a_killed_experiment_was_found_are_no_length_of_a_run(lab: Lab) -> None:
    before = run_seconds(lab.session)
    details = {"outcome": "killed", "reason": "", "values": [1.0], "seeds": [5], "parent": None}
    line = events.run_line(2, "abcdef1", None, {}, "crash", "killed", 0, {}, 1_900_000_000, details=details)
    with lab.workspace.journal.open("a") as file:
        file.write(json.dumps(line) + "\n")
    assert lab.session.current[-1].outcome == "killed" and run_seconds(lab.session) == before
