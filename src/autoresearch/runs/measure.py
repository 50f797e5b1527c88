"""Make a run: a `RunSpec` in, a `Measurement` out. `measure` is the only function that does."""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import psutil

from autoresearch.errors import MachineError
from autoresearch.escaping import excerpt, one_line
from autoresearch.runs.feeder import FEED, feeding
from autoresearch.runs.isolation import journal_backup
from autoresearch.runs.isolation.bubblewrap import Bubblewrap
from autoresearch.runs.isolation.policy import Isolation, cache_dir
from autoresearch.runs.isolation.sandbox import check_set_up
from autoresearch.runs.left_out import and_then, left_out, not_asked, not_in_git, not_writable
from autoresearch.runs.machine_failure import lost_data
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.outcome import ended_badly, from_evaluator, from_output
from autoresearch.runs.reported import Reported, keeps_streams, make_room_for, reported
from autoresearch.runs.snapshot import snapshot
from autoresearch.runs.spec import RunContext, RunSpec, environment, seeded
from autoresearch.runs.withheld import missed, withheld
from autoresearch.system.files import remove_tree, write_atomic
from autoresearch.system.process import Exit, held_to, run_limited
from autoresearch.workspace.python import project_variables, redirected
from autoresearch.workspace.session_journal import load_session


def measure(context: RunContext, spec: RunSpec) -> Measurement:
    """Make one run and return its measurement, which is also written as `result.json` into the run's folder.

    The command runs in a snapshot of the commit. With an evaluator, a second process in a second, untouched snapshot
    decides; what the command printed is then not looked at. Both together have `limit_s` seconds. Raises `MachineError`
    when the machine fails.
    """
    context = _telling_which(context, spec)
    task, run_dir, commit = context.task, fresh(spec.folder), spec.commit
    limit = task.run.limit_s
    if spec.parent is not None:
        write_atomic(run_dir / "diff.patch", context.git.diff(spec.parent, commit))
    isolation = Isolation.begin(context.workspace, context.git, task, commit, run_dir, context.around)
    with _announced(context, spec) as run_id:
        env = environment(context.workspace, spec, run_id) | project_variables(context.workspace, context.task)
        ended, failed, found = _train(context, isolation, spec, run_dir, env)
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        result, last = ended_badly(ended, task.run.limit_s, run_dir), ended
        if failed is not None:
            result = Measurement("killed", reason=f"the machine failed: {failed}", seconds=ended.seconds)
        if result is None and task.run.evaluate is None:
            result = from_output(task, ended, found)
        elif result is None:
            env["AUTORESEARCH_RESULT"] = str(run_dir / "result.json")
            env["AUTORESEARCH_TRAIN_SECONDS"] = f"{ended.seconds:.3f}"
            env["AUTORESEARCH_TRAIN_CPU_SECONDS"] = f"{ended.cpu_s:.3f}"
            env["AUTORESEARCH_SPLIT"] = spec.split
            _make_room(run_dir / "result.json")
            command, log = task.run.evaluate or "", run_dir / "evaluate.log"
            left = max(0.0, limit - ended.seconds)
            with snapshot(context, commit, "evaluate") as folder:
                judged = _process(context, isolation, "evaluate", command, folder, log, env, left)
            result, last = from_evaluator(task, run_dir / "result.json", judged, ended, spec.split), judged
        gone = None
        if result.outcome in ("crash", "no_metric"):
            gone = lost_data(last, context.workspace.root, task, cache_dir())
        if gone is not None:
            result = replace(result, outcome="killed", reason=f"the machine failed: {gone}")
        elif result.outcome in ("crash", "no_metric"):
            told = missed(last.tail, withheld(env, task.run.secrets)) or _unreachable(context, isolation, last)
            result = replace(result, reason=one_line(result.reason, 200) + told if told else result.reason)
        result = replace(_with_findings(result, isolation), isolation=isolation.name, cpu_s=ended.cpu_s, load=load)
    record = {**asdict(result), "experiment": spec.experiment, "seed": spec.seed, "commit": commit}
    _make_room(run_dir / "result.json")
    write_atomic(run_dir / "result.json", json.dumps(record, allow_nan=False, indent=1) + "\n")
    return result


def check(context: RunContext, spec: RunSpec) -> str | None:
    """Run the task's checks on the commit of a run in a snapshot of their own; return why they failed, or None. Beside
    runs in slots they are held to some of the cores."""
    command, context = context.task.run.checks, _telling_which(context, spec)
    if command is None:
        return None
    isolation = Isolation.begin(context.workspace, context.git, context.task, spec.commit, spec.folder)
    with _announced(context, spec) as run_id, snapshot(context, spec.commit, "checks") as folder:
        env = environment(context.workspace, spec, run_id) | project_variables(context.workspace, context.task)
        limit = context.task.run.checks_limit_s
        with held_to(context.slots.spare() if context.slots is not None else ()):
            ended = _process(context, isolation, "checks", command, folder, spec.folder / "checks.log", env, limit)
    tampered, _ = isolation.end()
    if tampered:
        return f"during the checks: {tampered}"
    if ended.over:
        return f"the checks passed a limit: {ended.over}"
    if ended.timed_out:
        return f"the checks ran longer than {context.task.run.checks_limit_s:g} s"
    if ended.code == 0:
        return None
    last = excerpt(ended.tail, lines=1)
    told = missed(ended.tail, withheld(env, context.task.run.secrets))
    return f"the checks exited with {ended.code}" + (f": {last[0]}" if last else "") + told


