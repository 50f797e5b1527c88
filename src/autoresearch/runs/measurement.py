"""What came out of one run."""

from __future__ import annotations

from dataclasses import dataclass, field

from autoresearch.journal.statuses import Outcome


@dataclass(frozen=True, slots=True)
class Measurement:
    """What came out of one run."""

    outcome: Outcome
    value: float | None = None
    """The metric; None unless the outcome is `ok`."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Every other value that was reported."""
    reason: str = ""
    """For any other outcome: what happened, in one sentence."""
    seconds: float = 0.0
    """Wall clock of the command, without its evaluation."""
    manifest: str | None = None
    excerpt: tuple[str, ...] = ()
    """The last lines of the output, escaped and bounded; empty when all went well."""
    remarks: tuple[str, ...] = ()
    """What the run was seen doing that is no reason to refuse it, and that a person should know."""
    cpu_s: float | None = None
    """Processor time of the command and its children; None where nobody counted."""
    load: float | None = None
    """The machine's load average over the minute before the command ended; None where there is none."""
    isolation: str = "none"
    """The sandbox that it was made in; `none` where only the tamper check looked at it."""
