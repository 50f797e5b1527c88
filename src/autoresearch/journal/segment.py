"""A part of a session with one metric and one baseline; from a `config` line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autoresearch.journal.fields import Event, mapping_at, seconds_at, text_at, whole_at
from autoresearch.metrics import Metric

SCHEMA = 1
"""Version of the journal that this package writes."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One metric, one baseline."""

    number: int
    name: str
    metric: Metric
    branch: str | None = None
    tag: str | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Immutable path -> hash of its content when the session began."""
    keep_untracked: tuple[str, ...] = ()
    """Paths that lay untracked inside the mutable paths at the beginning: a person's, never committed."""
    timestamp: int | None = None


def segment_from(event: Event, index: int) -> Segment:
    """Return the segment that a `config` line begins; `index` is its number when the line gives none."""
    if event.get("schema", SCHEMA) > SCHEMA:
        raise ValueError(f"schema {event['schema']} is newer than this program's {SCHEMA}; update autoresearch")
    direction = event.get("bestDirection", "lower")
    if direction not in ("lower", "higher"):
        raise ValueError(f"bestDirection is {direction!r}; it must be lower or higher")
    return Segment(
        number=number_of(event, index),
        name=text_at(event, "name") or "",
        metric=Metric(str(event["metricName"]), direction, str(event.get("metricUnit") or "")),
        branch=text_at(event, "branch"),
        tag=text_at(event, "tag"),
        sha256=mapping_at(event, "sha256", {}),
        keep_untracked=tuple(event.get("keep_untracked") or ()),
        timestamp=seconds_at(event),
    )


def number_of(event: Event, otherwise: int) -> int:
    """Return the number of the segment that a line belongs to."""
    return otherwise if event.get("segment") is None else whole_at(event, "segment")
