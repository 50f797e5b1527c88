"""One experiment: preflight, commit, measure, decide, record, move git. In this order, so that a kill loses nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autoresearch.experiments.candidate import find_candidate, restore
from autoresearch.experiments.decide import (
    SCREENING_SEED,
    SeedRuns,
    Side,
    among,
    compared,
    decide,
    failure,
    incomparable,
    likely_next,
    most_runs,
    verdict_line,
)
from autoresearch.experiments.disturbance import speed_of
from autoresearch.experiments.pace import run_seconds
from autoresearch.experiments.preflight import check_branch, preflight
from autoresearch.experiments.recovery import interruptible
from autoresearch.experiments.result import ExperimentResult, conclude
from autoresearch.experiments.undisturbed import measure_undisturbed
from autoresearch.experiments.user_hooks import run_hook
from autoresearch.journal.events import repeat_line, start_line
from autoresearch.journal.refs import ref_of
from autoresearch.journal.refused_events import refused_line
from autoresearch.journal.session import Session, hardware_of
from autoresearch.journal.statuses import Status
from autoresearch.runs.measure import check
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import Meter, RunContext, RunSpec, Tick, giving_up, unmetered
from autoresearch.runs.turn import Turn
from autoresearch.statistics.decision import Step
from autoresearch.system.clock import Clock
from autoresearch.system.process import signals_interrupt
from autoresearch.workers.pool import Pool
from autoresearch.workspace.lock import changing_git, lock
from autoresearch.workspace.session_journal import append, load_session
from autoresearch.workspace.workspace import Workspace

INHERITED = ("hypothesis", "family", "parent")
"""What `try --again` takes over of the earlier experiment's side information; results and next steps are its own."""


def attempt(
    root: Workspace,
    description: str,
    asi: Mapping[str, Any],
    clock: Clock,
    *,
    again: int | None = None,
    pairs: int | None = None,
    same: bool = False,
    stops: bool = True,
    tick: Tick | None = None,
    meter: Meter = unmetered,
    workers: str | Pool = "",
) -> ExperimentResult:
    """Measure the change on top of the incumbent and keep or discard it (`try`).

    With `again` it is the change of that experiment, and with `pairs` up to so many decide on it, however its first run
    is; with `same` it may be code that was measured before, or none. Without `stops` no stop condition holds it
    up. `meter` keeps account of the time of its runs, `workers` names the slots that make them.

    Raises an `AutoresearchError` before anything is recorded when the experiment may not start, and `MachineError`
    when it was cut short; then nothing was decided.
    """
    with lock(root), signals_interrupt():
        context, session, remarks = preflight(root, clock, tick, stops=stops, meter=meter, workers=workers)
        git, task = context.git, context.task
        if again is not None:
            earlier = restore(root, git, session, task, again)
            description = description or f"again {again}: {earlier.description}"
            asi = {key: earlier.asi[key] for key in INHERITED if key in earlier.asi} | dict(asi)
        candidate = find_candidate(
            git, session, task, description, same=same or again is not None,
            repeats=lambda known: append(root, refused_line(known, clock())),
        )  # fmt: skip
        number = session.next_number
        about = {
            "experiment": number,
            "description": candidate.description,
            "asi": dict(asi),
            "parent": candidate.parent,
        }
        hooks = {"before": run_hook(root, session, "before", about)}
        check_branch(git, session)  # the hook, or a person meanwhile, may have gone to another one
        with changing_git(root):
            commit = candidate.commit or git.commit(candidate.paths, commit_message(candidate.description, asi))
        start = start_line(
            number,
            commit,
            candidate.parent,
            SCREENING_SEED,
            candidate.description,
            asi,
            candidate.fingerprint,
            clock(),
            simpler=candidate.simpler,
            warnings=candidate.warnings,
            pairs=pairs,
        )
        append(root, start)
        runs = SeedRuns(number, candidate.simpler, pairs, compared(task.rules))
        with interruptible(root, git, number, clock), giving_up(context):
            with changing_git(root):
                git.update_ref(ref_of(session, number), commit)
            status, reason = _judged(context, session, runs, commit, candidate.parent, clock)
            record = verdict_line(runs, session, start, status, reason, context.env(), clock())
            append(root, record)
        result = conclude(context, runs, remarks)
        hooks["after"] = run_hook(root, result.session, "after", {**record, "experiment": number, "commit": commit})
        return replace(result, hooks=hooks)


