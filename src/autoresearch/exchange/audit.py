"""What a log is worth, ours or another tool's: how much of the claimed gain will be there when it is run again."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autoresearch.errors import UsageError
from autoresearch.exchange.import_log import Log, read_log
from autoresearch.journal.experiment import Experiment
from autoresearch.metrics import Direction
from autoresearch.statistics.chain import Audit, KeptGain, NotIdentifiable, Trial, audit
from autoresearch.statistics.noise import pooled

RATIO = 2.0
"""Where the first value is so many times the last, effects and noise are taken for parts of the value."""

SURE, DOUBTFUL = 0.95, 0.05
"""Above the first a kept change is called a gain, below the second none; between them it is worth running again."""

MOST_RUNS = 64


@dataclass(frozen=True, slots=True)
class Rerun:
    """What would settle whether one kept change is a gain."""

    experiment: int
    pairs: int
    """Runs of it and of the one before it, on the same seeds."""


@dataclass(frozen=True, slots=True)
class LogAudit:
    """One log, or one segment of it."""

    log: Log
    experiments: tuple[Experiment, ...]
    """Those with a value, from the first kept one on."""
    skipped: tuple[str, ...]
    """What was left out, and why."""
    origin: str
    """Where the noise is known from."""
    logarithmic: bool
    result: Audit | None
    """None where nothing can be said; `reason` says why."""
    reason: str = ""

    @property
    def reruns(self) -> list[Rerun]:
        """What would settle the doubtful keeps, the cheapest first."""
        if self.result is None:
            return []
        steps = [s for s in self.result.steps if DOUBTFUL < s.real < SURE]
        return sorted((Rerun(self.experiments[s.at].number, self.pairs(s)) for s in steps), key=lambda r: r.pairs)

    def pairs(self, step: KeptGain) -> int:
        """Return the pairs of runs that tell a gain of the expected size from none: one-sided 5 %, four times in five."""
        assert self.result is not None
        size = max(step.mean, step.claimed / 4, 1e-12)
        return min(MOST_RUNS, max(2, math.ceil(2 * ((1.645 + 0.842) * self.result.noise / size) ** 2)))


def audits(path: Path, noise: float | None, metric: str | None, direction: Direction | None) -> list[LogAudit]:
    """Return what each log in a file is worth; `noise` is the standard deviation of one run, where it is known.

    Raises `UsageError` for what is no log.
    """
    logs = [log for log in read_log(path, direction, metric) if log.experiments]
    return [audit_of(log, noise) for log in logs]


def audit_of(log: Log, noise: float | None) -> LogAudit:
    """Return what a log is worth."""
    if noise is not None and not 0 <= noise < math.inf:
        raise UsageError("the noise must be a number from 0 on", "give it with: --noise SIGMA")
    chosen, skipped = valued(log.experiments)
    blank = LogAudit(log, tuple(chosen), tuple(skipped), "", False, None)
    if not chosen:
        return replace(blank, reason="no experiment was kept, so nothing is claimed")
    if not any(e.status == "keep" for e in chosen[1:]):
        return replace(blank, reason="nothing was kept after the first experiment, so nothing is claimed")
    sign = 1.0 if log.metric.direction == "lower" else -1.0
    values = [value_of(e) for e in chosen]
    kept = [v for v, e in zip(values, chosen, strict=True) if e.status == "keep"]
    logarithmic = min(values) > 0 and max(kept[0] / kept[-1], kept[-1] / kept[0]) > RATIO
    if noise is not None:
        sd, origin = noise, "given"
    else:
        repeats = repeated(chosen)
        known = pooled(repeats)
        sd = known.sd if known.sd else None
        origin = f"{known.dof} repeats in the log" if sd is not None else "estimated from changes without effect"
    unit = rounding(values)
    if logarithmic:
        middle = math.sqrt(kept[0] * kept[-1])
        sd, unit = None if sd is None else sd / middle, unit / middle
        values = [math.log(v) for v in values]
    trials = [
        Trial(sign * v, e.status == "keep", max(1, len(e.noise_runs))) for v, e in zip(values, chosen, strict=True)
    ]
    try:
        result = audit(trials, sd, rounding=unit)
    except NotIdentifiable as error:
        why = f"the log does not tell the noise of a run: {error}"
        return replace(blank, origin="not identifiable", reason=why)
    return LogAudit(log, tuple(chosen), tuple(skipped), origin, logarithmic, result)


def valued(experiments: Sequence[Experiment]) -> tuple[list[Experiment], list[str]]:
    """Return the experiments that have a value, from the first kept one on, and what was left out."""
    skipped = []
    failed = sum(e.status not in ("keep", "discard") for e in experiments)
    if failed:
        skipped.append(f"{failed} that failed")
    scored = [e for e in experiments if e.status in ("keep", "discard") and e.metric is not None]
    first = next((at for at, e in enumerate(scored) if e.status == "keep"), len(scored))
    if first:
        skipped.append(f"{first} before the first that was kept")
    return scored[first:], skipped


def value_of(e: Experiment) -> float:
    """Return the mean of the runs that did not choose it; the one number of another tool's log."""
    runs = e.noise_runs
    if runs:
        return math.fsum(runs) / len(runs)
    assert e.metric is not None
    return e.metric


def repeated(experiments: Sequence[Experiment]) -> list[list[float]]:
    """Return groups of values of the same code: the runs of an experiment, and rows of one commit."""
    groups = [[*e.noise_runs] for e in experiments if len(e.noise_runs) > 1]
    commits: dict[str, list[float]] = {}
    for e in experiments:
        if e.commit and len(e.noise_runs) <= 1:
            commits.setdefault(e.commit, []).append(value_of(e))
    return groups + [values for values in commits.values() if len(values) > 1]


def rounding(values: Sequence[float]) -> float:
    """Return the unit of the last digit that the values are written with, of at most nine decimals."""
    decimals = max((len(m[1]) for v in values if (m := re.search(r"\.(\d+)$", f"{v:.9f}".rstrip("0")))), default=0)
    return 10.0**-decimals
