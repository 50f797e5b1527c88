"""Differences beside their noise, values of other hardware, and what another policy would have kept."""

from __future__ import annotations

from typing import Any

import pytest

from autoresearch.experiments import evidence
from autoresearch.experiments.evidence import gather
from autoresearch.journal import events
from autoresearch.journal.session import Session, replay
from autoresearch.reports.comparison import close_calls, difference
from autoresearch.statistics.decision import STALE_AFTER, Guard, Rules, next_step
from autoresearch.studies.policy_replay import replayed

HERE, THERE = {"cpu": "A chip", "cores": 2}, {"gpu": "A card", "cpu": "B chip", "cores": 64}


def journal(*events: dict[str, Any]) -> Session:
    config = {"type": "config", "metricName": "loss", "bestDirection": "lower", "segment": 0}
    return replay(enumerate([config, *events], 1))


def run(number: int, status: str, *values: float, parent: str | None = "1", **more: Any) -> dict[str, Any]:
    first = 1 if parent is None else 10 * number
    seeds = [1, *range(first + 1, first + len(values))]
    return {"run": number, "commit": str(number), "status": status, "values": list(values), "seeds": seeds,
            "metric": values[-1] if values else None, "parent": parent, "env": HERE,
            "screened": parent is not None and len(values) > 1, **more}  # fmt: skip


BASE = run(1, "keep", 10.0, 9.8, 10.2, parent=None)


def repeat(experiment: int, seed: int, value: float, env: dict[str, Any] = HERE) -> dict[str, Any]:
    return {"type": "repeat", "experiment": experiment, "seed": seed, "value": value, "env": env}


def test_a_close_call_says_how_many_more_runs_would_decide_it() -> None:
    session = journal(BASE, run(2, "discard", 9.5, 9.75, 9.85))
    (call,) = close_calls(session, Rules())
    assert (call.experiment, call.against) == (2, 1) and call.gain == pytest.approx(0.2)
    assert call.repeats is not None and 2 <= call.repeats <= 8 and not call.decided
    # With many more runs of the same means and spread it is decided; with one more it is not yet.
    for more, decided in ((12, True), (1, False)):
        extra = [repeat(1, 100 + n, 10.0 + 0.17 * (-1) ** n) for n in range(more)]
        extra += [repeat(2, 200 + n, 9.8 + 0.17 * (-1) ** n) for n in range(more)]
        later = journal(BASE, run(2, "discard", 9.5, 9.75, 9.85), *extra)
        found = difference(later, later.experiments[1], later.experiments[0])
        assert found is not None and found.decided is decided, (more, found)


def test_the_noise_of_a_session_is_worked_out_once_for_all_that_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = [run(n, "discard", 9.5, 9.75, 9.85) for n in range(2, 12)]
    asked, real = list[Any](), evidence.of_base

    def counted(*given: Any) -> Any:
        asked.append(given)
        return real(*given)

    monkeypatch.setattr(evidence, "of_base", counted)
    session = journal(BASE, *tried)
    calls = [difference(session, e, session.experiments[0]) for e in session.experiments[1:]]
    assert len(calls) == 10 and None not in calls and len(asked) == 2, "of a run, and of a pair"


def test_a_candidate_is_compared_with_the_incumbents_last_runs_and_not_with_what_the_machine_was_once() -> None:
    slow = run(1, "keep", 13.0, 13.1, 12.9, parent=None)
    session = journal(slow, *(repeat(1, seed, 10.0 + 0.1 * (-1) ** seed) for seed in range(4, 9)))
    found = gather(session, session.experiments[0], {1: 10.3}, now=2)
    assert [*found.incumbent] == [4, 5, 6, 7, 8] and found.reference == pytest.approx(10.02)
    assert {1, 2, 3} <= found.taken and next_step(found, Rules()).action == "discard"


def test_a_discard_is_shown_beside_what_its_verdict_was_compared_with_and_not_beside_a_run_that_was_chosen() -> None:
    base = run(1, "keep", 10.0, 10.1, 9.9, parent=None)
    kept = run(2, "keep", 5.0, 9.0, 9.1)  # chosen by a lucky first run
    made = [repeat(2, seed, 9.0 + 0.1 * (-1) ** seed) for seed in range(40, 47)]
    before = journal(base, kept, *made)
    values = {1: 8.5}
    verdict = next_step(gather(before, before.experiments[1], values, now=3), Rules(policy="greedy"))
    after = [repeat(2, 60 + n, 7.0) for n in range(5)]  # beside a later candidate
    session = journal(base, kept, *made, run(3, "discard", 8.5, parent="2"), run(4, "discard", 9.9, parent="2"), *after)
    found = difference(session, session.experiments[2], session.experiments[1])
    assert found is not None and found.same_seeds == 0
    assert f"better by {found.gain:.6g} " in verdict.reason
    over = difference(session, session.experiments[2], session.experiments[0])
    assert over is not None and (over.same_seeds, over.gain) == (1, 1.5), "nothing was chosen by a baseline's runs"


