"""What another policy would have kept, from the values that the journal has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from autoresearch.experiments.evidence import gather
from autoresearch.journal.experiment import Experiment
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
    past: list[Experiment] = []
    incumbent: Experiment | None = None
    spare: list[float] = []
    for e in session.current:
        if e.status is None:
            continue
        if not e.values or e.outcome != "ok":
            decisions.append(Decision(e.number, "failed", e.reason or str(e.outcome), len(e.values)))
            continue
        if incumbent is None:
            first = BASELINE_RUNS if rules.policy == "confirm" else 1
            runs = [*e.by_seed.values()]
            incumbent, spare = _with(e, runs[:first], screened=False), runs[first:]
            past.append(incumbent)
            decisions.append(Decision(e.number, "keep", BASELINE, len(incumbent.values)))
            continue
        known = replace(session, experiments=tuple(past))
        decision, spare_runs = _decided(known, incumbent, spare, e, rules)
        decisions.append(decision)
        used = _with(e, [*e.by_seed.values()][: decision.runs], screened=decision.runs > 1)
        if decision.verdict == "keep":
            incumbent, spare = used, [*e.by_seed.values()][decision.runs :]
        else:
            spare = spare_runs
        past.append(used)
    return decisions


def _with(e: Experiment, values: list[float], *, screened: bool) -> Experiment:
    """Return an experiment as a policy knows it that has made only these runs, under seeds from 1 on."""
    seeds = tuple(range(1, len(values) + 1))
    return replace(e, values=tuple(values), seeds=seeds, screened=screened, repeats={}, elsewhere={}, env={},
                   metric=None, measured_after={})  # fmt: skip


def _decided(
    session: Session, incumbent: Experiment, spare: list[float], e: Experiment, rules: Rules
) -> tuple[Decision, list[float]]:
    """Return the decision on `e`, and the runs of the incumbent that are still unused; it takes in the others."""
    runs: Iterator[float] = iter(e.by_seed.values())
    values = {1: next(runs)}
    left = list(spare)
    # So that none is asked for because the last is long ago: the machine is not here.
    incumbent.measured_after[0] = e.number
    while True:
        known = gather(session, incumbent, values, now=e.number, metrics=e.metrics, simpler=e.simpler)
        step = next_step(known, rules)
        if step.action in ("keep", "discard"):
            return Decision(e.number, step.action, step.reason, len(values)), left
        assert step.seed is not None
        if step.action == "run_candidate":
            value = next(runs, None)
            if value is None:
                why = f"it would have run seed {len(values) + 1}, which was never measured ({step.reason})"
                return Decision(e.number, "unmeasured", why, len(values)), left
            values[step.seed] = value
        elif left:
            incumbent.repeats[step.seed], incumbent.measured_after[step.seed] = left.pop(0), e.number
        else:
            why = f"it would have run the incumbent, experiment {incumbent.number}, once more ({step.reason})"
            return Decision(e.number, "unmeasured", why, len(values)), left
