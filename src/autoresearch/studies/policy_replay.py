"""What another policy would have kept, from the values that the journal has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from autoresearch.experiments.evidence import gather
from autoresearch.journal.experiment import Experiment, Run, decided_runs
from autoresearch.journal.session import Session
from autoresearch.journal.statuses import Status
from autoresearch.statistics.decision import BASELINE_RUNS, next_step
from autoresearch.statistics.rules import Rules

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
    stands in, since seeds are as good as each other; the two runs of a pair are of one recorded seed where there is
    one. Two things cannot be known: the value of a run that was never made, and of a change on top of another incumbent
    than the one that it was measured on.
    """
    decisions: list[Decision] = []
    past: dict[int, Experiment] = {}
    incumbent: Experiment | None = None
    spare: list[Run] = []
    for e in session.current:
        if e.status is None:
            continue
        runs = e.runs_for("screening", "verdict", "repeat")
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
        replay = _Replay(known, incumbent, list(spare), e, list(runs))
        decision, spent = replay.decided(rules)
        decisions.append(decision)
        incumbent, spare = replay.incumbent, replay.spare
        past[incumbent.number] = incumbent
        mine = _with(e, runs[:1], replay.fresh)
        past[e.number] = mine._replace(parent=incumbent.commit, status=_status(decision), alpha=spent)
        if decision.verdict == "keep":
            incumbent, spare = past[e.number], replay.runs
    return decisions


def _status(decision: Decision) -> Status:
    return "keep" if decision.verdict == "keep" else "discard"


def _with(e: Experiment, first: Sequence[Run], fresh: Mapping[int, Run] | None = None) -> Experiment:
    """Return an experiment as a policy knows it that has made only these runs: the first ones under seeds from 1 on,
    then fresh ones by their seeds."""
    known = dict(enumerate(first, 1)) | dict(fresh or {})
    values, beside = [run.value for run in known.values()], [run.guarded for run in known.values()]
    runs = decided_runs(values, [*known], e.number, screened=bool(fresh), guarded=beside)
    return e._replace(runs=runs, hardware="", metric=None)


@dataclass(slots=True)
class _Replay:
    """One candidate before a policy."""

    session: Session
    incumbent: Experiment
    """With the runs of it that this took."""
    spare: list[Run]
    """Its runs that are still unused."""
    e: Experiment
    runs: list[Run]
    """The candidate's unused runs."""
    fresh: dict[int, Run] = field(default_factory=dict)
    """The policy's seed -> run of the candidate."""
    recorded: dict[int, int | None] = field(default_factory=dict)
    """The policy's seed -> the one that stands in for it."""

    def decided(self, rules: Rules) -> tuple[Decision, float]:
        """Return the decision, and what it spent of a budget of alpha."""
        number, made = self.e.number, {1: self.runs.pop(0)}
        while True:
            values, beside = {s: run.value for s, run in made.items()}, {s: run.guarded for s, run in made.items()}
            known = gather(
                self.session, self.incumbent, values, now=number, metrics=self.e.metrics, simpler=self.e.simpler,
                guards=rules.guards, guarded=beside,
            )  # fmt: skip
            # No run is asked for because the last one is long ago: the machine is not here.
            step = next_step(replace(known, stale=False), rules)
            if step.action in ("keep", "discard"):
                return Decision(number, step.action, step.reason, len(made)), step.alpha
            assert step.seed is not None
            ours = step.action == "run_candidate"
            run = self._standing_in(step.seed, self.runs if ours else self.spare, self.spare if ours else self.runs)
            if run is None:
                what = "a run of its own" if ours else f"the incumbent, experiment {self.incumbent.number}, once more"
                why = f"it would have made {what}, which was never measured ({step.reason})"
                return Decision(number, "unmeasured", why, len(made)), step.alpha
            if ours:
                self.fresh[step.seed] = made[step.seed] = run
            else:
                beside_it = Run(step.seed, run.value, "repeat", "", number, guarded=run.guarded)
                self.incumbent = self.incumbent.with_run(beside_it)

    def _standing_in(self, seed: int, side: list[Run], other: Sequence[Run]) -> Run | None:
        """Take a run of one side for a seed: the partner of the other side's, or one that has a partner, or any."""
        if not side:
            return None
        theirs = {run.seed for run in other}
        wanted = [run for run in side if run.seed is not None and run.seed == self.recorded.get(seed)]
        wanted = wanted or [run for run in side if seed not in self.recorded and run.seed in theirs]
        run = (wanted or side)[0]
        side.remove(run)
        self.recorded.setdefault(seed, run.seed)
        return run
