"""`audit --replay`: run the doubtful kept changes of a log again, each beside what it was kept over.

The log is anybody's; its commits must be in the repository of a workspace, whose task file says how a run is made. It
is a study of that session: pairs of runs on the same seeds, the cheapest comparison first, and nothing is decided on
the branch. A run of a commit serves its comparisons with both neighbours.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from autoresearch.errors import PreconditionError, UsageError
from autoresearch.escaping import one_line
from autoresearch.exchange.audit import AuditedLog
from autoresearch.experiments.pace import run_seconds
from autoresearch.experiments.preflight import preflight
from autoresearch.journal.experiment import Experiment
from autoresearch.journal.session import Session
from autoresearch.journal.study import AUDIT
from autoresearch.metrics import Metric
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import Tick
from autoresearch.statistics.distributions import student
from autoresearch.statistics.noise import Noise, pooled
from autoresearch.studies.study import StudyRunner, study_of
from autoresearch.system.clock import Clock
from autoresearch.system.git import Git
from autoresearch.system.process import signals_interrupt
from autoresearch.workspace.lock import lock
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace

FIRST_SEED = 1001
"""Beyond those that a log's own runs have had; always the same, so that the same command goes on with a study."""

LEVEL = 0.9
"""Of the interval of a gain: 5 % on the side that says that there is one, as the pairs are counted for."""

_COMMIT = re.compile(r"[0-9a-f]{4,64}")
"""The name of a commit, or how it begins. `HEAD`, a branch or a tag may be another one today than it was then."""

