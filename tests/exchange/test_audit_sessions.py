"""The one-seed view of a recorded session: what a table of first runs claims, beside what the session's seeds knew."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import audit_sessions  # noqa: E402

NIGHT = Path(__file__).parents[1] / "data" / "session-18.jsonl"


@pytest.mark.slow
def test_of_seven_keeps_by_one_seed_the_audit_doubts_those_that_the_seeds_did_not_keep() -> None:
    untold, told = audit_sessions.rows_of(NIGHT)
    assert untold["noise"] is None and "tell the noise of a run" in untold["reason"]
    assert (told["kept"], told["kept_by_seeds"]) == (7, 2)
    assert {number for number, real in told["real"].items() if real > 0.95} == {"4", "5"}, "those that the seeds kept"
    gain, error, runs = told["others"]
    assert told["low"] < gain < told["high"] and runs == 10 and 0 < error < 0.01


def test_the_view_has_the_first_run_of_each_experiment_alone() -> None:
    session = audit_sessions.read(NIGHT)
    view = audit_sessions.one_seed(session.experiments, session.metric)
    first = session.find(1)
    assert first is not None and len(first.values) > 1
    assert all(len(e.runs) == 1 and e.metric == e.runs[0].value for e in view)
    assert view[0].metric == pytest.approx(first.values[0])
    kept = [e.metric for e in view if e.status == "keep" and e.metric is not None]
    assert kept == sorted(kept, reverse=True) and kept[-1] == min(e.metric for e in view if e.metric is not None)
