"""One experiment: a commit of the mutable files with its runs. Nothing in it changes: more is another experiment.

Both are named tuples and no frozen dataclasses, because a long session has tens of thousands of them, and a named tuple
is made in a tenth of the time. Standard library and Python 3.8 only: the shell helpers import it with the readers.
"""

from __future__ import annotations

import math
from itertools import zip_longest
from typing import Any, Iterable, Literal, Mapping, NamedTuple, Sequence  # noqa: UP035

from autoresearch.journal.statuses import Outcome, Status

Purpose = Literal["screening", "verdict", "repeat", "replica", "disturbed"]


class Speed(NamedTuple):
    """How fast a run was, seen from outside of it."""

    pace: float | None = None
    """Steps in a second, where the task reports them."""
    share: float | None = None
    """Processor time in a second."""
    seconds: float | None = None
    """Wall clock of the command, without its evaluation."""

    @classmethod
    def of(cls, pair: Any) -> Speed:
        """Return what a list of two numbers or three says, each of which may be null; anything else says nothing."""
        known = pair if isinstance(pair, list) and len(pair) in (2, 3) else ()
        return cls(*(float(x) if isinstance(x, (int, float)) else None for x in known))


NO_SPEED = Speed()
"""Of a run that says nothing of it."""


class Run(NamedTuple):
    """One run of an experiment's commit, which gave a value."""

    seed: int | None
    """None where another tool's log does not say it."""
    value: float
    purpose: Purpose
    """`screening`: it only chose the experiment for confirmation, so it is in no mean. `verdict`: the experiment was
    decided on it. `repeat`: made after the verdict on a new seed, to compare others with. `replica`: of a seed that had
    been run already; it tells whether a run can be reproduced, and is in no mean and no noise, since it is no new
    draw. `disturbed`: the machine was at work elsewhere, so it was made again; in no mean and no noise either."""
    hardware: str
    """What it was made on; empty when the journal does not say."""
    after: int
    """The newest experiment's number when it was made."""
    speed: Speed = NO_SPEED
    guarded: Mapping[str, float] = {}
    """What it reported of other metrics that are compared, since they have a guard."""


def decided_runs(
    values: Sequence[float],
    seeds: Sequence[int],
    after: int,
    *,
    screened: bool = False,
    hardware: str = "",
    speeds: Sequence[Speed] = (),
    guarded: Sequence[Mapping[str, float]] = (),
) -> tuple[Run, ...]:
    """Return the runs of a verdict in their order; with `screened` the first only chose it for confirmation.

    A value may have no seed; a seed without a value is left out.
    """
    if guarded:
        plain = decided_runs(values, seeds, after, screened=screened, hardware=hardware, speeds=speeds)
        return tuple([r._replace(guarded=guarded[at]) if at < len(guarded) else r for at, r in enumerate(plain)])
    if len(values) == 1:  # most experiments of a long session
        first: Purpose = "screening" if screened else "verdict"
        return (Run(seeds[0] if seeds else None, values[0], first, hardware, after, speeds[0] if speeds else NO_SPEED),)
    pairs = zip_longest(seeds[: len(values)], values)
    return tuple([
        Run(seed, value, "screening" if screened and not at else "verdict", hardware, after,
            speeds[at] if at < len(speeds) else NO_SPEED)
        for at, (seed, value) in enumerate(pairs)
    ])  # fmt: skip


def guards_of(runs: Sequence[Run]) -> dict[str, list[float | None]]:
    """Return metric -> what each run reported of it, of those that a guard compares; empty where none does."""
    names = dict.fromkeys(name for run in runs for name in run.guarded)
    return {name: [run.guarded.get(name) for run in runs] for name in names}


