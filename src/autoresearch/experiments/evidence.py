"""What a decision rests on, taken from the session: one function for the engine, for replays and for simulations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from autoresearch.journal.session import Experiment, Session
from autoresearch.metrics import Metric
from autoresearch.statistics.base_noise import BaseNoise, of_base
from autoresearch.statistics.decision import CONTROLS, LAST_RUNS, STALE_AFTER, Evidence
from autoresearch.statistics.evidence import GuardRuns
from autoresearch.statistics.noise import Noise, pooled
from autoresearch.statistics.rules import Guard

BASES = 100
"""Bases before the present one whose noise is looked at: older ones would have no room in a prior
(`base_noise.PRIOR_DOF`)."""


def gather(
    session: Session,
    incumbent: Experiment,
    candidate: Mapping[int, float],
    *,
    now: int,
    hardware: str = "",
    metrics: Mapping[str, float] | None = None,
    simpler: bool = False,
    asked: bool = False,
    guards: Sequence[Guard] = (),
    guarded: Mapping[int, Mapping[str, float]] | None = None,
) -> Evidence:
    """Return the evidence on a candidate whose runs (seed -> value, the screening run first) were made on `hardware`.

    `metrics` is what its first run reported beside its value, `guarded` (seed -> metrics) what each run reported of
    those that the task's `guards` compare. `incumbent` is given apart from the session, since it may have runs that the
    session does not know of yet; `now` is the candidate's number.
    """
    known = incumbent.on(hardware)
    last = dict([*known.comparison_runs.items()][-LAST_RUNS:])
    recent = frozenset(run.seed for run in incumbent.runs if run.after >= now and run.seed is not None)
    last |= {seed: value for seed, value in known.by_seed.items() if seed in recent & candidate.keys()}
    mine = (incumbent.number, now)
    here = [
        e for e in session.current if e.parent == incumbent.commit and e.commit is not None and e.number not in mine
    ]
    repeated = [e for e in session.repeated if e.number not in mine]
    often = [e for e in here if len(e.runs) > 1]  # most changes of a long session have one run, and no pair
    repeats = [e.on(hardware).noise_runs for e in often if e.status != "keep"]
    screening = next(iter(candidate))
    bases = [e for e in session.kept if e.number not in mine][-BASES:]
    older, older_pairs = _older(session.metric, incumbent, bases, repeated, hardware)
    compared = {
        guard.name: _guard_runs(guard, session, known, repeated, here, guarded or {}, hardware)
        for guard in guards
        if guard.worse_by is not None
    }
    allowed = [e for e in here if not any(_breaks(e, guard, compared.get(guard.name)) for guard in guards)]
    return Evidence(
        metric=session.metric,
        candidate=candidate,
        incumbent=last,
        reference=math.fsum(last.values()) / len(last) if last else known.reference,
        taken=frozenset(incumbent.by_seed) | frozenset(known.by_seed),
        groups=tuple(group for group in (*repeats, known.noise_runs) if len(group) > 1),
        older=older,
        pairs=tuple(gains for e in often if len(gains := pair_gains(session.metric, e, incumbent, hardware)) > 1),
        older_pairs=older_pairs,
        controls=_controls(allowed, known, screening, hardware),
        metrics=metrics or {},
        guards=compared,
        code_removed=simpler,
        recent=recent,
        stale=now - incumbent.measured_at > STALE_AFTER,
        spent=session.alpha_spent,
        asked=asked,
        number=now,
    )


def pair_gains(metric: Metric, e: Experiment, parent: Experiment, hardware: str = "") -> tuple[float, ...]:
    """Return how much better an experiment was than its parent in each pair that was made for it."""
    made = {r.seed: r.value for r in parent.on(hardware).runs_for("repeat") if r.after >= e.number}
    runs = e.on(hardware).runs_for("verdict")
    return tuple(metric.gain(run.value, made[run.seed]) for run in runs if run.seed in made)


def _guard_runs(
    guard: Guard,
    session: Session,
    incumbent: Experiment,
    others: Sequence[Experiment],
    here: Sequence[Experiment],
    guarded: Mapping[int, Mapping[str, float]],
    hardware: str,
) -> GuardRuns:
    """Return what the runs on this hardware say of a metric that has a guard.

    The reference is the baseline, on whose runs nothing was decided, or the last runs of the incumbent, as for the
    metric itself. Of `here`, the changes of this base, and of all `others` that were run more than once the repeats
    tell the noise.
    """
    name, first = guard.name, session.baseline
    baseline = incumbent if first is None or first.number == incumbent.number else first.on(hardware)
    last = [*_unselected(incumbent, name)][-LAST_RUNS:]
    reference = [*_unselected(baseline, name)] if guard.against == "baseline" else last
    near = {e.number for e in (*here, baseline, incumbent)}
    repeated = [e.on(hardware) for e in others]
    groups = [_spread(e, name) for e in (incumbent, *(e for e in repeated if e.number in near))]
    return GuardRuns(
        {seed: beside[name] for seed, beside in guarded.items() if name in beside},
        tuple(reference),
        tuple(group for group in groups if len(group) > 1),
        pooled(_spread(e, name) for e in repeated if e.number not in near),
    )


def _unselected(e: Experiment, name: str) -> tuple[float, ...]:
    """Return the values of another metric from the runs that did not decide on an experiment; from all its fresh ones
    where there are no such."""
    later = e.guarded(name, "repeat") if e.screened else e.guarded(name, "verdict", "repeat")
    return tuple(later.values()) or _spread(e, name)


def _spread(e: Experiment, name: str) -> tuple[float, ...]:
    """Return the values of another metric from the runs that its noise is estimated from."""
    fresh = tuple(e.guarded(name, "verdict", "repeat").values())
    return fresh or tuple(e.guarded(name, "screening").values())


def _breaks(e: Experiment, guard: Guard, known: GuardRuns | None) -> bool:
    """Whether the first run of a change cost more than a guard allows: what it gained by that is no neighbour's."""
    value = e.metrics.get(guard.name)
    if value is None or guard.worse_by is None or known is None or not known.reference:
        return guard.broken(e.metrics) is not None
    worse = value - math.fsum(known.reference) / len(known.reference)
    return guard.broken(e.metrics) is not None or (worse if guard.direction == "lower" else -worse) > guard.worse_by