def _telling_which(context: RunContext, spec: RunSpec) -> RunContext:
    """Return the context with ticks that say which run it is, and of how many."""
    tick, turn = context.tick, spec.turn
    if tick is None or turn is None:
        return context
    return replace(context, tick=lambda phase, seconds: tick(f"{turn.words}: {phase}", seconds))


def _train(
    context: RunContext, isolation: Isolation, spec: RunSpec, run_dir: Path, env: dict[str, str]
) -> tuple[Exit, str | None, Reported]:
    """Run the command, with a feeder beside it where the task has one; return why that failed, or None, and what it
    has reported in other ways than METRIC lines."""
    task, log, commit = context.task, run_dir / "run.log", spec.commit
    run, command = task.run, seeded(task.run.command, spec.seed)
    if run.feed is None:
        with snapshot(context, commit, "train") as folder:
            make_room_for(task, folder)
            ended = _process(context, isolation, "train", command, folder, log, env, run.limit_s)
            return ended, None, reported(task, folder, ended) if ended.code == 0 else {}
    with snapshot(context, commit, "evaluate", "train") as folder, isolation.process("feed", env) as apart:
        trusted = context.workspace.slot / "evaluate" / context.git.prefix
        with feeding(run.feed, trusted, run_dir / "feed.log", apart.env, apart.limits) as feeder:
            theirs = {name: value for name, value in env.items() if name != "AUTORESEARCH_RUN_DIR"}
            theirs[FEED] = str(feeder.descriptor)
            ended = _process(
                context, isolation, "train", command, folder, log, theirs, run.limit_s, (feeder.descriptor,)
            )
            return ended, feeder.end(), {}


def _process(
    context: RunContext, isolation: Isolation, what: str, command: str, folder: Path, log: Path, env: dict[str, str],
    limit_s: float, pass_fds: tuple[int, ...] = (),
) -> Exit:  # fmt: skip
    """Run one process of a run."""
    _make_room(log)
    env = env | redirected(context.python, context.workspace, folder, env)
    with isolation.process(what, env) as isolated:

        def inform(seconds: float) -> None:
            if context.tick is not None:
                context.tick(what, seconds)

        ended = run_limited(
            command, cwd=folder, log=log, limit_s=limit_s, env=isolated.env, tick=inform, limits=isolated.limits,
            prefix=isolated.prefix, pass_fds=pass_fds,
            keep=context.workspace.state if what == "train" and keeps_streams(context.task) else None,
        )  # fmt: skip
        if isolated.prefix:
            check_set_up(ended)
        return ended


def _unreachable(context: RunContext, isolation: Isolation, ended: Exit) -> str:
    """Return what to say when a run failed for want of a file that the workspace has, or of a folder to write."""
    folder = context.workspace.slot / "train" / context.git.prefix
    told = left_out(ended.tail, context.git, context.task, folder)
    untracked = "" if told else not_in_git(ended.tail, context.git, context.task, folder)
    if untracked:
        return untracked
    if not told and isolation.sandbox is not None:
        told = not_writable(ended.tail, context.git, context.task, folder)
        told = told or (not_asked(ended.tail) if isolation.name == Bubblewrap.name else "")
    return told and told + and_then(load_session(context.workspace).baseline is not None)


def _with_findings(result: Measurement, isolation: Isolation) -> Measurement:
    """Return the result, or that the run was caught at what it must not do, whatever else came out of it."""
    tampered, remarks = isolation.end()
    if not tampered:
        return replace(result, remarks=(*result.remarks, *remarks))
    reason, seconds = one_line(tampered, 400), result.seconds
    return Measurement("tampered", None, {}, reason, seconds, result.manifest, result.excerpt, remarks)


def _make_room(path: Path) -> None:
    """Make way for a file of ours in the folder of a run, where the command may have put or taken anything."""
    folder = path.parent
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)
        folder.mkdir(parents=True)
    folder.chmod(0o755)
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    path.unlink(missing_ok=True)


def fresh(run_dir: Path) -> Path:
    """Return an empty folder for a run; what an earlier run of the same seed left is moved aside, not deleted."""
    if run_dir.exists():
        names = (f"{run_dir.name}.earlier{n}" for n in range(1, 10_000))
        aside = next(p for name in names if not (p := run_dir.with_name(name)).exists())
        run_dir.rename(aside)
    try:
        run_dir.mkdir(parents=True)
    except OSError as error:
        raise MachineError(f"no folder for the run: {error}", "free some space, then: autoresearch resume") from error
    return run_dir


@contextlib.contextmanager
def _announced(context: RunContext, spec: RunSpec) -> Iterator[str]:
    """Say in `running.json` what is measured and by whom, with the mark that its processes carry."""
    run_id, workspace = uuid.uuid4().hex, context.workspace
    me = psutil.Process(context.owner)
    about = {"pid": me.pid, "created": me.create_time(), "run_id": run_id, "experiment": spec.experiment,
             "seed": spec.seed, "since": int(time.time()), "turn": asdict(spec.turn) if spec.turn else None,
             "journal": journal_backup.hold(workspace, context.git)}  # fmt: skip
    write_atomic(workspace.running, json.dumps(about))
    try:
        yield run_id
    finally:
        workspace.running.unlink(missing_ok=True)
