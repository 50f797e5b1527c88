"""What is told while a command takes long: which run of how many, and how long the rest may take."""

from __future__ import annotations

import time

import pytest
from lab import Lab

from autoresearch.cli.progress import Display
from autoresearch.cli.quickstart import _next
from autoresearch.experiments.attempt import attempt
from autoresearch.system.clock import wall_clock


def test_the_time_that_is_left_runs_down_between_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with Display(total=5) as display:
        display.begin()
        assert display.left() == "", "nothing is known before the first step"
        now = 120.0
        display.say("two of them", steps=2)
        assert display.left() == ", about 30 s left"
        now = 126.0
        assert display.left() == ", about 24 s left", "ten seconds a step, and six are gone of the third"
        now = 200.0
        assert display.left() == ", about 1 s left", "a step that takes long does not make the rest negative"
        display.say("the others", steps=3)
        assert display.left() == ""


def test_whoever_waits_is_told_which_run_is_made_and_of_how_many(lab: Lab) -> None:
    go, told = lab.root.parent / "go", []
    lab.edit(f"until [ -e {go} ]; do sleep 0.02; done; echo METRIC total_ms=200\n")

    def tick(phase: str, _seconds: float) -> None:
        told.append(phase)
        go.touch()

    attempt(lab.workspace, "worse", {}, wall_clock, tick=tick)

    assert told[0] == "experiment 2: seed 1, run 1 of at most 15: train"


def test_the_quickstart_ends_with_what_decides_a_discard_and_not_what_was_kept() -> None:
    confirm, again = "autoresearch confirm --seeds 2", "autoresearch try --again 5 --pairs 7"
    told = dict(_next(2, True, {"close_calls": [{"command": confirm}, {"command": None}, {"command": again}]}))
    assert confirm not in told and "may be a gain" in told[again]
    assert again not in dict(_next(2, True, {"close_calls": [{"command": confirm}]}))
