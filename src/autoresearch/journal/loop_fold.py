"""The fold of the journal's lines of the loop, from `reserve`, `settle`, `proposal` and the like. Pure."""

from __future__ import annotations

from dataclasses import replace

from autoresearch.journal.fields import Event, seconds_at, text_at
from autoresearch.journal.ledger import Entry, Ledger
from autoresearch.journal.loop import AgentState, Loop, LoopProposal, LoopRun, Steering
from autoresearch.journal.loop_events import (
    read_agent,
    read_loop,
    read_proposal,
    read_reserve,
    read_settle,
    read_steer,
)


class LoopFold:
    """What the lines say so far; part of the session's fold, and extended like it."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._proposals: list[LoopProposal] = []
        self._agents: dict[str, AgentState] = {}
        self._steering = Steering()
        self._run: LoopRun | None = None
        self._latest: int | None = None
        self._judged = 0
        self._state: tuple[Loop, Ledger] | None = (Loop(), Ledger())
        """None once a line was taken since it was asked for."""

    def state(self) -> tuple[Loop, Ledger]:
        """Return the loop and its ledger as of the last line that was taken."""
        if self._state is None:
            proposals, agents = tuple(self._proposals), dict(self._agents)
            loop = Loop(proposals, agents, self._steering, self._run, self._latest, self._judged)
            self._state = loop, Ledger(tuple(self._entries.values()))
        return self._state

    def verdict(self) -> None:
        """Take in that an experiment has its verdict, whoever has proposed it."""
        self._judged, self._state = len(self._proposals), None

    def take(self, event: Event) -> None:
        """Take in a line of one of the types of the loop. Raises `ValueError` for one that cannot be understood."""
        kind = event["type"]
        if kind == "reserve":
            entry = read_reserve(event)
            if entry.id in self._entries:
                raise ValueError(f"{entry.id} is reserved twice")
            self._entries[entry.id] = entry
        elif kind == "settle":
            id = text_at(event, "id") or ""
            if id not in self._entries:
                raise ValueError(f"{id!r} is settled and was not reserved")
            self._entries[id] = read_settle(event, self._entries[id])
        elif kind == "proposal":
            proposal = replace(read_proposal(event), skips=self._steering.skips)
            self._proposals.append(proposal)
            if proposal.outcome != "failed":  # it has answered: it need not rest any more
                self._agents.pop(proposal.agent, None)
        elif kind == "loop_agent":
            name = text_at(event, "agent") or ""
            self._agents[name] = read_agent(event, self._agents.get(name, AgentState()))
        elif kind == "loop_run":
            self._run = read_loop(event, self.state()[0], len(self._entries))
            if event["event"] == "begin":  # a person has begun it, so whoever was gone may be back
                self._agents = {name: state for name, state in self._agents.items() if not state.gone}
        else:
            self._steering = read_steer(event, self._steering)
        if kind != "steer":  # a person may say something long after a kill: in between nothing was done
            self._latest = seconds_at(event)
        self._state = None
