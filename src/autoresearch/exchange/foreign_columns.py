"""What the columns of a foreign log are: which is the metric, which way of it is better, what was decided on each row.

That is read from names (`foreign_words.py`), and from whether the numbers moved as the decisions say. Where neither is
sure the log is refused, with the option that says it; where one of several was taken, a remark says so.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autoresearch.errors import UsageError
from autoresearch.exchange.foreign_evidence import (
    MANY_VOTES,
    before_of,
    of_several,
    votes_of,
    votes_of_pairs,
    way_of_companions,
)
from autoresearch.exchange.foreign_rows import GROUPED, HEADER, MISFIT, Part, Row, number_of
from autoresearch.exchange.foreign_words import (
    NAMED,
    NOTHING,
    ROLES,
    STATUS_WORDS,
    VALUED,
    decided,
    instead_of_numbers,
    is_beside,
    is_no_measurement,
    says_metric,
    surely_better,
)
from autoresearch.journal.experiment import Experiment
from autoresearch.journal.statuses import Status
from autoresearch.metrics import Direction

_COMMA = re.compile(r"[+-]?\d+,\d+ *%?")
"""A number with one comma, which is a decimal one where it is not before three digits."""

NO_DECISIONS = "no column says keep or discard: every row is read as not kept"

WAYS: dict[str, Direction] = {
    **dict.fromkeys(("lower", "lower_is_better", "min", "minimize", "minimise", "down", "decrease"), "lower"),
    **dict.fromkeys(("higher", "higher_is_better", "max", "maximize", "maximise", "up", "increase"), "higher"),
}


@dataclass(frozen=True, slots=True)
class Rows:
    """The experiments of one metric."""

    metric: str
    direction: Direction
    experiments: tuple[Experiment, ...]
    """Numbered by their rows, the bad ones counted, so that a row that is corrected later is new."""
    theirs: Mapping[int, object]
    """Row -> the number that the other tool gave it."""
    skipped: tuple[str, ...]
    first: str
    """The beginning of the log, which tells it from others."""
    remarks: tuple[str, ...] = ()
    """What was not said by the file, and how it was read."""
    named: bool = False
    """Whether the rows name the metric, so that it tells them from the others of the file."""
    decided: bool = True
    """Whether any row says keep or discard."""


def understood(part: Part, metric: str | None, direction: Direction | None) -> list[Rows]:
    """Return the experiments of a segment, for each metric that its rows name.

    Raises `UsageError` when no column can be the metric, when two could be, or when nothing says which way is better.
    """
    groups = _by_name(part.rows) if "metricName" not in part.config else {}
    if metric is not None and metric in groups:
        return [replace(_read(replace(part, rows=groups[metric]), metric, direction), named=True)]
    if metric is not None or not groups:
        return [_read(part, metric, direction)]
    names = [name for name in groups if name]
    if direction is not None and len(groups) > 1:
        raise UsageError(f"it has several metrics: {', '.join(names[:6])}",
                         f"one at a time: --metric {_quoted(names[0])} --direction {direction}")  # fmt: skip
    if 2 * sum(len(rows) == 1 for rows in groups.values()) > len(part.rows) > 1:
        raise UsageError(f"nearly each row names another metric: {', '.join(names[:6])}",
                         f"one at a time: --metric {_quoted(names[0])} --direction lower, or higher")  # fmt: skip
    found, refused = list[Rows](), list[UsageError]()
    for name, rows in groups.items():
        try:
            read = _read(replace(part, rows=rows), name, direction)
            if not read.decided and direction is None:
                raise UsageError("no row says keep or discard, and they measure different things",
                                 f"one at a time: --metric {_quoted(name or names[0])}")  # fmt: skip
            found.append(replace(read, named=True, remarks=tuple(f"{name or 'the others'}: {r}" for r in read.remarks)))
        except UsageError as error:
            refused.append(error)
            option = f" (with: --metric {_quoted(name)} --direction lower, or higher)" if name else ""
            many = f"{len(rows)} rows" if len(rows) > 1 else "a row"
            line = f"{many} of {name or 'no metric'}: {error.message}{option}"
            found.append(Rows(name or "", "lower", (), {}, (line,), ""))
    if len(refused) == len(groups):
        fix = (
            f"one at a time: --metric {_quoted(names[0])} --direction lower, or higher"
            if len(names) > 1
            else refused[0].fix
        )
        raise UsageError(refused[0].message, fix)
    return found


def _by_name(rows: Sequence[Row]) -> dict[str | None, list[Row]]:
    """Return the rows of each metric where a column names it and another has its number; else nothing."""
    columns = [*dict.fromkeys(name for _, row in rows for name in row)]
    named, valued = _column(columns, NAMED), _column(columns, VALUED)
    if named is None or valued is None or named == valued:
        return {}
    words = [str(row.get(named) or "").strip() for _, row in rows]
    if not any(words) or any(number_of(word) is not None for word in words):
        return {}
    groups: dict[str | None, list[Row]] = {}
    for (n, row), word in zip(rows, words, strict=True):
        name = word if word.lower() not in NOTHING else None
        rest = (
            row
            if name is None
            else {name: row.get(valued), **{k: v for k, v in row.items() if k not in (named, valued)}}
        )
        groups.setdefault(name, []).append((n, rest))
    return groups


def _read(part: Part, metric: str | None, direction: Direction | None) -> Rows:
    rows, config = part.rows, part.config
    columns = [*dict.fromkeys(name for _, row in rows for name in row if name != MISFIT)]
    roles = _roles(rows, columns)
    if roles["status"] is None and (roles["description"] is None or len(columns) < 3):
        raise UsageError(
            "it does not begin with the columns commit, a metric, memory_gb, status, description",
            f"give it a header line, such as: {HEADER}",
        )
    words = [_word(row, roles) for _, row in rows]
    statuses = [decided(word, column) for word, column in words]
    own, remarks = _metric(part, columns, roles, statuses, metric)
    remarks += _spelling([str(row.get(own, "")).strip() for _, row in rows], own)
    way, remark = _direction(rows, own, statuses, direction, config)
    remarks += [remark] if remark else []
    if roles["status"] is None:
        remarks.append(NO_DECISIONS)
    experiments, theirs, skipped = list[Experiment](), dict[int, object](), list[str]()
    unknown = Counter[str]()
    for at, ((n, row), (word, _), status) in enumerate(zip(rows, words, statuses, strict=True), 1):
        try:
            experiments.append(_experiment(at, row, roles, own, word, status))
        except ValueError as error:
            skipped.append(f"line {n}: {error}")
            continue
        if word and status is None:
            unknown[word] += 1
        if roles["number"] is not None and row.get(roles["number"]) is not None:
            theirs[at] = row[roles["number"]]
    if unknown:
        said = ", ".join(f"{word[:40]} ({times})" for word, times in unknown.most_common(4))
        remarks.append(f"words that decide nothing here are read as not kept, and noted: {said}")
    name = str(config.get("metricName") or own)
    first = json.dumps([name, *map(str, list(rows[0][1].values())[:6])])
    said_anything = any(status in ("keep", "discard") for status in statuses)
    return Rows(name, way, tuple(experiments), theirs, tuple(skipped), first, tuple(remarks), decided=said_anything)


def _column(columns: Sequence[str], names: Sequence[str]) -> str | None:
    lower = {column.strip().lower(): column for column in reversed(columns)}
    return next((lower[name] for name in names if name in lower), None)


def _roles(rows: Sequence[Row], columns: Sequence[str]) -> dict[str, str | None]:
    """Return the column of each role: the first of its names whose cells are what the role needs."""
    cells = {
        c: [str(row[c]).strip() for _, row in rows if str(row.get(c, "")).strip().lower() not in NOTHING]
        for c in columns
    }
    lower = {column.strip().lower(): column for column in reversed(columns)}
    found: dict[str, str | None] = dict.fromkeys(ROLES)

    def mostly(column: str, what: Any) -> bool:
        return 2 * sum(bool(what(cell)) for cell in cells[column]) >= len(cells[column])

    needs = {
        "description": lambda c: mostly(c, lambda cell: number_of(cell) is None),
        "time": lambda c: mostly(c, lambda cell: _seconds(cell) is not None),
        "number": lambda c: mostly(c, lambda cell: any(map(str.isdigit, cell))),
    }
    unnamed = [c for c in columns if {_decision(cell) for cell in cells[c]} == {"keep", "discard"}]
    for role, names in ROLES.items():
        mine = [lower[name] for name in names if name in lower and lower[name] not in found.values()]
        if role == "status":
            decides = {c: sum(decided(cell, c) is not None for cell in cells[c]) for c in mine}
            texts = [c for c in mine if decides[c] or (cells[c] and mostly(c, lambda cell: number_of(cell) is None))]
            found[role] = max(
                texts, key=lambda c: decides[c], default=mine[0] if mine and not any(cells.values()) else None
            )
            if found[role] is None and len(unnamed) == 1:
                found[role] = unnamed[0]  # a column of decisions under a name of its own
        else:
            found[role] = next((c for c in mine if needs.get(role, lambda _: True)(c)), None)
    return found


def _decision(cell: str) -> Status | None:
    """Return what a cell decides in a column of any name, where `true` may be the answer to anything."""
    return None if cell.lower() in ("true", "false", "yes", "no", "same") else STATUS_WORDS.get(cell.lower())


def _word(row: Mapping[str, Any], roles: Mapping[str, str | None]) -> tuple[str, str]:
    """Return what a row says of its decision, and the column that says it: rows of one log differ in their keys."""
    if roles["status"] is None:
        return "", ""
    others = [column for column in row if column.strip().lower() in ROLES["status"]]
    for column in (roles["status"], *others):
        word = row.get(column)
        if word is not None and str(word).strip() not in ("", "-"):
            return str(word).strip(), column
    return "", roles["status"]


def _metric(
    part: Part, columns: Sequence[str], roles: Mapping[str, str | None], statuses: Sequence[Status | None],
    asked: str | None,
) -> tuple[str, list[str]]:  # fmt: skip
    rows, config, taken = part.rows, part.config, set(roles.values())
    numbers = {c: [number_of(row.get(c)) for _, row in rows] for c in columns if c not in taken}
    texts = {c: [str(row.get(c, "")).strip() for _, row in rows] for c in numbers}
    full = {c: sum(cell.lower() not in (*NOTHING, "none") for cell in cells) for c, cells in texts.items()}
    commas = [c for c, cells in texts.items() if _decimal_commas(cells, part.semicolons)]
    wrong = asked if asked in commas else next((c for c in commas if asked is None and says_metric(c)), None)
    if wrong is not None:
        raise UsageError(f"the numbers of {wrong} have decimal commas", f"write them with points: {HEADER}")
    numeric = [c for c, cells in numbers.items() if c not in commas and any(v is not None for v in cells)]
    if asked is not None:
        if asked not in numeric:
            raise UsageError(f"it has no numbers named {asked}", f"choose one of: {', '.join(numeric) or 'none'}")
        return asked, []
    numeric = [c for c in numeric if not is_no_measurement(c) and 2 * sum(v is not None for v in numbers[c]) >= full[c]]
    spelled = [c for c in full if says_metric(c) and c not in numeric
               and 2 * sum(cell[:1].isdigit() for cell in texts[c]) >= full[c] > 0]  # fmt: skip
    if spelled:
        raise UsageError(f"{spelled[0]} has more than numbers in it", f"choose another: {_option(numeric)}")
    named = [c for c in numeric if c in (config.get("metricName"), "metric", "metric_value")]
    if named:
        return named[0], []
    likely = [c for c in numeric if not is_beside(c)]
    unread = [c for c in commas if 2 * sum(map(bool, map(_COMMA.fullmatch, texts[c]))) >= full[c]
              and not (numeric and is_beside(c))]  # fmt: skip
    if unread and not likely:
        wrong = min(unread, key=is_beside)
        raise UsageError(f"the numbers of {wrong} have decimal commas", f"write them with points: {HEADER}")
    if not numeric:
        but = instead_of_numbers([row for _, row in rows])
        raise UsageError(f"it has no column of numbers that could be a metric{but}", f"give it a header line: {HEADER}")
    described = columns.index(roles["description"]) if roles["description"] in columns else len(columns)
    before = [c for c in likely if columns.index(c) < described] if roles["memory"] is not None else []
    sure = roles["status"] is not None or any(says_metric(c) or surely_better(c) for c in likely)
    for choice in (likely, before):
        if len(choice) == 1 and sure:
            return choice[0], []
    if not likely and len(numeric) == 1 and votes_of(numbers[numeric[0]], statuses).way is not None:
        return numeric[0], []
    found = of_several(likely, numbers, statuses) if sure and likely else None
    if found is not None:
        others = ", ".join(c for c in likely if c != found)
        return found, [f"{found} is taken as the metric (beside it: {others}); another one with: --metric NAME"]
    several = likely or numeric
    could = f"{', '.join(several[:6])} could each" if several[1:] else f"only {several[0]} could"
    raise UsageError(could + " be the metric", f"choose with: {_option(several)}")


def _decimal_commas(cells: Sequence[str], semicolons: bool) -> bool:
    """Whether a column has decimal commas: 0,987 is no thousands, and says so of 1,234 beside it."""
    return any(_COMMA.fullmatch(cell) and (semicolons or not GROUPED.fullmatch(cell.rstrip(" %"))) for cell in cells)


def _spelling(cells: Sequence[str], metric: str) -> list[str]:
    """Return a remark where commas are read as thousands; raise `UsageError` where only some numbers have a %."""
    numbers = [cell for cell in cells if number_of(cell)]  # a zero is the same with and without
    if 0 < sum(cell.endswith("%") for cell in numbers) < len(numbers):
        raise UsageError(f"some numbers of {metric} have a % and others none", "write all of them alike")
    grouped = next((cell for cell in numbers if GROUPED.fullmatch(cell.rstrip(" %"))), None)
    return [f"commas in {metric} are read as thousands ({grouped})"] if grouped else []


def _option(names: Sequence[str]) -> str:
    return f"--metric {_quoted(names[0])}" if len(names) == 1 else "--metric NAME"


def _direction(
    rows: Sequence[Row],
    metric: str,
    statuses: Sequence[Status | None],
    asked: Direction | None,
    config: Mapping[str, Any],
) -> tuple[Direction, str | None]:
    """Return which way is better, and a remark where the decisions alone say so."""
    said = {
        str(row[c]).strip().lower() for _, row in rows for c in row if c.lower() in ("metric_direction", "direction")
    }
    told = WAYS.get(str(config.get("bestDirection", "")).lower().replace(" ", "_")) or (
        WAYS.get(said.pop()) if len(said) == 1 else None
    )
    if asked or told:
        return asked or told or "lower", None
    numbers = {c: [number_of(row.get(c)) for _, row in rows] for c in dict.fromkeys(c for _, row in rows for c in row)}
    values, before = numbers.get(metric, [None] * len(rows)), before_of(metric, [*numbers])
    votes = votes_of(values, statuses) if before is None else votes_of_pairs(numbers[before], values, statuses)
    name = surely_better(str(config.get("metricName") or metric))
    way = votes.way
    if name is not None and way in (name, None):
        return name, None
    choose = "say which way is better: --direction lower, or --direction higher"
    if name is not None:
        if votes.all < MANY_VOTES:
            agreed = f"though {getattr(votes, way)} of {votes.all} decisions say {way}" if way else ""
            return name, f"{name} {metric} is taken as better by its name, {agreed}; else: --direction {way}"
        raise UsageError(f"{metric} looks like {name} is better, and its kept rows say {way}", choose)
    if way is not None:
        agreed = f"{getattr(votes, way)} of {votes.all} decisions say so"
        other = "lower" if way == "higher" else "higher"
        return way, f"{way} {metric} is taken as better ({agreed}); else: --direction {other}"
    companion = way_of_companions(metric, numbers) if votes.all == 0 and metric in numbers else None
    if companion is not None:
        way, column = companion
        other = "lower" if way == "higher" else "higher"
        return way, f"{way} {metric} is taken as better (it moves with {column}); else: --direction {other}"
    if says_metric(metric) and not any(
        v is not None and s in ("keep", "discard", None) for v, s in zip(values, statuses, strict=True)
    ):
        return "lower", None  # no number counts
    raise UsageError(f"nothing in it says which way of {metric} is better", choose)


def _experiment(
    at: int, row: Mapping[str, Any], roles: Mapping[str, str | None], metric: str, word: str, decision: Status | None
) -> Experiment:
    def text(role: str) -> str:
        found = row.get(roles[role] or "")
        return "" if found is None else str(found).strip()

    if MISFIT in row:
        raise ValueError(row[MISFIT])
    status = decision or "discard"
    if roles["status"] is not None and (not word or (number_of(word) is not None and decision is None)):
        raise ValueError(f"its status is {word}, which is no word" if word else "it has no status")
    value = number_of(row.get(metric))
    if value is None and status in ("keep", "discard"):
        raise ValueError(f"{metric} is {row.get(metric)!r}, which is no number")
    asi = {"status": word} if word and decision is None else {}
    used = {metric, "asi", *roles.values()}
    others = {name: number for name in row if name not in used and (number := number_of(row[name])) is not None}
    rest = {str(name): str(row[name] or "").strip() for name in row if name not in used and name not in others}
    asi |= {name: cell for name, cell in rest.items() if cell.lower() not in NOTHING}
    asi |= {str(k): str(v) for k, v in row["asi"].items()} if isinstance(row.get("asi"), dict) else {}
    memory = number_of(row.get(roles["memory"] or ""))
    metrics = {**others, **({"peak_vram_mb": memory * 1024} if memory and "peak_vram_mb" not in others else {})}
    return Experiment(
        at, 0, text("commit") or None, description=text("description"), status=status,
        metric=value, metrics=metrics, asi=asi, finished=_seconds(row.get(roles["time"] or "")),
    )  # fmt: skip


def _quoted(name: str) -> str:
    """Return a name of the log as a shell takes it: what is printed is typed, and the log may be a stranger's."""
    return name if name.replace("_", "").isalnum() else "'" + name.replace("'", "'\\''") + "'"


def _seconds(value: object) -> int | None:
    from datetime import datetime

    number = number_of(value)
    if number is not None and 10**8 < number < 10**14:
        return int(number / 1000 if number > 10**11 else number)
    try:
        return int(datetime.fromisoformat(str(value).strip().replace("Z", "+00:00")).timestamp())
    except (ValueError, OverflowError):
        return None
