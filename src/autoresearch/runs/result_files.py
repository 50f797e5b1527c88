"""Files that a command writes its numbers into: taken away before a run, so that none is of an earlier one, and read
after it."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autoresearch.metrics import MetricError, parse_number
from autoresearch.runs import tool_files
from autoresearch.system.files import read_plain, remove
from autoresearch.workspace.metric_source import Source

MOST_KEYS = 400
"""Keys of a file that are looked at when nobody has said which."""

TABLES = {".csv": ",", ".tsv": "\t"}
LINES = (".jsonl", ".ndjson")

_INDEX = re.compile(r"\[(-?\d+)\]\.?|(-?\d+)(?:\.|$)")


class NotReported(MetricError):
    """A number was not there at all, which is no slip in it."""


def take_away(root: Path, source: Source) -> None:
    """Remove from a snapshot what a run is to write anew: it came with the commit."""
    for path in _matches(root, source.file or ""):
        remove(path)


def number_in(root: Path, source: Source) -> float:
    """Return the number of a file that a run has left in its snapshot. Raises `MetricError` in one sentence."""
    name = source.file or ""
    found = _matches(root, name)
    if not found:
        raise NotReported(f"the command wrote no {name}")
    if len(found) > 1:
        names = ", ".join(path.relative_to(root).as_posix() for path in found[:4])
        raise MetricError(f"{len(found)} files are {name}: {names}; name one of them")
    path = found[0]
    told = path.relative_to(root).as_posix()
    if path.is_dir() or "tfevents" in path.name:
        return _number(_of_runs(tool_files.tensorboard(path, told), _key(source, told), told), source, told)
    content = _content(path, told)
    if path.suffix == ".wandb":
        return _number(_one(tool_files.wandb(path, told), _key(source, told), told), source, told)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise MetricError(f"{told} is no text") from None
    if path.suffix in TABLES:
        return _number(_cell(text, TABLES[path.suffix], _key(source, told), told), source, told)
    if path.suffix in LINES:
        return _number(_of_lines(text, _key(source, told), told), source, told)
    if path.suffix == ".json":
        whole = _parsed(text, f"{told} is not whole JSON")
        return _number(whole if source.key is None else _of_json(whole, source.key, path.name, told), source, told)
    if source.key is not None:
        raise MetricError(f"{told} is no file with keys (json, jsonl, csv, tsv); leave out key, or use a pattern")
    return _number(text, source, told)


def _matches(root: Path, name: str) -> list[Path]:
    """Return the files and folders of a name in a snapshot that are there and nowhere else: no links lead to them."""
    if "*" in name:  # which alone stands for others
        paths = sorted(root.glob(re.sub(r"[?\[]", r"[\g<0>]", name)))
    else:
        paths = [root / name] if os.path.lexists(root / name) else []
    real = root.resolve()
    return [path for path in paths if not path.is_symlink() and path.parent.resolve().is_relative_to(real)]


def _content(path: Path, told: str) -> bytes:
    try:
        return read_plain(path)
    except OSError as error:
        raise MetricError(f"{told} cannot be read: {error.strerror}") from None


def _key(source: Source, told: str) -> str:
    if source.key is None:
        raise MetricError(f"{told} has many numbers; say with key which one")
    return source.key


def _parsed(text: str, problem: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MetricError(f"{problem} ({error})") from None


def _number(value: object, source: Source, told: str) -> float:
    """Return what was found as a number, strictly."""
    where = f"{source.key} in {told}" if source.key is not None else told
    if isinstance(value, str):
        try:
            return parse_number(value, source.unit, source.thousands)
        except MetricError as error:
            raise MetricError(f"{where}: {error}") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        what = f"{json.dumps(value, default=str)[:40]}, which is no number"
        if isinstance(value, dict | list):
            what = f"{'an object' if isinstance(value, dict) else 'a list'}; say with key what in it"
        raise MetricError(f"{where} is {what}")
    try:
        if math.isfinite(value):
            return float(value)
    except OverflowError:
        pass
    raise MetricError(f"{where} is {value!s:.40}, which is not a finite number")


def _of_json(whole: Any, key: str, name: str, told: str) -> Any:
    found = [*_at(whole, key)]
    history = whole.get("log_history") if isinstance(whole, dict) and name == "trainer_state.json" else None
    if not found and isinstance(history, list):  # of Hugging Face's Trainer: entries of several kinds, in their order
        entries = [entry for entry in history if isinstance(entry, dict) and key in entry]
        found = [entries[-1][key]] if entries else []
    if len(found) > 1:
        raise MetricError(f"{key} may be {len(found)} places in {told}; name another key")
    if not found:
        raise NotReported(f"{told} has no {key}{_it_has(whole)}")
    return found[0]


def _of_runs(runs: list[dict[str, float]], key: str, told: str) -> float:
    found = [run[key] for run in runs if key in run]
    if len(found) > 1:
        raise MetricError(f"{len(found)} runs in {told} have {key}; name the file of one of them")
    if not found:
        raise NotReported(f"{told} has no {key}{_it_has({name: 0 for run in runs for name in run})}")
    return found[0]


def _one(values: dict[str, Any], key: str, told: str) -> Any:
    if key not in values:
        raise NotReported(f"{told} has no {key}{_it_has(values)}")
    return values[key]


def _at(value: Any, path: str) -> Iterator[Any]:
    """Yield each value that a path can mean: keys may have dots themselves."""
    if not path:
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            rest = path[len(key) :]
            if path == key:
                yield inner
            elif key and path.startswith(key) and rest[0] in ".[":
                yield from _at(inner, rest[1:] if rest[0] == "." else rest)
    elif isinstance(value, list):
        found = _INDEX.match(path)
        if found is not None and -len(value) <= (index := int(found[1] or found[2])) < len(value):
            yield from _at(value[index], path[found.end() :])


def _it_has(whole: Any) -> str:
    names = [str(name) for name in whole][:8] if isinstance(whole, dict) else []
    return f"; it has {', '.join(names)}" if names else ""


def _of_lines(text: str, key: str, told: str) -> Any:
    """Return what the last line that has the key gives; the last one of all must be whole."""
    lines = [line for line in text.splitlines() if line.strip()]
    for line in reversed(lines):
        found = [*_at(_parsed(line, f"a line of {told} is not whole JSON"), key)]
        if len(found) > 1:
            raise MetricError(f"{key} may be {len(found)} places in a line of {told}; name another key")
        if found:
            return found[0]
    raise NotReported(f"{told} has no line with {key}" if lines else f"{told} is empty")


def _cell(text: str, delimiter: str, key: str, told: str) -> str:
    """Return what a column has in its last row that is not empty there; each row must be whole."""
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if row]
    except csv.Error as error:
        raise MetricError(f"{told} is not whole ({error})") from None
    if not rows:
        raise NotReported(f"{told} is empty")
    head = [name.strip() for name in rows[0]]
    if head.count(key) != 1:
        problem = NotReported if key not in head else MetricError
        many = "no column" if key not in head else f"{head.count(key)} columns"
        raise problem(f"{told} has {many} {key}; it has {', '.join(head[:12])}")
    for number, row in reversed([*enumerate(rows[1:], 2)]):
        if len(row) != len(head):
            raise MetricError(f"row {number} of {told} has {len(row)} fields, its head {len(head)}")
        cell = row[head.index(key)].strip()
        if cell:
            return cell
    raise NotReported(f"{told} has no row with {key}")


def keys_in(path: Path) -> dict[str, object]:
    """Return what in a file could be a number, key -> value as it is there, at most `MOST_KEYS`; the last ones where it
    has many lines. The empty key is the whole file. Nothing for a file that cannot be read."""
    try:
        if "tfevents" in path.name:
            runs = tool_files.tensorboard(path, path.name)
            return dict(runs[0]) if runs else {}
        content = _content(path, path.name)
        if path.suffix == ".wandb":
            return dict(tool_files.wandb(path, path.name))
        text = content.decode("utf-8-sig")
        if path.suffix == ".json":
            whole = json.loads(text)
            history = whole.get("log_history") if isinstance(whole, dict) else None
            if path.name == "trainer_state.json" and isinstance(history, list):
                return {key: value for entry in history if isinstance(entry, dict) for key, value in entry.items()}
            return dict(itertools.islice(_leaves(whole), MOST_KEYS))
        if path.suffix in LINES:
            leaves = (leaf for line in text.splitlines() if line.strip() for leaf in _leaves(json.loads(line)))
            return dict(itertools.islice(dict(leaves).items(), MOST_KEYS))
        if path.suffix in TABLES:
            rows = [*csv.DictReader(io.StringIO(text, newline=""), delimiter=TABLES[path.suffix])]
            return {name: cell for row in rows for name, cell in row.items() if isinstance(name, str) and cell}
        return {"": text} if len(text) < 100 else {}
    except (MetricError, ValueError, RecursionError, csv.Error):
        return {}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for at, inner in enumerate(value[:MOST_KEYS]):
            yield from _leaves(inner, f"{path}[{at}]")
    else:
        yield path, value
