"""What another policy would have kept, from the values that the journal has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from autoresearch.experiments.evidence import gather
from autoresearch.journal.experiment import Experiment, Run, decided_runs
from autoresearch.journal.session import Session
from autoresearch.statistics.decision import BASELINE_RUNS, Rules, next_step

BASELINE = "baseline"
"""The reason of the first decision, which is none."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy would have said of one experiment."""

    experiment: int
    verdict: Literal["keep", "discard", "unmeasured", "failed"]
    """`unmeasured`: it would have asked for a run that was never made, so nobody can say."""
    reason: str
    runs: int
    """Runs of the candidate that it would have used."""


def replayed(session: Session, rules: Rules) -> list[Decision]:
    """Return what `rules` would have decided on each experiment of the segment in force, in its order.

    Each policy has an incumbent of its own. Where it asks for a seed that was not run, another run of the same commit
    stands in, since seeds are as good as each other. Two things cannot be known: the value of a run that was never
    made, and of a change on top of another incumbent than the one that it was measured on.
    """
    decisions: list[Decision] = []
    past: dict[int, Experiment] = {}
    incumbent: Experiment | None = None
    spare: list[float] = []
    for e in session.current:
        if e.status is None:
            continue
        runs = [run.value for run in e.runs_for("screening", "verdict", "repeat")]
        if not e.values or e.outcome != "ok":
            decisions.append(Decision(e.number, "failed", e.reason or str(e.outcome), len(e.values)))
            continue
        if incumbent is None:
            first = BASELINE_RUNS if rules.policy == "confirm" else 1
            incumbent, spare = _with(e, runs[:first]), runs[first:]
            past[e.number] = incumbent
            decisions.append(Decision(e.number, "keep", BASELINE, len(incumbent.runs)))
            continue
        known = replace(session, experiments=tuple(past.values()))
        decision, incumbent, spare = _decided(known, incumbent, spare, e, runs, rules)
        decisions.append(decision)
        past[incumbent.number] = incumbent
        past[e.number] = _with(e, runs[: decision.runs], screened=decision.runs > 1)
        if decision.verdict == "keep":
            incumbent, spare = past[e.number], runs[decision.runs :]
    return decisions


def _with(e: Experiment, values: list[float], *, screened: bool = False) -> Experiment:
    """Return an experiment as a policy knows it that has made only these runs, under seeds from 1 on."""
    runs = decided_runs(values, range(1, len(values) + 1), e.number, screened=screened)
    return e._replace(runs=runs, hardware="", metric=None)


def _decided(
    session: Session, incumbent: Experiment, spare: list[float], e: Experiment, runs: list[float], rules: Rules
) -> tuple[Decision, Experiment, list[float]]:
    """Return the decision on `e`, the incumbent with the runs of it that this took, and those that are still unused."""
    made = iter(runs)
    values = {1: next(made)}
    left = list(spare)
    while True:
        known = gather(session, incumbent, values, now=e.number, metrics=e.metrics, simpler=e.simpler)
        # No run is asked for because the last one is long ago: the machine is not here.
        step = next_step(replace(known, stale=False), rules)
        if step.action in ("keep", "discard"):
            return Decision(e.number, step.action, step.reason, len(values)), incumbent, left
        assert step.seed is not None
        why = ""
        if step.action == "run_candidate":
            value = next(made, None)
            if value is None:
                why = f"it would have run seed {len(values) + 1}, which was never measured ({step.reason})"
            else:
                values[step.seed] = value
        elif left:
            incumbent = incumbent.with_run(Run(step.seed, left.pop(0), "repeat", "", e.number))
        else:
            why = f"it would have run the incumbent, experiment {incumbent.number}, once more ({step.reason})"
        if why:
            return Decision(e.number, "unmeasured", why, len(values)), incumbent, left
