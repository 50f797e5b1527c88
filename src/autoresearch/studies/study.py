"""Studies: `confirm` and `replicate`. Runs that decide nothing on the branch, with a journal line before and after.

A kill leaves the line before and those of the runs that were complete. The repair writes the line after, and the same
command again takes the complete runs over and makes the missing ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoresearch.errors import AutoresearchError, MachineError, PreconditionError, UsageError
from autoresearch.experiments.decide import repeat_line
from autoresearch.experiments.preflight import preflight
from autoresearch.experiments.recovery import end_study
from autoresearch.journal import study as lines
from autoresearch.journal.session import Experiment, Session
from autoresearch.journal.study import LOCKED, Study
from autoresearch.runs.measure import measure
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import SEARCH, RunContext, RunSpec, Tick
from autoresearch.statistics.confirmation import Confirmation, confirmation
from autoresearch.system.clock import Clock
from autoresearch.system.hardware import detect
from autoresearch.system.process import signals_interrupt
from autoresearch.workspace.workspace import Workspace


@dataclass(slots=True)
class Work:
    """A study while it is made."""

    context: RunContext
    study: Study
    clock: Clock
    again: str
    """What to type to go on after an interruption."""

    def value(self, commit: str, experiment: int, seed: int) -> float | Measurement:
        """Return the value of a commit and seed, measured now unless the study has it; or the run that failed."""
        known = self.study.runs.setdefault(commit, {})
        if seed not in known:
            done = self.measure(commit, experiment, seed)
            if done.value is None:
                return done
            self.context.workspace.append(lines.measured(self.study.number, commit, seed, done.value, self.clock()))
            known[seed] = done.value
        return known[seed]

    def measure(self, commit: str, experiment: int, seed: int) -> Measurement:
        """Run a commit with a seed in the study's own folder; its weights are of no use to anyone."""
        place = folder(self.context.workspace, self.study, commit)
        done = measure(self.context, RunSpec(commit, experiment, seed, place / str(seed), self.study.split))
        if self.context.task.run.weights is not None:
            for path in place.glob(f"*/{self.context.task.run.weights}"):
                path.unlink()
        return done

    def end(self, outcome: str, result: Mapping[str, Any]) -> None:
        """Write the line after."""
        self.context.workspace.append(lines.end(self.study.number, outcome, result, self.clock()))

    def fail(self, what: str, run: Measurement) -> AutoresearchError:
        """End the study because a run has no value; return the error to raise. What a machine failed is a pause."""
        told = f"{what} has no value ({run.outcome}): {run.reason}"
        if run.outcome == "killed":
            return MachineError(told, f"go on with: {self.again}")
        self.end("failed", {"reason": told})
        logs = folder(self.context.workspace, self.study, "").relative_to(self.context.workspace.root)
        return AutoresearchError(told, f"its output is in {logs}")


def folder(workspace: Workspace, study: Study, commit: str) -> Path:
    """Return where the runs of a commit in a study are."""
    return workspace.state / "studies" / str(study.number) / commit[:12]


@contextlib.contextmanager
def study_of(
    context: RunContext,
    session: Session,
    clock: Clock,
    what: str,
    about: Mapping[str, Any],
    again: str,
    split: str = SEARCH,
) -> Iterator[Work]:
    """Begin a study, or go on with an interrupted one that asked for the same; what ends it early is told."""
    earlier = next((s for s in reversed(session.studies) if s.what == what), None)
    goes_on = (
        earlier is not None and earlier.outcome == "interrupted" and (earlier.about, earlier.split) == (about, split)
    )
    number = len(session.studies) + 1
    continues = earlier.number if goes_on and earlier is not None else None
    workspace = context.workspace
    workspace.append(lines.begin(number, what, about, split, clock(), continues=continues))
    study = workspace.session().studies[-1]
    work = Work(context, study, clock, again)
    try:
        yield work
    except BaseException as error:
        runs = sum(map(len, study.runs.values()))
        by_hand = isinstance(error, KeyboardInterrupt)
        with contextlib.suppress(OSError, AutoresearchError):
            end_study(workspace, workspace.session(), clock())
        if by_hand or isinstance(error, MachineError | OSError):
            why = "by a signal" if by_hand else f": {error}"
            told = f"{what} was interrupted {why}; {runs} run{'s are' if runs != 1 else ' is'} in the journal"
            raise MachineError(told.replace(" :", ":"), f"go on with: {again}") from error
        raise


