"""Logs of other tools as rows of cells, each with its line: tables with any of the usual delimiters, and JSON lines."""

from __future__ import annotations

import csv
import functools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autoresearch.errors import UsageError
from autoresearch.exchange.foreign_words import KNOWN, NOTHING, ROLES, STATUS_WORDS, decided

HEADER = "commit\\tmetric\\tmemory_gb\\tstatus\\tdescription"
_LAST = frozenset("0123456789.%")
"""What a number ends with."""
_CHANGE, _CHANGED = re.compile(r"→|->"), re.compile(r"[+-]?[\d.,%]+ *(→|->)")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
"""A number with its thousands apart."""
MISFIT = "\0misfit"
"""The cell of a row that says why its cells are not those of the header."""
DEEPEST = 40
"""Tables in each other in a line; with more of them it was made to stop who follows them."""
_EVENTS = (None, "run", "result", "experiment", "iteration", "trial")

_SAYS = ("type", "kind", "event", "metricName", "metricUnit", "bestDirection")
"""Keys that say what an event is, or what its metric is."""

Row = tuple[int, Mapping[str, Any]]
"""The line of a row (from 1), and its cells by the names of their columns."""


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one segment."""

    rows: Sequence[Row]
    config: Mapping[str, Any] = field(default_factory=dict)
    """What the file says of the metric: `metricName`, `bestDirection`, `metricUnit`, `name`."""
    bad: tuple[str, ...] = ()
    """What cannot be read, each with its line."""
    semicolons: bool = False
    """Whether they part the cells, as where a comma is the decimal mark."""


def number_of(value: object) -> float | None:
    """Return the finite number in a cell, also `53.2%`, `1,234` and `815→826`, of which the second one counts."""
    return None if isinstance(value, bool) or value is None else _number_in(str(value))


@functools.lru_cache(2**16)
def _number_in(text: str) -> float | None:
    text = text.strip()
    if text[-1:] not in _LAST:
        return None
    text = _CHANGE.split(text)[-1].strip() if _CHANGED.match(text) else text
    text = text[:-1].strip() if text.endswith("%") else text
    if GROUPED.fullmatch(text):
        text = text.replace(",", "")
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def table_part(text: str) -> Part:
    """Return the rows of a table with a header and any of the usual delimiters, or of one without.

    What is above the header is passed over, and so are comments and a header that comes again; a comment such as
    `# metric_direction: higher` is heeded. Raises `UsageError` where a table without a header does not show what its
    columns are.
    """
    said = {match[1]: match[2].strip() for match in re.finditer(r"(?m)^# *(metric_\w+|direction) *[:=](.*)$", text)}
    rows, delimiter = _table_rows(text)
    return Part(rows, _config(said), semicolons=delimiter == ";")


def _table_rows(text: str) -> tuple[list[Row], str]:
    """Return the rows of a table, and what parts their cells."""
    lines = [(n, line.rstrip("\r")) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    lines = [(n, line) for n, line in lines if not re.fullmatch(r"[\s|:=-]+", line)]
    if not lines:
        return [], ""
    at = next((at for at, (_, line) in enumerate(lines[:60]) if _is_header(line)), None)
    first = lines[at or 0][1]
    delimiter = _delimiter(first)
    if delimiter == "\t":  # some shells write the two characters \\t for a tab
        lines = [(n, line if "\t" in line else line.replace("\\t", "\t")) for n, line in lines]
    if at is not None:
        names = [name.strip() for name in _cells(first.lstrip("# ") if first[:2] == "# " else first, delimiter)]
        rows = _split(text, lines[at + 1 :], delimiter, len(names))
    else:
        lines = [(n, line) for n, line in lines if not line.startswith("#")]
        rows = _split(text, lines, delimiter, 0)
        names = _guessed([row for _, row in rows])
    named: list[Row] = [
        (n, _named(names, row, delimiter)) for n, row in rows if [cell.strip() for cell in row] != names
    ]
    return named, delimiter


def _delimiter(line: str) -> str:
    """Return what parts the cells of a line; "" stands for two spaces and more."""
    delimiter = max("\t,;|", key=lambda mark: (line.count(mark), mark == "\t"))
    return delimiter if delimiter in line else ""


def _is_header(line: str) -> bool:
    """Whether a line names columns: two or more, one that is known, none that is a number."""
    bare = line.lstrip("# ") if line.startswith("# ") else line
    names = [name.strip().lower() for name in _cells(bare, _delimiter(bare))]
    if len(names) < 2 or any(number_of(name) is not None or not name or len(name) > 40 for name in names[:-1]):
        return False
    known = len(KNOWN.intersection(names))
    return known >= 2 or (known == 1 and not any(decided(name) for name in names))


def _split(text: str, lines: Sequence[tuple[int, str]], delimiter: str, width: int) -> list[tuple[int, list[str]]]:
    """Return the cells of each line; a quoted cell of a comma table may go over several lines."""
    if delimiter in (",", ";") and '"' in text and lines:
        start = lines[0][0]
        reader = csv.reader((line + "\n" for line in text.split("\n")[start - 1 :]), delimiter=delimiter)
        rows = []
        try:
            for cells in reader:
                rows.append((start, [cell.strip() for cell in cells]))
                start = lines[0][0] + reader.line_num
        except csv.Error:
            rows = []
        rows = [(n, cells) for n, cells in rows if cells]
        if rows and all(len(cells) == (width or len(rows[0][1])) for _, cells in rows):
            return rows  # else a quote is not closed: line by line
    return [(n, _cells(line, delimiter)) for n, line in lines if not (line.startswith("#") and delimiter != "|")]


def _cells(line: str, delimiter: str) -> list[str]:
    if delimiter == "\t":
        return line.split("\t")
    if delimiter == "":
        return re.split(r"\s{2,}", line.strip())
    if delimiter == "|":
        return [cell.strip().strip("*`") for cell in line.strip().strip("|").split("|")]
    try:
        cells = next(csv.reader([line.replace("\r", " ")], delimiter=delimiter))
    except csv.Error:  # a cell of more than 128 KiB
        cells = line.split(delimiter)
    return [cell.strip() for cell in cells]


def _named(names: Sequence[str], row: list[str], delimiter: str) -> dict[str, str]:
    """Return the cells by name. More cells than names: a delimiter in the last text, or columns that have no name."""
    if len(row) > len(names):
        at = next((at for at, name in enumerate(names) if name.lower() in ROLES["status"]), None)
        words = [cell for cell in row[(at or 0) + 1 : len(names)] if len(cell.split()) <= 2]
        if at is not None and decided(row[at], names[at]) is None and any(map(decided, words)):
            return {MISFIT: f"it has {len(row)} cells, and the header {len(names)}"}
        if names[-1].lower() in KNOWN.difference(ROLES["description"]):
            return dict(zip([*names, *(f"column {at + 1}" for at in range(len(names), len(row)))], row, strict=True))
        row = [*row[: len(names) - 1], (delimiter or "  ").join(row[len(names) - 1 :])]
    return dict(zip(names, row, strict=False))


def _guessed(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return names for the columns of a table without a header; raise `UsageError` where none is sure."""
    width = min(map(len, rows), default=0)
    columns = [[row[at].strip() for row in rows] for at in range(width)]
    names = [f"column {at + 1}" for at in range(width)]
    deciding = [at for at in range(width) if 5 * sum(w.lower() in STATUS_WORDS for w in columns[at]) >= 4 * len(rows)]
    numeric = []
    for at, column in enumerate(columns):
        if at in deciding:
            continue
        if all(re.fullmatch(r"[0-9a-f]{6,40}|HEAD", word) for word in column) and "commit" not in names:
            names[at] = "commit"
        elif at == 0 and _counts(column):
            names[at] = "run"
        elif all(number_of(word) is not None or word.lower() in NOTHING for word in column):
            numeric.append(at)
        elif at == width - 1:
            names[at] = "description"
    if not deciding or not numeric:
        raise UsageError("no column of it says keep or discard", f"give it a header line, such as: {HEADER}")
    says_more = [at for at in deciding if not {word.lower() for word in columns[at]} <= {"true", "false", "yes", "no"}]
    status = (says_more or deciding)[-1]
    names[status] = "status"
    if names[0] == "commit" and numeric in ([1], [1, 2]) and status == len(numeric) + 1:
        names[1] = "metric"  # commit, metric, memory_gb, status, description
    return names


