"""The verdict: what `next_step` asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from autoresearch.metrics import Metric
from autoresearch.statistics.alpha import SHARE, spent_on
from autoresearch.statistics.base_noise import PRIOR_DOF, of_base
from autoresearch.statistics.decision import Evidence, Guard, Rules, Step, next_step
from autoresearch.statistics.noise import Noise, pooled

LOWER = Metric("ms", "lower")
HIGHER = Metric("score", "higher")


def ask(
    candidate: Mapping[int, float],
    incumbent: Mapping[int, float],
    rules: Rules = Rules(),  # noqa: B008
    *,
    metric: Metric = LOWER,
    metrics: dict[str, float] | None = None,
    simpler: bool = False,
) -> Step:
    values = tuple(incumbent.values())
    return next_step(
        Evidence(
            metric=metric,
            candidate=candidate,
            incumbent=incumbent,
            reference=sum(values) / len(values),
            groups=(values,),
            recent=frozenset(incumbent) if len(candidate) > 1 else frozenset(),
            metrics=metrics or {},
            code_removed=simpler,
        ),
        rules,
    )


NOISY = {1: 10.1, 2: 9.9, 3: 10.0}
EXACT = {1: 10.0, 2: 10.0, 3: 10.0}


def test_clearly_worse_is_discarded_after_the_first_run() -> None:
    assert ask({1: 11.0}, NOISY).action == "discard"
    assert ask({1: 9.0}, NOISY, metric=HIGHER).action == "discard"


def test_a_promising_first_run_asks_for_a_seed_that_is_new_to_both() -> None:
    step = ask({1: 9.0}, NOISY)
    assert (step.action, step.seed) == ("run_candidate", 4)
    assert ask({1: 11.0}, NOISY, metric=HIGHER).seed == 4


def test_an_incumbent_with_many_runs_is_run_again_beside_the_candidate() -> None:
    many = {seed: 10.0 + 0.1 * (seed % 3) for seed in range(1, 9)}
    step = ask({1: 9.0}, many)
    assert (step.action, step.seed) == ("run_candidate", 9)
    step = ask({1: 9.0, 9: 9.1}, many)
    assert (step.action, step.seed) == ("run_incumbent", 9)


def test_a_fresh_seed_that_the_incumbent_lacks_is_run_for_it_first() -> None:
    step = ask({1: 9.0, 2: 9.4, 3: 9.6, 4: 9.5}, NOISY)
    assert (step.action, step.seed) == ("run_incumbent", 4)


def test_a_large_gain_is_kept_at_once_and_a_lucky_first_run_is_not() -> None:
    assert ask({1: 2.0, 2: 2.1}, NOISY).action == "keep"
    assert ask({1: 5.0, 2: 10.0}, NOISY).action == "discard"


def test_a_gain_over_the_last_runs_of_the_incumbent_is_not_told_as_that_of_the_pairs() -> None:
    many = {seed: 10.0 + 0.1 * (seed % 3 - 1) for seed in range(1, 7)}
    reason = ask({1: 9.0, 7: 9.98}, {**many, 7: 10.3}).reason
    assert "than the mean of the incumbent's last 7 runs, after 1 pair" in reason, reason
    few = ask({1: 9.0, 4: 9.9, 5: 9.9, 6: 9.9}, {4: 10.1, 5: 10.2, 6: 10.15}).reason
    assert "over 3 pairs" in few and "mean of the incumbent" not in few, few


def test_the_first_run_does_not_count_for_the_decision() -> None:
    assert ask({1: -1000.0, 2: 9.9, 3: 10.05, 4: 10.0}, {**NOISY, 4: 10.0}).action == "discard"


def test_no_more_than_the_allowed_seeds_are_run() -> None:
    candidate, incumbent = {1: 9.7}, dict(NOISY)
    for _ in range(20):
        step = ask(candidate, incumbent, Rules(seeds=4))
        if step.action in ("keep", "discard"):
            break
        assert step.seed is not None
        (candidate if step.action == "run_candidate" else incumbent)[step.seed] = 9.95
    assert step.action in ("keep", "discard") and len(candidate) <= 5


DECLARED = Rules(exact=True)


def test_an_exact_metric_needs_one_run_where_the_task_says_that_it_is_one() -> None:
    assert ask({1: 9.999}, EXACT, DECLARED).action == "keep"
    assert ask({1: 10.0}, EXACT, DECLARED).action == "discard"
    assert ask({1: 10.0}, EXACT, DECLARED, simpler=True).action == "keep"
    assert ask({1: 10.001}, EXACT, DECLARED, simpler=True).action == "discard"


def test_equal_repeats_prove_nothing_so_a_gain_must_come_again_on_both_sides() -> None:
    step = ask({1: 9.999}, EXACT)
    assert (step.action, step.seed) == ("run_candidate", 4)
    assert ask({1: 9.999, 4: 9.999}, EXACT).action == "run_candidate"
    again = dict.fromkeys((1, 4, 5), 9.999)
    step = ask(again, EXACT)
    assert (step.action, step.seed) == ("run_incumbent", 4)
    step = ask(again, {**EXACT, 4: 10.0, 5: 10.0})
    assert step.action == "keep" and "one draw" in step.reason
    assert ask({1: 10.0}, EXACT).action == "discard", "no gain needs no repeat"


def test_a_flip_that_does_not_come_again_is_no_gain() -> None:
    step = ask({1: 9.0, 4: 10.0}, EXACT)
    assert step.action in ("run_incumbent", "discard") and not step.noise.exact
    for seed in range(4, 12):
        if step.action == "discard":
            break
        step = ask(
            {1: 9.0} | dict.fromkeys(range(4, seed + 1), 10.0), {**EXACT} | dict.fromkeys(range(4, seed + 1), 10.0)
        )
    assert step.action == "discard"


def test_after_the_first_gain_only_the_candidate_is_run_again() -> None:
    evidence = Evidence(
        LOWER, dict.fromkeys((1, 5, 6), 9.0), EXACT, 10.0, groups=((10.0,) * 3,), older=(Noise(0.0, 3),)
    )
    assert next_step(evidence, Rules()).action == "keep"


def test_a_minimum_gain_counts_under_both_policies() -> None:
    for policy in ("greedy", "confirm"):
        rules = Rules(policy=policy, minimum_gain=1.0, exact=True)  # type: ignore[arg-type]
        assert ask({1: 9.5}, EXACT, rules).action == "discard"
        assert ask({1: 9.0}, EXACT, rules).action == "keep"
    assert (
        ask({1: 9.0, 2: 9.1, 3: 9.0, 4: 9.1}, {**NOISY, 4: 10.0}, Rules(minimum_gain=1.5, seeds=3)).action == "discard"
    )


def test_another_metric_at_its_limit_passes_and_beyond_it_does_not() -> None:
    rules = Rules(guards=(Guard("mb", max=100), Guard("accuracy", min=0.5)), exact=True)
    assert ask({1: 1.0}, EXACT, rules, metrics={"mb": 100, "accuracy": 0.5}).action == "keep"
    untold = ask({1: 1.0}, EXACT, rules)
    assert untold.action == "keep" and untold.reason.endswith(
        "mb, accuracy was not reported, so its guard tells nothing"
    )
    over = ask({1: 1.0}, EXACT, rules, metrics={"mb": 100.5, "accuracy": 1})
    assert (over.action, over.reason) == ("discard", "mb is 100.5, by 0.5 above the limit of 100")
    assert (
        ask({1: 1.0}, EXACT, rules, metrics={"mb": 1, "accuracy": 0.49}).reason
        == "accuracy is 0.49, by 0.01 below the limit of 0.5"
    )
    assert ask({1: 1.0}, EXACT, rules).action == "keep"


def test_a_guard_on_what_was_not_reported_is_told_with_every_verdict() -> None:
    rules = Rules(guards=(Guard("mb", max=100), Guard("accuracy", min=0.5)))
    told = "; accuracy was not reported, so its guard tells nothing"
    worse = ask({1: 11.0}, EXACT, rules, metrics={"mb": 1})
    assert worse.action == "discard" and worse.reason.endswith(told)
    over = ask({1: 1.0}, EXACT, rules, metrics={"mb": 100.5})
    assert over.action == "discard" and over.reason == f"mb is 100.5, by 0.5 above the limit of 100{told}"
    assert "not reported" not in ask({1: 11.0}, EXACT, rules, metrics={"mb": 1, "accuracy": 1}).reason
    assert "not reported" not in ask({1: 9.5}, NOISY, rules).reason, "no verdict yet"


def test_simpler_is_kept_when_it_is_not_worse_within_noise() -> None:
    incumbent = {**NOISY, 4: 10.0}
    equal = {1: 10.02, 2: 9.92, 3: 9.99, 4: 10.01}
    assert ask(equal, incumbent, simpler=True).action == "keep"
    assert ask(equal, incumbent).action == "discard"
    assert ask(equal, incumbent, Rules(simplicity=False), simpler=True).action == "discard"
    assert ask({1: 10.05, 2: 10.4, 3: 10.5, 4: 10.4}, incumbent, simpler=True).action == "discard"


def test_greedy_needs_one_run_and_no_noise() -> None:
    rules = Rules(policy="greedy")
    assert ask({1: 9.99}, {1: 10.0}, rules).action == "keep"
    assert ask({1: 10.0}, {1: 10.0}, rules).action == "discard"


def test_without_any_repeat_a_gain_is_confirmed_until_the_noise_is_known() -> None:
    step = ask({1: 9.0}, {1: 10.0})
    assert step.action == "run_candidate"
    step = ask({1: 9.0, 2: 9.1}, {1: 10.0})
    assert (step.action, step.seed) == ("run_incumbent", 2)
    assert ask(dict.fromkeys((1, 2, 3), 9.0), dict.fromkeys((1, 2, 3), 10.0)).action == "keep"


def test_a_machine_that_has_become_faster_makes_no_gain() -> None:
    old = {1: 10.1, 2: 9.9, 3: 10.0, 4: 10.05, 5: 9.95}

    def step(now: float, pairs: int) -> Step:
        incumbent = old | {10 + n: now + 0.05 * (-1) ** n for n in range(pairs)}
        candidate = {6: 9.0} | {10 + n: 9.0 - 0.05 * (-1) ** n for n in range(pairs)}
        return next_step(
            Evidence(LOWER, candidate, incumbent, 10.0, frozenset(incumbent), (tuple(old.values()),),
                     recent=frozenset(range(10, 10 + pairs))), Rules())  # fmt: skip

    assert [step(10.0, pairs).action for pairs in (1, 2, 3)] == ["keep"] * 3
    assert "keep" not in [step(9.0, pairs).action for pairs in (1, 2, 3, 4, 5)]


def test_the_order_within_pairs_alternates() -> None:
    incumbent, candidate, order = dict(NOISY), {1: 9.8}, list[str]()
    step = ask(candidate, incumbent)
    for _ in range(12):
        if step.action not in ("run_candidate", "run_incumbent"):
            break
        assert step.seed is not None
        order.append(f"{step.action[4:7]} {step.seed}")
        (candidate if step.action == "run_candidate" else incumbent)[step.seed] = 9.8 if "can" in order[-1] else 9.95
        step = next_step(
            Evidence(LOWER, candidate, incumbent, 10.0, frozenset(incumbent), (tuple(NOISY.values()),),
                     recent=frozenset(incumbent) - NOISY.keys()), Rules())  # fmt: skip
    assert order[:6] == ["can 4", "inc 4", "inc 5", "can 5", "can 6", "inc 6"], order


def test_a_close_call_says_what_was_needed_how_far_it_was_and_what_decides_it() -> None:
    step = ask({1: 9.9}, NOISY)
    assert step.action == "discard" and step.short is not None and step.pairs is not None
    assert "needed" in step.reason and "short" in step.reason
    assert f"autoresearch try --again 0 --pairs {step.pairs} (at most {2 * step.pairs + 1} runs)" in step.reason
    far = ask({1: 9.99}, NOISY)
    assert "needed" in far.reason and "close call" not in far.reason


def test_pairs_that_were_asked_for_are_made_whatever_the_first_run_was() -> None:
    evidence = Evidence(LOWER, {1: 10.5}, NOISY, 10.0, groups=(tuple(NOISY.values()),), asked=True)
    assert next_step(evidence, Rules()).action == "run_candidate"


def test_a_noise_of_older_bases_counts_as_far_as_it_agrees_and_is_told() -> None:
    here, old = pooled([(1.0, 1.1, 0.9, 1.05, 0.95)]), Noise(1.0, 12)
    assert of_base(here, [old]).sd == pytest.approx(here.sd, rel=0.25), "ten times as much: hardly any of it"
    same = of_base(here, [Noise(0.08, 12)])
    assert same.dof > here.dof and same.origin.endswith("repeats from earlier bests")
    guess = of_base(Noise(None, 0), [Noise(3.0, 40), Noise(1.0, 4)])
    assert guess.here == 0 and guess.dof == PRIOR_DOF
    assert not of_base(Noise(0.0, 3), [Noise(0.1, 3)]).exact, "a spread of nothing has only not been seen yet"


def test_the_budget_of_a_night_is_never_spent_whole() -> None:
    rules, spent = Rules(night_alpha=0.05), 0.0
    for _ in range(1000):
        step = spent_on(rules.seeds, rules, spent)
        assert step > 0
        spent += step
    assert spent < 0.05
    assert spent_on(Rules().seeds, Rules()) == pytest.approx(Rules().alpha)


def test_under_a_budget_pairs_alone_count_and_looks_are_paid_for() -> None:
    incumbent = {**NOISY, 4: 10.0}
    evidence = Evidence(LOWER, {1: 5.0, 4: 5.0}, incumbent, 10.0, frozenset(incumbent), (tuple(NOISY.values()),),
                        recent=frozenset({4}))  # fmt: skip
    step = next_step(evidence, Rules(night_alpha=0.05))
    assert step.alpha == pytest.approx(0.05 * SHARE / Rules().seeds ** 2)
    assert next_step(replace(evidence, candidate={1: 5.0}, recent=frozenset()), Rules(night_alpha=0.05)).alpha == 0
