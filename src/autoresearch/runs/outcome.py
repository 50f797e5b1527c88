"""From what a run left, its exit, its output or its evaluator's file, to a measurement."""

from __future__ import annotations

import json
import math
import os
import signal
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from autoresearch.escaping import excerpt, one_line
from autoresearch.journal.statuses import OUTCOMES, Outcome
from autoresearch.journal.study import SEARCH
from autoresearch.metrics import PREFIX, MetricError, read_metrics
from autoresearch.runs.machine_failure import machine_failure
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.reported import Reported
from autoresearch.runs.result_files import NotReported
from autoresearch.system.files import read_plain
from autoresearch.system.process import Exit
from autoresearch.workspace.task_file import TaskFile


def ended_badly(ended: Exit, limit_s: float, run_dir: Path) -> Measurement | None:
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


def from_output(task: TaskFile, ended: Exit, found: Reported = MappingProxyType({})) -> Measurement:
    """Take the metric from where the task says: by default the METRIC lines that the command printed.

    `found` is what was reported in another way; a METRIC line of the same name does not count.
    """
    name, needed = task.metric.name, _needed(task)
    try:
        metrics, passed_over = read_metrics(ended.metric_lines, [each for each in needed if each not in found])
        metrics = {each: value for each, value in metrics.items() if each not in found}
        for each, number in found.items():
            if not isinstance(number, MetricError):
                metrics[each] = number
            elif each == name or (each in needed and not isinstance(number, NotReported)):
                raise number
            else:
                passed_over.append(f"no {each}: {number}")
        value = metrics.pop(name)
    except MetricError as error:
        reason = one_line(str(error), 300)
    except KeyError:
        reason = f"the output has no line METRIC {name}=<number>"
        if any(line.startswith(f"{PREFIX}{name}=") for line in ended.metric_lines_on_stderr):
            reason = f"METRIC {name} is on standard error; print it on standard output, or end the command in 2>&1"
    else:
        return Measurement("ok", value, metrics, seconds=ended.seconds, remarks=_bounded(passed_over))
    return Measurement("no_metric", reason=reason, seconds=ended.seconds, excerpt=tuple(excerpt(ended.tail)))


def from_evaluator(task: TaskFile, path: Path, judged: Exit, trained: Exit, split: str = SEARCH) -> Measurement:
    """Take the verdict from the file that the evaluator wrote, or from its METRIC lines when it wrote none."""
    if judged.code != 0:
        bad = ended_badly(judged, task.run.limit_s, path.parent)
        assert bad is not None
        reason = f"evaluation: {bad.reason}"
        if judged.timed_out:
            spent = f"after {trained.seconds:.1f} s of the command"
            reason = f"limit_s = {task.run.limit_s:g} s ran out during the evaluation, {spent}"
        return Measurement(bad.outcome, reason=reason, seconds=trained.seconds, excerpt=bad.excerpt)
    if not os.path.lexists(path):
        if split != SEARCH:
            return _wrong_split(split, None, trained)
        return replace(from_output(task, judged), seconds=trained.seconds)
    try:
        written: dict[str, Any] = json.loads(read_plain(path))
        outcome, manifest = written["outcome"], written.get("manifest")
        given = {name: value for name, value in (written.get("metrics") or {}).items() if value is not None}
        metrics = {name: value for name, value in given.items() if _finite(value)}
        if outcome not in OUTCOMES or any(name in given and name not in metrics for name in _needed(task)):
            raise ValueError(f"outcome {outcome!r}, metrics {given!r}")
        if not isinstance(manifest, str | None):
            raise ValueError(f"manifest {manifest!r}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = one_line(f"the evaluator wrote a result that cannot be read: {error}")
        return Measurement("no_metric", reason=reason, seconds=trained.seconds)
    if outcome == "ok" and written.get("split", SEARCH) != split:
        return _wrong_split(split, written.get("split"), trained)
    passed_over = [f"passed over, not a finite number: {name}={given[name]}" for name in given if name not in metrics]
    value = metrics.pop(task.metric.name, None)
    reason = one_line(str(written.get("reason") or ""))
    if outcome == "ok" and value is None:
        outcome, reason = "no_metric", f"the evaluator gave no {task.metric.name}"
    lines = () if outcome == "ok" else tuple(excerpt(trained.tail, lines=4))
    value = value if outcome == "ok" else None
    return Measurement(outcome, value, metrics, reason, trained.seconds, manifest, lines, _bounded(passed_over))


def _needed(task: TaskFile) -> list[str]:
    """Return the metrics whose values must be numbers: the one that counts, and those that have a guard."""
    return [task.metric.name, *(guard.name for guard in task.rules.guards)]


def _bounded(remarks: list[str], most: int = 3) -> tuple[str, ...]:
    more = [f"and {len(remarks) - most} more lines of this kind"] if len(remarks) > most else []
    return tuple(one_line(remark) for remark in [*remarks[:most], *more])


def _wrong_split(split: str, read: object, trained: Exit) -> Measurement:
    what = f"the evaluator read the {one_line(str(read), 40)} split" if read else "the evaluator does not say its split"
    return Measurement(
        "no_metric", reason=f"{what}, {split} was asked for (AUTORESEARCH_SPLIT)", seconds=trained.seconds
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
