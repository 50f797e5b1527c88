"""Experiment 1: the starting point, measured with several seeds, which tell the noise."""

from __future__ import annotations

from autoresearch.errors import AutoresearchError, PreconditionError
from autoresearch.experiments.code_fingerprint import fingerprint
from autoresearch.experiments.decide import SCREENING_SEED, SeedRuns, among, compared, failure, verdict_line
from autoresearch.experiments.disturbance import disturbance, speed_of
from autoresearch.experiments.guard_places import unplaced
from autoresearch.experiments.new_segment import take_edited_task
from autoresearch.experiments.pace import run_seconds
from autoresearch.experiments.preflight import preflight
from autoresearch.experiments.recovery import interruptible
from autoresearch.experiments.result import ExperimentResult, conclude
from autoresearch.experiments.seed_use import told, without_seed
from autoresearch.experiments.undisturbed import MOST_AGAIN, measure_undisturbed
from autoresearch.journal.events import disturbed_line, repeat_line, start_line
from autoresearch.journal.refs import ref_of
from autoresearch.journal.session import Experiment, hardware_of
from autoresearch.runs.measure import check
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.setup import setup
from autoresearch.runs.spec import Meter, RunContext, Tick, giving_up, unmetered
from autoresearch.statistics.decision import BASELINE_RUNS
from autoresearch.statistics.rules import Rules, silent_guards
from autoresearch.system.clock import Clock
from autoresearch.system.extras import install, missing_ml
from autoresearch.system.git_plumbing import files_of
from autoresearch.system.process import signals_interrupt
from autoresearch.workers.pool import Pool
from autoresearch.workspace.editable import edited, mutable_paths, put_aside
from autoresearch.workspace.journal_mirror import keep_up
from autoresearch.workspace.lock import changing_git, lock
from autoresearch.workspace.session_journal import append, load_session
from autoresearch.workspace.workspace import Workspace


def baseline(
    root: Workspace,
    seeds: int | None,
    clock: Clock,
    *,
    tick: Tick | None = None,
    meter: Meter = unmetered,
    workers: str | Pool = "",
) -> ExperimentResult:
    """Measure the commit at the tip as the session's baseline, or give an existing baseline more seeds.

    `meter` keeps account of the time of its runs; `workers` names the slots that make them, all at once where there are
    enough.

    Raises as `attempt` does, and `AutoresearchError` when the baseline's own run fails: nothing can be compared.
    """
    with lock(root), signals_interrupt():
        taken = take_edited_task(root, clock())
        context, session, remarks = preflight(root, clock, tick, meter=meter, workers=workers)
        remarks = [*taken, *remarks]
        git, task = context.git, context.task
        wanted = range(1, (seeds or (BASELINE_RUNS if task.keep.policy == "confirm" else 1)) + 1)
        if session.baseline is not None:
            with giving_up(context):
                return _more_seeds(context, session.baseline, wanted, clock, remarks, asked=seeds is not None)
        if edited(git, session, task):
            what = ", ".join(task.files.mutable)
            raise PreconditionError(
                f"{what} has changes that are not committed", f"commit them, or put them aside: {put_aside(git, task)}"
            )
        setup(context)
        number, commit = session.next_number, git.head() or ""
        code = fingerprint(files_of(git, commit, mutable_paths(git, task)))
        start = start_line(number, commit, None, SCREENING_SEED, "baseline", {}, code, clock())
        append(root, start)
        runs = SeedRuns(number, guards=compared(task.rules))
        with interruptible(root, git, number, clock), giving_up(context):
            with changing_git(root):
                git.update_ref(ref_of(session, number), commit)
            context.ahead([context.spec(commit, number, seed) for seed in wanted])
            for seed in wanted:
                if runs.failed is None:
                    spec = context.spec(commit, number, seed, turn=runs.turn(seed, len(wanted), None, exactly=True))
                    run, seen = measure_undisturbed(context, spec, runs.speeds, (), clock)
                    runs.saw(seen)
                    runs.add(seed, run)
            _calm(context, runs, commit, clock)
            if runs.failed is None:
                problem = check(context, context.spec(commit, number, SCREENING_SEED))
                runs.failed = Measurement("checks_failed", reason=problem) if problem else None
            if runs.failed is None and without_seed(task, runs.values):
                runs.warnings |= dict.fromkeys(told(root.root, task, len(runs.values)))
            if runs.failed is None and runs.first is not None:
                log = root.run_dir(number, SCREENING_SEED) / "run.log"
                runs.warnings |= dict.fromkeys(unplaced(task, runs.first.metrics, log))
            status, reason = failure(runs.failed) if runs.failed else ("keep", _reason(runs, task.rules))
            append(root, verdict_line(runs, session, start, status, reason, context.env(), clock()))
        result = conclude(context, runs, remarks)
        if runs.failed is not None:
            message = f"the baseline failed ({runs.failed.outcome}): {runs.failed.reason}"
            absent = missing_ml(root.root, runs.failed.excerpt)
            if absent is not None and task.task.harness:
                raise AutoresearchError(f"{message}; {absent} is not installed", f"install it: {install('ml')}")
            fix = f"correct it, commit, and call this again; what it printed: autoresearch show {number}"
            raise AutoresearchError(message, fix)
        return result


