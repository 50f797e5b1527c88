"""How long an agent is waited for: by how long its answers took before, so that a hang costs little of the night."""

from __future__ import annotations

from autoresearch.journal.session import Session
from autoresearch.loop.agents.base import PROPOSAL_S

LEAST_S = 180.0
"""An agent is waited for so long, however fast it was."""

TIMES = 4.0
"""How much longer an answer may take than the slowest of those that came last."""

LOOKED_AT = 10
"""Answers that came last."""

KNOWN_FROM = 3
"""Answers from which on it is known how long an agent takes."""


def patience(session: Session, agent: str) -> float:
    """Return the seconds that the next proposal of an agent may take.

    Four times the slowest of its last answers, and twice as long for each proposal since that came to nothing after
    `LEAST_S` or more: a model that has become slower gets its time back after one or two of them.
    """
    outcomes = {p.reservation: p.outcome for p in session.loop.proposals}  # without those that only said: not now
    asked = (e for e in reversed(session.ledger.entries) if e.agent == agent and e.id in outcomes)
    known = ((outcomes[e.id], e.took_s) for e in asked if e.took_s is not None)
    answers, overdue, hangs = list[float](), 0, True
    for outcome, took_s in known:
        hangs = hangs and outcome == "failed" and took_s >= LEAST_S
        overdue += hangs
        if outcome != "failed":
            answers.append(took_s)
        if len(answers) == LOOKED_AT:
            break
    if len(answers) < KNOWN_FROM:
        return PROPOSAL_S
    return float(min(PROPOSAL_S, max(LEAST_S, TIMES * max(answers)) * 2**overdue))
