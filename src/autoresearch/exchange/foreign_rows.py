"""Logs of other tools as rows: which column is what is read from a table of names, and from what varies.

What cannot be read is listed with its line; nothing is guessed that the words of the file do not say.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoresearch.errors import UsageError
from autoresearch.journal.experiment import Experiment
from autoresearch.journal.statuses import Status
from autoresearch.metrics import Direction

ROLES: dict[str, tuple[str, ...]] = {
    "commit": ("commit", "commit_hash", "git_commit", "sha", "hash", "rev"),
    "status": ("status", "decision", "verdict", "kept", "keep", "accepted", "outcome", "result"),
    "description": ("description", "desc", "change", "changes", "hypothesis", "idea", "summary", "message", "title",
                    "notes", "note", "experiment"),
    "time": ("timestamp", "time", "datetime", "date", "created_at", "started_at", "finished_at"),
    "number": ("run", "iter", "iteration", "trial", "round", "run_id", "exp", "exp_id", "experiment_id", "id", "n",
               "no", "#", "index", "step"),
    "memory": ("memory_gb",),
}  # fmt: skip
"""What a column is -> the names it has, the surer first."""

STATUS_WORDS: dict[str, Status] = {
    **dict.fromkeys(("keep", "kept", "accept", "accepted", "improved", "baseline", "true", "yes", "merged"), "keep"),
    **dict.fromkeys(("discard", "discarded", "reject", "rejected", "revert", "reverted", "false", "no", "worse",
                     "rolled_back", "dropped"), "discard"),
    **dict.fromkeys(("crash", "crashed", "fail", "failed", "error", "oom", "timeout"), "crash"),
    **dict.fromkeys(("checks_failed", "check_failed", "tests_failed"), "checks_failed"),
}  # fmt: skip
"""A word of another tool -> ours. A word that is not here decides nothing: it is a discard, with the word as a note."""

METRICS = ("metric", "score", "value", "objective")
HIGHER = re.compile(r"score|acc|per_s|_per_|throughput|tok_s|f1|auc|reward|mfu|fid_inv|speedup|win", re.I)
NOTHING = ("", "-", "–", "—", "n/a", "na", "none", "null", "nan", "inf", "-inf")
HEADER = "commit\\tmetric\\tmemory_gb\\tstatus\\tdescription"


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one foreign log."""

    metric: str
    direction: Direction
    experiments: tuple[Experiment, ...]
    """Numbered by their rows, the bad ones counted, so that a row that is corrected later is new."""
    theirs: Mapping[int, object]
    """Row -> the number that the other tool gave it."""
    skipped: tuple[str, ...]
    first: str
    """The beginning of the log, which tells it from others."""


def table_rows(text: str) -> list[tuple[int, dict[str, Any]]]:
    """Return (line, column -> cell) of a table with a header and any of the usual delimiters, or of one without."""
    lines = [(n, line.rstrip("\r")) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    lines = [(n, line) for n, line in lines if not re.fullmatch(r"[\s|:=-]+", line)]
    if not lines:
        return []
    delimiter = max("\t,;|", key=lambda mark: (lines[0][1].count(mark), mark == "\t"))
    cells = [(n, _cells(line, delimiter)) for n, line in lines]
    names = [name.strip().lower() for name in cells[0][1]]
    known = {alias for aliases in ROLES.values() for alias in aliases}
    if not known.intersection(names) or any(_number(name) is not None for name in names):
        names, rows = _guessed([row for _, row in cells]), cells
    else:
        names, rows = [name.strip() for name in cells[0][1]], cells[1:]
    found = []
    for n, row in rows:
        if len(row) > len(names):  # an unquoted delimiter in the last text
            row = [*row[: len(names) - 1], delimiter.join(row[len(names) - 1 :])]
        found.append((n, dict(zip(names, row, strict=False))))
    return found


def _cells(line: str, delimiter: str) -> list[str]:
    if delimiter == "\t":
        return line.split("\t")
    if delimiter == "|":
        line = line.strip().strip("|")
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]


