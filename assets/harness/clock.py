"""The clock of a run, which the feeder has, and what the grader makes of it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from harness.errors import Verdict
from harness.task import Allowances, Budget

SLACK_FACTOR, SLACK_S = 1.02, 1.0
"""Training may take this factor of its seconds, and these seconds more: who asks for no batch is not told to stop."""

OVERLOADED, STARVED = 1.5, 0.7
"""A machine is overloaded with this load for each core; a run was starved that got this part of its cores' time."""


class Clock:
    """The budget of one run. It starts once, with the first batch that is handed out, and never again.

    What went before is free up to the task's `startup_s`, and `warmup_s` for warm-up batches; more of it counts as if
    it had been training, so that nothing is gained by working before the first batch.
    """

    def __init__(self, budget: Budget, allowances: Allowances, begun: float) -> None:
        """`begun` is when the trainer was started, by time.monotonic."""
        self.budget, self.allowances, self.begun = budget, allowances, begun
        self.start, self.started, self.late = math.nan, 0.0, 0.0
        self.steps, self.tokens, self.warmup, self.flops_per_token = 0, 0, 0.0, 0.0
        self.ended: dict[str, float] = {}
        """What `state` gave when the budget was spent."""

    @property
    def running(self) -> bool:
        return not math.isnan(self.start)

    def begin(self) -> None:
        """Start, unless it runs."""
        if self.running:
            return
        now = time.monotonic()
        age = now - self.begun
        if self.budget.kind == "seconds":
            self.late = max(0.0, age - self.allowances.startup_s - min(self.warmup, self.allowances.warmup_s))
        self.start, self.started = now - self.late, time.time() - self.late

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start

    @property
    def progress(self) -> float:
        """The part of the budget that is spent."""
        flops = self.flops_per_token * self.tokens
        spent = {"seconds": self.seconds, "tokens": self.tokens, "steps": self.steps, "flops": flops}
        return spent[self.budget.kind] / self.budget.amount

    def allows(self, tokens: int) -> bool:
        """Whether another batch stays within a budget of tokens, steps or flops; its size is the trainer's choice."""
        after = {"tokens": self.tokens + tokens, "steps": self.steps + 1,
                 "flops": self.flops_per_token * (self.tokens + tokens)}  # fmt: skip
        return self.budget.kind == "seconds" or after[self.budget.kind] <= self.budget.amount

    def count(self, tokens: int) -> None:
        """Another batch was handed out."""
        self.steps += 1
        self.tokens += tokens

    def end(self) -> None:
        """The budget is spent, unless that was said before."""
        self.ended = self.ended or self.state()

    def state(self) -> dict[str, float]:
        own = {"started": self.started, "seconds": self.seconds, "warmup": self.warmup, "steps": self.steps}
        own |= {"tokens": self.tokens, "late": self.late}
        with suppress(AttributeError, OSError):
            own["load"] = os.getloadavg()[0]
        return own

    def final(self) -> dict[str, float]:
        """What the grader reads: the state at the end of the budget, or now, and when the weights came."""
        return {**self.state(), **self.ended, "finished_after": self.seconds}


def check_clock(clock: Mapping[str, float], budget: Budget, *, cores: float = 0, cpu_s: float | None = None) -> None:
    """Raise Verdict over_budget when a run took more than it may.

    `cores` is how many the trainer computed on, 0 where it is not the processor that computes, and `cpu_s` the
    processor time that it got. A run over its budget because the machine had too little time for it is `killed`: it
    says nothing about the trainer.
    """
    seconds, tail = clock["seconds"], clock["finished_after"] - clock["seconds"]
    used = clock["flops" if budget.kind == "flops" else budget.kind]
    step, reason = seconds / max(clock["steps"], 1), ""
    if budget.kind == "seconds" and seconds > SLACK_FACTOR * budget.amount + SLACK_S:
        reason = f"{seconds:.1f} s of training are too much for a budget of {budget.amount:g} s"
    elif budget.kind != "seconds" and used > 1.001 * budget.amount:
        reason = f"{used:.4g} {budget.kind} of a budget of {budget.amount:g}"
    elif tail > max(1.0, min(3 * step, 0.05 * seconds), 0.02 * seconds):
        reason = f"{tail:.1f} s passed between the last batch and the arrival of the weights, time to train on"
    machine = os.cpu_count() or 1
    starved = cores and cpu_s is not None and cpu_s < STARVED * cores * seconds
    if reason and starved and clock.get("load", 0) > OVERLOADED * machine:
        raise Verdict("killed", f"{reason}, but the machine was overloaded (load {clock['load']:.1f}); try again")
    if reason:
        raise Verdict("over_budget", reason)


def age_of_process() -> float:
    """Seconds since this process began; 0 where the system does not say."""
    with suppress(OSError, ValueError, IndexError, AttributeError):
        ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return 0.0
