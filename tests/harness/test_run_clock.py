"""The clock that the feeder has, and what the grader makes of it."""

from __future__ import annotations

import os
from typing import Any

import pytest
from harness import clock as clocks
from harness.clock import Clock, check_clock
from harness.errors import TaskError, Verdict
from harness.task import Allowances, Budget

CLOCK = {"seconds": 10.0, "finished_after": 10.5, "steps": 20, "tokens": 2000, "flops": 4e6}
CORES = os.cpu_count() or 1


def verdict(kind: str, budget: float, cpu_s: float | None = 19.0, **clock: float) -> str:
    try:
        check_clock({**CLOCK, **clock}, Budget(kind, budget), cores=2, cpu_s=cpu_s)
    except Verdict as refused:
        return refused.outcome
    return "ok"


def test_a_run_within_its_budget_is_accepted() -> None:
    assert verdict("seconds", 10) == "ok"
    assert verdict("steps", 20) == "ok"
    assert verdict("tokens", 2000) == "ok"
    assert verdict("flops", 4e6) == "ok"


def test_a_run_over_its_budget_is_refused() -> None:
    assert verdict("seconds", 7) == "over_budget"
    assert verdict("steps", 19) == "over_budget"
    assert verdict("tokens", 1990) == "over_budget"  # no batch passes the mark, since its size is the trainer's
    assert verdict("flops", 3.9e6) == "over_budget"


@pytest.mark.parametrize("kind", ["seconds", "steps"])
def test_training_on_after_the_last_batch_is_refused(kind: str) -> None:
    assert verdict(kind, 20, finished_after=10.9) == "ok"
    assert verdict(kind, 20, finished_after=11.1) == "over_budget"
    assert verdict(kind, 100, seconds=100.0, finished_after=104.9, steps=20) == "ok"  # less than three steps
    assert verdict(kind, 100, seconds=100.0, finished_after=105.1, steps=20) == "over_budget"  # however long steps are


def test_a_run_that_an_overloaded_machine_held_up_says_nothing_about_the_trainer() -> None:
    assert verdict("seconds", 7, cpu_s=8.0, load=90.0 * CORES) == "killed"
    assert verdict("seconds", 7, cpu_s=19.0, load=90.0 * CORES) == "over_budget"
    assert verdict("seconds", 7, cpu_s=8.0, load=0.1) == "over_budget"
    assert verdict("seconds", 7, cpu_s=None, load=90.0 * CORES) == "over_budget"  # by hand nobody has looked


def test_a_budget_is_one_number_above_nothing() -> None:
    for kind, amount in (("hours", 3.0), ("seconds", 0.0), ("steps", float("inf"))):
        with pytest.raises(TaskError, match="budget must be"):
            Budget(kind, amount)


def a_clock(monkeypatch: pytest.MonkeyPatch, now: list[float], **budget: float) -> Clock:
    [(kind, amount)] = budget.items()
    time: Any = clocks.time
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return Clock(Budget(kind, amount), Allowances(startup_s=15, warmup_s=60), begun=0.0)


def test_time_before_the_first_batch_is_charged_beyond_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    quick = a_clock(monkeypatch, now, seconds=30)
    now[0] = 15.0
    quick.begin()
    assert quick.progress == 0
    slow = a_clock(monkeypatch, now, seconds=30)
    now[0] = 21.0
    slow.begin()
    assert slow.progress == pytest.approx(0.2)
    compiling = a_clock(monkeypatch, now, seconds=30)
    compiling.warmup = 5.0
    compiling.begin()
    assert compiling.seconds == pytest.approx(1.0)
    counting = a_clock(monkeypatch, now, steps=30)
    counting.begin()
    assert counting.late == 0


def test_the_clock_starts_once_and_ends_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1.0]
    one = a_clock(monkeypatch, now, seconds=10)
    one.begin()
    now[0] = 6.0
    one.begin()
    assert one.progress == pytest.approx(0.5)
    one.end()
    now[0] = 9.0
    one.end()
    assert (one.final()["seconds"], one.final()["finished_after"]) == (5.0, 8.0)
