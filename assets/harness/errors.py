"""What can go wrong with a task or a run."""

from __future__ import annotations


class TaskError(Exception):
    """Something the user can put right; the message is one sentence that says what to do next."""


class Verdict(Exception):
    """A run without a score: its outcome, one of the engine's words, and the reason in one sentence."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