def test_a_clear_loss_and_a_decided_gain_are_no_close_calls() -> None:
    assert close_calls(journal(BASE, run(2, "discard", 12.0)), Rules()) == []
    assert close_calls(journal(BASE, run(2, "keep", 5.0, 5.1, 4.9)), Rules()) == []
    assert close_calls(journal(run(1, "keep", 10.0, parent=None), run(2, "discard", 9.0)), Rules()) == []


def test_a_close_call_whose_code_a_later_experiment_has_decided_is_none() -> None:
    def start(number: int, code: str) -> dict[str, Any]:
        return {"type": "start", "experiment": number, "commit": str(number), "parent": "1", "seed": 1,
                "description": "x", "asi": {}, "fingerprint": code}  # fmt: skip

    def called(code: str, status: str, *values: float, **more: Any) -> list[int]:
        first = (BASE, start(2, "f"), run(2, "discard", 9.5, 9.75, 9.85))
        session = journal(*first, start(3, code), run(3, status, *values, **more))
        return [c.experiment for c in close_calls(session, Rules())]

    assert called("another", "discard", 11.0) == [2]
    assert called("f", "discard", 11.0) == []
    assert called("f", "crash", outcome="killed") == [2], "nothing was decided"


@pytest.mark.parametrize("guard", [Guard("took_ms", max=100.0), Guard("took_ms", worse_by=50.0)])
def test_what_a_guard_forbids_is_no_neighbour_that_a_first_run_is_compared_with(guard: Guard) -> None:
    base = {**BASE, "metrics": {"took_ms": 40.0}}
    dear = [run(n, "discard", 8.0, metrics={"took_ms": 200.0}) for n in range(2, 6)]
    session, rules = journal(base, *dear), Rules(guards=(guard,))
    found = gather(session, session.experiments[0], {1: 9.5}, now=6, metrics={"took_ms": 40.0}, guards=rules.guards)
    assert found.controls == (10.0,) and next_step(found, rules).action == "run_candidate"
    cheap = [{**each, "metrics": {"took_ms": 45.0}} for each in dear]
    session = journal(base, *cheap)
    found = gather(session, session.experiments[0], {1: 9.5}, now=6, metrics={"took_ms": 40.0}, guards=rules.guards)
    assert found.controls == (10.0, 8.0, 8.0, 8.0, 8.0) and next_step(found, rules).action == "discard"


def test_what_is_beyond_the_limit_of_a_guard_is_no_close_call() -> None:
    session = journal(BASE, run(2, "discard", 9.5, 9.75, 9.85, metrics={"took_ms": 90.0}))
    assert [c.experiment for c in close_calls(session, Rules(guards=(Guard("took_ms", max=100.0),)))] == [2]
    assert close_calls(session, Rules(guards=(Guard("took_ms", max=80.0),))) == []


def test_a_difference_that_no_run_could_tell_from_noise_asks_for_none() -> None:
    session = journal(run(1, "keep", 10.0, 0.0, 20.0, parent=None), run(2, "keep", 9.999, 9.999, 10.0))
    (call,) = close_calls(session, Rules())
    assert call.repeats is None and not call.decided


def test_noise_and_reference_are_those_of_the_present_hardware() -> None:
    session = journal(BASE, repeat(1, 7, 4.0, THERE), repeat(1, 8, 4.6, THERE), repeat(1, 9, 9.9))
    first = session.experiments[0]
    assert session.hardware == "A chip, 2 cores"
    assert session.noise.dof == 3 and first.reference == pytest.approx(9.975)
    there = first.on("A card")
    assert there.reference == pytest.approx(4.3) and there.comparison_runs == {7: 4.0, 8: 4.6}
    assert session.noise_on("A card").dof == 1
    assert first.on("").by_seed == first.by_seed, "an unknown machine is taken for the same"


