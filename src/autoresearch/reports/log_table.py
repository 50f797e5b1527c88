"""The table that `log` prints: a row for each experiment, and no wider than what is in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from autoresearch.escaping import one_line
from autoresearch.journal.session import Experiment, Session
from autoresearch.reports import costs
from autoresearch.reports.views import View, brief_view, noise_words, number


class Column(NamedTuple):
    """One column: its head, and a cell for each row."""

    head: str
    cells: Sequence[str]
    words: bool = False
    """Words begin at the left, numbers end at the right."""


def log_view(session: Session, e: Experiment, secondary: Sequence[str]) -> View:
    """Return one experiment as a row of `log`, with the other metrics that the task names; None where there is none."""
    cost = costs.cost_view(session.ledger.of(e.number))
    return {**brief_view(session, e), "secondary": {name: e.metrics.get(name) for name in secondary}, "cost": cost}


def log_lines(session: Session, rows: Sequence[View]) -> list[str]:
    """Return `log` as text, a line each.

    The secondary metrics of the rows are columns before the description; those that have one value in all rows are
    told once below them, a dash standing for none. Commits are in `show` and in the JSON: every command takes numbers.
    """
    marked = any(row["run_count"] > 1 for row in rows) and any(row["run_count"] == 1 for row in rows)
    secondary = [*(rows[-1].get("secondary", ()) if rows else ())]
    same = _the_same(rows, secondary)
    values = [f"{number(session, row['value'])}{_mark(row) if marked else ''}" for row in rows]
    lines = _aligned([
        Column("n", [str(row["experiment"]) for row in rows]),
        Column("status", [_status(row) for row in rows], words=True),
        Column(session.metric.name, values),
        Column("gain", [number(session, row["gain"], signed=True) for row in rows]),
        *(Column(one_line(name, 24), [_plain(row["secondary"][name]) for row in rows])
          for name in secondary if name not in same),
        *(Column(head, cells) for head, cells in costs.columns(rows)),
        Column("description", [one_line(row["description"], 90) for row in rows], words=True),
    ])  # fmt: skip
    if same:
        told = ", ".join(f"{one_line(name, 40)} {value}" for name, value in same.items())
        lines.append(f"the same in all: {told}")
    if marked:
        lines.append("* one run; its gain is over the baseline's run of that seed")
    if session.noise.sd:
        lines.append(f"noise {noise_words(session)}{'' if marked else '; a gain is over the baseline'}")
    return lines


def _the_same(rows: Sequence[View], secondary: Sequence[str]) -> dict[str, str]:
    """Return name -> text of the metrics that have no second value in these rows. A row that has no number at all, as
    of a crash, tells nothing of them."""
    if not secondary:
        return {}
    reported = [row["secondary"] for row in rows if row["value"] is not None or {*row["secondary"].values()} - {None}]
    texts = {name: {_plain(found[name]) for found in reported} or {"-"} for name in secondary}
    return {name: next(iter(found)) for name, found in texts.items() if len(found) == 1}


def _aligned(columns: Sequence[Column]) -> list[str]:
    """Return the lines of a table, heads first, with a space between columns."""
    padded = []
    for head, cells, words in columns:
        width = max(map(len, (head, *cells)))
        padded.append([cell.ljust(width) if words else cell.rjust(width) for cell in (head, *cells)])
    return [" ".join(line).rstrip() for line in zip(*padded, strict=True)]


def _status(row: View) -> str:
    status: str = row["status"] or "unfinished"
    return status if row["outcome"] in (None, "ok", status) else f"{status}:{row['outcome']}"


def _mark(row: View) -> str:
    return "*" if row["run_count"] == 1 and row["value"] is not None else " "


def _plain(value: float | None) -> str:
    """Return a number whose noise nobody has measured."""
    return "-" if value is None else f"{value:.5g}"
