"""`import`: the logs of other tools of the field, as a segment of their own in a session.

Every entry becomes one `run` line that says from where it is. An entry that is there already is passed over, so a
second call, also after a kill, adds what is missing and nothing twice. The segment in force stays in force: nothing
that was imported becomes the incumbent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

from autoresearch.errors import AutoresearchError, UsageError
from autoresearch.experiments.recovery import recover
from autoresearch.journal import file as journal
from autoresearch.journal.events import config_line, import_line, repeat_line, run_line
from autoresearch.journal.fields import Event, finite
from autoresearch.journal.session import Experiment, replay
from autoresearch.journal.statuses import STATUSES, Outcome, Status
from autoresearch.metrics import Direction, Metric
from autoresearch.system.git import Git
from autoresearch.workspace.lock import lock
from autoresearch.workspace.session_journal import append, load_session
from autoresearch.workspace.workspace import Workspace

TSV = ("commit", "memory_gb", "status", "description")
"""Columns of results.tsv; the one before the description that is none of these is the metric, behind it come others."""


@dataclass(frozen=True, slots=True)
class Log:
    """The experiments of one metric in a foreign log."""

    origin: str
    """Tells this log from others, however much of it is there yet."""
    name: str
    metric: Metric
    experiments: tuple[Experiment, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """What one call has done."""

    segments: tuple[int, ...]
    added: int
    known: int


def import_log(root: Path, path: Path, direction: Direction | None, now: int) -> Imported:
    """Add what `path` has to the session in `root`, or begin one there. Raises `UsageError` for what is no such log."""
    logs = [*read_log(path, direction)]
    workspace = Workspace(root)
    begun = workspace.journal.exists()
    if not begun:
        first = logs[0]
        workspace.state.mkdir(parents=True, exist_ok=True)
        line = config_line(0, first.name, first.metric, now, {"imported": first.origin})
        journal.append(workspace.journal, line)
    with lock(workspace):
        if begun and load_session(workspace).segment.branch is not None:
            recover(workspace, Git(root), now)
        return _add(workspace, path.name, logs, now)


def _add(workspace: Workspace, name: str, logs: list[Log], now: int) -> Imported:
    events = [event for _, event in journal.read(workspace.journal)]
    number = max((e["run"] for e in events if isinstance(e.get("run"), int)), default=0)
    number = max(number, load_session(workspace).next_number - 1)
    segments, added, known = [], 0, 0
    for log in logs:
        segment = next((e["segment"] for e in events if e.get("imported") == log.origin), None)
        if segment is None:
            segment = 1 + max((e["segment"] for e in events if isinstance(e.get("segment"), int)), default=-1)
            line = import_line(segment, log.name, log.metric, now, log.origin, name)
            append(workspace, line)
            events.append(line)
        segments.append(segment)
        there = {
            e["imported"].get("entry")
            for e in events
            if isinstance(e.get("imported"), dict) and e["imported"].get("origin") == log.origin
        }
        for entry, experiment in enumerate(log.experiments, 1):
            if entry in there:
                known += 1
                continue
            number += 1
            append(workspace, _run(experiment, number, segment, {"origin": log.origin, "entry": entry, "from": name}))
            for run in experiment.runs:
                if run.purpose in ("repeat", "replica") and run.seed is not None:
                    env = experiment.env if run.hardware == experiment.hardware else {"gpu": run.hardware}
                    append(workspace, repeat_line(number, run.seed, run.value, env, experiment.finished or now))
            added += 1
    return Imported(tuple(segments), added, known)


def read_log(path: Path, direction: Direction | None) -> Iterator[Log]:
    """Yield the logs in a file: one of a results.tsv, one for each segment of a JSONL file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"there is no {path}", "name a results.tsv or a .jsonl file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "name a results.tsv or a .jsonl file") from None
    first = text.lstrip()[:1]
    logs = [*(_jsonl(path, text, direction) if first == "{" else _tsv(path, text, direction))]
    if not any(log.experiments for log in logs):
        raise UsageError(f"{path} has no experiments", "name a results.tsv or a .jsonl file")
    yield from logs