def _controls(here: Sequence[Experiment], incumbent: Experiment, seed: int, hardware: str) -> tuple[float, ...]:
    """Return what the last changes of this base gave on a seed, and the incumbent first."""
    own = [incumbent.by_seed[seed]] if seed in incumbent.by_seed else []
    last = [e.on(hardware).by_seed.get(seed) for e in here[-CONTROLS[1] :] if e.status in ("keep", "discard")]
    return (*own, *(value for value in last if value is not None))


def _older(
    metric: Metric,
    incumbent: Experiment,
    bases: Sequence[Experiment],
    repeated: Sequence[Experiment],
    hardware: str,
) -> tuple[tuple[Noise, ...], tuple[Noise, ...]]:
    """Return the noise of one run, and of a pair, of each of the `bases` before this one, the newest last.

    A kept experiment counts with the base that it was measured on, and its later repeats with itself. `repeated` are
    the experiments that were run more than once.
    """
    changes: dict[str | None, list[Experiment]] = {base.commit: [] for base in bases}
    for e in repeated:
        if e.parent in changes and e.commit is not None:
            changes[e.parent].append(e)
    runs, pairs = list[Noise](), list[Noise]()
    for base in bases:
        changed = changes[base.commit]
        mine = [e for e in changed if e.status != "keep"]
        runs.append(pooled(e.on(hardware).noise_runs for e in (base, *mine)))
        made = [pair_gains(metric, e, base, hardware) for e in (*changed, incumbent) if e.parent == base.commit]
        pairs.append(pooled(made))
    return tuple(n for n in runs if n.dof), tuple(n for n in pairs if n.dof)


def base_noise(session: Session, hardware: str) -> BaseNoise:
    """Return the noise of one run on the present base, as the next decision would take it."""
    return _noises(session, hardware)[0]


def noise_here(session: Session) -> BaseNoise | None:
    """Return the noise of the present best, as verdicts take it; None where it has none that says something."""
    here = base_noise(session, session.hardware)
    return here if here.sd and math.isfinite(here.sd) and not session.noise.exact else None


def run_noise(session: Session) -> float | None:
    """Return the standard deviation of a run to show a reader: that of the present best, or that of all repeats where
    it has none; None where no commit was run twice."""
    here = noise_here(session)
    return here.sd if here is not None else session.noise.sd


def pair_noise(session: Session, hardware: str) -> BaseNoise:
    """Return the noise of a pair on the present base, as the next decision would take it."""
    return _noises(session, hardware)[1]


def _noises(session: Session, hardware: str) -> tuple[BaseNoise, BaseNoise]:
    """Return the noise of one run, and of a pair, on the present base; a list of experiments asks for each of them."""
    incumbent = session.incumbent
    if incumbent is None:
        return BaseNoise(None, 0), BaseNoise(None, 0)
    if (key := ("noises", hardware)) not in session.memo:
        found = gather(session, incumbent, {1: 0.0}, now=session.next_number, hardware=hardware)
        run, pair = of_base(pooled(found.groups), found.older), of_base(pooled(found.pairs), found.older_pairs)
        session.memo[key] = run, pair
    known: tuple[BaseNoise, BaseNoise] = session.memo[key]
    return known
