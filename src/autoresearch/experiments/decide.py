"""Run what a decision needs, decide, and put the verdict into a journal line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from autoresearch.experiments.evidence import gather
from autoresearch.journal.session import Event, Session, hardware_of
from autoresearch.journal.statuses import Status, status_of
from autoresearch.runs.measure import Bench, Measurement, check, measure
from autoresearch.statistics.decision import next_step
from autoresearch.statistics.noise import mad_confidence
from autoresearch.system.hardware import detect

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
    parent: str | None = None
    values: dict[int, float] = field(default_factory=dict)
    first: Measurement | None = None
    failed: Measurement | None = None
    last: Measurement | None = None
    warnings: dict[str, None] = field(default_factory=dict)
    """What the runs were seen doing that is no reason to refuse them."""

    def run(self, seed: int) -> Measurement:
        self.last = measure(self.bench, self.commit, self.number, seed, parent=self.parent)
        self.first = self.first or self.last
        self.warnings |= dict.fromkeys(self.last.remarks)
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
    if runs.first is not None and runs.failed is None and _differ(runs.first.manifest, incumbent.manifest):
        told = "data or evaluator are not those of the incumbent: its number cannot be compared"
        runs.failed = Measurement("killed", reason=told)
    memory_mb = runs.first.metrics.get("peak_vram_mb") if runs.first else None
    hardware = hardware_of(detect().env())
    while runs.failed is None:
        known = gather(session, incumbent, runs.values, now=runs.number, hardware=hardware, memory_mb=memory_mb,
                       simpler=simpler)  # fmt: skip
        step = next_step(known, runs.bench.task.rules)
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
            runs.bench.workspace.append(repeat_line(incumbent.number, step.seed, repeat.value, clock()))
            session = runs.bench.workspace.session()
            incumbent = session.incumbent
            assert incumbent is not None
    return failure(runs.failed)


def _differ(mine: str | None, theirs: str | None) -> bool:
    return mine is not None and theirs is not None and mine != theirs


def failure(measurement: Measurement) -> tuple[Status, str]:
    """Return status and reason of an experiment whose run failed."""
    return status_of(measurement.outcome), measurement.reason


def repeat_line(experiment: int, seed: int, value: float, now: int) -> Event:
    """Return a run made after the verdict as a journal line, with the machine that it was made on."""
    return {
        "type": "repeat",
        "experiment": experiment,
        "seed": seed,
        "value": value,
        "env": detect().env(),
        "timestamp": now,
    }


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
        "warnings": [*start.get("warnings", []), *runs.warnings],
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