def _calm(context: RunContext, runs: SeedRuns, commit: str, clock: Clock) -> None:
    """Make those runs again that a later one shows to have been disturbed: nothing was there to compare them with."""
    if context.task.same_work:
        return
    for seed, run in list(runs.made.items()):
        if runs.failed is not None:
            return
        why = disturbance(run, runs.speeds)
        if why and run.value is not None and runs.disturbed < MOST_AGAIN * len(runs.made):
            line = disturbed_line(runs.number, seed, run.value, why, speed_of(run), clock())
            append(context.workspace, line)
            again, seen = measure_undisturbed(context, context.spec(commit, runs.number, seed), runs.speeds, (), clock)
            runs.saw((why, *seen))
            runs.add(seed, again)


def _reason(runs: SeedRuns, rules: Rules) -> str:
    """Return why a baseline is kept: because it is one. A guard on what it does not report is told, as ever."""
    silent = silent_guards(rules, runs.first.metrics if runs.first else {})
    return f"baseline; {silent}" if silent else "baseline"


def _more_seeds(
    context: RunContext, first: Experiment, wanted: range, clock: Clock, remarks: list[str], *, asked: bool
) -> ExperimentResult:
    """Run the seeds that the baseline does not have yet, to know the noise better."""
    missing = [seed for seed in wanted if seed not in first.by_seed]
    if not missing:
        extra = f" with {len(first.by_seed)} seeds" if asked else ""
        raise PreconditionError(
            f"the baseline is there{extra}: experiment {first.number}", 'next: autoresearch try -m "..."'
        )
    last = None
    context.ahead([context.spec(first.commit or "", first.number, seed) for seed in missing])
    more, each = SeedRuns(first.number), run_seconds(load_session(context.workspace))
    known = first.on(hardware_of(context.env())).speeds
    for seed in missing:
        turn = more.turn(seed, len(missing), each, exactly=True)
        spec = context.spec(first.commit or "", first.number, seed, turn=turn)
        own = more.speeds if more.disturbed >= MOST_AGAIN else known + more.speeds  # it may be slower for good
        last, seen = measure_undisturbed(context, spec, own, (), clock)
        more.saw(seen)
        remarks += [f"a disturbed run: {why}" for why in seen]
        if last.value is None:
            message = f"the baseline failed with seed {seed}: {last.reason}"
            raise AutoresearchError(message, f"see: autoresearch show {first.number}")
        beside = among(compared(context.task.rules), last)
        line = repeat_line(first.number, seed, last.value, context.env(), clock(), speed=speed_of(last), guards=beside)
        append(context.workspace, line)
        more.add(seed, last)
    session = load_session(context.workspace)
    remarks += keep_up(context.workspace, context.git, session)
    experiment = session.baseline
    assert experiment is not None and last is not None
    return ExperimentResult(experiment, session, last, tuple(remarks))
