"""Stop conditions: no experiment starts, nothing is recorded, exit code 6."""

from __future__ import annotations

import json
import math

import pytest
from lab import Lab, Maker
from sessions import session

from autoresearch.errors import StopReached
from autoresearch.experiments.attempt import attempt
from autoresearch.experiments.pace import run_seconds
from autoresearch.experiments.preflight import check_stop
from autoresearch.experiments.stop import stop_reason
from autoresearch.journal.session import Session
from autoresearch.workspace.metric_names import best_possible
from autoresearch.workspace.task_file import Stop


def refused(lab: Lab, what: str) -> None:
    before = lab.events()
    lab.prints(1)
    done = lab.call("try", "-m", "x", "--json")
    assert done.code == 6, done
    assert done.json["error"]["kind"] == "stop" and what in done.json["error"]["message"]
    assert done.json["error"]["fix"]
    assert lab.events() == before
    assert "total_ms=1\n" in (lab.root / "src/run.sh").read_text()


def test_a_file_stop_ends_the_session_until_it_is_removed(lab: Lab) -> None:
    lab.write("STOP", "")
    refused(lab, "STOP")
    (lab.root / "STOP").unlink()
    assert lab.attempt("echo METRIC total_ms=1\n").code == 0


def test_the_number_of_experiments_is_limited(make_lab: Maker) -> None:
    lab = make_lab(stop={"max_experiments": 2})
    assert lab.attempt("echo METRIC total_ms=200\n").code == 0
    refused(lab, "max_experiments is 2")


def test_a_verdict_after_which_nothing_may_begin_points_nowhere(make_lab: Maker) -> None:
    lab = make_lab(stop={"max_experiments": 2})
    told = lab.attempt("echo METRIC total_ms=100\n# the same number: a near miss\n").out
    assert "DISCARD" in told and "stop   2 experiments are done" in told
    assert "next   nothing, until the user wants more" in told and "autoresearch start" not in told


@pytest.mark.slow
def test_failures_in_a_row_are_limited_and_a_killed_run_is_none(make_lab: Maker) -> None:
    lab = make_lab(stop={"max_consecutive_failures": 2})
    for script in ("exit 1\n", "kill -KILL $$\n", "echo METRIC total_ms=200\n", "exit 2\n", "kill -KILL $$ #\n"):
        assert lab.attempt(script).code == 0
    assert lab.attempt("exit 3\n").code == 0
    refused(lab, "2 failures in a row")


def test_brief_and_hook_and_try_say_the_same(make_lab: Maker) -> None:
    lab = make_lab(stop={"max_experiments": 1})
    done = lab.call("try", "-m", "x", "--json").json["error"]["message"]
    resumed = lab.call("resume", "--json").json
    hook = json.loads(lab.workspace.for_hooks.read_text())
    assert done == resumed["stop"] == hook["stop"] == "1 experiments are done, max_experiments is 1"
    lab.write("STOP", "")
    assert lab.call("resume", "--json").json["stop"] == "the file STOP is here"
    status = lab.call("status")
    assert "stopped      the file STOP is here" in status.out and "autoresearch try" not in status.out
    assert lab.call("status", "--json").json["next"] == lab.call("resume", "--json").json["next"]
    refusal = lab.call("next", "--json")
    assert refusal.code == 6 and refusal.json["error"]["message"] == "the file STOP is here"


def told(session: Session, **stop: float) -> str | None:
    return stop_reason(Stop(**stop), session, 10**9)


def test_a_target_ends_the_session_when_what_was_kept_has_reached_it() -> None:
    rows = [("discard", 40.0, "lucky once"), ("keep", 60.0, "faster")]
    assert told(session(*rows), target=59.9) is None
    assert told(session(*rows), target=60) == "experiment 3 has 60, and the target is 60"
    assert told(session(), target=100) == "experiment 1 has 100, and the target is 100"
    assert told(session(*rows)) is None


def test_a_number_that_cannot_be_better_ends_the_session() -> None:
    assert told(session(("keep", 0.0, "nothing left"))) == "ms is 0, and cannot be better"
    assert told(session(("discard", 0.0, "not kept"))) is None
    assert best_possible("val_loss", "lower") is None and best_possible("bytes_saved", "higher") is None
    assert best_possible("accuracy", "higher", "%") == 100 and best_possible("accuracy", "higher") == 1
    assert best_possible("accuracy", "higher", "", small=False) is None


def test_hours_are_counted_by_the_clock_that_is_passed_in(make_lab: Maker) -> None:
    lab = make_lab(stop={"max_hours": 2})
    begun, stop = lab.session, Stop(max_hours=2)
    started = begun.current[0].started
    assert started is not None
    last = started + 7200 - max(1, math.ceil(run_seconds(begun) or 0))  # a run of a slow machine takes seconds
    check_stop(lab.workspace, begun, stop, last)
    with pytest.raises(StopReached, match=r"2\.0 hours"):
        check_stop(lab.workspace, begun, stop, started + 7200)
    lab.prints(1)
    with pytest.raises(StopReached):
        attempt(lab.workspace, "x", {}, lambda: started + 7200)
    assert attempt(lab.workspace, "x", {}, lambda: last).experiment.status == "keep"
