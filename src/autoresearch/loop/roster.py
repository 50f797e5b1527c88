"""Whose turn it is: the agents of a run in the order that they were named, and what keeps each from its turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from autoresearch.errors import AutoresearchError
from autoresearch.escaping import one_line
from autoresearch.journal.session import Session
from autoresearch.loop.agents.base import Agent

LATE_S = 60.0
"""An agent is asked again so long after the time that it gave: its server's clock is not ours."""

MOST_REST_S = 8 * 86400.0
"""No limit lasts longer; a time beyond it is a misreading."""

MOST_DOUBLED_S = 3600.0

CORRECT = "correct that, or name another agent with --agent"


@dataclass(slots=True)
class Roster:
    """The first agent that can work has the machine; it has it again when it has rested."""

    agents: Sequence[Agent]
    gone: dict[str, AutoresearchError] = field(default_factory=dict)
    """Name -> why it cannot work any more in this run: a person must do something first."""
    waited_for: str = ""
    """The agent whose rest was waited for to its end, whatever the clock says now."""

    def pick(self, session: Session, now: float, without: str = "") -> Agent | None:
        """Return whose turn it is; None when all that are left must rest. Agent `without` only if there is no other."""
        able = [agent for agent in self.left if self.rested_at(session, agent) <= now]
        return next((agent for agent in able if agent.name != without), able[0] if able else None)

    @property
    def left(self) -> list[Agent]:
        """Those that can work in this run, now or later."""
        return [agent for agent in self.agents if agent.name not in self.gone]

    @property
    def last_words(self) -> AutoresearchError:
        """Why the last agent that could work cannot any more."""
        return [*self.gone.values()][-1]

    def rested_at(self, session: Session, agent: Agent) -> float:
        """Return when an agent may work, in seconds since 1970; 0 when it may now."""
        state = session.loop.agents.get(agent.name) if agent.name != self.waited_for else None
        return state.until or 0.0 if state is not None and not state.gone else 0.0

    def next_rested(self, session: Session) -> tuple[float, str]:
        """Return when the first of the resting agents may work again, and its name."""
        return min((self.rested_at(session, agent), agent.name) for agent in self.left)


def why_not_ready(agent: Agent) -> str | None:
    """Return what `Agent.ready` says; where it raises, that, with what to type behind the last colon."""
    try:
        why = agent.ready()
    except AutoresearchError:
        raise
    except Exception as error:  # whatever a person's own class raises
        return f"its ready() has failed ({type(error).__name__}: {one_line(str(error), 200)}): {CORRECT}"
    return None if why is None else str(why)


def rest_until(session: Session, agent: str, until: float, now: float) -> float:
    """Return when to ask an agent again that must rest until a time, by its own account.

    A little later than that; and when it has said so before, and still does, after twice the time each time.
    """
    state = session.loop.agents.get(agent)
    rests = state.rests if state is not None else 0
    again = now + min(MOST_DOUBLED_S, LATE_S * 2**rests) if rests else now
    return max(min(until, now + MOST_REST_S) + LATE_S, again)
