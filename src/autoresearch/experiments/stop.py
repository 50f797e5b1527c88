"""When a session has had enough: the stop conditions of `[stop]`, as one question that everybody asks.

A condition is a function of the rules, the session and the time that returns its sentence, or None while it does not
hold. A new one is a function in CONDITIONS, and its key in the task file's `Stop`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from autoresearch.experiments.pace import Confirming, confirming, duration_words, run_seconds
from autoresearch.journal.session import Session
from autoresearch.workspace.metric_names import best_possible

STOP_FILE = "the file STOP is here"
"""The condition that a person sets with a file, in words, wherever it is told."""


class StopRules(Protocol):
    """The `[stop]` table; None is no limit."""

    max_experiments: int | None
    max_hours: float | None
    time_for_confirm: bool
    max_consecutive_failures: int | None
    max_usd: float | None
    target: float | None


def stop_reason(rules: StopRules, session: Session, now: int) -> str | None:
    """Return why no further experiment may start at `now` (seconds since 1970), in one sentence; None when it may."""
    reasons = (condition(rules, session, now) for condition in CONDITIONS)
    return next((reason for reason in reasons if reason is not None), None)


def ends_at(rules: StopRules, session: Session, now: int) -> int | None:
    """Return when the hours of the session are over, in seconds since 1970; None without a limit or a beginning.

    While the loop is paused they stand still, so what is asked at `now` may be later then.
    """
    if rules.max_hours is None:
        return None
    begun = min((e.started for e in session.current if e.started), default=None)
    if begun is None:
        return None
    return int(begun + 3600 * rules.max_hours + session.loop.steering.paused_s(begun, now))


def owed(rules: StopRules, session: Session) -> Confirming | None:
    """Return the confirmation that the session's last minutes are held back for; None where there are no hours, none
    is wanted, or nothing is to be confirmed."""
    if rules.max_hours is None or not rules.time_for_confirm:
        return None
    return confirming(session, rules.max_hours)


def still_to_do(rules: StopRules, session: Session, now: int) -> str | None:
    """Return what to type although a stop condition holds: the confirmation that the last minutes were kept for."""
    confirmation = owed(rules, session)
    held = confirmation is not None and _confirmation(rules, session, now) is not None
    return confirmation.command if confirmation is not None and held else None


def _experiments(rules: StopRules, session: Session, now: int) -> str | None:
    done = len(session.current)
    if rules.max_experiments is None or done < rules.max_experiments:
        return None
    return f"{done} experiments are done, max_experiments is {rules.max_experiments}"


def _hours(rules: StopRules, session: Session, now: int) -> str | None:
    end = ends_at(rules, session, now)
    if rules.max_hours is None or end is None or now < end:
        return None
    return f"{(now - end) / 3600 + rules.max_hours:.1f} hours have passed, max_hours is {rules.max_hours:g}"


def _confirmation(rules: StopRules, session: Session, now: int) -> str | None:
    end, confirmation, each = ends_at(rules, session, now), owed(rules, session), run_seconds(session)
    if end is None or confirmation is None or each is None or end - now >= confirmation.seconds + each:
        return None
    return f"{_left(rules, end - now)}, and confirm takes about {duration_words(confirmation.seconds)}"


def _last_run(rules: StopRules, session: Session, now: int) -> str | None:
    end, each = ends_at(rules, session, now), run_seconds(session)
    if end is None or each is None or end - now >= each:
        return None
    return f"{_left(rules, end - now)}, and a run takes about {duration_words(each)}"


def _left(rules: StopRules, left: float) -> str:
    return f"{duration_words(max(0, left))} are left of {duration_words(3600 * (rules.max_hours or 0))}"


def _failures(rules: StopRules, session: Session, now: int) -> str | None:
    failures = session.failures_in_a_row
    if rules.max_consecutive_failures is None or failures < rules.max_consecutive_failures:
        return None
    return f"{failures} failures in a row, max_consecutive_failures is {rules.max_consecutive_failures}"


def _dollars(rules: StopRules, session: Session, now: int) -> str | None:
    if rules.max_usd is None or (spent := session.ledger.cost.usd) < rules.max_usd:
        return None
    return f"{spent:.2f} USD are spent, max_usd is {rules.max_usd:g}"


def _target(rules: StopRules, session: Session, now: int) -> str | None:
    best = session.best
    value = best.reference if best is not None else None
    if rules.target is None or best is None or value is None or session.metric.better(rules.target, value):
        return None
    return f"experiment {best.number} has {value:.6g}, and the target is {rules.target:.6g}"


def _nothing_better(rules: StopRules, session: Session, now: int) -> str | None:
    """Say that a count is 0, or a part the whole: whatever is tried, no number can be better."""
    best, metric = session.best, session.metric
    value = best.reference if best is not None else None
    small = all(e.metric is None or e.metric <= 1 for e in session.current)
    if value is None or value != best_possible(metric.name, metric.direction, metric.unit, small):
        return None
    return f"{metric.name} is {value:g}{metric.unit if metric.unit == '%' else ''}, and cannot be better"


CONDITIONS: tuple[Callable[[StopRules, Session, int], str | None], ...] = (
    _target, _nothing_better, _experiments, _hours, _confirmation, _last_run, _failures, _dollars,
)  # fmt: skip
"""Asked in this order; the first that holds is told."""
