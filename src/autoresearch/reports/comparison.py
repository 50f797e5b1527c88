"""A difference beside its noise: how sure it is, and what would decide it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from autoresearch.experiments.evidence import base_noise, pair_noise
from autoresearch.journal.experiment import Experiment
from autoresearch.journal.session import Session
from autoresearch.journal.study import LOCKED
from autoresearch.statistics.decision import LAST_RUNS, Rules, pairs_needed
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
    same_seeds: int = 0
    """How many seeds both have run, on which alone they are compared; 0 where means of different seeds are."""
    command: str | None = None
    """What decides a close call; None where nothing would, within reason."""
    runs: int | None = None
    """What that costs at most."""


def difference(session: Session, new: Experiment, old: Experiment) -> Difference | None:
    """Compare two experiments on the seeds that both have run; None when one has no value.

    The runs that a kept one was kept for were chosen for being good, and are left out. Where no seed is shared then, it
    is the means: of the fresh runs of `new`, and of the runs of `old` that verdicts take, or the verdict on `new` took.
    """
    found = _compared(session, new, old)
    if found is None:
        return None
    gain, n, m, same = found
    noise = base_noise(session, session.hardware)
    if noise.sd is None or not math.isfinite(noise.sd):
        return Difference(new.number, old.number, gain, None, False, None, same)
    pair = pair_noise(session, session.hardware)

    def errors(more: int) -> list[tuple[float, int]]:
        spread = noise.sd * math.sqrt(1 / (n + more) + 1 / (m + more)) if noise.sd else 0.0
        paired = [(pair.sd / math.sqrt(same + more), pair.dof + more)] if same and pair.sd else []
        return [(spread, noise.dof + 2 * more), *paired]

    for more in range(MOST_REPEATS + 1):
        if any(abs(gain) > 1.95 * e and abs(gain) > student(1 - ALPHA, dof) * e for e, dof in errors(more)):
            break
    else:
        more = -1
    return Difference(new.number, old.number, gain, min(errors(0))[0], more == 0, more if more > 0 else None, same)


def gain_over(session: Session, new: Experiment, old: Experiment) -> float | None:
    """Return how much better one experiment is than another, compared as `difference` does; None without values."""
    found = _compared(session, new, old)
    return found[0] if found is not None else None


def close_calls(session: Session, rules: Rules, most: int = 2) -> list[Difference]:
    """Return what more runs could decide: the best against the baseline, and gains that were not confirmed.

    Of the latter only those on the present incumbent, within the limits of the guards, whose gain is at least half its
    standard error, and whose code no later experiment has decided. Each with the command that decides it under the
    task's `rules`: more pairs for the policy, or for the best `confirm`, unless it was confirmed already.
    """
    calls: list[Difference] = []
    first, best, incumbent = session.baseline, session.best, session.incumbent
    if first is not None and best is not None and best.number != first.number:
        call = difference(session, best, first)
        seeds = min(MOST_REPEATS, max(2, call.repeats or 0)) if call else 0
        if call is not None and not call.decided and call.error and not _confirmed(session, best, first, seeds):
            more = call.repeats is not None
            command = f"autoresearch confirm --seeds {seeds}" if more else None
            calls.append(replace(call, command=command, runs=2 * seeds if more else None))
    if incumbent is not None and rules.policy != "greedy":  # which no further run makes decide otherwise
        tried = [e for e in session.current if e.parent == incumbent.commit and e.status == "discard" and e.values]
        tried = [e for e in tried if not any(guard.broken(e.metrics) for guard in rules.guards)]  # more runs: the same
        tried = _last_of_their_code(session, tried) if tried else []
        found = [d for e in tried if (d := difference(session, e, incumbent)) and d.error and not d.decided]
        found = sorted((d for d in found if d.gain > (d.error or 0.0) / 2), key=lambda d: d.gain, reverse=True)
        calls += [_for_the_policy(session, call, rules) for call in found[:most]]
    return calls[:most]


def _last_of_their_code(session: Session, tried: list[Experiment]) -> list[Experiment]:
    """Return the experiments whose code no later one has decided."""
    last = {e.fingerprint: e.number for e in session.current if e.status is not None and e.outcome != "killed"}
    return [e for e in tried if e.fingerprint is None or last[e.fingerprint] == e.number]


def _confirmed(session: Session, best: Experiment, first: Experiment, seeds: int) -> bool:
    """Whether `confirm` has compared the two, whatever came of it: on the locked split, where another time would cost
    more, or elsewhere on as many seeds as would decide."""
    asked = {"best": best.number, "baseline": first.number}
    done = [s for s in session.studies if s.what == "confirm" and s.outcome == "done"]
    done = [s for s in done if asked.items() <= s.about.items()]
    return any(s.split == LOCKED for s in done) or sum(len(s.about.get("seeds", ())) for s in done) >= max(1, seeds)


def _for_the_policy(session: Session, call: Difference, rules: Rules) -> Difference:
    """Say which `try` decides a close call."""
    noise, pair = base_noise(session, session.hardware), pair_noise(session, session.hardware)
    known = [(pair.sd, pair.dof)] if pair.sd else []
    known += [(noise.sd * math.sqrt(2), noise.dof)] if noise.sd else []
    pairs = pairs_needed(call.gain, known, rules, session.alpha_spent)
    if pairs is None:
        return replace(call, repeats=None)
    return replace(call, command=f"autoresearch try --again {call.experiment} --pairs {pairs}", runs=2 * pairs + 1)


def _compared(session: Session, new: Experiment, old: Experiment) -> tuple[float, int, int, int] | None:
    """Return the gain of one experiment over another, the runs of each, and the seeds that both have, if that is it."""
    new, old = new.on(session.hardware), old.on(session.hardware)
    fresh = "verdict" in [run.purpose for run in new.runs_for("screening", "verdict", "repeat")]
    purposes = ("verdict", "repeat") if fresh else ("screening", "verdict", "repeat")
    ours = {run.seed: run.value for run in new.runs_for(*purposes)}
    theirs = old.comparison_runs if old.status == "keep" else old.by_seed
    same = [seed for seed in ours if seed in theirs]
    if same:
        gains = [session.metric.gain(ours[seed], theirs[seed or 0]) for seed in same]
        return math.fsum(gains) / len(gains), len(same), len(same), len(same)
    mine, other = _runs(new), _judged_by(old, new) or _runs(old)
    if not mine or not other:
        return None
    means = [math.fsum(values) / len(values) for values in (mine, other)]
    return session.metric.gain(*means), len(mine), len(other), 0


def _judged_by(old: Experiment, new: Experiment) -> tuple[float, ...]:
    """Return the runs of the incumbent whose mean the verdict on a change of it took; none where `new` is no such, or
    was run again since."""
    if new.parent is None or new.parent != old.commit or new.status == "keep" or new.repeats:
        return ()
    then = old._replace(runs=tuple(run for run in old.runs if run.after <= new.number))
    return tuple(then.comparison_runs.values())[-LAST_RUNS:] or then.noise_runs


def _runs(e: Experiment) -> tuple[float, ...]:
    return (tuple(e.comparison_runs.values()) or e.noise_runs) if e.status == "keep" else e.noise_runs
