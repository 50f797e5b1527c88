"""A study: runs that decide nothing on the branch, with a journal line before and after.

A kill leaves the line before and those of the runs that were complete. The recovery writes the line after, and the same
command again takes the complete runs over and makes the missing ones.
"""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoresearch.errors import AutoresearchError, MachineError
from autoresearch.experiments.disturbance import made_again, speed_of
from autoresearch.experiments.pace import run_seconds
from autoresearch.experiments.recovery import end_study
from autoresearch.experiments.undisturbed import MOST_AGAIN, measure_undisturbed
from autoresearch.journal.events import study_end_line, study_line, study_run_line
from autoresearch.journal.experiment import Speed
from autoresearch.journal.session import Session, hardware_of
from autoresearch.journal.study import SEARCH, Study
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import RunContext, RunSpec, giving_up
from autoresearch.runs.turn import Turn
from autoresearch.system.clock import Clock
from autoresearch.system.files import remove
from autoresearch.workspace.journal_mirror import keep_up
from autoresearch.workspace.session_journal import append, load_session
from autoresearch.workspace.workspace import Workspace

LATE = ("over_budget", "timeout")
"""Outcomes that a loaded machine gives to code that keeps within its budget on one at rest."""


@dataclass(frozen=True, slots=True)
class StudyRunner:
    """A study while it is made."""

    context: RunContext
    study: Study
    """As it was when it began."""
    clock: Clock
    again: str
    """What to type to go on after an interruption."""
    runs: dict[str, dict[int, float]]
    """Commit -> seed -> value: the study's own, and those that are made now."""
    speeds: dict[str, list[Speed]] = field(default_factory=dict)
    """Commit -> how fast its runs were, of those that are made now."""
    disturbed: list[str] = field(default_factory=list)
    """What was seen of a machine that disturbed a run: it was made again."""
    beside: list[Speed] = field(default_factory=list)
    """How fast earlier runs of the code that it looks at were, where that is known."""
    earlier: Mapping[str, Sequence[Speed]] = field(default_factory=dict)
    """Commit -> how fast its runs before the study were, on these slots or this machine."""
    again_of: Counter[str] = field(default_factory=Counter)
    """Commit -> how many of its runs were made again."""
    most: int = 1
    """How many runs it has at most."""
    exactly: bool = True
    """Whether it has so many, whatever they give."""
    run_s: float | None = None
    """What one takes."""

    def value(self, commit: str, experiment: int, seed: int) -> float | Measurement:
        """Return the value of a commit and seed, measured now unless the study has it; or the run that failed."""
        known = self.runs.setdefault(commit, {})
        if seed not in known:
            done = self.measure(commit, experiment, seed)
            if done.value is None:
                return done
            append(self.context.workspace, study_run_line(self.study.number, commit, seed, done.value, self.clock()))
            known[seed] = done.value
        return known[seed]

    def ahead(self, wanted: Sequence[tuple[str, int, int]]) -> None:
        """Say which values, as (commit, experiment, seed), will be asked for, so that free slots make their runs."""
        missing = [each for each in wanted if each[2] not in self.runs.get(each[0], {})]
        self.context.ahead([self._spec(*each) for each in missing])

    def _spec(self, commit: str, experiment: int, seed: int, turn: Turn | None = None) -> RunSpec:
        place = folder(self.context.workspace, self.study, commit)
        return RunSpec(commit, experiment, seed, place / str(seed), self.study.split, turn=turn)

    def measure(self, commit: str, experiment: int, seed: int) -> Measurement:
        """Run a commit with a seed in the study's own folder, again while the machine disturbs it.

        Its weights are of no use to anyone.
        """
        place = folder(self.context.workspace, self.study, commit)
        begun = 1 + sum(map(len, self.speeds.values())) + sum(map(len, self.study.runs.values()))
        what = f"{self.study.what}: experiment {experiment}, seed {seed}"
        turn = Turn(what, begun, max(self.most, begun), self.exactly, self.run_s)
        spec = self._spec(commit, experiment, seed, turn)
        own = self.speeds.setdefault(commit, [])
        beside = self.beside + [s for other, speeds in self.speeds.items() if other != commit for s in speeds]
        for late in range(MOST_AGAIN + 1):
            # A machine that has become slower for good would make each run of the study again.
            known = own if self.again_of[commit] >= MOST_AGAIN else [*self.earlier.get(commit, ()), *own]
            done, seen = measure_undisturbed(self.context, spec, known, beside, self.clock, study=self.study.number)
            self.disturbed.extend(seen)
            self.again_of[commit] += made_again(seen)
            if done.outcome not in LATE or late == MOST_AGAIN:
                break
            self.disturbed.append(f"{what} took longer than it may ({done.reason})")
        own.append(speed_of(done))
        if self.context.task.run.weights is not None:
            remove(place / str(seed) / self.context.task.run.weights)  # others may be at work
        return done

    def end(self, outcome: str, result: Mapping[str, Any]) -> None:
        """Write the line after."""
        told = {"disturbed": self.disturbed} if self.disturbed else {}
        line = study_end_line(self.study.number, outcome, {**result, **told}, self.clock())
        append(self.context.workspace, line)
        keep_up(self.context.workspace, self.context.git, load_session(self.context.workspace))

    def fail(self, what: str, run: Measurement) -> AutoresearchError:
        """End the study because a run has no value; return the error to raise. What a machine failed is a pause."""
        message = f"{what} has no value ({run.outcome}): {run.reason}"
        # Both sides of a confirmation have kept within their budget before: here it is the machine that was late.
        if run.outcome == "killed" or (run.outcome in LATE and self.study.what == "confirm"):
            return MachineError(message, f"go on with: {self.again}")
        self.end("failed", {"reason": message})
        logs = folder(self.context.workspace, self.study, "").relative_to(self.context.workspace.root)
        return AutoresearchError(message, f"its output is in {logs}")


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
    most: int = 1,
    *,
    exactly: bool = True,
) -> Iterator[StudyRunner]:
    """Begin a study, or go on with an interrupted one that asked for the same; what ends it early is told.

    `most` is the number of its runs, or with `exactly` false how many they are at most.
    """
    about, earlier = _with_slots(context, about), interrupted(context, session, what, about, split)
    number = len(session.studies) + 1
    continues = earlier.number if earlier is not None else None
    workspace = context.workspace
    append(workspace, study_line(number, what, about, split, clock(), continues=continues, again=again))
    study = load_session(workspace).studies[-1]
    known = {commit: dict(runs) for commit, runs in study.runs.items()}
    hardware = hardware_of(context.env())
    fast = defaultdict[str, list[Speed]](list)
    for e in session.current:
        fast[e.commit or ""] += e.on(hardware).speeds
    run_s = run_seconds(session)
    runner = StudyRunner(context, study, clock, again, known, most=most, exactly=exactly, earlier=fast, run_s=run_s)
    try:
        with giving_up(context):
            yield runner
    except BaseException as error:
        runs = sum(map(len, runner.runs.values()))
        by_hand = isinstance(error, KeyboardInterrupt)
        with contextlib.suppress(OSError, AutoresearchError):
            end_study(workspace, load_session(workspace), clock())
        if by_hand and load_session(workspace).studies[-1].outcome not in (None, "interrupted"):
            raise MachineError(f"interrupted after the end of {what}", "see: autoresearch status") from error
        if by_hand or isinstance(error, MachineError | OSError):
            why = "by a signal" if by_hand else f": {error}"
            message = f"{what} was interrupted {why}; {runs} run{'s are' if runs != 1 else ' is'} in the journal"
            raise MachineError(message.replace(" :", ":"), f"go on with: {again}") from error
        raise


def interrupted(context: RunContext, session: Session, what: str, about: Mapping[str, Any], split: str) -> Study | None:
    """Return the study that one which asks for this goes on with; None where it is a new one."""
    last = next((s for s in reversed(session.studies) if s.what == what), None)
    if last is None or last.outcome != "interrupted":
        return None
    return last if (last.about, last.split) == (_with_slots(context, about), split) else None


def _with_slots(context: RunContext, about: Mapping[str, Any]) -> Mapping[str, Any]:
    """Runs of other slots, or of the whole machine, are not taken over into a study of these."""
    return about if context.slots is None else {**about, "slots": hardware_of(context.env())}


def new_seeds(session: Session, count: int) -> list[int]:
    """Return `count` seeds that no run of the session has had."""
    used = {run.seed for e in session.experiments for run in e.runs if run.seed is not None}
    used |= {seed for s in session.studies for runs in s.runs.values() for seed in runs}
    used |= {seed for s in session.studies for seed in s.about.get("seeds", ())}
    begin = max(used, default=0) + 1
    return [*range(begin, begin + count)]
