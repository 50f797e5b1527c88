"""How often whole sessions are fooled by luck: the simulation of benchmarks/verdicts.py, with fewer sessions."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from verdicts import GAINS, NULL, judged, table

from autoresearch.core.verdict import Rules


def test_the_default_policy_meets_its_bounds_in_simulated_sessions() -> None:
    rows = table(40, Rules(), [NULL, GAINS], processes=1)
    assert [bound for bound in judged(rows) if not bound["ok"]] == []


def test_greedy_keeps_luck_and_the_simulation_sees_it() -> None:
    rows = table(20, Rules(policy="greedy"), [NULL], processes=1)
    assert all(row["false_keeps"] > 2 for row in rows)  # type: ignore[operator]