def replicate(
    root: Workspace, number: int, seed: int | None, clock: Clock, *, tick: Tick | None = None
) -> tuple[Experiment, Session, int, float]:
    """Run experiment `number` once more and record the value as a repeat; return it with the session after.

    Without `seed` with the seed of its first run, which tells whether a run can be reproduced. Raises
    `AutoresearchError` when the run fails, `PreconditionError` when there is no such experiment or commit.
    """
    with root.lock(), signals_interrupt():
        context, session, _ = preflight(root, clock, tick, stops=False)
        experiment = session.find(number)
        if experiment is None or experiment.status is None:
            raise UsageError(f"there is no experiment {number}", "see: autoresearch log")
        commit = context.git.resolve(experiment.commit or "")
        if commit is None:
            raise PreconditionError(
                f"the commit of experiment {number} is not in this repository", "see: autoresearch check"
            )
        chosen = seed if seed is not None else next(iter(experiment.seeds), 1)
        again = f"autoresearch replicate {number}" + (f" --seed {seed}" if seed is not None else "")
        about = {"experiment": number, "seed": chosen}
        with study_of(context, session, clock, "replicate", about, again) as work:
            run = work.measure(commit, number, chosen)
            if run.value is None:
                raise work.fail(f"experiment {number} with seed {chosen}", run)
            value = run.value
            root.append({**repeat_line(number, chosen, value, detect().env(), clock()), "study": work.study.number})
            work.end("done", {"value": value})
        session = root.session()
        experiment = session.find(number)
        assert experiment is not None
        return experiment, session, chosen, value


def confirm(
    root: Workspace, seeds: int | None, split: str | None, clock: Clock, *, tick: Tick | None = None
) -> tuple[Confirmation, Session]:
    """Measure baseline and best on fresh seeds, on the locked split where the task has an evaluator.

    Returns what was claimed and what was found. Raises `PreconditionError` when nothing was kept.
    """
    with root.lock(), signals_interrupt():
        context, session, _ = preflight(root, clock, tick, stops=False)
        first, best = session.baseline, session.best
        if first is None or best is None or best.number == first.number or session.gain is None:
            raise PreconditionError("nothing was kept since the baseline", "there is no gain to confirm yet")
        if split is None:
            split = LOCKED if context.task.run.evaluate else SEARCH
        elif split == LOCKED and context.task.run.evaluate is None:
            raise PreconditionError("the task has no evaluator, so no locked split", "leave out --split")
        # Two seeds are the least that tell a spread; more than for a keep, since this number goes into the world.
        count = max(2, seeds or context.task.keep.seeds)
        chosen = fresh_seeds(session, count, best.number, split)
        about = {"baseline": first.number, "best": best.number, "seeds": chosen}
        again = "autoresearch confirm" + (f" --seeds {seeds}" if seeds else "")
        again += f" --split {split}" if split == SEARCH and context.task.run.evaluate else ""
        with study_of(context, session, clock, "confirm", about, again, split) as work:
            found: dict[int, dict[int, float]] = {first.number: {}, best.number: {}}
            for seed in chosen:
                for e in (first, best):  # side by side, so that a machine that changes does so for both
                    value = work.value(e.commit or "", e.number, seed)
                    if isinstance(value, Measurement):
                        raise work.fail(f"experiment {e.number} with seed {seed}", value)
                    found[e.number][seed] = value
            told = confirmation(session.metric, session.gain, found[first.number], found[best.number])
            work.end("done", told.as_result())
        return told, root.session()


def fresh_seeds(session: Session, count: int, best: int, split: str) -> list[int]:
    """Return seeds that no run of the session has had; those of an interrupted study of the same again."""
    last = next((s for s in reversed(session.studies) if s.what == "confirm"), None)
    if last is not None and last.outcome == "interrupted" and last.split == split:
        seeds: list[int] = last.about.get("seeds", [])
        if last.about.get("best") == best and len(seeds) == count:
            return seeds
    return new_seeds(session, count)


def new_seeds(session: Session, count: int) -> list[int]:
    """Return `count` seeds that no run of the session has had."""
    used = {seed for e in session.experiments for seed in (*e.by_seed, *(s for r in e.elsewhere.values() for s in r))}
    used |= {seed for s in session.studies for runs in s.runs.values() for seed in runs}
    used |= {seed for s in session.studies for seed in s.about.get("seeds", ())}
    begin = max(used, default=0) + 1
    return [*range(begin, begin + count)]
