"""A part of a session with one metric and one baseline; from a `config` line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autoresearch.metrics import Metric


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
    python: Mapping[str, str] = field(default_factory=dict)
    """`version` and `path` of the Python that runs used when the segment began; empty where that is not known."""
    timestamp: int | None = None
