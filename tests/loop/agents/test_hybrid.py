"""Sampler and model in turns; the two are scripted here, for what is tested is who has the turn."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from briefs import TRAIN, brief
from sessions import session

from autoresearch.errors import AutoresearchError
from autoresearch.journal.ledger import Usage
from autoresearch.journal.loop import Loop, LoopProposal
from autoresearch.loop.agents.base import AgentGone, AgentResting, Brief, Edit, ProposalFailed
from autoresearch.loop.agents.hybrid import Hybrid

NOW = 1_790_000_000.0
PAID = Usage("m", 10, usd=0.25)


@dataclass
class Scripted:
    """Writes its name into the file, or fails after it has done so."""

    name: str
    errors: list[AutoresearchError] = field(default_factory=list)
    cost: float | None = 0.0
    missing: str | None = None
    briefs: list[Brief] = field(default_factory=list)

    def ready(self) -> str | None:
        return self.missing

    def cost_usd(self, given: Brief) -> float | None:
        return self.cost

    def propose(self, given: Brief) -> Edit:
        self.briefs.append(given)
        (given.folder / "train.py").write_text(f"{self.name}\n")
        if self.errors:
            (given.folder / "src").mkdir(exist_ok=True)
            (given.folder / "src/half.py").write_text("half")
            raise self.errors.pop(0)
        return Edit(f"by {self.name}", {"family": "x"}, PAID if self.name != "sampler" else Usage())


@dataclass
class Lab:
    folder: Path
    agents: dict[str, Scripted]
    now: float = NOW

    def __post_init__(self) -> None:
        self.hybrid = Hybrid("claude", self.agents.__getitem__, lambda: self.now)

    def turn(self, number: int, *rows: Any, **more: Any) -> Edit:
        """Have the turn of this number, after experiments of these rows."""
        done = tuple(LoopProposal(n, 1, "hybrid", 1, "improve", "failed") for n in range(1, number))
        given = session(*rows)
        return self.hybrid.propose(brief(self.folder, session=replace(given, loop=Loop(proposals=done)), **more))

    @property
    def code(self) -> str:
        return (self.folder / "train.py").read_text()


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(
        tmp_path / "folder",
        {name: Scripted(name) for name in ("sampler", "claude", "codex", "gemini", "anthropic", "openai")},
    )


def by(who: str, *statuses: str) -> list[Any]:
    return [(status, 99.0, "a change", {"proposed_by": who}) for status in statuses]


def test_two_turns_of_three_are_the_samplers(lab: Lab) -> None:
    edits = [lab.turn(n) for n in range(1, 7)]
    assert [e.asi["proposed_by"] for e in edits] == ["sampler", "sampler", "claude"] * 2
    assert edits[2].usage == PAID and edits[0].usage.usd == 0
    assert lab.code == "claude\n"


def test_the_model_is_told_what_the_sampler_would_do(lab: Lab) -> None:
    lab.turn(3, ideas=("mine",))
    (told,) = lab.agents["claude"].briefs
    assert told.ideas == ("the sampler, which turns single numbers, would try now: by sampler", "mine")
    (asked,) = lab.agents["sampler"].briefs
    assert asked.folder != lab.folder and asked.folder.parent == lab.folder.parent and not asked.folder.exists()
    lab.agents["sampler"].errors = [ProposalFailed("nothing to turn")]
    lab.turn(3, ideas=("mine",))
    assert lab.agents["claude"].briefs[1].ideas == ("mine",)


def test_who_has_stopped_finding_sits_out_while_the_other_finds(lab: Lab) -> None:
    dry = ["discard"] * 12
    model_finds = [*by("sampler", *dry), *by("claude", "keep", "discard")]
    assert {lab.turn(n, *model_finds).asi["proposed_by"] for n in (1, 2, 3)} == {"claude"}
    sampler_finds = [*by("claude", *dry), *by("sampler", "keep")]
    assert {lab.turn(n, *sampler_finds).asi["proposed_by"] for n in (1, 2, 3)} == {"sampler"}
    # Eleven are too few; and when neither finds, both go on.
    few = [*by("sampler", *dry[1:]), *by("claude", "keep")]
    both = [*by("claude", "keep", *dry), *by("sampler", "keep", *dry)]
    for rows in (few, both):
        assert [lab.turn(n, *rows).asi["proposed_by"] for n in (1, 3)] == ["sampler", "claude"]


def test_experiments_of_the_sampler_alone_count_for_it(lab: Lab) -> None:
    alone = [("discard", 99.0, "a change", {"agent": "sampler"})] * 12
    assert lab.turn(1, *alone, *by("claude", "keep")).asi["proposed_by"] == "claude"


def test_a_failed_turn_of_the_model_is_the_samplers_and_is_paid_for(lab: Lab) -> None:
    lab.agents["claude"].errors = [ProposalFailed("a hang", PAID)]
    edit = lab.turn(3)
    assert edit.asi["proposed_by"] == "sampler" and edit.usage == PAID
    assert edit.asi["instead_of"].startswith("claude: a hang")
    assert lab.code == "sampler\n" and not (lab.folder / "src/half.py").exists()
    assert lab.turn(3).asi["proposed_by"] == "claude"


def test_while_the_model_rests_the_sampler_has_its_turns(lab: Lab) -> None:
    lab.agents["claude"].errors = [AgentResting("a usage limit", NOW + 100, PAID)]
    assert lab.turn(3).asi["instead_of"].startswith("claude: a usage limit")
    lab.now = NOW + 99
    assert lab.turn(3).asi["proposed_by"] == "sampler" and len(lab.agents["claude"].briefs) == 1
    lab.now = NOW + 100
    assert lab.turn(3).asi["proposed_by"] == "claude"


def test_a_model_that_cannot_go_on_is_not_asked_again(lab: Lab) -> None:
    lab.agents["claude"].errors = [AgentGone("the login has ended", "log in", PAID)]
    assert "log in" in lab.turn(3).asi["instead_of"]
    lab.now = NOW + 1e9
    assert lab.turn(3).asi["proposed_by"] == "sampler" and len(lab.agents["claude"].briefs) == 1


def test_the_sampler_has_the_turn_where_the_model_cannot_be_paid(lab: Lab) -> None:
    for cost, who in ((0.5, "claude"), (1.5, "sampler"), (None, "sampler")):
        lab.agents["claude"].cost = cost
        assert lab.turn(3, limit_usd=1.0).asi["proposed_by"] == who
    lab.agents["claude"].cost = None
    assert lab.turn(3).asi["proposed_by"] == "claude"


def test_a_sampler_with_nothing_to_turn_gives_its_turn_to_the_model(lab: Lab) -> None:
    lab.agents["sampler"].errors = [ProposalFailed("nothing to turn")] * 2
    assert lab.turn(1).asi["proposed_by"] == "claude" and lab.code == "claude\n"
    lab.agents["claude"].cost = 2.0
    lab.agents["sampler"].errors = [ProposalFailed("nothing to turn")]
    with pytest.raises(ProposalFailed, match="nothing to turn"):
        lab.turn(1, limit_usd=1.0)


def test_what_neither_can_do_has_failed_with_what_the_model_cost(lab: Lab) -> None:
    lab.agents["sampler"].errors = [ProposalFailed("nothing to turn")] * 2
    lab.agents["claude"].errors = [ProposalFailed("a hang", PAID)]
    with pytest.raises(ProposalFailed, match="nothing to turn") as failed:
        lab.turn(3)
    assert failed.value.usage == PAID


def test_what_the_model_may_cost_is_reserved_on_every_turn(lab: Lab) -> None:
    lab.agents["claude"].cost = 0.5
    lab.turn(1)
    (given,) = lab.agents["sampler"].briefs
    assert lab.hybrid.cost_usd(given) == 0.5
    assert lab.hybrid.cost_usd(replace(given, limit_usd=0.4)) == 0.0


def test_a_repair_that_fails_is_not_the_samplers(lab: Lab) -> None:
    lab.agents["claude"].errors = [ProposalFailed("a hang", PAID)]
    with pytest.raises(ProposalFailed, match="a hang"):
        lab.turn(3, repair="line 3: invalid syntax")
    assert lab.code == "claude\n" and lab.agents["sampler"].briefs[-1].repair == ""


def test_the_partner_is_the_one_named_or_the_first_that_is_ready(lab: Lab) -> None:
    assert lab.hybrid.ready() is None
    lab.agents["claude"].missing = "not installed"
    assert lab.hybrid.ready() == "not installed"
    lab.hybrid = Hybrid("", lab.agents.__getitem__, lambda: NOW)
    assert lab.hybrid.ready() is None and lab.turn(3).asi["proposed_by"] == "codex"
    for agent in lab.agents.values():
        agent.missing = f"no {agent.name}"
    lab.hybrid = Hybrid("", lab.agents.__getitem__, lambda: NOW)
    assert "no gemini; no anthropic" in str(lab.hybrid.ready())
    with pytest.raises(AgentGone):
        lab.turn(3)
    assert lab.folder.joinpath("train.py").read_text() == TRAIN
