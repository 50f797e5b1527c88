"""Decide on an experiment from its runs: which run comes next, or keep or discard. Makes no run itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from autoresearch.experiments.disturbance import made_again, speed_of
from autoresearch.experiments.evidence import gather
from autoresearch.journal.events import RunDetails, run_line
from autoresearch.journal.experiment import Speed
from autoresearch.journal.session import Event, Session, hardware_of
from autoresearch.journal.statuses import Status, status_of
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.turn import Turn
from autoresearch.statistics.decision import Rules, Step, next_step
from autoresearch.statistics.noise import mad_confidence

Side = Literal["candidate", "incumbent"]

SCREENING_SEED = 1
"""Every candidate is screened on the seed that every baseline has run."""


@dataclass(slots=True)
class SeedRuns:
    """The runs of an experiment so far, in their order; a failed one ends it."""

    number: int
    simpler: bool = False
    """Whether the experiment has less code than its parent."""
    pairs: int | None = None
    """How many pairs were asked for; None leaves that to the rules."""
    guards: tuple[str, ...] = ()
    """The metrics that are compared beside its own, since they have a guard."""
    alpha: float = 0.0
    """What the looks at it have spent."""
    values: dict[int, float] = field(default_factory=dict)
    """Seed -> value."""
    first: Measurement | None = None
    last: Measurement | None = None
    failed: Measurement | None = None
    made: dict[int, Measurement] = field(default_factory=dict)
    """Seed -> the run that gave its value."""
    begun: int = 0
    """How many runs were begun, of either side; one that is made again counts once."""
    disturbed: int = 0
    """How many runs, of either side, the machine disturbed, so that they were made again."""
    warnings: dict[str, None] = field(default_factory=dict)
    """What the runs were seen doing that is no reason to refuse them."""

    @property
    def speeds(self) -> list[Speed]:
        """How fast each run with a value was."""
        return [speed_of(run) for run in self.made.values()]

    @property
    def guarded(self) -> dict[int, dict[str, float]]:
        """Seed -> what the run with its value reported of the metrics that are compared."""
        return {seed: among(self.guards, run) for seed, run in self.made.items()}

    @property
    def disturbances(self) -> str:
        """What a verdict says of them."""
        count = self.disturbed
        return f"; {count} disturbed run{'s' if count > 1 else ''} made again" if count else ""

    def turn(self, seed: int, most: int, run_s: float | None, *, whose: str = "", exactly: bool = False) -> Turn:
        """Begin another run, of at most so many that take `run_s` each; return what whoever waits is told."""
        self.begun += 1
        what = f"experiment {self.number}: {whose}seed {seed}"
        return Turn(what, self.begun, max(most, self.begun), exactly or most == 1, run_s)

    def saw(self, disturbances: Sequence[str]) -> None:
        """Take in what disturbed the runs before one that counts, or that one when it counts all the same."""
        self.disturbed += made_again(disturbances)
        self.warnings |= dict.fromkeys(f"a disturbed run: {why}" for why in disturbances)

    def add(self, seed: int, measurement: Measurement) -> None:
        """Take in a run that was made."""
        self.last = measurement
        self.first = self.first or measurement
        self.warnings |= dict.fromkeys(measurement.remarks)
        if measurement.value is not None:
            self.values[seed] = measurement.value
            if seed == next(iter(self.values)):
                self.first = measurement
            self.made[seed] = measurement
        else:
            self.failed = measurement


def compared(rules: Rules) -> tuple[str, ...]:
    """Return the metrics whose guards compare with another commit, so that each run's value is kept."""
    return tuple([guard.name for guard in rules.relative])


def among(names: Sequence[str], run: Measurement) -> dict[str, float]:
    """Return what a run reported of these metrics."""
    return {name: run.metrics[name] for name in names if name in run.metrics}


def decide(runs: SeedRuns, session: Session, rules: Rules, env: Mapping[str, Any]) -> Step:
    """Return the next run to make, or the verdict with its reason; no run may have failed.

    `session` has an incumbent with a value; `env` is the machine that the runs were made on.
    """
    incumbent = session.incumbent
    assert incumbent is not None and runs.failed is None
    evidence = gather(session, incumbent, runs.values, now=runs.number, hardware=hardware_of(env),
                      metrics=runs.first.metrics if runs.first else {}, simpler=runs.simpler,
                      asked=runs.pairs is not None, guards=rules.guards, guarded=runs.guarded)  # fmt: skip
    step = next_step(evidence, replace(rules, seeds=runs.pairs) if runs.pairs else rules)
    runs.alpha = step.alpha
    return step