class Experiment(NamedTuple):
    """One commit of the mutable files with its runs, as the journal tells it."""

    number: int
    segment: int
    commit: str | None
    parent: str | None = None
    description: str = ""
    status: Status | None = None
    """None while there is no verdict: running, or interrupted."""
    outcome: Outcome | None = None
    metric: float | None = None
    """The value it is judged by: the mean of its unbiased runs; None when there is none, never 0."""
    metrics: Mapping[str, float] = {}
    runs: tuple[Run, ...] = ()
    """All of them: those of the verdict first, then the later ones in their order."""
    hardware: str = ""
    """The hardware whose runs count; its own, unless it is seen `on` another. Empty when the journal does not say."""
    simpler: bool = False
    """Whether it has less code than its parent."""
    reason: str = ""
    asi: Mapping[str, Any] = {}
    warnings: tuple[str, ...] = ()
    """What deserves a second look; nothing was decided on it."""
    fingerprint: str | None = None
    manifest: str | None = None
    env: Mapping[str, Any] = {}
    started: int | None = None
    finished: int | None = None
    alpha: float = 0.0
    """What its looks spent of the session's budget of alpha."""
    seconds: float | None = None
    """Wall clock of the command of its first run, which may have failed."""
    pairs: int | None = None
    """How many pairs were asked for, as long as there is no verdict; None leaves that to the rules."""

    def with_run(self, run: Run) -> Experiment:
        """Return this experiment with one more run."""
        return self._replace(runs=(*self.runs, run))

    def on(self, hardware: str) -> Experiment:
        """Return the experiment as this hardware saw it: the runs made there count, and no others.

        Where the hardware is not known, here or in the journal, it is taken for the same.
        """
        if not hardware or not self.hardware or hardware == self.hardware:
            return self
        return self._replace(hardware=hardware, metric=None)

    def runs_for(self, *purposes: Purpose) -> list[Run]:
        """Return the runs that were made for these purposes on the hardware that counts, in their order."""
        here = self.hardware
        return [
            run
            for run in self.runs
            if run.purpose in purposes and (run.hardware == here or not here or not run.hardware)
        ]

    @property
    def values(self) -> tuple[float, ...]:
        """The values of the runs that it was decided on, the screening run first if there was one."""
        return tuple([run.value for run in self.runs_for("screening", "verdict")])

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the same runs, where they are known."""
        return tuple([run.seed for run in self.runs_for("screening", "verdict") if run.seed is not None])

    @property
    def screened(self) -> bool:
        """Whether its first run only chose it for confirmation."""
        return bool(self.runs_for("screening"))

    @property
    def speeds(self) -> list[Speed]:
        """How fast the runs were that count."""
        return [run.speed for run in self.runs_for("screening", "verdict", "repeat")]

    @property
    def repeats(self) -> dict[int, float]:
        """Seed -> value of the runs made after the verdict on new seeds."""
        return _by_seed(self.runs_for("repeat"))

    @property
    def by_seed(self) -> dict[int, float]:
        """Every value of this commit by its seed, the screening run included."""
        return _by_seed(self.runs_for("screening", "verdict", "repeat"))

    @property
    def noise_runs(self) -> tuple[float, ...]:
        """The values that its spread is estimated from: without the screening run, when it was decided on others."""
        if not self.runs:
            return ()
        runs = self.runs_for("screening", "verdict", "repeat")
        confirmed = "verdict" in [run.purpose for run in runs]
        return tuple([run.value for run in runs if run.purpose != "screening" or not confirmed])

    @property
    def comparison_runs(self) -> dict[int, float]:
        """Seed -> value of the runs that others may be compared with: those that did not decide on this experiment.

        A kept experiment was kept because its runs were good, so they flatter it; only its later runs do not. Nothing
        was decided on the baseline's runs.
        """
        runs = self.runs_for("screening", "verdict", "repeat")
        screened = "screening" in [run.purpose for run in runs]
        return _by_seed([run for run in runs if run.purpose == "repeat"] if screened else runs)

    def guarded(self, name: str, *purposes: Purpose) -> dict[int, float]:
        """Return seed -> what its runs for these purposes reported of a metric that has a guard.

        Of a journal that does not tell it for each run, what the first run reported.
        """
        runs = self.runs_for(*purposes)
        known = {r.seed: r.guarded[name] for r in runs if r.seed is not None and name in r.guarded}
        first = runs[0].seed if runs else None
        only = first is not None and name in self.metrics and runs[0] is self.runs[0] and not runs[0].guarded
        return known or ({first: self.metrics[name]} if only and first is not None else {})

    @property
    def reference(self) -> float | None:
        """What a candidate is compared with: the mean of its runs, of `comparison_runs` alone if there are any."""
        runs = tuple(self.comparison_runs.values()) or self.noise_runs
        return math.fsum(runs) / len(runs) if runs else self.metric

    @property
    def command_seconds(self) -> float | None:
        """The wall clock of the commands of its own runs, those of later repeats left out; None where it is unknown."""
        own = [run.speed.seconds for run in self.runs if run.purpose in ("screening", "verdict", "disturbed")]
        known = [seconds for seconds in own if seconds is not None]
        return math.fsum(known) if known else self.seconds

    @property
    def measured_at(self) -> int:
        """The newest experiment's number when this one was last run, on whatever hardware."""
        return max([run.after for run in self.runs], default=self.number)


def _by_seed(runs: Iterable[Run]) -> dict[int, float]:
    return {run.seed: run.value for run in runs if run.seed is not None}


def hardware_of(env: Mapping[str, Any]) -> str:
    """Return what a value depends on of the machine in `env`: the GPU, or the CPU and its cores; empty for neither."""
    if env.get("gpu"):
        return str(env["gpu"])
    return f"{env['cpu']}, {env.get('cores', '?')} cores" if env.get("cpu") else ""
