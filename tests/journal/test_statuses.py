from __future__ import annotations

import subprocess
import sys

import pytest

from autoresearch.journal import statuses
from autoresearch.journal.statuses import OUTCOMES, STATUSES, status_of


def test_the_four_words_of_the_log_are_fixed() -> None:
    assert STATUSES == ("keep", "discard", "crash", "checks_failed")


def test_every_outcome_but_ok_decides_its_status() -> None:
    decided = {outcome: status_of(outcome) for outcome in OUTCOMES if outcome != "ok"}  # type: ignore[arg-type]
    assert decided.pop("checks_failed") == "checks_failed"
    assert set(decided.values()) == {"crash"}
    with pytest.raises(ValueError, match="verdict"):
        status_of("ok")


def test_the_words_load_without_anything_installed() -> None:
    assert subprocess.run([sys.executable, "-I", "-S", statuses.__file__]).returncode == 0
