"""Studies: runs that decide nothing on the branch (`confirm`, `replicate`, `ablate`), with a line before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autoresearch.journal.fields import Event, finite, mapping_at, number_at, text_at, whole_at

LOCKED = "locked"
"""The split that no decision may be made on; each study on it is a use of it."""


@dataclass(slots=True)
class Study:
    """One study. Built by `replay` and left alone afterwards."""

    number: int
    what: str
    """confirm, replicate or ablate."""
    about: dict[str, Any] = field(default_factory=dict)
    """What was asked for: all that is needed to go on with it after a kill."""
    split: str = "search"
    runs: dict[str, dict[int, float]] = field(default_factory=dict)
    """Commit -> seed -> value."""
    continues: int | None = None
    """The interrupted study whose runs this one has taken over; it is no further use of the locked split."""
    outcome: str | None = None
    """`done`, `failed` or `interrupted`; None while it runs, or waits for a repair."""
    result: dict[str, Any] = field(default_factory=dict)
    timestamp: int | None = None


def begin(
    number: int, what: str, about: Mapping[str, Any], split: str, now: int, *, continues: int | None = None
) -> Event:
    """Return the line before a study: from it on, a use of the locked split counts."""
    line = {"type": "study", "study": number, "what": what, "about": dict(about), "split": split, "timestamp": now}
    return line if continues is None else {**line, "continues": continues}


def measured(number: int, commit: str, seed: int, value: float, now: int) -> Event:
    """Return the line of one run of a study."""
    return {"type": "study_run", "study": number, "commit": commit, "seed": seed, "value": value, "timestamp": now}


def end(number: int, outcome: str, result: Mapping[str, Any], now: int) -> Event:
    """Return the line after a study."""
    return {"type": "study_end", "study": number, "outcome": outcome, "result": dict(result), "timestamp": now}


def fold(studies: dict[int, Study], event: Event) -> None:
    """Take a study's line, or a repeat that it has made, into `studies`; raise `ValueError` when it does not fit."""
    number, kind = whole_at(event, "study"), event["type"]
    if kind == "study":
        if number in studies:
            raise ValueError(f"study {number} begins twice")
        about = dict(mapping_at(event, "about", {}))
        split = text_at(event, "split") or "search"
        when = int(number_at(event, "timestamp")) if event.get("timestamp") is not None else None
        study = Study(number, text_at(event, "what") or "", about, split, timestamp=when)
        if event.get("continues") is not None:
            study.continues = whole_at(event, "continues")
            study.runs = {commit: dict(runs) for commit, runs in studies[study.continues].runs.items()}
        studies[number] = study
        return
    if number not in studies:
        raise ValueError(f"there is no study {number}")
    study = studies[number]
    if kind in ("study_run", "repeat"):
        runs = study.runs.setdefault(text_at(event, "commit") or "", {})
        runs[whole_at(event, "seed")] = finite("value", event.get("value"))
    else:
        if study.outcome is not None:
            raise ValueError(f"study {number} ends twice")
        study.outcome = text_at(event, "outcome") or "done"
        study.result = dict(mapping_at(event, "result", {}))
