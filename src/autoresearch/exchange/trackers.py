"""A session as experiment trackers know one: runs with a configuration, a history and a last value of each name.

A run of a tracker is one seed of an experiment; an experiment without any run that gave a value is one, too. Curves
have no clock, so the times within a run lie between start and verdict by how far it had come.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from autoresearch.escaping import one_line
from autoresearch.journal.experiment import Experiment
from autoresearch.journal.session import Session
from autoresearch.reports.run_files import AXES, Curve, curve_of
from autoresearch.reports.views import gain, gain_error
from autoresearch.search.families import Families, family_of
from autoresearch.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Point:
    """What a run wrote at one step."""

    step: int
    time: float
    """Seconds since 1970."""
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """One run."""

    name: str
    """The same for the same run, whenever it is exported: session, segment, experiment and seed."""
    title: str
    time: float
    """Of its verdict, in seconds since 1970."""
    config: Mapping[str, str]
    """What went into it, and what was decided."""
    summary: Mapping[str, float]
    history: tuple[Point, ...]


def tracked_runs(workspace: Workspace, session: Session, families: Families) -> Iterator[TrackedRun]:
    """Yield the runs of every experiment of the segment in force, in their order. What is absent has no value."""
    tag = session.segment.tag or "session"
    for e in session.current:
        values = {run.seed: run.value for run in e.runs if run.seed is not None and run.purpose != "disturbed"}
        seeds: list[int | None] = [*values]
        for seed in seeds or [None]:
            name = f"{tag}-{e.segment}-{e.number}" + ("" if seed is None else f"-{seed}")
            summary = _summary(session, e, None if seed is None else values[seed])
            curve = None if seed is None else curve_of(workspace, e.number, seed)
            history = tuple(_history(e, curve)) if curve is not None else ()
            title = one_line(f"{e.number}: {e.description}", 120) + (f", seed {seed}" if len(seeds) > 1 else "")
            yield TrackedRun(name, title, float(_end(e)), _config(e, seed, families), summary, history)


def _end(e: Experiment) -> int:
    return e.finished or e.started or 0


def _summary(session: Session, e: Experiment, value: float | None) -> dict[str, float]:
    found = {
        session.metric.name: value,
        "experiment/metric": e.metric,
        "experiment/gain": gain(session, e),
        "experiment/gain_error": gain_error(session, e),
        **{f"metrics/{name}": number for name, number in e.metrics.items()},
    }
    return {name: number for name, number in found.items() if number is not None}


def _config(e: Experiment, seed: int | None, families: Families) -> dict[str, str]:
    found: dict[str, object] = {
        "experiment": e.number,
        "seed": seed,
        "status": e.status,
        "outcome": e.outcome,
        "family": family_of(e.description, e.asi, families),
        "description": e.description,
        "reason": e.reason,
        "commit": e.commit,
        "parent": e.parent,
        "fingerprint": e.fingerprint,
        "manifest": e.manifest,
        **{f"asi/{key}": value for key, value in e.asi.items()},
        **{f"env/{key}": value for key, value in e.env.items()},
    }
    return {
        one_line(name, 80): one_line(value if isinstance(value, str) else json.dumps(value), 2000)
        for name, value in found.items()
        if value not in (None, "")
    }


def _history(e: Experiment, curve: Curve) -> Iterator[Point]:
    """Yield what the curve of a run has, by step: the first axis that is a whole number throughout, or the line."""
    steps = next((s for axis in AXES if (s := _whole(curve.columns.get(axis, ()))) is not None), range(curve.lines))
    began, ended = e.started or _end(e), _end(e)
    progress = curve.columns.get("progress", [])
    for at in range(curve.lines):
        told = {name: column[at] for name, column in curve.columns.items()}
        values = {name: v for name, v in told.items() if v is not None and math.isfinite(v)}
        done = progress[at] if at < len(progress) else None
        part = done if done is not None and 0 <= done <= 1 else (at + 1) / curve.lines
        yield Point(steps[at], began + part * (ended - began), values)


def _whole(column: Sequence[float | None]) -> list[int] | None:
    """Return a column of whole numbers of 64 bits that never fall; None for any other."""
    numbers = [int(x) for x in column if x is not None and math.isfinite(x) and x == int(x)]
    rising = all(a <= b for a, b in pairwise(numbers))
    if not numbers or len(numbers) != len(column) or not rising:
        return None
    return numbers if numbers[0] >= -(2**63) and numbers[-1] < 2**63 else None
