"""`audit`: what of a claim is luck, where the noise is known from, and what cannot be said."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from lab import call

from autoresearch.statistics.chain import NotIdentifiable, Trial, audit


def night(seed: int, count: int, sigma: float, gains: float, size: float) -> tuple[list[Trial], float]:
    """A greedy night of one run each, and what of its claim is true; half of the changes do harm."""
    rng, true, kept, trials = random.Random(seed), 1.0, float("inf"), []
    last = true
    for n in range(count):
        draw = rng.random()
        effect = 0.0 if not n else abs(rng.gauss(0, size)) if draw < gains else -abs(rng.gauss(0, 5 * sigma)) * (draw < 0.5)
        value = true - effect + rng.gauss(0, sigma)
        trials.append(Trial(value, value < kept))
        if value < kept:
            true, kept, last = true - effect, value, true - effect
    return trials, 1.0 - last


def test_a_night_of_changes_without_effect_claims_a_gain_and_none_is_expected() -> None:
    trials, true = night(1, 120, 0.01, 0.0, 0.0)
    found = audit(trials, 0.01)
    assert found.claimed > 0.01, "the best of many runs is lucky"
    assert found.mean < 0.35 * found.claimed and found.low <= max(true, 0.0) <= found.high
    assert all(step.real < 0.8 for step in found.steps)


def test_large_gains_are_expected_to_be_there() -> None:
    trials, true = night(2, 150, 0.002, 0.1, 0.02)
    found = audit(trials, 0.002)
    assert found.claimed > 0.03 and abs(found.mean - true) < 0.15 * found.claimed
    assert max(step.real for step in found.steps) > 0.99


def test_the_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    held = []
    for seed in range(14):
        trials, true = night(100 + seed, 40, 0.01, 0.08, 0.03)
        found = audit(trials, 0.01, seed=seed)
        held.append(found.low <= true <= found.high)
    assert sum(held) >= 10


def test_a_log_that_does_not_tell_its_noise_says_so() -> None:
    with pytest.raises(NotIdentifiable):
        audit([Trial(1.0, True), Trial(0.9, True), Trial(0.95, False), Trial(0.85, True)], None)


def test_runs_that_were_repeated_count_for_more() -> None:
    trials = [Trial(1.0, True), Trial(1.02, False), Trial(1.01, False), Trial(0.985, True)]
    once = audit(trials, 0.01).steps[0].real
    often = audit([*trials[:3], Trial(0.985, True, runs=9)], 0.01).steps[0].real
    assert often > once


def test_the_command_reads_a_table_and_says_what_will_be_left(tmp_path: Path) -> None:
    trials, _ = night(3, 80, 0.004, 0.05, 0.01)
    rows = [f"c{n:06d}\t{t.value:.6f}\t1.0\t{'keep' if t.kept else 'discard'}\tchange {n}" for n, t in enumerate(trials)]
    rows[5:5] = ["c999999\t0.000000\t0.0\tcrash\tdiverged"]
    (tmp_path / "results.tsv").write_text("commit\tval_bpb\tmemory_gb\tstatus\tdescription\n" + "\n".join(rows) + "\n")
    told = call("audit", "results.tsv", "--noise", "0.004", cwd=tmp_path)
    assert told.code == 0, told.err
    for words in ("81 experiments", "1 failed", "claimed", "expected", "90 %", "a gain", "(given)"):
        assert words in told.out, words
    view = call("audit", ".", "--noise", "0.004", "--json", cwd=tmp_path).json["logs"][0]
    assert view["result"]["mean"] < view["result"]["claimed"] and view["result"]["steps"][0]["experiment"]
    refused = call("audit", "nothing.tsv", cwd=tmp_path)
    assert refused.code == 2 and "there is no" in refused.err


def test_repeats_of_one_commit_tell_the_noise_and_few_rows_do_not(tmp_path: Path) -> None:
    head = "commit\tval_bpb\tmemory_gb\tstatus\tdescription\n"
    few = "a\t1.0\t1\tkeep\tbaseline\nb\t0.9\t1\tkeep\tx\nc\t0.95\t1\tdiscard\ty\n"
    (tmp_path / "few.tsv").write_text(head + few)
    said = call("audit", "few.tsv", cwd=tmp_path)
    assert said.code == 0 and "does not tell the noise" in said.out and "--noise SIGMA" in said.out
    (tmp_path / "again.tsv").write_text(head + few + "b\t0.92\t1\tdiscard\tthe same again\n")
    assert "1 repeats in the log" in call("audit", "again.tsv", cwd=tmp_path).out
