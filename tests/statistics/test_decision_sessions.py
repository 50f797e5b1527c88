"""How often whole sessions are fooled by luck: the simulation of benchmarks/verdicts.py, with fewer sessions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from verdicts import DRIFTS, GAINS, NULL, OTHER, SHAPES, guards, judged, nights, table

from autoresearch.statistics.decision import Guard, Rules

FEW = 20
"""Sessions of each kind: what benchmarks/results/verdicts.md asks of 600 is asked of these with room for their luck."""


@pytest.mark.slow
def test_the_default_policy_meets_its_bounds_in_simulated_sessions() -> None:
    rows = [row for row in table(FEW, Rules(), [NULL, GAINS], processes=1) if row["policy"] == "confirm"]
    assert all(row["false_keeps"] <= 0.3 for row in rows), rows  # type: ignore[operator]
    assert all(row["gain_of_greedys"] >= 0.9 for row in rows if row["scenario"] == GAINS), rows  # type: ignore[operator]
    assert all(row["runs"] <= 1.7 for row in rows if row["scenario"] == NULL), rows  # type: ignore[operator]
    assert {bound["what"] for bound in judged(rows)} == {"false keeps", "false keeps with gains", "gain of greedy's"}


@pytest.mark.slow
def test_a_drifting_machine_and_a_metric_that_flips_keep_no_more_luck() -> None:
    names = [name for name in (*DRIFTS, *SHAPES) if name.startswith(NULL) and "fixed" not in name]
    rows = table(6, Rules(), names, processes=1)
    found = {row["scenario"]: row["false_keeps"] for row in rows if row["policy"] == "confirm"}
    assert len(found) == 10 and sum(found.values()) / len(found) <= 0.15, found  # type: ignore[arg-type]


def test_a_night_with_a_budget_keeps_no_luck_and_finds_gains() -> None:
    budget = Rules(night_alpha=0.05)
    assert nights(6, 100, 0, "steady", budget)["kept_anything_false"] <= 1  # type: ignore[operator]
    assert nights(2, 50, 5, "steady", budget)["power"] > 0.5  # type: ignore[operator]


@pytest.mark.slow
def test_a_guard_finds_losses_does_not_see_what_is_not_there_and_keeps_them_from_adding_up() -> None:
    guard, beside = Guard(OTHER, worse_by=1.0), Guard(OTHER, worse_by=1.0, against="incumbent")
    none, large = guards(6, 0.0, 0.7, guard), guards(6, 6.0, 0.7, guard)
    assert none["within"] >= 24 and none["wrongly_broken"] <= 0.03, none  # type: ignore[operator]
    assert large["beyond"] >= 24 and large["found"] >= 0.9, large  # type: ignore[operator]
    first, added = guards(6, 0.9, 0.0, guard), guards(6, 0.9, 0.0, beside)
    assert added["wrongly_broken"] <= 0.05 and added["cost_in_the_end"] > 4, added  # type: ignore[operator]
    assert first["cost_in_the_end"] < 3, first  # type: ignore[operator]


def test_greedy_keeps_luck_and_the_simulation_sees_it() -> None:
    rows = table(20, Rules(policy="greedy"), [NULL], processes=1)
    assert all(row["false_keeps"] > 2 for row in rows)  # type: ignore[operator]