def _guessed(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return names for the columns of a table without a header; raise `UsageError` where none is sure."""
    width = min(map(len, rows))
    names = [f"column {at + 1}" for at in range(width)]
    for at in range(width):
        column = [row[at].strip() for row in rows]
        if all(word.lower() in STATUS_WORDS for word in column):
            names[at] = "status"
        elif all(re.fullmatch(r"[0-9a-f]{6,40}", word) for word in column) and "commit" not in names:
            names[at] = "commit"
        elif all(_number(word) is not None or word.lower() in NOTHING for word in column):
            names[at] = "metric" if "metric" not in names else names[at]
        elif at == width - 1:
            names[at] = "description"
    if "status" not in names or "metric" not in names:
        raise UsageError("no column of it says keep or discard", f"give it a header line, such as: {HEADER}")
    return names


def json_rows(text: str) -> Iterator[tuple[list[tuple[int, dict[str, Any]]], dict[str, Any], list[str]]]:
    """Yield (rows, config, what cannot be read) of each segment of JSON lines; pairs of events are joined."""
    rows: list[tuple[int, dict[str, Any]]] = []
    config: dict[str, Any] = {}
    bad: list[str] = []
    waiting: dict[object, dict[str, Any]] = {}
    for n, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            event = json.loads(line, strict=False)  # a text may hold a form feed as it is
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            bad.append(f"line {n} is no JSON object")
            continue
        kind = event.get("type", event.get("kind", event.get("event")))
        if kind == "config" or "metricName" in event:
            if rows:
                yield rows, config, bad
            rows, config, bad, waiting = [], event, [], {}
            continue
        key = next((event[name] for name in ROLES["number"] if name in event), None)
        if kind == "run" and kind in (event.get("kind"), event.get("event")) and not _has_status(event):
            waiting[key] = event
            continue
        if kind not in (None, "run", "result", "experiment", "iteration"):
            continue  # another tool's own lines
        event = {**waiting.pop(key, {}), **event} if kind == "result" else event
        metrics = event.pop("metrics", None)
        event = {k: v for k, v in event.items() if k not in ("type", "kind", "event")}
        rows.append((n, {**(metrics if isinstance(metrics, dict) else {}), **event}))
    if rows or bad:
        yield rows, config, bad


def _has_status(event: Mapping[str, Any]) -> bool:
    return any(name in event for name in ROLES["status"])


def understood(
    rows: Sequence[tuple[int, Mapping[str, Any]]], metric: str | None, direction: Direction | None,
    config: Mapping[str, Any] | None = None,
) -> Rows:  # fmt: skip
    """Return the experiments of some rows; raise `UsageError` when no column can be the metric, or two could be."""
    config = config or {}
    columns = [*dict.fromkeys(name for _, row in rows for name in row)]
    roles = {role: _column(columns, names) for role, names in ROLES.items()}
    if roles["status"] is None:
        raise UsageError(
            "it does not begin with the columns commit, a metric, memory_gb, status, description",
            f"give it a header line, such as: {HEADER}",
        )
    own = _metric(rows, columns, roles, metric, config)
    told = config.get("bestDirection")
    way: Direction = direction or (told if told in ("lower", "higher") else "higher" if HIGHER.search(own) else "lower")
    experiments, theirs, skipped = list[Experiment](), dict[int, object](), list[str]()
    for at, (n, row) in enumerate(rows, 1):
        try:
            experiments.append(_experiment(at, row, roles, own))
        except ValueError as error:
            skipped.append(f"line {n}: {error}")
            continue
        if roles["number"] is not None and row.get(roles["number"]) is not None:
            theirs[at] = row[roles["number"]]
    name = str(config.get("metricName") or own)
    first = json.dumps([name, *map(str, list(rows[0][1].values())[:6])])
    return Rows(name, way, tuple(experiments), theirs, tuple(skipped), first)


def _column(columns: Sequence[str], names: Sequence[str]) -> str | None:
    lower = {column.strip().lower(): column for column in reversed(columns)}
    return next((lower[name] for name in names if name in lower), None)


def _metric(
    rows: Sequence[tuple[int, Mapping[str, Any]]], columns: Sequence[str], roles: Mapping[str, str | None],
    asked: str | None, config: Mapping[str, Any],
) -> str:  # fmt: skip
    taken = set(roles.values())
    values = {c: [v for _, row in rows if (v := _number(row.get(c))) is not None] for c in columns if c not in taken}
    numeric = [c for c in values if values[c]]
    if asked is not None:
        if asked not in numeric:
            raise UsageError(f"it has no numbers named {asked}", f"choose one of: {', '.join(numeric) or 'none'}")
        return asked
    named = [c for c in numeric if c in (config.get("metricName"), "metric")]
    described = columns.index(roles["description"]) if roles["description"] in columns else len(columns)
    before = [c for c in numeric if columns.index(c) < described] if roles["memory"] is not None else []
    varying = [c for c in numeric if len({*values[c]}) > 1]
    for choice in (named, before, numeric, [c for c in numeric if c.lower() in METRICS], varying):
        if len(choice) == 1:
            return choice[0]
    if not numeric:
        raise UsageError("it has no column of numbers that could be a metric", f"give it a header line: {HEADER}")
    raise UsageError(f"{', '.join(numeric[:6])} could each be the metric", "choose with: --metric NAME")


def _experiment(at: int, row: Mapping[str, Any], roles: Mapping[str, str | None], metric: str) -> Experiment:
    def text(role: str) -> str:
        found = row.get(roles[role] or "")
        return "" if found is None else str(found).strip()

    word = text("status").lower().replace(" ", "_")
    status = STATUS_WORDS.get(word, "discard")
    if not word:
        raise ValueError("it has no status")
    value = _number(row.get(metric))
    if value is None and status in ("keep", "discard"):
        raise ValueError(f"{metric} is {row.get(metric)!r}, which is no number")
    asi = {} if word in STATUS_WORDS else {"status": text("status")}
    used = {metric, *roles.values()}
    others = {name: number for name in row if name not in used and (number := _number(row[name])) is not None}
    rest = {str(name): str(row[name] or "").strip() for name in row if name not in used and name not in others}
    asi |= {name: cell for name, cell in rest.items() if cell.lower() not in NOTHING}
    memory = _number(row.get(roles["memory"] or ""))
    metrics = {**others, **({"peak_vram_mb": memory * 1024} if memory and "peak_vram_mb" not in others else {})}
    return Experiment(
        at, 0, text("commit") or None, description=text("description"), status=status,
        metric=value, metrics=metrics, asi=asi, finished=_seconds(row.get(roles["time"] or "")),
    )  # fmt: skip


def _number(value: object) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(str(value).strip())
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _seconds(value: object) -> int | None:
    from datetime import datetime

    number = _number(value)
    if number is not None and 10**8 < number < 10**14:
        return int(number / 1000 if number > 10**11 else number)
    try:
        return int(datetime.fromisoformat(str(value).strip().replace("Z", "+00:00")).timestamp())
    except (ValueError, OverflowError):
        return None