def _judged(
    context: RunContext, session: Session, runs: SeedRuns, commit: str, parent: str, clock: Clock
) -> tuple[Status, str]:
    """Make the runs that the decision asks for, into `runs`, until it says keep or discard, or one fails."""

    most, run_s = most_runs(context.task.rules, runs.pairs), run_seconds(session)

    def run(seed: int) -> None:
        beside = session.incumbent.on(hardware_of(context.env())).speeds if session.incumbent else []
        spec = context.spec(commit, runs.number, seed, parent=parent, turn=runs.turn(seed, most, run_s))
        run, seen = measure_undisturbed(context, spec, runs.speeds, beside, clock)
        runs.saw(seen)
        runs.add(seed, run)

    run(SCREENING_SEED)
    if runs.failed is None:
        checks_s = context.task.run.checks_limit_s
        with context.meter(checks_s) if context.task.run.checks else unmetered(checks_s):
            reason = check(context, context.spec(commit, runs.number, SCREENING_SEED))
        runs.failed = Measurement("checks_failed", reason=reason) if reason else incomparable(runs, session)
    env = context.env()
    while runs.failed is None:
        step = decide(runs, session, context.task.rules, env)
        if step.action in ("keep", "discard"):
            return step.action, step.reason
        assert step.seed is not None
        context.ahead(_likely(context, session, runs, step, commit, parent))
        if step.action == "run_candidate":
            run(step.seed)
        else:
            turn = runs.turn(step.seed, most, run_s, whose="the incumbent's ")
            runs.failed = _repeat_incumbent(context, session, runs, step.seed, turn, clock)
            session = load_session(context.workspace)
    return failure(runs.failed)


def _likely(
    context: RunContext, session: Session, runs: SeedRuns, step: Step, commit: str, parent: str
) -> list[RunSpec]:
    """Return the run that was asked for, and those that will be next if the pairs go on."""
    incumbent = session.incumbent
    assert incumbent is not None

    def spec(side: Side, seed: int) -> RunSpec:
        if side == "candidate":
            return context.spec(commit, runs.number, seed, parent=parent)
        return context.spec(incumbent.commit or "", incumbent.number, seed)

    return [spec(*each) for each in likely_next(step, runs, context.task.rules, frozenset(incumbent.by_seed))]


def _repeat_incumbent(
    context: RunContext, session: Session, runs: SeedRuns, seed: int, turn: Turn, clock: Clock
) -> Measurement | None:
    """Run the incumbent once more and record its value; return what ends the experiment when there is none."""
    incumbent = session.incumbent
    assert incumbent is not None
    spec = context.spec(incumbent.commit or "", incumbent.number, seed, turn=turn)
    own = incumbent.on(hardware_of(context.env())).speeds  # another machine is slower, or faster
    run, seen = measure_undisturbed(context, spec, own, runs.speeds, clock)
    runs.saw(seen)
    if run.value is None:
        reason = f"the incumbent's run of seed {seed} failed: {run.reason}"
        return Measurement("killed", reason=reason, excerpt=run.excerpt)
    beside = among(runs.guards, run)
    line = repeat_line(incumbent.number, seed, run.value, context.env(), clock(), speed=speed_of(run), guards=beside)
    append(context.workspace, line)
    return None


def commit_message(description: str, asi: Mapping[str, Any]) -> str:
    """Return the commit message: the description, and what the agent said of it."""
    lines = "".join(f"\n{key}: {value}" for key, value in asi.items())
    return f"{description}\n" + (f"\n{lines.lstrip()}\n" if lines else "")
