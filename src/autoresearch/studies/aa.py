"""A/A candidates: the incumbent's own code put through the verdict of a change, to see how often luck is kept here.

Each is a study: a `study` line before, its runs, and after them what the verdict would have been. The rules and the
function that decides are those of a candidate. The runs of both sides are fresh ones and belong to the study, so no
later verdict depends on whether there was one, and nothing is ever kept by it. One that was cut short is not counted,
and not gone on with.
"""

from __future__ import annotations

from dataclasses import replace

from autoresearch.errors import MachineError
from autoresearch.experiments.decide import (
    SCREENING_SEED,
    SeedRuns,
    among,
    compared,
    decide,
    incomparable,
    likely_next,
    most_runs,
)
from autoresearch.experiments.disturbance import speed_of
from autoresearch.experiments.preflight import preflight
from autoresearch.journal.events import study_run_line
from autoresearch.journal.experiment import Experiment, Run
from autoresearch.journal.session import Session, hardware_of
from autoresearch.journal.study import AA, Study
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import Meter, Skipped, Tick, unmetered
from autoresearch.statistics.alpha import chance_of_luck
from autoresearch.statistics.decision import Step
from autoresearch.studies.study import StudyRunner, study_of
from autoresearch.system.clock import Clock
from autoresearch.system.git_plumbing import commit_on
from autoresearch.system.process import signals_interrupt
from autoresearch.workers.pool import Pool
from autoresearch.workspace.lock import changing_git, lock
from autoresearch.workspace.session_journal import append, load_session
from autoresearch.workspace.workspace import Workspace

EVERY = 20
"""Experiments between two of them where several runs are made at once: each costs about as much as an experiment."""


def interval(asked: int | None, slots: int) -> int:
    """Return how many experiments lie between two of them, 0 for none: as a person asks, else by the slots."""
    return asked if asked is not None else EVERY if slots > 1 else 0


def due(session: Session, every: int) -> bool:
    """Whether so many experiments of this segment have a verdict since the last one; half of that for the first."""
    if every < 1 or session.incumbent is None:
        return False
    after = [int(s.about.get("after", 0)) for s in session.studies if s.what == AA and s.outcome in ("done", "failed")]
    first = session.current[0].number
    last = max((number for number in after if number >= first), default=None)
    decided = [e for e in session.current if e.parent and e.status is not None and e.outcome != "killed"]
    if last is None:
        return 2 * len(decided) >= every
    return len([e for e in decided if e.number > last]) >= every


def aa_candidate(
    root: Workspace,
    clock: Clock,
    again: str,
    *,
    tick: Tick | None = None,
    meter: Meter = unmetered,
    workers: str | Pool = "",
) -> Study | None:
    """Measure the incumbent's own code as a candidate would be, and write down whether it would have been kept.

    Returns the study; None where there is no incumbent whose commit is here. A run that fails ends it as `failed`.
    `again` is what to type after an interruption, `workers` names the slots that make the runs. Raises
    `MachineError` when it was cut short, and an `AutoresearchError` before anything is begun when nothing may be
    measured.
    """
    with lock(root), signals_interrupt():
        context, session, _ = preflight(root, clock, tick, stops=False, meter=meter, workers=workers)
        incumbent, last, git = session.incumbent, session.last, context.git
        tip = git.resolve(incumbent.commit or "") if incumbent is not None else None
        if incumbent is None or last is None or tip is None:
            return None
        with changing_git(root):  # the same files; the number makes it a commit that no study had before
            commit = commit_on(git, tip, {}, f"nothing, in study {len(session.studies) + 1}\n")
        rules = context.task.rules
        about = {"experiment": incumbent.number, "after": last.number, "commit": commit}
        most = most_runs(rules)
        with study_of(context, session, clock, AA, about, again, most=most, exactly=False) as runner:
            runner.beside.extend(incumbent.on(hardware_of(context.env())).speeds)
            runs = SeedRuns(session.next_number, guards=compared(rules))
            step = None
            try:
                step = _verdict(runner, session, incumbent, runs, commit, tip)
            except Skipped as skipped:  # as one that failed, which is not made anew at once
                runner.end("failed", {"reason": str(skipped)})
            if step is not None:
                would = {"kept": step.action == "keep", "reason": step.reason, "seeds": [*runs.values]}
                runner.end("done", {**would, "at_most": chance_of_luck(rules, session.alpha_spent)})
        return load_session(root).studies[-1]


def _verdict(
    runner: StudyRunner, session: Session, incumbent: Experiment, runs: SeedRuns, commit: str, tip: str
) -> Step | None:
    """Make the runs that the decision asks for, until it says keep or discard; None when one failed, which ends the
    study."""
    context, rules, known = runner.context, runner.context.task.rules, session

    def made(side: str, seed: int) -> Measurement | None:
        run = runner.measure(side, incumbent.number, seed)
        if run.value is None:
            error = runner.fail(f"the unchanged code with seed {seed}", run)
            if isinstance(error, MachineError):
                raise error
            return None
        append(context.workspace, study_run_line(runner.study.number, side, seed, run.value, runner.clock()))
        return run

    side, seed = commit, SCREENING_SEED
    while True:
        run = made(side, seed)
        if run is None or run.value is None:
            return None
        if side == commit:
            runs.add(seed, run)
        else:
            hardware, beside = hardware_of(context.env()) or incumbent.hardware, among(runs.guards, run)
            again = Run(seed, run.value, "repeat", hardware, runs.number, speed_of(run), beside)
            incumbent = incumbent.with_run(again)
            known = _with(session, incumbent)
        other = incomparable(runs, session)
        if other is not None:
            runner.end("failed", {"reason": other.reason})
            return None
        step = decide(runs, known, rules, context.env())
        if step.action in ("keep", "discard"):
            return step
        assert step.seed is not None
        likely = likely_next(step, runs, rules, frozenset(incumbent.by_seed))
        runner.ahead([(commit if who == "candidate" else tip, incumbent.number, number) for who, number in likely])
        side, seed = commit if step.action == "run_candidate" else tip, step.seed


def _with(session: Session, incumbent: Experiment) -> Session:
    """Return the session as it would be if the incumbent had these runs."""
    experiments = tuple(incumbent if e.number == incumbent.number else e for e in session.experiments)
    return replace(session, experiments=experiments, memo={})
