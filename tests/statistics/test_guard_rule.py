"""Guards that compare: another metric may not be worse by more than is allowed, and by more than its noise explains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random

import pytest

from autoresearch.metrics import Metric
from autoresearch.statistics.decision import Evidence, Guard, Rules, Step, next_step
from autoresearch.statistics.evidence import GuardRuns
from autoresearch.statistics.noise import Noise

LOWER = Metric("ms", "lower")
GAINS = {1: 5.0, 4: 5.1, 5: 4.9}
"""Far better than the incumbent below: without a guard it is kept."""
INCUMBENT = {1: 10.1, 2: 9.9, 3: 10.0, 4: 10.05, 5: 9.95}
ACCURACY = Guard("accuracy", worse_by=0.01, direction="higher")
BASELINE = (0.901, 0.899, 0.900)


def ask(
    accuracy: Sequence[float],
    guard: Guard = ACCURACY,
    *,
    candidate: Mapping[int, float] = GAINS,
    reference: Sequence[float] = BASELINE,
    groups: Sequence[Sequence[float]] = (BASELINE,),
    older: Noise = Noise(None, 0),  # noqa: B008
    rules: Rules = Rules(),  # noqa: B008
) -> Step:
    """Ask about a candidate whose runs reported these accuracies in their order."""
    values = tuple(INCUMBENT.values())
    runs = dict(zip(candidate, accuracy, strict=False))
    known = GuardRuns(runs, tuple(reference), tuple(map(tuple, groups)), older)
    evidence = Evidence(
        LOWER, candidate, INCUMBENT, math.fsum(values) / 5, frozenset(INCUMBENT), (values,),
        metrics={guard.name: accuracy[0]} if accuracy else {}, guards={guard.name: known},
        recent=frozenset(INCUMBENT) & frozenset(candidate) - {1},
    )  # fmt: skip
    return next_step(evidence, Rules(rules.policy, exact=rules.exact, guards=(guard,)))


def test_what_is_worse_by_more_than_allowed_and_than_noise_is_discarded_and_named() -> None:
    step = ask([0.9, 0.87, 0.871])
    assert step.action == "discard"
    told = "accuracy is worse by 0.0295 ± 0.00083 than the baseline's, and may be by 0.01; else a keep: better by "
    assert step.reason.startswith(told), step


def test_what_is_allowed_is_kept_without_a_word() -> None:
    assert ask([0.9, 0.9, 0.901]).reason == ask([0.9, 0.95, 0.95]).reason
    assert "accuracy" not in ask([0.9, 0.899, 0.898]).reason and ask([0.9, 0.899, 0.898]).action == "keep"


def test_a_loss_that_noise_may_explain_is_kept_and_told() -> None:
    step = ask([0.9, 0.889, 0.890])
    told = "; whether accuracy is worse than the baseline's by more than 0.01 is not decided: worse by "
    assert step.action == "keep" and step.reason.endswith(f"{told}0.0105 ± 0.00083"), step


def test_a_bound_that_is_just_met_in_exact_runs_is_met() -> None:
    exact = {"reference": [0.905] * 3, "groups": [[0.905] * 3]}
    assert 0.905 - 0.9 > 0.005, "the difference of floats is more"
    met = ask([0.9] * 3, Guard("accuracy", worse_by=0.005, direction="higher"), **exact)  # type: ignore[arg-type]
    assert met.action == "keep" and "accuracy" not in met.reason
    assert ask([0.8] * 3, **exact).reason.startswith("accuracy is worse by 0.105 than")  # type: ignore[arg-type]


def test_the_first_run_has_no_part_before_a_keep_but_ends_it_when_clearly_worse() -> None:
    assert ask([0.5, 0.9, 0.9]).action == "keep"
    assert ask([0.95, 0.87, 0.87]).action == "discard"
    first = {1: 5.0}
    step = ask([0.5], candidate=first)
    assert step.action == "discard" and "else a keep" not in step.reason
    assert ask([0.88], candidate=first).action == "run_candidate", "not that clearly, with two repeats"


def test_equal_repeats_prove_nothing_so_a_second_run_must_say_the_same() -> None:
    equal = {"reference": [7.0] * 3, "groups": [[7.0] * 3]}
    size = Guard("mb", worse_by=0.0)
    assert ask([9.0], size, candidate={1: 5.0}, **equal).action == "run_candidate"  # type: ignore[arg-type]
    step = ask([9.0, 9.0], size, candidate={1: 5.0, 4: 5.1}, **equal)  # type: ignore[arg-type]
    assert (step.action, step.reason) == ("discard", "mb is worse by 2 than the baseline's, and may be by 0")
    assert ask([9.0, 7.0], size, candidate={1: 5.0, 4: 5.1}, **equal).action != "discard"  # type: ignore[arg-type]


def test_where_one_run_decides_it_decides_on_the_guard_too() -> None:
    for rules in (Rules("greedy"), Rules(exact=True)):
        alone = {"candidate": {1: 5.0}, "reference": [0.9], "groups": [[0.9, 0.9]], "rules": rules}
        assert ask([0.88], **alone).action == "discard"  # type: ignore[arg-type]
        assert ask([0.895], **alone).action == "keep"  # type: ignore[arg-type]
    noisy = ask([0.885], candidate={1: 5.0}, rules=Rules(exact=True))
    assert noisy.action == "keep" and "not decided" in noisy.reason, "an exact metric says nothing of its guard's"


def test_what_cannot_be_told_is_said() -> None:
    unknown = ask([0.5, 0.5, 0.6], reference=(), groups=())
    assert unknown.action == "keep"
    assert unknown.reason.endswith("; accuracy of the baseline is not known here, so its guard tells nothing")
    once = ask([0.5], candidate={1: 5.0}, reference=[0.9], groups=(), rules=Rules(exact=True))
    assert once.action == "keep" and once.reason.endswith("worse by 0.4, and its noise is not known")
    silent = ask([])
    assert silent.action == "keep" and silent.reason.endswith("accuracy was not reported, so its guard tells nothing")


def test_a_direction_turns_it_and_bounds_count_beside_it() -> None:
    assert ask([0.9, 0.95, 0.95], Guard("accuracy", worse_by=0.01)).action == "discard"
    both = Guard("accuracy", min=0.91, worse_by=0.01, direction="higher")
    assert ask([0.9, 0.9, 0.9], both).reason == "accuracy is 0.9, by 0.01 below the limit of 0.91"


def test_the_noise_of_older_bases_counts_where_this_one_has_little() -> None:
    few = {"reference": [0.9], "groups": ()}
    assert "not decided" in ask([0.9, 0.87, 0.874], **few).reason  # type: ignore[arg-type]
    assert ask([0.9, 0.87, 0.874], older=Noise(0.002, 10), **few).action == "discard"  # type: ignore[arg-type]


def test_values_that_exploded_break_nothing_and_stop_nothing() -> None:
    for wild in ([1e308, -1e308, 1e308], [0.9, 1e308, -1e308], [1e308] * 3, [-1e308] * 3):
        for reference in (BASELINE, (1e308, -1e308, 1e308)):
            assert ask(wild, reference=reference, groups=[reference]).action in ("keep", "discard")


@pytest.mark.parametrize(("loss", "least", "most"), [(0.0, 0.0, 0.001), (1.0, 0.0, 0.03), (6.0, 0.9, 1.0)])
def test_how_often_a_guard_is_broken(loss: float, least: float, most: float) -> None:
    """A noise of 1 that is known from twelve repeats, two fresh runs, and a loss of 1 that is allowed."""
    rng, guard, broken = Random(3), Guard("mb", worse_by=1.0), 0
    for _ in range(500):
        repeats = [[rng.gauss(0, 1) for _ in range(4)] for _ in range(4)]
        ours = [rng.gauss(loss, 1) for _ in range(3)]
        broken += ask(ours, guard, reference=repeats[0], groups=repeats).action == "discard"
    assert least <= broken / 500 <= most
