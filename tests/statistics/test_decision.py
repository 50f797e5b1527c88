"""The verdict: what `next_step` asks for."""

from __future__ import annotations

from collections.abc import Mapping

from autoresearch.metrics import Metric
from autoresearch.statistics.decision import Evidence, Guard, Rules, Step, next_step

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
    assert ask({1: 5.0, 2: 5.1}, NOISY).action == "keep"
    assert ask({1: 5.0, 2: 10.0}, NOISY).action == "discard"


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


def test_an_exact_metric_needs_one_run() -> None:
    assert ask({1: 9.999}, EXACT).action == "keep"
    assert ask({1: 10.0}, EXACT).action == "discard"
    assert ask({1: 10.0}, EXACT, simpler=True).action == "keep"
    assert ask({1: 10.001}, EXACT, simpler=True).action == "discard"


def test_a_minimum_gain_counts_under_both_policies() -> None:
    for policy in ("greedy", "confirm"):
        rules = Rules(policy=policy, minimum_gain=1.0)  # type: ignore[arg-type]
        assert ask({1: 9.5}, EXACT, rules).action == "discard"
        assert ask({1: 9.0}, EXACT, rules).action == "keep"
    assert (
        ask({1: 9.0, 2: 9.1, 3: 9.0, 4: 9.1}, {**NOISY, 4: 10.0}, Rules(minimum_gain=1.5, seeds=3)).action == "discard"
    )


def test_another_metric_at_its_limit_passes_and_beyond_it_does_not() -> None:
    rules = Rules(guards=(Guard("mb", max=100), Guard("accuracy", min=0.5)))
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
    assert ask({1: 9.0, 2: 9.0}, {1: 10.0, 2: 10.0}).action == "keep"


def test_a_gain_is_kept_only_if_it_is_there_against_the_incumbent_as_it_runs_now() -> None:
    def evidence(now: float, recent: int) -> Evidence:
        incumbent = {seed: 10.0 + 0.1 * (seed % 3 - 1) for seed in range(1, 10)} | dict.fromkeys(
            range(10, 10 + recent), now
        )
        candidate = {1: 9.0} | {seed: 9.0 + 0.05 * (seed % 2) for seed in range(2, 5)}
        return Evidence(LOWER, candidate, incumbent, 10.0, groups=((10.1, 9.9, 10.0),),
                        recent=frozenset(range(10, 10 + recent)))  # fmt: skip

    step = next_step(evidence(10.0, 2), Rules())
    assert (step.action, step.seed) == ("run_incumbent", 12)
    assert next_step(evidence(10.0, 3), Rules()).action == "keep"
    assert next_step(evidence(9.0, 3), Rules()).action == "run_candidate", "the machine has become faster"
    assert "as it runs now" in next_step(evidence(9.0, 3), Rules(seeds=3)).reason
