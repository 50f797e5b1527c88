"""A run in whose middle the machine, or the run, stood still is no failure of the idea; with clocks that tests set."""

from __future__ import annotations

import pytest
from lab import Lab, Maker

from autoresearch.system import standstill

REAL_STEADY, REAL_AWAKE = standstill.steady_clock, standstill.monotonic


class Clocks:
    """Two clocks that jump once, at the fifth look at a run."""

    def __init__(self, steady: float, awake: float) -> None:
        self.looks, self.steady, self.awake = 0, steady, awake

    def steady_clock(self) -> float:
        self.looks += 1
        return REAL_STEADY() + (self.steady if self.looks > 5 else 0.0)

    def monotonic(self) -> float:
        return REAL_AWAKE() + (self.awake if self.looks > 5 else 0.0)


@pytest.fixture
def set_clocks(monkeypatch: pytest.MonkeyPatch) -> object:
    def to(steady: float, awake: float) -> Clocks:
        clocks = Clocks(steady, awake)
        monkeypatch.setattr(standstill, "steady_clock", clocks.steady_clock)
        monkeypatch.setattr(standstill, "monotonic", clocks.monotonic)
        return clocks

    return to


def test_a_machine_that_slept_in_the_middle_of_a_run_has_failed_and_not_the_idea(lab: Lab, set_clocks: object) -> None:
    set_clocks(7200.0, 0.0)  # type: ignore[operator]
    done = lab.attempt("sleep 0.3; echo METRIC total_ms=90\n")
    e = lab.session.find(2)
    assert e is not None and (e.outcome, e.status, e.metric) == ("killed", "crash", None)
    assert e.reason == "the machine failed: the machine was suspended for 7200 s in the middle of the run"
    assert "try --again 2" in done.out
    assert lab.session.failures_in_a_row == 0


def test_a_run_that_was_stopped_with_us_has_failed_and_not_the_idea(lab: Lab, set_clocks: object) -> None:
    set_clocks(60.0, 60.0)  # type: ignore[operator]
    lab.attempt("sleep 0.3; echo METRIC total_ms=90\n")
    e = lab.session.find(2)
    assert e is not None and e.reason == "the machine failed: the run was stopped for 60 s in its middle"


def test_a_run_that_worked_on_while_only_we_were_stopped_counts_and_loses_no_time(
    make_lab: Maker, set_clocks: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab(run={"limit_s": 30})
    monkeypatch.setattr(standstill, "AT_WORK", 0.0)  # of a minute that did not pass, no processor time is seen
    set_clocks(60.0, 60.0)  # type: ignore[operator]
    lab.attempt("sleep 0.3; echo METRIC total_ms=110\n")
    assert lab.session.current[-1].metric == 110


def test_a_run_that_is_stopped_by_a_signal_to_its_end_has_not_run_out_of_time(make_lab: Maker) -> None:
    lab = make_lab(run={"limit_s": 1})
    lab.attempt("kill -STOP $$\n")
    e = lab.session.find(2)
    assert e is not None and e.outcome == "killed" and "was stopped by a signal" in e.reason
    assert lab.processes() == []


def test_a_run_that_takes_too_long_has_run_out_of_time(make_lab: Maker) -> None:
    lab = make_lab(run={"limit_s": 1})
    lab.attempt("sleep 60\n")
    assert lab.session.current[-1].outcome == "timeout"
