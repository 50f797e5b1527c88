"""Measure one commit with one seed. `measure` is the only function that does."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from autoresearch.errors import MachineError
from autoresearch.escaping import excerpt, one_line
from autoresearch.journal.statuses import OUTCOMES, Outcome
from autoresearch.metrics import MetricError, parse_metrics
from autoresearch.runs.isolation import journal_backup
from autoresearch.runs.isolation.bubblewrap import check_set_up
from autoresearch.runs.isolation.policy import Confinement
from autoresearch.runs.machine_failure import machine_failure
from autoresearch.system.git import Git
from autoresearch.system.process import RUN_ID, Exit, run_limited
from autoresearch.workspace.task_file import TaskFile
from autoresearch.workspace.workspace import HELPERS, Workspace, remove_tree, write_atomic

Tick = Callable[[str, float], None]
"""Called a few times a second with what is going on (`train`, `evaluate`, `checks`) and its seconds so far."""

OWN = ("AUTORESEARCH_RUN", "AUTORESEARCH_SPLIT", "AUTORESEARCH_RESULT", "AUTORESEARCH_TRAIN_SECONDS")
"""Beginnings of variables that an outer run may have set, and that this one must not inherit."""

SEARCH = "search"
"""The split that keep or discard is decided on."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What came out of one run."""

    outcome: Outcome
    value: float | None = None
    """The metric; None unless the outcome is `ok`."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Every other value that was reported."""
    reason: str = ""
    """For any other outcome: what happened, in one sentence."""
    seconds: float = 0.0
    manifest: str | None = None
    excerpt: tuple[str, ...] = ()
    """The last lines of the output, escaped and bounded; empty when all went well."""
    remarks: tuple[str, ...] = ()
    """What the run was seen doing that is no reason to refuse it, and that a person should know."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where and how runs of one experiment are measured."""

    workspace: Workspace
    git: Git
    task: TaskFile
    tick: Tick | None = None


def measure(
    bench: Bench,
    commit: str,
    experiment: int,
    seed: int,
    *,
    parent: str | None = None,
    study: Path | None = None,
    split: str = SEARCH,
) -> Measurement:
    """Run `commit` with `seed` and return its measurement, which is also written as `result.json`.

    With `parent`, what the commit changes is written beside it as `diff.patch`. The run's folder is the experiment's,
    or lies in the folder `study`. `split` is what the evaluator is told to read; one that read another has no metric.

    The command runs in a snapshot of the commit. With an evaluator, a second process in a second, untouched snapshot
    decides; what the command printed is then not looked at. Raises `MachineError` when the machine fails.
    """
    run_dir = _fresh_run_dir(study / str(seed) if study else bench.workspace.run_dir(experiment, seed))
    if parent is not None:
        write_atomic(run_dir / "diff.patch", bench.git.diff(parent, commit))
    guard = Confinement.begin(bench.workspace, bench.git, bench.task, commit, run_dir)
    with _announced(bench.workspace, experiment, seed) as run_id:
        env = environment(bench, run_id, run_dir, experiment, seed)
        with snapshot(bench, commit, "train") as folder:
            ended = _run(bench, guard, "train", bench.task.run.command, folder, run_dir / "run.log", env)
        result = _ended_badly(ended, bench.task.run.limit_s, run_dir)
        if result is None and bench.task.run.evaluate is None:
            result = _from_output(bench.task, ended)
        elif result is None:
            env["AUTORESEARCH_RESULT"] = str(run_dir / "result.json")
            env["AUTORESEARCH_TRAIN_SECONDS"] = f"{ended.seconds:.3f}"
            env["AUTORESEARCH_SPLIT"] = split
            _make_room(run_dir / "result.json")
            command, log = bench.task.run.evaluate or "", run_dir / "evaluate.log"
            with snapshot(bench, commit, "evaluate") as folder:
                judged = _run(bench, guard, "evaluate", command, folder, log, env)
            result = _from_evaluator(bench.task, run_dir / "result.json", judged, ended, split)
        result = _with_findings(result, guard)
    record = {**asdict(result), "experiment": experiment, "seed": seed, "commit": commit}
    _make_room(run_dir / "result.json")
    write_atomic(run_dir / "result.json", json.dumps(record, allow_nan=False, indent=1) + "\n")
    return result