def likely_next(step: Step, runs: SeedRuns, rules: Rules, theirs: Collection[int]) -> list[tuple[Side, int]]:
    """Return the run of `step`, and those that will be asked for as long as the pairs decide nothing: (side, seed).

    `theirs` are the seeds that the incumbent has run. A guess, which changes no verdict: for whoever has free slots.
    """
    assert step.seed is not None
    asked: tuple[Side, int] = ("candidate" if step.action == "run_candidate" else "incumbent", step.seed)
    if step.noise.exact or rules.exact or rules.policy == "greedy":
        return [asked]
    if step.action == "run_incumbent" and len(runs.values) < 2:
        return [asked]  # it comes before the pairs, and may end the experiment
    made = sum(seed in theirs for seed in [*runs.values][1:])
    left = range(max(0, (runs.pairs or rules.seeds) - made))
    known: dict[Side, Collection[int]] = {"candidate": runs.values, "incumbent": theirs}
    sides: tuple[Side, ...] = ("candidate", "incumbent")
    pairs: list[tuple[Side, int]] = [(side, step.seed + n) for n in left for side in sides]
    return [asked, *((side, seed) for side, seed in pairs if (side, seed) != asked and seed not in known[side])]


def most_runs(rules: Rules, pairs: int | None = None) -> int:
    """Return how many runs of either side a verdict takes at most; `pairs` is how many were asked for."""
    by_one = rules.policy == "greedy" or rules.exact
    return 1 if by_one else 1 + 2 * (pairs or rules.seeds)


def incomparable(runs: SeedRuns, session: Session) -> Measurement | None:
    """Return what to end an experiment with whose data or evaluator are not the incumbent's; None when they are."""
    incumbent = session.incumbent
    mine, theirs = runs.first and runs.first.manifest, incumbent and incumbent.manifest
    if mine is None or theirs is None or mine == theirs:
        return None
    return Measurement(
        "killed", reason="data or evaluator are not those of the incumbent: its number cannot be compared"
    )


def failure(measurement: Measurement) -> tuple[Status, str]:
    """Return status and reason of an experiment whose run failed."""
    return status_of(measurement.outcome), measurement.reason


def verdict_line(
    runs: SeedRuns, session: Session, start: Event, status: Status, reason: str, env: Mapping[str, Any], now: int
) -> Event:
    """Return the verdict as a journal line. The metric is the mean of the runs that no decision selected."""
    values = list(runs.values.values())
    screened = start["parent"] is not None and len(values) > 1
    unbiased = values[1:] if screened else values
    metric = sum(unbiased) / len(unbiased) if unbiased and runs.failed is None else None
    first = runs.first
    more = RunDetails()
    if runs.alpha:
        more["alpha"] = runs.alpha
    if any(map(any, runs.speeds)):
        more["speeds"] = runs.speeds
    if runs.guards and runs.made:
        more["guards"] = {name: [beside.get(name) for beside in runs.guarded.values()] for name in runs.guards}
    return run_line(
        start["experiment"],
        start["commit"][:7],
        metric,
        first.metrics if first else {},
        status,
        start["description"],
        session.segment.number,
        start["asi"],
        now,
        confidence=_confidence(session, metric if status == "keep" else None, metric),
        details={
            "outcome": runs.failed.outcome if runs.failed else "ok",
            "reason": reason + runs.disturbances,
            "values": values,
            "seeds": list(runs.values),
            "screened": screened,
            "parent": start["parent"],
            "manifest": first.manifest if first else None,
            "warnings": [*start.get("warnings", []), *runs.warnings],
            "seconds": round(first.seconds, 3) if first else None,
            "env": {**env, "isolation": first.isolation} if first else dict(env),
            **more,
        },
    )


def _confidence(session: Session, kept: float | None, metric: float | None) -> float | None:
    """Return the field's figure as it is after this experiment, rounded for reading."""
    values = [e.metric for e in session.current if e.metric is not None] + ([metric] if metric is not None else [])
    first = session.baseline.metric if session.baseline else None
    gains = [g for g in (session.gain, session.metric.gain(kept, first) if kept is not None and first else None) if g]
    confidence = mad_confidence(max(gains, default=0.0), values)
    return None if confidence is None else round(confidence, 2)