Verdict = Literal["gain", "none", "unclear", "not measured"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One doubtful kept change beside the kept one before it."""

    experiment: int
    against: int
    """Their numbers in the log."""
    commit: str
    base: str
    pairs: int
    """How many would settle it."""
    gains: tuple[float, ...] = ()
    """Of the pairs that were run; better is positive."""
    low: float | None = None
    high: float | None = None
    """The interval of the mean gain, of `LEVEL`; None of fewer than two pairs."""
    verdict: Verdict = "not measured"
    """`gain` and `none` where the interval is on one side of zero."""
    reason: str = ""
    """Why it was not measured, or what is to be known of its runs."""

    @property
    def commits(self) -> tuple[str, str]:
        return self.base, self.commit

    @property
    def mean(self) -> float | None:
        return math.fsum(self.gains) / len(self.gains) if self.gains else None

    def as_view(self) -> dict[str, Any]:
        return {**asdict(self), "gains": list(self.gains), "mean": self.mean}


@dataclass(frozen=True, slots=True)
class Remeasured:
    """What a replay has found."""

    comparisons: tuple[Comparison, ...]
    """All that were doubtful and would be settled, the cheapest first."""
    noise: Noise
    """Of one run, from the runs of each commit on different seeds."""
    runs: int
    stopped: bool
    """Whether the time was up before all was run; the same command goes on."""


def remeasure(
    root: Workspace,
    log: AuditedLog,
    again: str,
    max_hours: float | None,
    clock: Clock,
    *,
    tick: Tick | None = None,
) -> tuple[Remeasured, Session]:
    """Run the doubtful keeps of a log again in a workspace, the cheapest first, for at most `max_hours`.

    `again` is what was typed, without the hours. Raises `PreconditionError` where nothing can be compared: no baseline,
    another metric, nothing doubtful, no commit that is in the repository.
    """
    if max_hours is not None and not 0 < max_hours < math.inf:
        raise UsageError("the hours must be a number above 0", "say how long it may take: --max-hours 2")
    with lock(root), signals_interrupt():
        context, session, _ = preflight(root, clock, tick, stops=False)
        incumbent = session.incumbent
        if incumbent is None:
            raise PreconditionError("nothing tells yet that this task runs here", "measure it: autoresearch baseline")
        _check_metric(log, session.metric)
        planned = [*compared(context.git, context.task.files.immutable, log)]
        ready = [each for each in planned if not each.reason]
        if not ready:
            why = f": {planned[0].reason}" if planned else ""
            raise PreconditionError(
                f"no doubtful change of this log can be run again{why}",
                f"see which are doubtful, in text: {again.replace(' --replay', '')}",
            )
        about = {"again": again, "pairs": [[each.commit, each.base, each.pairs] for each in ready]}
        needed = {commit: each.pairs for each in sorted(ready, key=lambda c: c.pairs) for commit in each.commits}
        most = sum(needed.values())
        with study_of(context, session, clock, AUDIT, about, again, most=most, exactly=False) as runner:
            deadline = None if max_hours is None else clock() + 3600 * max_hours
            pace = Pace(clock, deadline, run_seconds(session))
            done = [each if each.reason else _run(runner, session.metric, each, incumbent, pace) for each in planned]
            values = [[*runner.runs[commit].values()] for commit in runner.runs]
            found = Remeasured(tuple(done), pooled(values), sum(map(len, values)), pace.up)
            result = {"comparisons": [each.as_view() for each in done], "noise": found.noise.sd, "runs": found.runs}
            runner.end("interrupted" if pace.up else "done", result)
        return found, load_session(root)


@dataclass(slots=True)
class Pace:
    """Whether there is time for another pair."""

    clock: Clock
    deadline: float | None
    run_s: float | None
    """What a run takes, as the session knows it; the slowest pair of this replay says it better."""
    pair_s: float = 0.0
    up: bool = False

    def allows(self) -> bool:
        """Return whether another pair would end in time; once it would not, none is begun."""
        needed = self.pair_s or 2 * (self.run_s or 0.0)
        self.up = self.up or (self.deadline is not None and self.clock() + needed > self.deadline)
        return not self.up

    def took(self, seconds: float) -> None:
        self.pair_s = max(self.pair_s, seconds)


def compared(git: Git, immutable: Sequence[str], log: AuditedLog) -> Iterator[Comparison]:
    """Yield what would settle each doubtful keep of a log, the cheapest first, with the reason where it cannot be."""
    rows = {e.number: e for e in log.experiments}
    for rerun in log.weighed.reruns:
        sides = rows[rerun.experiment], rows[rerun.against]
        commit, base = (_resolved(git, e.commit or "") for e in sides)
        known = Comparison(rerun.experiment, rerun.against, commit or "", base or "", rerun.pairs)
        yield replace(known, reason=_why_not(git, immutable, known, sides, enough=rerun.enough))


def _resolved(git: Git, name: str) -> str | None:
    """Return the full name of the commit that a log names by its hash; None where there is none."""
    found = git.resolve(name) if _COMMIT.fullmatch(name) else None
    return found if found is not None and found.startswith(name) else None  # else a branch is called like a hash


def _why_not(
    git: Git, immutable: Sequence[str], known: Comparison, sides: tuple[Experiment, Experiment], *, enough: bool
) -> str:
    for e, found in zip(sides, (known.commit, known.base), strict=True):
        if e.commit and not _COMMIT.fullmatch(e.commit):
            return f"{one_line(e.commit, 40)} of experiment {e.number} names no commit"
        if not found:
            said = f"commit {one_line(e.commit, 40)}" if e.commit else "the commit, which the log does not say,"
            return f"{said} of experiment {e.number} is not in this repository"
    if known.commit == known.base:
        return "both have the same commit"
    if not enough:
        return f"more than {known.pairs} pairs would be needed"
    outside = {f"{git.prefix}{path}".lstrip("/") for path in immutable}
    between = [
        p for p in git.changed(known.base, known.commit) if any(p == o or p.startswith(f"{o}/") for o in outside)
    ]
    return f"what measures them differs: {one_line(', '.join(between), 80)}" if between else ""


def _check_metric(log: AuditedLog, metric: Metric) -> None:
    """Raise `PreconditionError` unless the log is about what the session measures."""
    theirs = log.weighed.metric
    if (theirs.name, theirs.direction) != (metric.name, metric.direction):
        raise PreconditionError(
            f"the log is about {one_line(theirs.name, 40)} ({theirs.direction} is better), "
            f"this session measures {metric.name} ({metric.direction} is better)",
            "name the log's metric as the task file does, with --metric, or make a workspace that measures it",
        )


def _run(runner: StudyRunner, metric: Metric, planned: Comparison, shown: Experiment, pace: Pace) -> Comparison:
    """Run the pairs of one comparison, as far as there is time; two that are the same to the last digit are enough."""
    values: dict[str, list[float]] = {planned.base: [], planned.commit: []}
    for seed in range(FIRST_SEED, FIRST_SEED + planned.pairs):
        have = all(seed in runner.runs.get(commit, {}) for commit in values)
        if not have and not pace.allows():
            break
        began = pace.clock()
        for commit, of in values.items():
            value = runner.value(commit, shown.number, seed)
            if isinstance(value, Measurement):
                number = planned.experiment if commit == planned.commit else planned.against
                if value.outcome == "killed":
                    raise runner.fail(f"experiment {number} of the log", value)
                return replace(planned, reason=f"experiment {number} has no value ({value.outcome}): {value.reason}")
            of.append(value)
        if not have:
            pace.took(pace.clock() - began)
        if len(values[planned.base]) == 2 and all(of[0] == of[1] for of in values.values()):
            break
    pairs = zip(values[planned.commit], values[planned.base], strict=True)
    return settled(planned, [metric.gain(new, old) for new, old in pairs], time_up=pace.up)


def settled(planned: Comparison, gains: Sequence[float], *, time_up: bool = False) -> Comparison:
    """Return a comparison with what its pairs have shown."""
    n = len(gains)
    reason = f"the time was up after {n} of {planned.pairs} pairs" if time_up and n < planned.pairs else ""
    if n < 2:
        return replace(planned, gains=tuple(gains), reason=reason or "fewer than two pairs")
    mean = math.fsum(gains) / n
    sd = math.sqrt(math.fsum((gain - mean) ** 2 for gain in gains) / (n - 1))
    reach = student((1 + LEVEL) / 2, n - 1) * sd / math.sqrt(n)
    low, high = mean - reach, mean + reach
    verdict: Verdict = "gain" if low > 0 else "none" if high < 0 or low == high else "unclear"
    if low == high and not reason:
        reason = "its runs are the same with every seed"
    return replace(planned, gains=tuple(gains), low=low, high=high, verdict=verdict, reason=reason)


def one_log(logs: Sequence[AuditedLog], path: Path) -> AuditedLog:
    """Return the only session that was read; raise `UsageError` where there are several."""
    if len(logs) > 1:
        raise UsageError(
            f"{path.name} has {len(logs)} sessions", "run one again at a time: name a file with one session"
        )
    return logs[0]
