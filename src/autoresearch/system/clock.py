"""The time, as the journal writes it; passed in, so that tests can give their own."""

from __future__ import annotations

from collections.abc import Callable

Clock = Callable[[], int]
"""Whole seconds since the epoch."""


def wall_clock() -> int:
    """Return the time now in whole seconds since the epoch."""
    import time

    return int(time.time())
