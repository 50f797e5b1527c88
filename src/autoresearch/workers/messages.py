"""What an attempt is told and what it answers, as JSON: the same for a worker here and on another machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autoresearch.errors import AutoresearchError, error_of
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import RunSpec
from autoresearch.runs.turn import Turn
from autoresearch.workers.base import Ended

LISTS = ("excerpt", "remarks")
"""The fields of a measurement that JSON has no type of its own for."""


def spec_fields(spec: RunSpec) -> dict[str, Any]:
    """Return a run that is asked for as JSON has it."""
    return {**asdict(spec), "folder": str(spec.folder)}


def spec_of(fields: dict[str, Any]) -> RunSpec:
    """Return the run that `spec_fields` told."""
    turn = Turn(**fields["turn"]) if fields["turn"] else None
    return RunSpec(**{**fields, "folder": Path(fields["folder"]), "turn": turn})


def answer(id: str, outcome: Measurement | AutoresearchError, took_s: float) -> str:
    """Return the line that a worker answers an attempt with, which took it so many seconds."""
    about = {"attempt": id, "took_s": round(took_s, 3)}
    if isinstance(outcome, AutoresearchError):
        return json.dumps({**about, "error": outcome.as_dict()})
    return json.dumps({**about, "measurement": asdict(outcome)}, allow_nan=False)


def read_answer(id: str, text: str) -> Ended | None:
    """Return how an attempt has ended by what its worker printed; None when that is no answer to it.

    Only the last line counts: a library may have printed something before it.
    """
    lines = text.splitlines()
    try:
        said = json.loads(lines[-1]) if lines else {}
        if said["attempt"] != id:
            return None
        if "error" in said:
            return Ended(id, error=error_of(said["error"]), took_s=said["took_s"])
        fields = said["measurement"]
        measurement = Measurement(**{**fields, **{name: tuple(fields[name]) for name in LISTS}})
        return Ended(id, measurement, took_s=said["took_s"])
    except (ValueError, KeyError, TypeError):
        return None
