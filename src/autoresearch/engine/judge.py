"""Run what a decision needs, decide, and put the verdict into a journal line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from autoresearch.core.noise import mad_confidence
from autoresearch.core.session import Event, Experiment, Session
from autoresearch.core.verdict import Evidence, next_step
from autoresearch.core.words import Status, status_of
from autoresearch.engine.measure import Bench, Measurement, check, measure
from autoresearch.io.hardware import detect

SCREENING_SEED = 1
"""Every candidate is screened on the seed that every baseline has run."""

Clock = Callable[[], int]
"""Whole seconds since the epoch."""


@dataclass(slots=True)
class Runs:
    """The values of an experiment while it is measured; a failed run ends it."""

    bench: Bench
    commit: str
    number: int
    values: dict[int, float] = field(default_factory=dict)
    first: Measurement | None = None
    failed: Measurement | None = None
    last: Measurement | None = None

    def run(self, seed: int) -> Measurement:
        self.last = measure(self.bench, self.commit, self.number, seed)
        self.first = self.first or self.last
        if self.last.value is not None:
            self.values[seed] = self.last.value
        else:
            self.failed = self.last
        return self.last


def judge(runs: Runs, session: Session, simpler: bool, clock: Clock) -> tuple[Status, str]:
    """Run what the policy asks for until it says keep or discard."""
    if runs.failed is None:
        failed = check(runs.bench, runs.commit, runs.number, SCREENING_SEED)
        if failed:
            runs.failed = Measurement("checks_failed", reason=failed)
    incumbent = session.incumbent
    assert incumbent is not None
    known, unbiased = incumbent.by_seed, [*incumbent.unbiased]
    while runs.failed is None:
        step = next_step(_evidence(runs, session, incumbent, known, unbiased, simpler), runs.bench.task.rules)
        if step.action in ("keep", "discard"):
            return step.action, step.reason
        assert step.seed is not None
        if step.action == "run_candidate":
            runs.run(step.seed)
            continue
        repeat = measure(runs.bench, incumbent.commit or "", incumbent.number, step.seed)
        if repeat.value is None:
            told = f"the incumbent's run of seed {step.seed} failed: {repeat.reason}"
            runs.failed = Measurement("killed", reason=told, excerpt=repeat.excerpt)
        else:
            known[step.seed] = repeat.value
            unbiased.append(repeat.value)
            runs.bench.workspace.append(repeat_line(incumbent.number, step.seed, repeat.value, clock()))
    return failure(runs.failed)


def _evidence(
    runs: Runs,
    session: Session,
    incumbent: Experiment,
    known: Mapping[int, float],
    unbiased: list[float],
    simpler: bool,
) -> Evidence:
    return Evidence(
        metric=session.metric,
        candidate=runs.values,
        incumbent=known,
        reference=sum(unbiased) / len(unbiased),
        others=tuple(e.unbiased for e in session.current if e is not incumbent and len(e.unbiased) > 1),
        incumbent_unbiased=tuple(unbiased),
        incumbent_chosen_on=frozenset(incumbent.seeds if incumbent is not session.baseline else ()),
        memory_mb=runs.first.metrics.get("peak_vram_mb") if runs.first else None,
        code_removed=simpler,
    )


def failure(measurement: Measurement) -> tuple[Status, str]:
    """Return status and reason of an experiment whose run failed."""
    return status_of(measurement.outcome), measurement.reason


def repeat_line(experiment: int, seed: int, value: float, now: int) -> Event:
    """Return a run made after the verdict as a journal line."""
    return {"type": "repeat", "experiment": experiment, "seed": seed, "value": value, "timestamp": now}


def run_line(runs: Runs, session: Session, start: Event, status: Status, reason: str, now: int) -> Event:
    """Return the verdict as a journal line. The metric is the mean of the runs that no decision selected."""
    values = list(runs.values.values())
    screened = start["parent"] is not None and len(values) > 1
    unbiased = values[1:] if screened else values
    metric = sum(unbiased) / len(unbiased) if unbiased and runs.failed is None else None
    first = runs.first
    return {
        "run": start["experiment"],
        "commit": start["commit"][:7],
        "metric": metric,
        "metrics": first.metrics if first else {},
        "status": status,
        "description": start["description"],
        "timestamp": now,
        "segment": session.segment.number,
        "confidence": _confidence(session, metric if status == "keep" else None, metric),
        "asi": start["asi"],
        "outcome": runs.failed.outcome if runs.failed else "ok",
        "reason": reason,
        "values": values,
        "seeds": list(runs.values),
        "screened": screened,
        "parent": start["parent"],
        "manifest": first.manifest if first else None,
        "seconds": round(first.seconds, 3) if first else None,
        "env": detect().env(),
    }


def _confidence(session: Session, kept: float | None, metric: float | None) -> float | None:
    """Return the field's figure as it is after this experiment, rounded for reading."""
    values = [e.metric for e in session.current if e.metric is not None] + ([metric] if metric is not None else [])
    first = session.baseline.metric if session.baseline else None
    gains = [g for g in (session.gain, session.metric.gain(kept, first) if kept is not None and first else None) if g]
    confidence = mad_confidence(max(gains, default=0.0), values)
    return None if confidence is None else round(confidence, 2)
