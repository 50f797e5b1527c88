"""What is being measured now, and how much time is left: for whoever waits or plans."""

from __future__ import annotations

from typing import Any

from autoresearch.experiments.pace import duration_words, run_seconds
from autoresearch.experiments.stop import StopRules, ends_at, owed
from autoresearch.journal.session import Session
from autoresearch.runs.turn import Turn

View = dict[str, Any]

OVERRUN_S = 10.0
"""Seconds beyond all that was expected after which the expectation is given up, and told to be."""


def running_words(running: View, now: float | None = None) -> str:
    """Return what `running.json` says: whose run it is, which of how many, and at `now` (seconds since 1970) the most
    time that is left."""
    if "words" in running:
        return str(running["words"])
    turn = turn_of(running)
    if turn is None:
        return f"experiment {running['experiment']}, seed {running['seed']}"
    if turn.left_s is None or now is None:
        return turn.words
    since = running.get("since")
    passed = max(0.0, now - since) if isinstance(since, int | float) else 0.0
    if passed > turn.left_s + OVERRUN_S:
        took = duration_words(max(1.0, turn.run_s or 0.0))
        return f"{turn.words}, {duration_words(passed)} so far, where a run took {took}"
    return (
        f"{turn.words}, {'about' if turn.exactly else 'at most'} {duration_words(max(0.0, turn.left_s - passed))} left"
    )


def tell_time(view: View, rules: StopRules | None, session: Session, now: int) -> None:
    """Add to a view of the status what is measured, in words, and what is left of the session's hours."""
    view["time"] = time_view(rules, session, now) if rules is not None else None
    if view.get("running"):
        view["running"] = {**view["running"], "words": running_words(view["running"], now)}


def turn_of(running: View) -> Turn | None:
    """Return where the run stands among others; None where the file does not say, or nothing that can be read."""
    try:
        turn = Turn(**running["turn"])
        known = isinstance(turn.what, str) and type(turn.run) is type(turn.most) is int
        return turn if known and isinstance(turn.run_s, int | float | None) else None
    except (KeyError, TypeError):
        return None


def time_view(rules: StopRules, session: Session, now: int) -> View | None:
    """Return what is left of the session's hours, in seconds, and what a run and the confirmation that is owed take;
    None without `max_hours` or a beginning."""
    end = ends_at(rules, session, now)
    if end is None or rules.max_hours is None:
        return None
    confirmation = owed(rules, session)
    return {
        "left_s": max(0, end - now),
        "of_s": 3600 * rules.max_hours,
        "run_s": run_seconds(session),
        "confirm_s": confirmation.seconds if confirmation is not None else None,
    }


def time_words(view: View) -> str:
    """Return the same in a line."""
    line = f"{duration_words(view['left_s'])} left of {duration_words(view['of_s'])}"
    line += f"; a run takes about {duration_words(view['run_s'])}" if view["run_s"] is not None else ""
    return line + (f", confirm about {duration_words(view['confirm_s'])}" if view["confirm_s"] is not None else "")