def _counts(column: Sequence[str]) -> bool:
    """Whether the cells number the rows: each one more than the one before it."""
    if len(column) < 3 or not column[0].isdecimal():
        return False
    return list(column) == [str(n) for n in range(int(column[0]), int(column[0]) + len(column))]


def json_parts(text: str) -> Iterator[Part]:
    """Yield the segments of JSON lines, or of one JSON list of objects; pairs of events are joined."""
    rows: list[Row] = []
    config: dict[str, Any] = {}
    bad: list[str] = []
    waiting: dict[object, tuple[int, dict[str, Any]]] = {}
    for n, event in _objects(text):
        if event is None:
            bad.append(f"line {n} is no JSON object")
            continue
        kind = event.get("type", event.get("kind", event.get("event")))
        opens = kind in ("config", "init", "header", "session")
        named = _config(event).get("metricName") if event.get("metricName") else None
        if opens or (named is not None and named != config.get("metricName")):
            if rows:
                yield Part(rows, config, tuple(bad))
                bad = []
            rows, config, waiting = [], _config(event), {}
        if opens or (named is not None and not _decides(event)):
            continue
        keys = [event[name] for name in ("run_id", *ROLES["number"]) if isinstance(event.get(name), str | int)]
        if kind == "run" and kind in (event.get("kind"), event.get("event")) and not _decides(event):
            waiting |= dict.fromkeys(keys, (n, event))
            continue
        if kind not in _EVENTS and not _decides(event):
            continue  # another tool's own lines
        first = next((waiting[key] for key in keys if key in waiting), None) if kind == "result" else None
        if first is not None:
            waiting = {key: item for key, item in waiting.items() if item is not first}
            event = {**first[1], **event}
        rows.append((n, _flat({k: v for k, v in event.items() if k not in _SAYS})))
    bad += [f"line {n} has no result" for n in sorted({n for n, _ in waiting.values()})]
    if rows or bad:
        yield Part(rows, config, tuple(bad))