def test_on_a_new_machine_the_incumbent_is_run_before_anything_is_compared() -> None:
    session = journal(BASE)
    first = session.experiments[0]
    step = next_step(gather(session, first, {1: 3.0}, now=2, hardware="A card"), Rules())
    assert (step.action, step.seed) == ("run_incumbent", 4) and "hardware" in step.reason
    session = journal(BASE, repeat(1, 4, 3.5, THERE))
    step = next_step(gather(session, session.experiments[0], {1: 3.6}, now=2, hardware="A card"), Rules())
    assert step.action == "discard"


def test_an_incumbent_that_was_run_long_ago_is_run_again_first() -> None:
    runs = [run(n, "discard", 12.0) for n in range(2, 3 + STALE_AFTER)]
    session = journal(BASE, *runs)
    ask = gather(session, session.experiments[0], {1: 12.0}, now=len(runs) + 2)
    assert next_step(ask, Rules()).action == "run_incumbent"
    session = journal(BASE, *runs, repeat(1, 50, 10.1))
    ask = gather(session, session.experiments[0], {1: 12.0}, now=len(runs) + 2)
    assert next_step(ask, Rules()).action == "discard"


def test_the_same_seed_again_is_no_new_draw() -> None:
    session = journal(BASE, repeat(1, 2, 9.8), repeat(1, 2, 9.7))
    first = session.experiments[0]
    assert [(run.seed, run.value) for run in first.runs_for("replica")] == [(2, 9.8), (2, 9.7)]
    assert first.by_seed[2] == 9.8 and session.noise.dof == 2


def verdicts(session: Session, rules: Rules) -> list[str]:
    return [decision.verdict for decision in replayed(session, rules)]


def test_greedy_would_have_kept_the_luck_that_confirm_has_not() -> None:
    session = journal(BASE, run(2, "discard", 9.5, 10.1), run(3, "discard", 9.7), run(4, "crash", outcome="oom"))
    assert verdicts(session, Rules(policy="greedy")) == ["keep", "keep", "discard", "failed"]
    assert [d.runs for d in replayed(session, Rules(policy="greedy"))][:3] == [1, 1, 1]


def test_a_policy_that_needs_runs_that_were_never_made_says_so() -> None:
    session = journal(run(1, "keep", 10.0, 9.8, 10.2, parent=None), run(2, "keep", 9.0), run(3, "discard", 10.5))
    first, second, third = replayed(session, Rules())
    assert (first.verdict, second.verdict, third.verdict) == ("keep", "unmeasured", "discard")
    assert "never measured" in second.reason


def test_a_policy_judges_by_the_runs_that_are_there() -> None:
    more = [repeat(1, 20 + n, 10.0 + 0.1 * (-1) ** n) for n in range(6)]
    more += [repeat(2, 40 + n, 5.0 + 0.1 * (-1) ** n) for n in range(6)]
    session = journal(BASE, run(2, "keep", 5.0), *more, run(3, "keep", 4.9, parent="2"))
    assert verdicts(session, Rules())[:2] == ["keep", "keep"]
    assert replayed(session, Rules())[1].reason.startswith("better by 4.9")
    assert verdicts(session, Rules(policy="greedy")) == ["keep", "keep", "keep"]


def test_a_close_call_is_decided_under_the_rules_of_the_task() -> None:
    session = journal(BASE, run(2, "discard", 9.5, 9.75, 9.85))

    def pairs(**rules: Any) -> str | None:
        (call,) = close_calls(session, Rules(**rules))
        return call.command and call.command.rpartition(" ")[2]

    usual, strict = pairs(), pairs(alpha=0.001)
    assert usual is not None and (strict is None or int(strict) > int(usual))
    assert pairs(minimum_gain=1.0) is None, "no number of pairs keeps it"
    assert close_calls(session, Rules(policy="greedy")) == [], "one run has decided"


def test_the_best_is_confirmed_once_on_the_locked_split_and_elsewhere_on_as_many_seeds_as_decide() -> None:
    kept = run(2, "keep", 9.5, 9.8, 9.9)
    (call,) = close_calls(journal(BASE, kept), Rules())
    assert call.command is not None and call.command.startswith("autoresearch confirm --seeds ")
    asked = int(call.command.rpartition(" ")[2])

    def after(seeds: int, split: str) -> list[Any]:
        about = {"baseline": 1, "best": 2, "seeds": [*range(5, 5 + seeds)]}
        done = [events.study_line(1, "confirm", about, split, 1), events.study_end_line(1, "done", {}, 2)]
        return close_calls(journal(BASE, kept, *done), Rules())

    assert after(1, "locked") == [] == after(asked, "search")
    assert [again.command for again in after(asked - 1, "search")] == [call.command]
