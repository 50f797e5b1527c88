"""The loop without a person, as the journal tells it: what agents proposed, who may work, how it is steered. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MADE = "made"
"""The outcome of a proposal that has a commit: it is to be measured, or was."""

DROPPED = ("refused", "failed", "skipped", "given_up")
"""What else becomes of one: it was `refused` before it cost a run; none came (`failed`); a person did not want it
(`skipped`); its runs were interrupted again and again (`given_up`)."""


RUN = "autoresearch run"

_ASKED = ("agent", "strategy", "max_experiments", "max_hours", "max_usd", "seed", "workers", "aa_every")
"""Options of `run` that make it the same again."""

_LIMITS = ("max_experiments", "max_hours", "max_usd")
"""Those that say when it ends."""

CUT_SHORT = "interrupted"
"""Why a run of the loop has ended that a person or a signal has cut short."""


def limits_of(options: Mapping[str, Any]) -> tuple[object, ...]:
    """Return the limits of a run of the loop, by the options that its line of the journal has; None is no limit."""
    return tuple(options.get(name) for name in _LIMITS)


def run_again(options: Mapping[str, Any]) -> str:
    """Return the command line of a run of the loop, by the options that its line of the journal has."""
    words = [RUN]
    for name in _ASKED:
        value = options.get(name)
        if isinstance(value, str | int | float):
            text = f"{value:g}" if isinstance(value, float) else str(value)
            words.append(f"--{name.replace('_', '-')} {shlex.quote(text)}")
    return " ".join(words)


@dataclass(frozen=True, slots=True)
class LoopProposal:
    """One answer of an agent."""

    turn: int
    """Its number; what an agent makes of a refused edit has the number of that."""
    round: int
    """1, or 2 for the repair of a refused edit."""
    agent: str
    parent: int
    """The experiment whose files the agent was given."""
    mode: str
    outcome: str
    """`made` or one of DROPPED."""
    description: str = ""
    asi: Mapping[str, Any] = field(default_factory=dict)
    commit: str | None = None
    reason: str = ""
    fingerprint: str | None = None
    same: int | None = None
    """The experiment that had the same code, which is why it was refused; 0 for an earlier proposal."""
    reservation: str = ""
    """The entry of the ledger that paid for it."""
    remarks: tuple[str, ...] = ()
    timestamp: int | None = None
    skips: int = 0
    """How often `skip` had been said when it came; once more, and it is not wanted."""


@dataclass(frozen=True, slots=True)
class AgentState:
    """What is known of an agent beyond its proposals."""

    until: float | None = None
    """When it may work again, seconds since 1970; None when it may now."""
    rests: int = 0
    """How often in a row it has answered that it must rest."""
    gone: bool = False
    """Whether a person must do something first."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Steering:
    """What a person has asked for while the loop runs."""

    pauses: tuple[tuple[int, int | None], ...] = ()
    """(begin, end) in seconds since 1970; the end of the last one is None while the loop is paused."""
    skips: int = 0
    """How often `skip` was said."""
    banned: tuple[str, ...] = ()
    """Families of changes that are not to be proposed."""
    asked: str = ""
    """The family of changes that is to be proposed; empty when any will do."""
    goal: str = ""

    @property
    def paused(self) -> bool:
        return bool(self.pauses) and self.pauses[-1][1] is None

    def paused_s(self, since: float, now: float) -> float:
        """Return for how many seconds between two times the loop was paused."""
        spans = ((max(since, begin), min(now, now if end is None else end)) for begin, end in self.pauses)
        return sum(max(0.0, end - begin) for begin, end in spans)


@dataclass(frozen=True, slots=True)
class LoopRun:
    """One `autoresearch run`, those that went on after a kill or Ctrl-C included."""

    begun: int | None
    """Seconds since 1970."""
    first: int
    """The number of the first experiment that it could measure."""
    turn: int
    """The number of its first turn."""
    entries: int
    """How many entries the ledger had before it."""
    agents: tuple[str, ...] = ()
    ended: str | None = None
    """Why it has ended; None while it runs, or was killed."""
    again: str = RUN
    """What to type to go on with the same agents and limits."""
    limits: tuple[object, ...] = ()
    """As `limits_of` gives them."""
    idle_s: float = 0.0
    """Seconds since its beginning in which it was cut short, without those in which it was paused."""

    def goes_on(self, options: Mapping[str, Any]) -> bool:
        """Whether a run with these options is this one again: it was cut short, and the limits are the same."""
        return self.ended in (None, CUT_SHORT) and self.limits == limits_of(options)


@dataclass(frozen=True, slots=True)
class Loop:
    """Everything that the journal says of the loop."""

    proposals: tuple[LoopProposal, ...] = ()
    """Those of all runs of it, refused ones included, in order."""
    agents: Mapping[str, AgentState] = field(default_factory=dict)
    steering: Steering = field(default_factory=Steering)
    run: LoopRun | None = None
    """The last one."""
    latest: int | None = None
    """When the last of its lines was written, seconds since 1970; what a person has asked for is none of them."""
    judged: int = 0
    """How many proposals there were when the last experiment got its verdict."""

    @property
    def again(self) -> str:
        """What to type to go on with it."""
        return self.run.again if self.run is not None else RUN

    @property
    def hours(self) -> float:
        """How long the last run was at work until its latest line, without pauses and interruptions."""
        begun = self.run.begun if self.run is not None else None
        if self.run is None or begun is None or self.latest is None:
            return 0.0
        paused = self.steering.paused_s(begun, self.latest)
        return max(0.0, self.latest - begun - self.run.idle_s - paused) / 3600

    @property
    def last(self) -> LoopProposal | None:
        return self.proposals[-1] if self.proposals else None

    @property
    def next_turn(self) -> int:
        return max((p.turn for p in self.proposals), default=0) + 1  # the last line may be of an earlier turn

    @property
    def commits(self) -> frozenset[str]:
        """The commits that agents have proposed."""
        return frozenset(p.commit for p in self.proposals if p.commit)

    @property
    def fruitless(self) -> int:
        """How many turns in a row, the latest ones of this run and since a verdict, have given nothing to measure.

        One that has, and whose proposal was dropped later on, is none of them.
        """
        since = self.run.turn if self.run else 1
        made = {p.turn for p in self.proposals if p.outcome == MADE}
        turns: set[int] = set()
        for proposal in reversed(self.proposals[self.judged :]):
            if proposal.outcome == MADE:
                break
            if proposal.turn >= since and proposal.turn not in made and proposal.outcome != "skipped":
                turns.add(proposal.turn)
        return len(turns)

    @property
    def repeats(self) -> tuple[LoopProposal, ...]:
        """The latest proposals in a row of code that was known already; a repair of one that failed ends no row."""
        repeats: list[LoopProposal] = []
        refused = {p.turn for p in self.proposals if p.same is not None}
        for proposal in reversed(self.proposals):
            if proposal.same is not None:
                repeats.insert(0, proposal)
            elif proposal.outcome != "failed" or proposal.round == 1 or proposal.turn not in refused:
                break
        return tuple(repeats)

    @property
    def repeated(self) -> int:
        """How many these are."""
        return len(self.repeats)
