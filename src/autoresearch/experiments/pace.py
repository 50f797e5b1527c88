"""How long things take in a session: a run, a confirmation, what is left of its hours. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from autoresearch.journal.session import Session
from autoresearch.statistics.locked import LEAST_SEEDS, refusal
from autoresearch.statistics.noise import median
from autoresearch.statistics.rules import Rules

RUNS_LOOKED_AT = 9
"""The last ones: a change of the code may have made runs longer."""

CONFIRM_SHARE = 0.1
"""Of the session's hours, the part that a confirmation may take; more seeds than fit are not held back for."""


def run_seconds(session: Session) -> float | None:
    """Return what a run takes here with everything around it, in seconds; None before the first verdict.

    It is the middle of those experiments whose runs are all their own: between those of others stand the incumbent's.
    """
    lasted: list[float] = []
    for e in reversed(session.current):
        own = len(e.runs_for("screening", "verdict"))
        if e.started is None or e.finished is None or not own or not (own == 1 or e.parent is None):
            continue
        if e.outcome == "killed":  # its end is when it was found, which may be hours later
            continue
        lasted.append((e.finished - e.started) / own)
        if len(lasted) == RUNS_LOOKED_AT:
            break
    return median(lasted) if lasted else None


@dataclass(frozen=True, slots=True)
class Confirming:
    """A confirmation that is still owed."""

    seeds: int
    seconds: float
    """What it takes, about."""
    command: str
    """What begins it, or goes on with one that was interrupted."""


def confirming(session: Session, hours: float) -> Confirming | None:
    """Return the confirmation that a session of so many hours should end with; None without a gain that was not
    confirmed."""
    best, first, each = session.best, session.baseline, run_seconds(session)
    if best is None or first is None or best.number == first.number or each is None:
        return None
    if any(s.what == "confirm" and s.outcome == "done" and s.about.get("best") == best.number for s in session.studies):
        return None
    last = next((s for s in reversed(session.studies) if s.what == "confirm"), None)
    if last is not None and last.outcome == "interrupted" and last.about.get("best") == best.number:
        seeds, done = len(last.about.get("seeds", ())), sum(map(len, last.runs.values()))
        return Confirming(seeds, max(0, 2 * seeds - done) * each, last.same_again)
    most = Rules().seeds
    fit = int(CONFIRM_SHARE * 3600 * hours / (2 * each)) if each else most
    seeds = max(LEAST_SEEDS if session.locked else 2, min(fit, most))
    command = f"autoresearch confirm --seeds {seeds}"
    if session.locked and refusal(len(session.locked), session.locked_pairs()) is not None:
        command += " --split search"
    return Confirming(seeds, 2 * seeds * each, command)


def duration_words(seconds: float) -> str:
    """Return a duration as a person says it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
