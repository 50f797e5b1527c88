"""What to try next: strategies by name. Each is a class with one method, and knows only the session and the ideas."""

from __future__ import annotations

import inspect
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from autoresearch.errors import PreconditionError, UsageError
from autoresearch.journal.session import Experiment, Session
from autoresearch.search.families import GENERIC, Families, sorter
from autoresearch.search.history import DIVERSIFY_AFTER, candidates, discards_in_a_row, near_the_best, ranked, yields
from autoresearch.search.ideas import Idea
from autoresearch.system.named_class import class_at, why_not

STRATEGIES = {
    "balanced": "autoresearch.search.strategies:Balanced",
    "best": "autoresearch.search.strategies:Best",
}
"""Name -> "module:Class"; any other such path can be given instead of a name."""

DEFAULT = "balanced"

TOP = (0.7, 0.2, 0.1)
"""How often the best, the second and the third are built on."""

EXPLORE_EVERY = 5
SMALLER_AFTER = 3
"""Failures in a row."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a strategy proposes: from where, and what kind of change. The change itself is the researcher's."""

    mode: str
    parent: int
    reason: str
    families: tuple[str, ...] = ()
    """Families of changes to choose from; empty when any will do."""


class Strategy(Protocol):
    """Proposes; raises nothing. The session has an incumbent.

    A class whose constructor takes `families` is given those of the task.
    """

    def propose(self, session: Session, rng: random.Random) -> Proposal: ...


class Best:
    """Always improve the incumbent."""

    def propose(self, session: Session, rng: random.Random) -> Proposal:
        return Proposal("improve", _incumbent(session).number, "the incumbent, one change at a time")


@dataclass(frozen=True, slots=True)
class Balanced:
    """Improve the best, follow near misses, explore every fifth time, and diversify when nothing is kept."""

    families: Families = field(default_factory=lambda: GENERIC)

    def propose(self, session: Session, rng: random.Random) -> Proposal:
        incumbent, done = _incumbent(session), candidates(session)
        if session.failures_in_a_row >= SMALLER_AFTER:
            reason = f"{session.failures_in_a_row} failures in a row: a small change that surely runs"
            return Proposal("smaller", incumbent.number, reason)
        fruitless = discards_in_a_row(session)
        if fruitless >= DIVERSIFY_AFTER:
            family = sorter(self.families)
            recent = {family(e.description, e.asi) for e in done[-fruitless:]}
            reason = f"{fruitless} in a row were not kept, in: {', '.join(sorted(recent))}; another family of changes"
            return Proposal("diversify", _weighted(session, rng).number, reason, self._least_tried(session, recent))
        if len(done) % EXPLORE_EVERY == EXPLORE_EVERY - 1:
            reason = f"every {EXPLORE_EVERY}th experiment goes where little was tried"
            return Proposal("explore", incumbent.number, reason, self._least_tried(session, set()))
        missed = near_the_best(session)
        if missed:
            close = missed[0]
            return Proposal("near_miss", close.number, f"experiment {close.number} was close: refine it, or combine it")
        parent = _weighted(session, rng)
        reason = "the best so far" if parent is ranked(session)[0] else "one of the three best, so as not to get stuck"
        return Proposal("improve", parent.number, reason)

    def _least_tried(self, session: Session, without: set[str]) -> tuple[str, ...]:
        """Return up to four families that were tried least, those never tried first."""
        tried = {y.family: y.tried for y in yields(session, self.families)}
        return tuple(sorted((f for f in self.families if f not in without), key=lambda f: tried.get(f, 0))[:4])


def propose(session: Session, name: str, families: Families = GENERIC) -> Proposal:
    """Return what the strategy of this name proposes; the same journal always gives the same proposal.

    Raises `UsageError` for a name that is none, and where the strategy fails.
    """
    rng = random.Random(f"{session.segment.tag}:{session.segment.number}:{session.next_number}")
    strategy = load(name, families)
    try:
        proposed = strategy.propose(session, rng)
        if not isinstance(proposed, Proposal):
            raise TypeError(f"it gives no Proposal but {type(proposed).__name__}")
    except Exception as error:  # whatever a person's own class raises
        fix = f"correct it, or choose one of: {', '.join(STRATEGIES)}"
        raise UsageError(f"the strategy {name!r} has failed ({type(error).__name__}: {error})", fix) from None
    return proposed


def parent_of(session: Session, proposal: Proposal) -> Experiment:
    """Return the experiment that a proposal starts from; raise `PreconditionError` where none has a commit."""
    parent = session.find(proposal.parent)
    if parent is None or not parent.commit:
        what = f"the strategy asks for experiment {proposal.parent}, which has no commit to start from"
        raise PreconditionError(what, "choose another with --strategy, or see what there is: autoresearch log")
    return parent


def load(name: str, families: Families = GENERIC) -> Strategy:
    """Return the strategy of a name of `STRATEGIES`, or at a path "module:Class"; raise `UsageError` for one that is
    none."""
    path = STRATEGIES.get(name, name)
    try:
        kind = class_at(path)
        strategy: Strategy = kind(families) if "families" in inspect.signature(kind).parameters else kind()
        if not callable(getattr(strategy, "propose", None)):
            raise TypeError("it has no propose")
    except Exception as error:  # whatever a person's own module raises while it is imported or made
        fix = f"choose one of: {', '.join(STRATEGIES)}, or give module:Class"
        raise UsageError(f"there is no strategy {name!r}{why_not(path, error)}", fix) from None
    return strategy


def fitting(proposal: Proposal, ideas: Sequence[Idea], limit: int) -> list[Idea]:
    """Return the open ideas that nobody has claimed, those of the proposed families first."""
    free = [idea for idea in ideas if not idea.done and not idea.by]
    return sorted(free, key=lambda idea: idea.family not in proposal.families)[:limit]


def _incumbent(session: Session) -> Experiment:
    assert session.incumbent is not None
    return session.incumbent


def _weighted(session: Session, rng: random.Random) -> Experiment:
    """Return one of the three best, the better the likelier."""
    top = ranked(session)[: len(TOP)]
    return rng.choices(top, TOP[: len(top)])[0] if top else _incumbent(session)
