"""What `next` proposes: the same journal always gives the same; each mode when its time has come."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from sessions import pretrain_families, session

from autoresearch.errors import UsageError
from autoresearch.journal.session import Session
from autoresearch.search import strategies
from autoresearch.search.families import GENERIC
from autoresearch.search.ideas import Idea
from autoresearch.search.strategies import Proposal, fitting, propose

FAR = ("discard", 150.0, "wider")


class Last:
    """A strategy of somebody else's."""

    def propose(self, session: Session, rng: random.Random) -> Proposal:
        assert session.last is not None
        return Proposal("mine", session.last.number, "because")


def test_the_incumbent_is_improved_at_first() -> None:
    found = propose(session(), "balanced")
    assert (found.mode, found.parent) == ("improve", 1)


def test_the_same_journal_gives_the_same_proposal() -> None:
    s = session(("keep", 90.0, "a"), ("keep", 80.0, "b"), FAR)
    assert len({propose(s, "balanced") for _ in range(20)}) == 1


def test_a_near_miss_is_followed() -> None:
    found = propose(session(("discard", 99.9, "close"), FAR), "balanced")
    assert (found.mode, found.parent) == ("near_miss", 2)


def test_every_fifth_experiment_explores_a_family_that_was_not_tried() -> None:
    modes = [propose(session(("keep", 90.0, "a"), *[FAR] * n), "balanced").mode for n in range(4)]
    assert modes == ["improve"] * 3 + ["explore"]
    found = propose(session(("keep", 90.0, "warmup"), *[FAR] * 3), "balanced", pretrain_families())
    assert found.families and not {"schedule", "size"} & set(found.families)
    assert set(found.families) <= set(pretrain_families())


def test_the_families_that_are_explored_are_the_tasks() -> None:
    s = session(("keep", 90.0, "a"), *[FAR] * 3)
    assert propose(s, "balanced", {"reach": ("wider",), "depth": ("deeper",)}).families == ("depth", "reach")
    assert set(propose(s, "balanced").families) <= set(GENERIC)


def test_after_five_discards_another_family_is_asked_for() -> None:
    found = propose(session(*[FAR] * 5), "balanced")
    assert found.mode == "diversify" and "size" not in found.families and "size" in found.reason


def test_after_three_failures_a_small_change_is_asked_for() -> None:
    assert propose(session(*[("crash", None, "wider")] * 3), "balanced").mode == "smaller"


def test_the_three_best_are_built_on_seven_two_and_one_times_in_ten() -> None:
    s = session(("keep", 90.0, "a"), ("keep", 80.0, "b"), ("keep", 70.0, "c"))
    rng = random.Random(0)
    seen = Counter(strategies.Balanced().propose(s, rng).parent for _ in range(4000))
    assert set(seen) == {4, 3, 2}
    assert seen[4] == pytest.approx(2800, abs=150) and seen[3] == pytest.approx(800, abs=120)


def test_a_strategy_is_found_by_name_or_by_path_and_any_other_name_is_refused() -> None:
    assert propose(session(FAR), "best").parent == 1
    assert propose(session(FAR), "test_strategies:Last").mode == "mine"
    for name in ("nothing", "nowhere:Nothing", "test_strategies:Nothing", ":"):
        with pytest.raises(UsageError, match="no strategy"):
            propose(session(), name)


def test_open_ideas_of_the_proposed_families_come_first() -> None:
    listed = [
        Idea(1, "a", False, 0, "size"), Idea(2, "b", True, 1, "schedule"), Idea(3, "c", False, 2, "schedule", "ada"),
        Idea(4, "d", False, 3, "schedule"), Idea(5, "e", False, 4, "data"),
    ]  # fmt: skip
    found = fitting(Proposal("explore", 1, "", ("schedule",)), listed, 2)
    assert [idea.number for idea in found] == [4, 1]
