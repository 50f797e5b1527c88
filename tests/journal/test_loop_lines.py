"""The lines of the loop: what is written is read again, what cannot be meant is refused, and costs add up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from autoresearch.errors import IntegrityError
from autoresearch.journal.ledger import Usage
from autoresearch.journal.loop import LoopProposal
from autoresearch.journal.loop_events import (
    agent_line,
    loop_begin_line,
    loop_end_line,
    proposal_line,
    reserve_line,
    settle_line,
    steer_line,
)
from autoresearch.journal.session import Fold, Session, replay

CONFIG = {"type": "config", "metricName": "ms", "bestDirection": "lower", "tag": "t", "segment": 0}


def session(*events: dict[str, Any]) -> Session:
    return replay(enumerate([CONFIG, *events], 1))


def proposal(turn: int, outcome: str = "made", number: int = 1, **more: Any) -> dict[str, Any]:
    commit = f"c{turn}" if outcome == "made" else None
    return proposal_line(LoopProposal(turn, number, "a", 1, "improve", outcome, commit=commit, **more), 10 + turn)


def start(number: int, commit: str) -> dict[str, Any]:
    return {"type": "start", "experiment": number, "commit": commit, "seed": 1, "timestamp": 1}


def verdict(number: int, outcome: str) -> dict[str, Any]:
    status = "discard" if outcome == "ok" else "crash"
    return {"run": number, "commit": f"c{number}", "metric": None, "status": status, "outcome": outcome}


def test_several_proposals_wait_in_the_order_of_their_turns_whichever_line_was_the_last() -> None:
    kept = {"run": 1, "commit": "c", "metric": 1.0, "status": "keep", "outcome": "ok"}
    applied = {**proposal(2), "commit": "on another incumbent"}
    lines = (kept, proposal(1), proposal(2), proposal(3), start(2, "c1"), verdict(2, "ok"), applied)
    found = session(*lines)
    assert [(p.turn, p.commit) for p in found.waiting] == [(2, "on another incumbent"), (3, "c3")]
    assert found.proposed is found.waiting[0] and found.loop.next_turn == 4, "no turn has the number of an earlier one"
    dropped = session(*lines, proposal(2, "refused"), start(3, "c3"), verdict(3, "killed"))
    assert [p.turn for p in dropped.waiting] == [3], "what a machine failed is measured again"
    elsewhere = session(*lines, {**CONFIG, "segment": 1}, proposal(4))
    assert [p.turn for p in elsewhere.waiting] == [4], "what was made for another segment waits no more"


def test_costs_add_up_and_what_is_open_or_unpriced_counts_as_reserved() -> None:
    used = Usage("m", 100, 40, 10, 7, 0.1)
    ledger = session(
        reserve_line("r1", 2, 1, agent="a", usd=0.5),
        settle_line("r1", used, 0.0, 2),
        reserve_line("r2", 2, 3, device_s=60.0),
        settle_line("r2", Usage(), 12.5, 4),
        reserve_line("r3", 3, 5, agent="a", usd=0.2),
        reserve_line("r4", 3, 6, device_s=60.0),
        reserve_line("r5", 3, 7, agent="b", usd=0.3),
        settle_line("r5", Usage("m", 5, usd=None), 0.0, 8),
        reserve_line("r6", 4, 9, agent="b", usd=None),
        settle_line("r6", Usage("m", 5, usd=None), 0.0, 10),
    ).ledger
    cost = ledger.cost
    assert (cost.usd, cost.unpriced, cost.device_s, cost.open) == (0.6, 1, 72.5, 2)
    assert (cost.input, cost.cached, cost.output) == (110, 40, 7)
    assert ledger.entries[0].usage == used
    assert (ledger.of(2).usd, ledger.of(3).usd, ledger.of(3).device_s, ledger.of(4).unpriced) == (0.1, 0.5, 60.0, 1)
    assert ledger.since(4).usd == 0.3 and not ledger.of(9) and ledger.of(4)


def test_a_proposal_waits_until_it_has_a_verdict_that_is_no_interruption() -> None:
    lines: list[dict[str, Any]] = [proposal(1, asi={"family": "x"}, remarks=("odd",), fingerprint="f")]
    waiting = session(*lines).proposed
    assert waiting is not None and (waiting.commit, waiting.asi, waiting.remarks) == ("c1", {"family": "x"}, ("odd",))
    for more, waits in (
        (start(1, "c1"), True),
        (verdict(1, "killed"), True),
        (start(2, "c1"), True),
        (verdict(2, "ok"), False),
        (proposal(2, "refused", reason="no"), False),
    ):
        lines.append(more)
        assert (session(*lines).proposed is not None) == waits, more


@pytest.mark.parametrize(
    ("turns", "fruitless"),
    [
        ([], 0),
        ([(1, "failed")], 1),
        ([(1, "refused"), (1, "refused"), (2, "failed")], 2),
        ([(1, "refused"), (1, "made"), (2, "failed")], 1),
        ([(1, "failed"), (2, "skipped"), (3, "failed")], 2),
        ([(1, "failed"), (2, "made")], 0),
        ([(1, "failed"), (2, "made"), (2, "given_up")], 0),
        ([(1, "made"), (2, "failed"), (3, "failed"), (1, "refused")], 2),
        ([(1, "made"), (2, "made"), (1, "refused"), (2, "refused"), (3, "failed")], 1),
        ([(1, "failed"), (2, "made"), (2, "skipped")], 0),
    ],
)
def test_turns_without_a_measurement_are_counted(turns: list[tuple[int, str]], fruitless: int) -> None:
    begin = loop_begin_line(["a"], {}, 2, 1)
    assert session(begin, *(proposal(turn, outcome) for turn, outcome in turns)).loop.fruitless == fruitless
    before = [proposal(turn, outcome) for turn, outcome in turns]
    assert session(*before, begin).loop.fruitless == 0, "another run begins afresh"


def test_a_verdict_ends_the_row_of_turns_without_a_measurement() -> None:
    lines = [loop_begin_line(["a"], {}, 2, 1), proposal(1), proposal(2, "failed"), proposal(3, "refused"),
             start(2, "c1")]  # fmt: skip
    assert session(*lines).loop.fruitless == 2
    assert session(*lines, verdict(2, "killed")).loop.fruitless == 2, "the machine has said nothing"
    assert session(*lines, verdict(2, "ok")).loop.fruitless == 0
    assert session(*lines, verdict(2, "ok"), proposal(4, "failed")).loop.fruitless == 1


def test_known_code_is_counted_past_the_repairs_that_failed() -> None:
    lines = [proposal(1), proposal(2, "refused", same=2), proposal(2, "failed", 2), proposal(3, "refused", same=0),
             proposal(3, "failed", 2)]  # fmt: skip
    assert [(p.turn, p.same) for p in session(*lines).loop.repeats] == [(2, 2), (3, 0)]
    assert session(*lines, proposal(4, "failed")).loop.repeated == 0
    assert session(*lines, proposal(4, "refused"), proposal(4, "failed", 2)).loop.repeated == 0, "of another kind"


def test_what_a_person_says_is_no_time_of_the_loop() -> None:
    lines = [loop_begin_line(["a"], {}, 2, 1), proposal(1)]
    assert session(*lines, steer_line("ban", 30_000, "x")).loop.latest == session(*lines).loop.latest == 11


def test_a_run_of_the_loop_knows_what_was_before_it() -> None:
    run = session(
        loop_begin_line(["a"], {}, 2, 1), reserve_line("r1", 2, 2), proposal(1), loop_end_line("enough", 3),
        loop_begin_line(["a", "b"], {"max_usd": 1}, 5, 20),
    ).loop.run  # fmt: skip
    assert run is not None
    assert (run.first, run.turn, run.entries, run.agents, run.ended, run.begun) == (5, 2, 1, ("a", "b"), None, 20)


def test_an_agent_rests_until_it_answers_and_is_gone_until_a_run_begins() -> None:
    lines = [loop_begin_line(["a", "b"], {}, 2, 1), agent_line("a", "limit", 2, until=100.0),
             agent_line("a", "limit", 3, until=200.0), agent_line("b", "login", 4, until=None)]  # fmt: skip
    agents = session(*lines).loop.agents
    assert (agents["a"].until, agents["a"].rests, agents["b"].gone) == (200.0, 2, True)
    assert "a" not in session(*lines, proposal(1)).loop.agents
    assert {*session(*lines, loop_end_line("x", 5), loop_begin_line(["a"], {}, 2, 6)).loop.agents} == {"a"}


def test_pauses_are_counted_once_and_never_negative() -> None:
    said = [("pause", 100), ("pause", 110), ("continue", 150), ("continue", 160), ("pause", 300)]
    steering = session(*(steer_line(what, now) for what, now in said)).loop.steering
    assert steering.pauses == ((100, 150), (300, None)) and steering.paused
    assert steering.paused_s(0, 400) == 150 and steering.paused_s(120, 140) == 20 and steering.paused_s(200, 250) == 0
    back = session(steer_line("pause", 100), steer_line("continue", 40)).loop.steering
    assert back.paused_s(0, 1000) == 0 and not back.paused, "the clock was set back"


def test_what_is_banned_is_not_asked_for_and_the_other_way_round() -> None:
    said = [("ask", "x"), ("ban", "x"), ("ban", "y"), ("ask", "y"), ("goal", "less"), ("allow", "z"), ("skip", "")]
    steering = session(*(steer_line(what, 1, text) for what, text in said)).loop.steering
    assert (steering.banned, steering.asked, steering.goal, steering.skips) == (("x",), "y", "less", 1)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([settle_line("r1", Usage(), 0, 1)], "was not reserved"),
        ([reserve_line("r1", 2, 1), reserve_line("r1", 2, 1)], "reserved twice"),
        ([reserve_line("r1", 2, 1), *[settle_line("r1", Usage(), 0, 1)] * 2], "settled twice"),
        ([{"type": "reserve", "experiment": 2}], "id is missing"),
        ([{"type": "reserve", "id": "r1", "experiment": 2, "usd": "much"}], "usd is 'much'"),
        ([{**proposal(1), "outcome": "liked"}], "unknown outcome 'liked'"),
        ([{**proposal(1), "commit": None}], "a proposal that is made has no commit"),
        ([{**proposal(1, "failed"), "commit": "c"}], "a proposal that is failed has a commit"),
        ([{**proposal(1), "turn": "one"}], "turn is 'one'"),
        ([loop_end_line("x", 1)], "ends that has not begun"),
        ([{"type": "loop_run", "event": "rest"}], "event is 'rest'"),
        ([steer_line("sing", 1)], "what is 'sing'"),
        ([{"type": "steer", "what": "pause"}], "timestamp is missing"),
    ],
)
def test_a_line_that_cannot_be_meant_is_named(lines: Iterable[dict[str, Any]], says: str) -> None:
    with pytest.raises(IntegrityError, match=says):
        session(*lines)


def test_a_session_that_was_given_stays_as_it_is_when_the_fold_goes_on() -> None:
    fold = Fold()
    fold.take([(1, CONFIG), (2, reserve_line("r1", 2, 1, usd=1.0)), (3, proposal(1))])
    before = fold.session()
    fold.take([(4, settle_line("r1", Usage(usd=0.5), 0, 2)), (5, proposal(2)), (6, steer_line("pause", 3))])
    assert (before.ledger.cost.usd, len(before.loop.proposals), before.loop.steering.paused) == (1.0, 1, False)
    after = fold.session()
    assert (after.ledger.cost.usd, len(after.loop.proposals), after.loop.steering.paused) == (0.5, 2, True)


def test_other_tools_lines_of_names_like_ours_are_passed_over() -> None:
    found = session({"type": "agent", "agent": 1}, {"type": "loop", "event": 2}, {"type": "budget"})
    assert not found.loop.proposals and found.loop.run is None
