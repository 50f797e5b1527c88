"""One experiment: guard, commit, measure, decide, record, move git. In this order, so that a kill loses nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from autoresearch.errors import AutoresearchError, MachineError, PreconditionError
from autoresearch.escaping import excerpt
from autoresearch.experiments import candidate as candidates
from autoresearch.experiments.code_fingerprint import fingerprint
from autoresearch.experiments.decide import SCREENING_SEED, Clock, Runs, failure, judge, repeat_line, run_line
from autoresearch.experiments.preflight import check_branch, check_stop
from autoresearch.experiments.recovery import killed, repair, settle
from autoresearch.experiments.user_hooks import run_hook
from autoresearch.journal.refs import ref_of
from autoresearch.journal.session import Event, Experiment, Session
from autoresearch.runs.measure import Bench, Measurement, Tick, check, environment, measure
from autoresearch.statistics.decision import BASELINE_RUNS
from autoresearch.system.git import Git
from autoresearch.system.process import run_limited, signals_interrupt
from autoresearch.workspace.editable import check_immutable, mutable_paths
from autoresearch.workspace.task_file import check_command, load
from autoresearch.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Report:
    """What one command did: the experiment with its verdict, the session after it, and remarks."""

    experiment: Experiment
    session: Session
    last: Measurement
    """The run that decided, for its excerpt."""
    remarks: tuple[str, ...] = ()
    hooks: Mapping[str, list[str]] = field(default_factory=dict)
    """`before` and `after` -> what the person's hook said."""


def attempt(
    root: Workspace,
    description: str,
    asi: Mapping[str, Any],
    clock: Clock,
    *,
    again: int | None = None,
    same: bool = False,
    tick: Tick | None = None,
) -> Report:
    """Measure the change on top of the incumbent and keep or discard it (`try`).

    With `again` it is the change of that experiment; with `same` it may be code that was measured before, or none.

    Raises an `AutoresearchError` before anything is recorded when the experiment may not start, and `MachineError`
    when it was cut short; then nothing was decided.
    """
    with root.lock(), signals_interrupt():
        bench, session, remarks = guarded(root, clock, tick)
        git, task = bench.git, bench.task
        if again is not None:
            earlier = candidates.restore(root, git, session, task, again)
            description = description or f"again {again}: {earlier}"
        found = candidates.find_candidate(git, session, task, description, again=same or again is not None)
        number = session.next_number
        about = {"experiment": number, "description": found.description, "asi": dict(asi), "parent": found.parent}
        hooks = {"before": run_hook(root, session, "before", about)}
        with root.changing_git():
            commit = found.commit or git.commit(found.paths, _message(found.description, asi))
        start: Event = {
            "type": "start",
            "experiment": number,
            "commit": commit,
            "parent": found.parent,
            "seed": SCREENING_SEED,
            "description": found.description,
            "asi": dict(asi),
            "fingerprint": found.fingerprint,
            "simpler": found.simpler,
            "warnings": list(found.warnings),
            "timestamp": clock(),
        }
        root.append(start)
        runs = Runs(bench, commit, number, parent=found.parent)
        with _interruptible(root, git, number, clock):
            with root.changing_git():
                git.update_ref(ref_of(session, number), commit)
            runs.run(SCREENING_SEED)
            status, reason = judge(runs, session, found.simpler, clock)
            record = run_line(runs, session, start, status, reason, clock())
            root.append(record)
        report = _conclude(root, git, number, runs, remarks)
        hooks["after"] = run_hook(root, report.session, "after", {**record, "experiment": number, "commit": commit})
        return replace(report, hooks=hooks)


def baseline(root: Workspace, seeds: int | None, clock: Clock, *, tick: Tick | None = None) -> Report:
    """Measure the commit at the tip as the session's baseline, or give an existing baseline more seeds.

    Raises as `attempt` does, and `AutoresearchError` when the baseline's own run fails: nothing can be compared.
    """
    with root.lock(), signals_interrupt():
        bench, session, remarks = guarded(root, clock, tick)
        git, task = bench.git, bench.task
        wanted = range(1, (seeds or (BASELINE_RUNS if task.keep.policy == "confirm" else 1)) + 1)
        if session.baseline is not None:
            return _more_seeds(bench, session, session.baseline, wanted, clock, remarks, asked=seeds is not None)
        if candidates.edited(git, session, task):
            what = ", ".join(task.files.mutable)
            raise PreconditionError(
                f"{what} has changes that are not committed", "commit them, or put them aside: git stash"
            )
        setup(bench)
        number, commit = session.next_number, git.head() or ""
        code = fingerprint(git.files(commit, mutable_paths(git, task)))
        start: Event = {"type": "start", "experiment": number, "commit": commit, "parent": None, "seed": 1,
                        "description": "baseline", "asi": {}, "fingerprint": code, "timestamp": clock()}  # fmt: skip
        root.append(start)
        runs = Runs(bench, commit, number)
        with _interruptible(root, git, number, clock):
            with root.changing_git():
                git.update_ref(ref_of(session, number), commit)
            for seed in wanted:
                if runs.failed is None:
                    runs.run(seed)
            if runs.failed is None:
                failed = check(bench, commit, number, 1)
                if failed:
                    runs.failed = Measurement("checks_failed", reason=failed)
            status, reason = failure(runs.failed) if runs.failed else ("keep", "baseline")
            root.append(run_line(runs, session, start, status, reason, clock()))
        report = _conclude(root, git, number, runs, remarks)
        if runs.failed is not None:
            told = f"the baseline failed ({runs.failed.outcome}): {runs.failed.reason}"
            raise AutoresearchError(told, f"see: autoresearch show {number}; correct it, commit, and measure again")
        return report


