"""A difference beside its noise: how sure it is, and how many more runs would decide it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from autoresearch.journal.experiment import Experiment
from autoresearch.journal.session import Session
from autoresearch.statistics.distributions import student

ALPHA = 0.025
"""One-sided: a difference this sure is called decided."""

MOST_REPEATS = 64
"""More than this nobody makes; the difference is then too small for this noise."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better one experiment is than another, in the metric's unit; positive is better."""

    experiment: int
    against: int
    gain: float
    error: float | None
    """Standard error of the gain; None while the noise is unknown."""
    decided: bool
    """Whether the gain, or the loss, is beyond what noise explains."""
    repeats: int | None
    """How many more runs of each would decide, if the gain stays as it is; None when none is needed or would do."""


def difference(session: Session, new: Experiment, old: Experiment) -> Difference | None:
    """Compare two experiments by their means and the session's noise; None when one has no value.

    The means are those that the session shows: a kept experiment's reference, and the fresh runs of any other.
    """
    theirs, ours = _runs(session, old), _runs(session, new)
    if not theirs or not ours:
        return None
    gain, noise = _gain(session, new, old), session.noise
    if noise.sd is None or not math.isfinite(noise.sd):
        return Difference(new.number, old.number, gain, None, False, None)
    for more in range(MOST_REPEATS + 1):
        error = noise.sd * math.sqrt(1 / (len(ours) + more) + 1 / (len(theirs) + more))
        if abs(gain) > 1.95 * error and abs(gain) > student(1 - ALPHA, noise.dof + 2 * more) * error:
            break
    else:
        more = -1
    now = noise.sd * math.sqrt(1 / len(ours) + 1 / len(theirs))
    return Difference(new.number, old.number, gain, now, more == 0, more if more > 0 else None)


def close_calls(session: Session, most: int = 2) -> list[Difference]:
    """Return what more runs could decide: the best against the baseline, and gains that were not confirmed.

    Of the latter only those on the present incumbent, whose gain is at least half its standard error.
    """
    calls = []
    first, best, incumbent = session.baseline, session.best, session.incumbent
    if first is not None and best is not None and best.number != first.number:
        calls.append(difference(session, best, first))
    if incumbent is not None:
        tried = [e for e in session.current if e.parent == incumbent.commit and e.status == "discard" and e.values]
        tried = sorted(tried, key=lambda e: _gain(session, e, incumbent), reverse=True)[:most]
        calls += [d for e in tried if (d := difference(session, e, incumbent)) and d.gain > (d.error or 0.0) / 2]
    return [d for d in calls if d is not None and not d.decided and d.error][:most]


def _gain(session: Session, new: Experiment, old: Experiment) -> float:
    ours, theirs = (_runs(session, e) for e in (new, old))
    if not ours or not theirs:
        return -math.inf
    return session.metric.gain(math.fsum(ours) / len(ours), math.fsum(theirs) / len(theirs))


def _runs(session: Session, e: Experiment) -> tuple[float, ...]:
    e = e.on(session.hardware)
    return (tuple(e.comparison_runs.values()) or e.noise_runs) if e.status == "keep" else e.noise_runs
