from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import pytest

from autoresearch.metrics import Metric
from autoresearch.statistics.decision import Evidence, Rules, Step, next_step

LOWER = Metric("loss", "lower")


def decide(
    candidate: Callable[[int], float],
    incumbent: Callable[[int], float],
    rules: Rules,
    seeds: tuple[int, ...] = (1, 2, 3),
    metric: Metric = LOWER,
    code_removed: bool = False,
) -> tuple[Step, int, int]:
    """Run steps until there is a verdict; return it with the number of candidate runs and of new incumbent runs."""
    ours, theirs = {1: candidate(1)}, {seed: incumbent(seed) for seed in seeds}
    for _ in range(6 * rules.seeds + 8):
        values = tuple(theirs.values())
        reference = math.fsum(values) / len(values)
        recent = frozenset(theirs) - frozenset(seeds)
        evidence = Evidence(metric, ours, theirs, reference, groups=(values,), code_removed=code_removed, recent=recent)
        step = next_step(evidence, rules)
        if step.action in ("keep", "discard"):
            return step, len(ours), len(theirs) - len(seeds)
        assert step.seed is not None
        runs, measure = (ours, candidate) if step.action == "run_candidate" else (theirs, incumbent)
        assert step.seed not in runs
        runs[step.seed] = measure(step.seed)
    raise AssertionError("no verdict")


def noisy(rng: Random, mean: float, sd: float = 1.0) -> Callable[[int], float]:
    return lambda seed: rng.gauss(mean, sd)


def share_kept(gain: float, rules: Rules, n: int = 1500, metric: Metric = LOWER, code_removed: bool = False) -> float:
    rng = Random(9)
    sign = -1 if metric.direction == "lower" else 1
    kept = 0
    for _ in range(n):
        verdict = decide(noisy(rng, sign * gain), noisy(rng, 0.0), rules, metric=metric, code_removed=code_removed)
        kept += verdict[0].action == "keep"
    return kept / n


def test_a_change_without_effect_passes_no_more_often_than_alpha_says() -> None:
    assert share_kept(0.0, Rules(alpha=0.05)) <= 0.05
    assert share_kept(0.0, Rules(policy="greedy")) > 0.3


@pytest.mark.parametrize("direction", ["lower", "higher"])
def test_a_large_gain_is_kept_and_a_large_loss_is_not(direction: str) -> None:
    metric = Metric("m", direction)  # type: ignore[arg-type]
    assert share_kept(12.0, Rules(), 300, metric) > 0.9
    assert share_kept(-3.0, Rules(), 300, metric) == 0.0


def test_a_clear_loss_costs_one_run() -> None:
    step, ours, theirs = decide(lambda seed: 9.0 + seed / 100, lambda seed: 1.0 + seed / 100, Rules())
    assert (step.action, ours, theirs) == ("discard", 1, 0)


def test_no_decision_takes_more_runs_than_the_rules_allow() -> None:
    rng = Random(10)
    for seeds in (1, 2, 3, 5):
        for known in ((1,), (1, 2), (1, 2, 3, 4, 5, 6)):
            for _ in range(100):
                sd = rng.choice([0.0, 1e-9, 1.0, 1e200])
                mean = rng.choice([0.0, -0.5, -3.0])
                simpler = rng.random() < 0.5
                ours, theirs = noisy(rng, mean, sd), noisy(rng, 0.0, sd)
                _, runs, extra = decide(ours, theirs, Rules(seeds=seeds), known, code_removed=simpler)
                assert runs <= 1 + seeds and extra <= seeds


def test_a_lucky_screening_run_alone_is_never_kept() -> None:
    step, ours, _ = decide(lambda seed: -50.0 if seed == 1 else 1.0 + seed / 10, lambda seed: 1.0 + seed / 10, Rules())
    assert step.action == "discard" and ours > 1


def test_an_exact_metric_is_found_to_be_one_without_repeats_of_the_incumbent() -> None:
    step, ours, _ = decide(lambda seed: 0.9, lambda seed: 1.0, Rules(), seeds=(1,))
    assert (step.action, ours) == ("keep", 3)


def test_code_that_only_goes_away_is_kept_when_it_is_not_worse() -> None:
    same = (lambda seed: 1.0, lambda seed: 1.0, Rules())
    assert decide(*same, code_removed=True)[0].action == "keep"
    assert decide(*same)[0].action == "discard"
    assert decide(*same[:2], Rules(simplicity=False), code_removed=True)[0].action == "discard"
    assert share_kept(0.0, Rules(), 300, code_removed=True) > 0.3
    assert share_kept(-6.0, Rules(), 300, code_removed=True) < 0.02


def test_every_verdict_says_why() -> None:
    rng = Random(11)
    for _ in range(200):
        step, _, _ = decide(noisy(rng, rng.choice([0.0, -2.0, -9.0])), noisy(rng, 0.0), Rules())
        assert (
            len(step.reason) > 10
            and " nan" not in step.reason
            and " --" not in step.reason.replace(" --again", "").replace(" --pairs", "")
        )
