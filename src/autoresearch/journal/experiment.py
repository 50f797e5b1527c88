"""One experiment: a commit of the mutable files with its runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from autoresearch.journal.statuses import Outcome, Status


@dataclass(slots=True)
class Experiment:
    """One commit of the mutable files with its runs. Built by `replay` and left alone afterwards."""

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
    metrics: dict[str, float] = field(default_factory=dict)
    values: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    screened: bool = False
    """Whether `values[0]` only chose this experiment for confirmation, and is therefore left out of its mean."""
    repeats: dict[int, float] = field(default_factory=dict)
    """Seed -> value of runs made after the verdict on new seeds, to compare others with."""
    elsewhere: dict[str, dict[int, float]] = field(default_factory=dict)
    """The same of runs on other hardware than the experiment's own: hardware -> seed -> value."""
    replicas: list[tuple[int, float]] = field(default_factory=list)
    """(seed, value) of runs of a seed that had been run already. They tell whether a run can be reproduced, and are
    in no mean and in no noise, since they are no new draw."""
    measured_after: dict[int, int] = field(default_factory=dict)
    """Seed of a repeat -> the newest experiment's number when it was made."""
    simpler: bool = False
    """Whether it has less code than its parent."""
    reason: str = ""
    asi: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    """What deserves a second look; nothing was decided on it."""
    fingerprint: str | None = None
    manifest: str | None = None
    env: dict[str, Any] = field(default_factory=dict)
    started: int | None = None
    finished: int | None = None

    def copy(self) -> Experiment:
        """Return one that can be changed without changing this one."""
        return replace(
            self,
            repeats=dict(self.repeats),
            elsewhere={hardware: dict(runs) for hardware, runs in self.elsewhere.items()},
            replicas=[*self.replicas],
            measured_after=dict(self.measured_after),
            asi=dict(self.asi),
        )

    @property
    def by_seed(self) -> dict[int, float]:
        """Every value of this commit by its seed, the screening run included."""
        return {**dict(zip(self.seeds, self.values, strict=False)), **self.repeats}

    @property
    def measured_at(self) -> int:
        """The newest experiment's number when this one was last run."""
        return max(self.measured_after.values(), default=self.number)

    @property
    def hardware(self) -> str:
        """The hardware that it was measured on; empty when the journal does not say."""
        return hardware_of(self.env)

    def on(self, hardware: str) -> Experiment:
        """Return the experiment as this hardware saw it: with the runs made there, and no others.

        Where the hardware is not known, here or in the journal, it is taken for the same.
        """
        if not hardware or not self.hardware or hardware == self.hardware:
            return self
        runs = self.elsewhere.get(hardware, {})
        return replace(self, metric=None, values=(), seeds=(), screened=False, repeats=runs)

    @property
    def noise_runs(self) -> tuple[float, ...]:
        """The runs without the screening run, when there are others: what its spread is estimated from."""
        own = self.values[1:] if self.screened and len(self.values) > 1 else self.values
        return (*own, *self.repeats.values())

    @property
    def comparison_runs(self) -> dict[int, float]:
        """Seed -> value of the runs that others may be compared with: those that did not decide on this experiment.

        A kept experiment was kept because its runs were good, so they flatter it; only its later runs do not. Nothing
        was decided on the baseline's runs.
        """
        return dict(self.repeats) if self.screened else self.by_seed

    @property
    def reference(self) -> float | None:
        """What a candidate is compared with: the mean of its runs, of `comparison_runs` alone if there are any."""
        runs = tuple(self.comparison_runs.values()) or self.noise_runs
        return math.fsum(runs) / len(runs) if runs else self.metric


def hardware_of(env: Mapping[str, Any]) -> str:
    """Return what a value depends on of the machine in `env`: the GPU, or the CPU and its cores; empty for neither."""
    if env.get("gpu"):
        return str(env["gpu"])
    return f"{env['cpu']}, {env.get('cores', '?')} cores" if env.get("cpu") else ""
