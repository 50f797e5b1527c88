"""A strategy for tests, found by its dotted path."""

from __future__ import annotations

import random

from autoresearch.journal.session import Session
from autoresearch.search.strategies import Proposal


class FromTheSecond:
    """Starts from experiment 2."""

    def propose(self, session: Session, rng: random.Random) -> Proposal:
        return Proposal("near_miss", 2, "it was close")


class Breaks:
    """Has a mistake in it."""

    def propose(self, session: Session, rng: random.Random) -> Proposal:
        raise KeyError("no such key")


class Says:
    """Gives what is no proposal."""

    def propose(self, session: Session, rng: random.Random) -> str:
        return "improve the best"
