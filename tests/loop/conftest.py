"""The lab of the loop's tests: every better number is kept, so that an experiment is one run."""

from __future__ import annotations

import pytest
from lab import Lab, Maker
from loop_lab import GREEDY


@pytest.fixture
def lab(make_lab: Maker) -> Lab:
    """A workspace with a baseline of exactly 100, lower is better."""
    return make_lab(keep=GREEDY)
