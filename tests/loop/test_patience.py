"""How long an agent is waited for, from the lines that a journal has of its proposals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from autoresearch.journal.ledger import Usage
from autoresearch.journal.loop import LoopProposal
from autoresearch.journal.loop_events import proposal_line, reserve_line, settle_line
from autoresearch.journal.session import Event, Session, replay
from autoresearch.loop.agents.base import PROPOSAL_S
from autoresearch.loop.patience import LEAST_S, patience


def session(*asked: tuple[str, int, str]) -> Session:
    """A session of proposals, given as (agent, seconds, outcome); with "" a kill has cut one off, and with "rests" the
    agent has only said that it must rest."""

    def lines() -> Iterator[Event]:
        now = 1_790_000_000
        for turn, (agent, seconds, outcome) in enumerate(asked, 1):
            yield reserve_line(f"r{turn}", 1, now, agent=agent, usd=None)
            now += seconds
            if outcome:
                yield settle_line(f"r{turn}", Usage(), 0.0, now)
            if outcome not in ("", "rests"):
                commit = "c" * 40 if outcome == "made" else None
                made = LoopProposal(turn, 1, agent, 1, "improve", outcome, commit=commit, reservation=f"r{turn}")
                yield proposal_line(made, now)

    return replay(enumerate(lines(), 1))


def answers(*seconds: int, agent: str = "claude") -> list[tuple[str, int, str]]:
    return [(agent, each, "made" if n % 2 else "refused") for n, each in enumerate(seconds)]


def test_an_agent_that_is_hardly_known_is_given_all_the_time() -> None:
    assert patience(session(), "claude") == PROPOSAL_S
    assert patience(session(*answers(30, 30)), "claude") == PROPOSAL_S


@pytest.mark.parametrize(
    ("seconds", "given"), [((5, 5, 5), LEAST_S), ((30, 80, 40), 320.0), ((30, 400, 40), PROPOSAL_S)]
)
def test_it_is_waited_for_four_times_its_slowest_answer_within_bounds(seconds: tuple[int, ...], given: float) -> None:
    assert patience(session(*answers(*seconds)), "claude") == given


def test_only_its_own_last_ten_answers_count() -> None:
    assert patience(session(*answers(200), *answers(*[60] * 10)), "claude") == 240.0
    assert patience(session(*answers(60, 60, 60), *answers(*[200] * 9, agent="codex")), "claude") == 240.0


def test_after_each_hang_it_is_given_twice_the_time_until_it_answers_again() -> None:
    known = answers(60, 60, 60)
    hangs = [("claude", 240, "failed"), ("claude", 480, "failed")]
    assert patience(session(*known, *hangs[:1]), "claude") == 480.0
    assert patience(session(*known, *hangs), "claude") == PROPOSAL_S, "no more than all"
    assert patience(session(*known, *hangs, *answers(60)), "claude") == 240.0


def test_what_failed_fast_or_was_cut_off_by_a_kill_is_no_hang_and_no_answer() -> None:
    known = answers(60, 60, 60)
    assert patience(session(*known, ("claude", 3, "failed")), "claude") == 240.0
    assert patience(session(*known, ("claude", 5000, "")), "claude") == 240.0


def test_who_only_says_that_it_must_rest_has_given_no_answer() -> None:
    rests = [("claude", 1, "rests")] * 3
    assert patience(session(*rests), "claude") == PROPOSAL_S
    assert patience(session(*answers(60, 60, 60), *rests * 4), "claude") == 240.0
