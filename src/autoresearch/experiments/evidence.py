"""What a decision rests on, taken from the session: one function for the engine, for replays and for simulations."""

from __future__ import annotations

import math
from collections.abc import Mapping

from autoresearch.journal.session import Experiment, Session
from autoresearch.statistics.decision import LAST_RUNS, STALE_AFTER, Evidence


def gather(
    session: Session,
    incumbent: Experiment,
    candidate: Mapping[int, float],
    *,
    now: int,
    hardware: str = "",
    metrics: Mapping[str, float] | None = None,
    simpler: bool = False,
) -> Evidence:
    """Return the evidence on a candidate whose runs (seed -> value, the screening run first) were made on `hardware`.

    `metrics` is what its first run reported beside its value. `incumbent` is given apart from the session, since it may
    have runs that the session does not know of yet; `now` is the candidate's number.
    """
    known = incumbent.on(hardware)
    last = dict([*known.comparison_runs.items()][-LAST_RUNS:])
    others = [e for e in session.current if len(e.runs) > 1 and e.number not in (incumbent.number, now)]
    groups = [e.on(hardware).noise_runs for e in others]
    return Evidence(
        metric=session.metric,
        candidate=candidate,
        incumbent=last,
        reference=math.fsum(last.values()) / len(last) if last else known.reference,
        taken=frozenset(incumbent.by_seed) | frozenset(known.by_seed),
        groups=tuple(group for group in (*groups, known.noise_runs) if len(group) > 1),
        metrics=metrics or {},
        code_removed=simpler,
        recent=frozenset(run.seed for run in incumbent.runs if run.after >= now and run.seed is not None),
        stale=now - incumbent.measured_at > STALE_AFTER,
    )
