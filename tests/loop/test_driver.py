"""The loop in a real workspace: real git, real runs, agents that do what a list says."""

from __future__ import annotations

import pytest
from lab import Lab, Maker
from loop_lab import Better, Clockwork, Scripted, loop, prints, proposals, writes

from autoresearch.errors import AutoresearchError, MachineError, PreconditionError, StopReached
from autoresearch.loop.agents.base import AgentGone, AgentResting, Brief, Edit, ProposalFailed
from autoresearch.journal.ledger import Usage


def test_proposals_are_measured_and_decided_on_as_by_try(lab: Lab) -> None:
    agent = Scripted(90, 95, 80)
    ended = loop(lab, agent, max_experiments=3)
    assert [(e.number, e.status, e.metric) for e in ended.session.current] == [
        (1, "keep", 100.0), (2, "keep", 90.0), (3, "discard", 95.0), (4, "keep", 80.0)]  # fmt: skip
    assert ended.measured == (2, 3, 4) and "--max-experiments is 3" in ended.reason
    assert lab.session.find(4).asi["agent"] == "scripted"  # type: ignore[union-attr]
    lab.assert_clean()
