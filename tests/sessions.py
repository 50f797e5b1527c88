"""Sessions from a few rows, for tests of what is computed from a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoresearch.journal.session import Session, replay
from autoresearch.search.families import Families
from autoresearch.workspace.task_file import parse

PRETRAIN = Path(__file__).resolve().parents[1] / "assets" / "tasks" / "pretrain" / "autoresearch.toml"


def pretrain_families() -> Families:
    """The families of changes of a language model, as that task names them."""
    return parse(PRETRAIN.read_text("utf-8")).search.families


def session(*rows: tuple[str, float | None, str] | tuple[str, float | None, str, dict[str, Any]]) -> Session:
    """A session with a baseline of 100 (runs 99, 100, 101) and then these (status, value, description, asi)."""
    events: list[dict[str, Any]] = [
        {"type": "config", "metricName": "ms", "bestDirection": "lower", "tag": "t", "segment": 0},
        {"run": 1, "commit": "c1", "status": "keep", "metric": 100.0, "values": [99.0, 100.0, 101.0],
         "seeds": [1, 2, 3], "description": "baseline"},
    ]  # fmt: skip
    parent = "c1"
    for n, row in enumerate(rows, 2):
        status, value, description, asi = (*row, {}) if len(row) == 3 else row
        events.append({"run": n, "commit": f"c{n}", "parent": parent, "status": status, "metric": value,
                       "description": description, "asi": asi})  # fmt: skip
        parent = f"c{n}" if status == "keep" else parent
    return replay(enumerate(events, 1))