def check(bench: Bench, commit: str, experiment: int, seed: int) -> str | None:
    """Run the task's checks on `commit` in a snapshot of their own; return why they failed, or None."""
    command = bench.task.run.checks
    if command is None:
        return None
    run_dir = bench.workspace.run_dir(experiment, seed)
    guard = Confinement.begin(bench.workspace, bench.git, bench.task, commit, run_dir)
    with _announced(bench.workspace, experiment, seed) as run_id, snapshot(bench, commit, "checks") as folder:
        env = environment(bench, run_id, run_dir, experiment, seed)
        ended = _run(bench, guard, "checks", command, folder, run_dir / "checks.log", env)
    tampered, _ = guard.end()
    if tampered:
        return f"during the checks: {tampered}"
    if ended.over:
        return f"the checks passed a limit: {ended.over}"
    if ended.timed_out:
        return f"the checks ran longer than {bench.task.run.checks_limit_s:g} s"
    if ended.code == 0:
        return None
    last = excerpt(ended.tail, lines=1)
    return f"the checks exited with {ended.code}" + (f": {last[0]}" if last else "")


def environment(bench: Bench, run_id: str, run_dir: Path, experiment: int, seed: int) -> dict[str, str]:
    """Return the environment of a run: the user's, with the run's own variables and no way up to the repository."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", *OWN))}
    local = bench.workspace.root / ".venv" / "bin"
    python = local if (local / "python").exists() else Path(sys.executable).parent
    env["PATH"] = f"{python}{os.pathsep}{env.get('PATH', os.defpath)}"
    return env | {
        RUN_ID: run_id,
        "AUTORESEARCH_RUN_DIR": str(run_dir),
        "AUTORESEARCH_SEED": str(seed),
        "AUTORESEARCH_EXPERIMENT": str(experiment),
        "GIT_CEILING_DIRECTORIES": str(bench.workspace.scratch),
        "PYTHONUNBUFFERED": "1",
    }


@contextlib.contextmanager
def snapshot(bench: Bench, commit: str, name: str) -> Iterator[Path]:
    """Give the workspace folder as `commit` has it, in a copy that is gone afterwards."""
    folder = bench.workspace.scratch / name
    remove_tree(folder)
    barrier = bench.workspace.scratch / ".git"
    try:
        # Git looks upwards for a repository. It stops here also when a command has cleared its environment.
        barrier.parent.mkdir(parents=True, exist_ok=True)
        barrier.write_text("gitdir: /dev/null\n")
        bench.git.export(commit, folder)
        root = folder / bench.git.prefix
        for path in bench.task.files.link:
            source, target = bench.workspace.root / path, root / path
            if source.exists() and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(source, target_is_directory=source.is_dir())
        for script in HELPERS:
            if (bench.workspace.root / script).is_file() and not (root / script).exists():
                shutil.copy2(bench.workspace.root / script, root / script)
        yield root
    finally:
        remove_tree(folder)
        barrier.unlink(missing_ok=True)


def _run(
    bench: Bench, guard: Confinement, what: str, command: str, folder: Path, log: Path, env: dict[str, str]
) -> Exit:
    limit = bench.task.run.checks_limit_s if what == "checks" else bench.task.run.limit_s
    _make_room(log)
    with guard.process(what, env) as confined:

        def inform(seconds: float) -> None:
            if confined.watch is not None:
                confined.watch.read()
            if bench.tick is not None:
                bench.tick(what, seconds)

        prefix = confined.cage.command() if confined.cage else ()
        ended = run_limited(
            command, cwd=folder, log=log, limit_s=limit, env=confined.env, tick=inform, limits=confined.limits,
            prefix=prefix,
        )  # fmt: skip
        if confined.cage:
            check_set_up(ended)
        return ended


def _with_findings(result: Measurement, guard: Confinement) -> Measurement:
    """Return the result, or that the run was caught at what it must not do, whatever else came out of it."""
    tampered, remarks = guard.end()
    if not tampered:
        return replace(result, remarks=remarks)
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


def _ended_badly(ended: Exit, limit_s: float, run_dir: Path) -> Measurement | None:
    """Return the measurement of a command that did not end with status 0."""
    if ended.code == 0:
        return None
    outcome: Outcome
    failure = machine_failure(ended, run_dir)
    if failure is not None:
        outcome, reason = "killed", f"the machine failed: {failure}"
    elif ended.over:
        outcome, reason = "oom" if ended.out_of_memory else "crash", f"ended at a limit: {ended.over}"
    elif ended.timed_out:
        outcome, reason = "timeout", f"still running after limit_s = {limit_s:g} s, ended with its children"
    elif ended.out_of_memory:
        outcome, reason = "oom", "out of memory"
    elif ended.signal in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        outcome, reason = "killed", f"killed from outside by {signal.Signals(ended.signal).name}"
    elif ended.signal is not None:
        outcome, reason = "crash", f"died of {_signal_name(ended.signal)}"
    else:
        outcome, reason = "crash", f"exited with {ended.code}" + _signal_behind(ended.code)
    return Measurement(outcome, reason=reason, seconds=ended.seconds, excerpt=tuple(excerpt(ended.tail)))


def _from_output(task: TaskFile, ended: Exit) -> Measurement:
    """Take the metric from the METRIC lines that the command printed."""
    name = task.metric.name
    try:
        metrics = parse_metrics(ended.metric_lines)
        value = metrics.pop(name)
    except MetricError as error:
        reason = one_line(str(error))
    except KeyError:
        reason = f"the output has no line METRIC {name}=<number>"
    else:
        return Measurement("ok", value, metrics, seconds=ended.seconds)
    return Measurement("no_metric", reason=reason, seconds=ended.seconds, excerpt=tuple(excerpt(ended.tail)))


def _from_evaluator(task: TaskFile, path: Path, judged: Exit, trained: Exit, split: str = SEARCH) -> Measurement:
    """Take the verdict from the file that the evaluator wrote, or from its METRIC lines when it wrote none."""
    if judged.code != 0:
        bad = _ended_badly(judged, task.run.limit_s, path.parent)
        assert bad is not None
        return Measurement(
            bad.outcome, reason=f"evaluation: {bad.reason}", seconds=trained.seconds, excerpt=bad.excerpt
        )
    if not path.exists():
        return _from_output(task, judged) if split == SEARCH else _wrong_split(split, None, trained)
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        outcome, manifest = found["outcome"], found.get("manifest")
        metrics = {name: value for name, value in (found.get("metrics") or {}).items() if value is not None}
        if outcome not in OUTCOMES or not all(_finite(value) for value in metrics.values()):
            raise ValueError(f"outcome {outcome!r}, metrics {metrics!r}")
        if not isinstance(manifest, str | None):
            raise ValueError(f"manifest {manifest!r}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = one_line(f"the evaluator wrote a result that cannot be read: {error}")
        return Measurement("no_metric", reason=reason, seconds=trained.seconds)
    if outcome == "ok" and found.get("split", SEARCH) != split:
        return _wrong_split(split, found.get("split"), trained)
    value = metrics.pop(task.metric.name, None)
    reason = one_line(str(found.get("reason") or ""))
    if outcome == "ok" and value is None:
        outcome, reason = "no_metric", f"the evaluator gave no {task.metric.name}"
    told = () if outcome == "ok" else tuple(excerpt(trained.tail, lines=4))
    value = value if outcome == "ok" else None
    return Measurement(outcome, value, metrics, reason, trained.seconds, manifest, told)


def _wrong_split(split: str, read: object, trained: Exit) -> Measurement:
    said = f"the evaluator read the {one_line(str(read), 40)} split" if read else "the evaluator does not say its split"
    return Measurement(
        "no_metric", reason=f"{said}, {split} was asked for (AUTORESEARCH_SPLIT)", seconds=trained.seconds
    )


def _finite(value: object) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def _signal_behind(code: int | None) -> str:
    """Return the signal that a shell, or the sandbox, reports as 128 and its number."""
    known = {128 + number: number.name for number in signal.Signals}
    return f" ({known[code]})" if code in known else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _fresh_run_dir(run_dir: Path) -> Path:
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
def _announced(workspace: Workspace, experiment: int, seed: int) -> Iterator[str]:
    """Say in `running.json` what is measured and by whom, with the mark that its processes carry."""
    run_id = uuid.uuid4().hex
    me = psutil.Process()
    about = {"pid": me.pid, "created": me.create_time(), "run_id": run_id, "experiment": experiment, "seed": seed,
             "since": int(time.time()), "journal": journal_backup.hold(workspace)}  # fmt: skip
    write_atomic(workspace.running, json.dumps(about))
    try:
        yield run_id
    finally:
        workspace.running.unlink(missing_ok=True)