def _jsonl(path: Path, text: str, direction: Direction | None) -> Iterator[Log]:
    try:
        events = [*journal.read(path)]
        session = replay(events)
    except journal.JournalError as error:
        raise UsageError(str(error), "correct that line") from None
    except AutoresearchError as error:
        raise UsageError(error.message.replace("autoresearch.jsonl", path.name), "correct that line") from None
    for segment in session.segments:
        mine = tuple(e for e in session.experiments if e.segment == segment.number and e.status is not None)
        metric = replace(segment.metric, direction=direction or segment.metric.direction)
        if mine:
            about = [segment.number, segment.name, metric.name, mine[0].commit, mine[0].description]
            yield Log(_hash(about), segment.name or path.stem, metric, mine)


def _tsv(path: Path, text: str, direction: Direction | None) -> Iterator[Log]:
    lines = text.splitlines()
    columns = [name.strip() for name in (lines[0] if lines else "").split("\t")]
    last = columns.index("description") if "description" in columns else 0
    names, others = ([name for name in part if name not in TSV] for part in (columns[:last], columns[last:]))
    if "status" not in columns or len(names) != 1:
        raise UsageError(
            f"{path} does not begin with the columns commit, a metric, memory_gb, status, description",
            "name a results.tsv or a .jsonl file",
        )
    metric = Metric(names[0], direction or "lower")
    experiments: list[Experiment] = []
    for number, line in enumerate(lines[1:], 2):
        if line.strip():
            cells = dict(zip(columns, line.split("\t", len(columns) - 1), strict=False))
            try:
                experiments.append(_row(cells, names[0], others, len(experiments) + 1))
            except (KeyError, ValueError) as error:
                raise UsageError(f"{path.name} line {number}: {error}", "correct that line") from None
    # What is behind the description does not count: the same log may be written with another choice of metrics.
    first = next((line for line in lines[1:] if line.strip()), "")
    about = ["\t".join(line.split("\t", len(columns) - 1)[: last + 1]) for line in (lines[0], first)]
    yield Log(_hash(about), path.stem, metric, tuple(experiments))


def _row(cells: dict[str, str], metric: str, others: list[str], number: int) -> Experiment:
    """Return one row as an experiment, with the other metrics that it has a column for.

    In this table a number that there is none of is 0; one of `others` is left out when its cell is empty.
    """
    status = next((word for word in get_args(Status) if word == cells["status"].strip()), None)
    if status is None:
        raise ValueError(f"unknown status {cells['status']!r}; it must be one of {', '.join(STATUSES)}")
    memory, value = finite("memory_gb", float(cells.get("memory_gb") or 0)), finite(metric, float(cells[metric]))
    metrics = {name: finite(name, float(cells[name])) for name in others if cells.get(name, "").strip()}
    if memory:
        metrics.setdefault("peak_vram_mb", memory * 1024)
    return Experiment(
        number,
        0,
        cells.get("commit", "").strip() or None,
        description=cells.get("description", "").strip(),
        status=status,
        metric=value,
        metrics=metrics,
    )


def _run(e: Experiment, number: int, segment: int, imported: dict[str, Any]) -> Event:
    """Return an experiment as a line; a crash has no number, whatever the other tool wrote for it.

    Values that were measured stay, whatever became of the experiment: those that have a seed, which only our own export
    names, and the number of a run whose checks failed, where it is none of the zeros that stand for no number.
    """
    scored = e.status in ("keep", "discard")
    checked = e.status == "checks_failed" and bool(e.metric)
    runs = [run for run in e.runs if run.purpose in ("screening", "verdict")]
    measured = scored or checked or any(run.seed is not None for run in runs)
    assert e.status is not None
    return run_line(
        number,
        (e.commit or "")[:7],
        e.metric if scored or checked else None,
        e.metrics,
        e.status,
        e.description,
        segment,
        e.asi,
        e.finished,
        details={
            "outcome": e.outcome or ("ok" if scored else cast("Outcome", e.status)),
            "reason": e.reason,
            "values": [run.value for run in runs] if measured else [],
            "seeds": [run.seed for run in runs if run.seed is not None],
            "screened": any(run.purpose == "screening" for run in runs),
            "manifest": e.manifest,
            "warnings": list(e.warnings),
            "imported": {**imported, "env": e.env},
            **({"env": e.env} if e.env else {}),
        },
    )


def _hash(about: list[Any]) -> str:
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]
