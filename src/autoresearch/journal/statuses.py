"""The words of the log. Standard library and Python 3.8 only: the shell helpers read them too."""

from __future__ import annotations

from typing import Literal, Tuple, get_args  # noqa: UP035

Status = Literal["keep", "discard", "crash", "checks_failed"]
"""What was decided on an experiment."""

Outcome = Literal["ok", "crash", "oom", "timeout", "over_budget", "no_metric", "tampered", "checks_failed", "killed"]
"""What happened to a run."""

STATUSES: Tuple[str, ...] = get_args(Status)  # noqa: UP006
OUTCOMES: Tuple[str, ...] = get_args(Outcome)  # noqa: UP006


def status_of(outcome: Outcome) -> Status:
    """Return the status that follows from an outcome other than `ok`, which needs a decision."""
    if outcome == "ok":
        raise ValueError("an ok run is kept or discarded by a verdict")
    return "checks_failed" if outcome == "checks_failed" else "crash"