def setup(bench: Bench) -> None:
    """Run the task's setup command (prepare data) in the workspace; raise `AutoresearchError` when it fails."""
    command = bench.task.run.setup
    if command is None:
        return
    bench.workspace.state.mkdir(exist_ok=True)
    env = environment(bench, "setup", bench.workspace.state, 0, 0)
    del env["AUTORESEARCH_RUN_DIR"]
    tick = bench.tick
    inform = None if tick is None else lambda seconds: tick("setup", seconds)
    log = bench.workspace.state / "setup.log"
    ended = run_limited(command, cwd=bench.workspace.root, log=log, limit_s=24 * 3600, env=env, tick=inform)
    if ended.code != 0:
        last = (excerpt(ended.tail, lines=1) or [f"exited with {ended.code}"])[0]
        raise AutoresearchError(f"setup failed: {last}", f"try it by hand: {command}")


def setup_workspace(root: Workspace, tick: Tick | None = None) -> None:
    """Run the setup command of a workspace's task, as `init` does."""
    with root.lock(), signals_interrupt():
        setup(Bench(root, Git(root.root), load(root.root), tick))


def guarded(
    root: Workspace, clock: Clock, tick: Tick | None, *, stops: bool = True
) -> tuple[Bench, Session, list[str]]:
    """Repair what a kill left, then check that runs may begin; return what they need, and what was repaired.

    A stop condition is one of experiments: without `stops` it does not count.
    """
    git = Git(root.root)
    repaired = repair(root, git, clock())
    session = repaired.session
    check_branch(git, session)
    task = load(root.root)
    if stops:
        check_stop(root, session, task.stop, clock())
    check_immutable(root, session, task)
    bench = Bench(root, git, task, tick)
    check_command(root.root, task.run.command, environment(bench, "", root.root, 0, 0)["PATH"])
    return bench, session, list(repaired.done)


def _more_seeds(
    bench: Bench, session: Session, first: Experiment, wanted: range, clock: Clock, remarks: list[str], *, asked: bool
) -> Report:
    """Run the seeds that the baseline does not have yet, to know the noise better."""
    missing = [seed for seed in wanted if seed not in first.by_seed]
    if not missing:
        extra = f" with {len(first.by_seed)} seeds" if asked else ""
        raise PreconditionError(
            f"the baseline is there{extra}: experiment {first.number}", 'next: autoresearch try -m "..."'
        )
    last = None
    for seed in missing:
        last = measure(bench, first.commit or "", first.number, seed)
        if last.value is None:
            raise AutoresearchError(f"the baseline failed with seed {seed}: {last.reason}", "see: autoresearch show 1")
        bench.workspace.append(repeat_line(first.number, seed, last.value, clock()))
    session = bench.workspace.session()
    experiment = session.baseline
    assert experiment is not None and last is not None
    return Report(experiment, session, last, tuple(remarks))


def _conclude(root: Workspace, git: Git, number: int, runs: Runs, remarks: list[str]) -> Report:
    """Move git as the verdict says, and report from the journal alone."""
    session = root.session()
    experiment = session.find(number)
    assert experiment is not None
    remarks += settle(root, git, session, experiment)
    weights = runs.bench.task.run.weights
    if weights is not None and experiment.status != "keep":
        for path in root.run_dir(number, 0).parent.glob(f"*/{weights}"):
            path.unlink()
    last = runs.failed or runs.last
    assert last is not None
    return Report(experiment, session, last, tuple(remarks))


@contextlib.contextmanager
def _interruptible(root: Workspace, git: Git, number: int, clock: Clock) -> Iterator[None]:
    """Record an experiment as killed when the machine or a person ends it between `start` and verdict."""
    try:
        yield
    except BaseException as error:
        by_hand = isinstance(error, KeyboardInterrupt)
        reason = "interrupted by a signal" if by_hand else f"the machine failed: {error}"
        told = f"experiment {number} was cut short, {reason}; nothing was decided"
        try:
            experiment = root.session().unfinished
            if experiment is not None and experiment.number == number:
                root.append(killed(root, experiment, clock(), reason))
            repaired = repair(root, git, clock()).session.find(number)
        except (OSError, AutoresearchError):
            raise MachineError(told, "when the machine is well again: autoresearch resume") from error
        if repaired is not None and repaired.outcome != "killed":
            told = f"interrupted after the verdict on experiment {number}: {repaired.status}"
            raise MachineError(told, f"see: autoresearch show {number}") from error
        if by_hand or isinstance(error, MachineError | OSError):
            first = repaired is None or repaired.parent is None
            again = "autoresearch baseline" if first else f"autoresearch try --again {number}"
            raise MachineError(told, f"measure it with: {again}") from error
        raise


def _message(description: str, asi: Mapping[str, Any]) -> str:
    """Return the commit message: the description, and what the agent said of it."""
    told = "".join(f"\n{key}: {value}" for key, value in asi.items())
    return f"{description}\n" + (f"\n{told.lstrip()}\n" if told else "")


def wall_clock() -> int:
    """Return the time now in whole seconds since the epoch."""
    import time

    return int(time.time())