def _objects(text: str) -> Iterator[tuple[int, dict[str, Any] | None]]:
    if text.lstrip()[:1] == "[":
        try:
            found = json.loads(text, strict=False)
        except (ValueError, RecursionError):
            found = [None]
        yield from ((at, item if is_event(item) else None) for at, item in enumerate(found, 1))
        return
    for n, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                event = json.loads(line, strict=False)  # a text may hold a form feed as it is
            except (ValueError, RecursionError):
                event = None
            yield n, event if is_event(event) else None


def is_event(value: object) -> bool:
    """Whether this is a JSON object that is nested no deeper than `DEEPEST`."""
    level, depth = [value], 0
    while level and depth <= DEEPEST:
        level, depth = [inner for each in level for inner in _inside(each)], depth + 1
    return isinstance(value, dict) and not level


def _inside(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _config(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an opening line says, by the keys of the field."""
    inner = event.get("config")
    said = {**event, **(inner if isinstance(inner, dict) else {})}
    names = {"metricName": ("metricName", "metric_name", "metric"), "metricUnit": ("metricUnit", "metric_unit", "unit"),
             "bestDirection": ("bestDirection", "metric_direction", "direction"), "name": ("name",)}  # fmt: skip
    found = {ours: next((said[name] for name in theirs if isinstance(said.get(name), str)), None)
             for ours, theirs in names.items()}  # fmt: skip
    return {key: value for key, value in found.items() if value}


_BOXES = ("metrics", "results", "scores", "values")
_INPUTS = ("config", "params", "parameters", "hparams", "hyperparameters", "args", "env", "settings")
"""Tables of what went into a run, which stay as they are."""


def _flat(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event with the numbers of its tables as cells beside the others; `asi` stays a table of notes."""
    flat: dict[str, Any] = {}
    for box in _BOXES:
        if isinstance(event.get(box), dict):
            flat |= _numbers("", event[box])
    for name, value in event.items():
        if name == "asi" or not isinstance(value, dict | list):
            flat[name] = value
        elif isinstance(value, dict) and name not in (*_BOXES, *_INPUTS) and (numbers := _numbers(f"{name}.", value)):
            flat |= {key: number for key, number in numbers.items() if key not in event}
        elif name not in _BOXES:
            flat[name] = json.dumps(value, ensure_ascii=False)
    return flat


def _numbers(about: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is in a table, tables in it too: `validation.sharpe`."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        found |= _numbers(f"{about}{name}.", value) if isinstance(value, dict) else {f"{about}{name}": value}
    return found


def _decides(event: Mapping[str, Any]) -> bool:
    """Whether an event says keep or discard: a crash alone is said of much that is no experiment."""
    return any(decided(str(event[name]), name) in ("keep", "discard") for name in ROLES["status"] if name in event)
