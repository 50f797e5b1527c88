"""How often whole sessions are fooled by luck: the simulation of benchmarks/verdicts.py, with fewer sessions."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from verdicts import DRIFTS, GAINS, NULL, judged, table

from autoresearch.statistics.decision import Rules


def test_the_default_policy_meets_its_bounds_in_simulated_sessions() -> None:
    rows = table(40, Rules(), [NULL, GAINS], processes=1)
    assert [bound for bound in judged(rows) if not bound["ok"]] == []


def test_a_drifting_machine_costs_no_more_runs_and_keeps_no_more_luck() -> None:
    rows = table(10, Rules(), [name for name in DRIFTS if name.startswith(NULL)], processes=1)
    found = [(row["runs"], row["false_keeps"]) for row in rows if row["policy"] == "confirm"]
    assert len(found) == 6 and all(runs <= 1.6 and false <= 0.2 for runs, false in found), found


def test_greedy_keeps_luck_and_the_simulation_sees_it() -> None:
    rows = table(20, Rules(policy="greedy"), [NULL], processes=1)
    assert all(row["false_keeps"] > 2 for row in rows)  # type: ignore[operator]
