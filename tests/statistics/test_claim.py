"""What of a claim is luck, on simulated nights whose truth is known; `benchmarks/audits.py` has a thousand of them."""

from __future__ import annotations

import random

import numpy as np
import pytest

from autoresearch.statistics.chain import Chain, Trial, half_normal, harm_of, mixture, moved, priors
from autoresearch.statistics.claim import NotIdentifiable, weighed
from autoresearch.statistics.noise import Noise


def night(seed: int, count: int, sigma: float, gains: float, size: float) -> tuple[list[Trial], float]:
    """A greedy night of one run each, and what of its claim is true; half of the changes do harm."""
    rng, true, best, trials = random.Random(seed), 1.0, float("inf"), list[Trial]()
    for n in range(count):
        draw, gain = rng.random(), 0.0
        if n:
            gain = abs(rng.gauss(0, size)) if draw < gains else -abs(rng.gauss(0, 5 * sigma)) * (draw < 0.5)
        value = true - gain + rng.gauss(0, sigma)
        trials.append(Trial(value, value < best))
        if value < best:
            true, best = true - gain, value
    return trials, 1.0 - true


def test_a_night_of_changes_without_effect_claims_a_gain_and_none_is_expected() -> None:
    trials, true = night(1, 120, 0.01, 0.0, 0.0)
    found = weighed(trials, 0.01)
    assert found.claimed > 0.01, "the best of many runs is lucky"
    assert found.mean < 0.35 * found.claimed and found.low <= true <= found.high
    assert all(step.real < 0.8 for step in found.steps)


@pytest.mark.slow
@pytest.mark.sampled(0.3)
def test_large_gains_are_expected_to_be_there_whether_the_noise_is_known_or_not() -> None:
    trials, true = night(2, 90, 0.002, 0.1, 0.02)
    known = Noise(0.002, 9)
    for found in (weighed(trials, 0.002), weighed(trials, None, repeats=known)):
        assert found.claimed > 0.03 and abs(found.mean - true) < 0.1 * found.claimed and found.near > 0.9
        assert max(step.real for step in found.steps) > 0.99
        assert found.noise_low <= 0.002 <= found.noise_high


@pytest.mark.slow
@pytest.mark.sampled(0.3)
def test_the_intervals_hold_the_truth_and_the_chance_of_being_near_is_kept() -> None:
    held, near, promised = [], [], []
    for seed in range(12):
        trials, true = night(100 + seed, 40, 0.01, 0.08, 0.03)
        if any(t.kept for t in trials[1:]):
            found = weighed(trials, 0.01, seed=seed)
            held.append(found.low <= true <= found.high)
            near.append(abs(found.mean - true) <= 0.1 * found.claimed)
            promised.append(found.near)
    # 12 nights with a chance of 0.9 each: fewer than 8 have a chance of one in a thousand.
    assert sum(held) >= 8 and len(held) >= 10
    assert abs(sum(near) - sum(promised)) < 3 * (sum(p * (1 - p) for p in promised)) ** 0.5 + 1


@pytest.mark.slow
@pytest.mark.sampled(0.3)
def test_changes_without_effect_tell_the_noise_of_a_long_night() -> None:
    trials, true = night(2, 100, 0.002, 0.1, 0.02)
    found = weighed(trials, None)
    assert found.noise_low <= 0.002 <= found.noise_high and found.low <= true <= found.high


@pytest.mark.slow
@pytest.mark.sampled(0.3)
def test_a_log_that_does_not_tell_its_noise_says_so_and_repeats_can_tell_it() -> None:
    trials = [Trial(1.0, True), Trial(0.9, True), Trial(0.95, False), Trial(0.85, True)]
    with pytest.raises(NotIdentifiable, match="anything from"):
        weighed(trials, None)
    with pytest.raises(NotIdentifiable):
        weighed(trials, None, repeats=Noise(0.01, 1))
    found = weighed(trials, None, repeats=Noise(0.01, 12))
    assert found.noise_low < 0.01 < found.noise_high and found.mean == pytest.approx(0.15, abs=0.02)
    with pytest.raises(NotIdentifiable, match="rounded"):
        weighed([Trial(1.0, True), Trial(1.0, False), Trial(1.0, False), Trial(0.9, True)], None, rounding=0.1)


def test_runs_that_were_repeated_count_for_more() -> None:
    trials = [Trial(1.0, True), Trial(1.02, False), Trial(1.01, False), Trial(0.985, True)]
    once = weighed(trials, 0.01).steps[0].real
    often = weighed([*trials[:3], Trial(0.985, True, runs=9)], 0.01).steps[0].real
    assert often > once


def test_without_noise_every_difference_is_true() -> None:
    found = weighed([Trial(3.0, True), Trial(4.0, False), Trial(2.0, True), Trial(1.5, True)], 0.0)
    assert found.mean == pytest.approx(1.5, rel=1e-2) and [step.real for step in found.steps] == [1.0, 1.0]


def test_the_prior_and_the_moves_are_distributions() -> None:
    grid = priors(4.0)
    chain = Chain([Trial(1.0, True), Trial(0.98, True), Trial(1.01, False)], 0.01)
    assert half_normal(np.arange(1, 400), 20.0).sum() == pytest.approx(1)
    moves = chain.moves(mixture(grid), 0)
    assert (moves >= 0).all() and (moves.sum(axis=0) <= 1.2).all()
    at = np.zeros((49, grid.shape[1]))
    at[24] = 1.0
    # What is known for sure spreads as the moves say, and no further.
    assert np.allclose(moved(at, moves), moves[24:73])


def test_the_size_of_harm_is_that_of_the_discards_whatever_the_noise() -> None:
    rng = random.Random(2)
    trials = [Trial(1.0, True), *(Trial(1.0 + abs(rng.gauss(0, 0.2)), False) for _ in range(400))]
    assert harm_of(trials) == pytest.approx(0.2, rel=0.1)
    assert harm_of([Trial(1.0, True), Trial(0.9, True)]) == 0.0
    scales = {noise: priors(harm_of(trials) / noise)[3].max() * noise for noise in (0.01, 0.02, 0.05)}
    assert len({round(scale, 9) for scale in scales.values()}) == 1, "no noise fits better by which sizes there are"
    assert priors(1e9)[3].max() == 50.0 and priors(0.0)[3].min() == 0.3


def test_a_draw_is_anywhere_in_its_cell_but_a_change_of_nothing_stays_where_its_base_is() -> None:
    trials = [Trial(1.0, True), *(Trial(1.0 + 0.004 * (n % 5), False) for n in range(9)), Trial(0.995, True)]
    chain, grid = Chain(trials, 0.01), priors(1.0)
    at = int(chain.forward(grid)[0].argmax())
    drawn = chain.draws(grid[:, [at]], np.zeros(2000, int), np.random.default_rng(1))
    gains = drawn[:, 0] - drawn[:, 1]
    assert 0.5 < (gains == 0).mean() < 1
    assert len(np.unique(drawn[:, 0])) == 2000, "not only the middles of cells"
    assert (abs(gains[gains != 0]) < 0.1).all()


def test_the_same_log_is_worth_the_same_at_any_scale_and_place() -> None:
    trials, _ = night(5, 60, 0.01, 0.1, 0.03)
    other = [Trial(1000 + 50 * t.value, t.kept) for t in trials]
    here, there = weighed(trials, 0.01), weighed(other, 0.5)
    assert there.mean == pytest.approx(50 * here.mean, rel=1e-6)
    assert [s.real for s in there.steps] == pytest.approx([s.real for s in here.steps])
