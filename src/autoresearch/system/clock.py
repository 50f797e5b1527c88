"""The time, as the journal writes it, and as nobody can set it; passed in, so that tests can give their own."""

from __future__ import annotations

import sys
from collections.abc import Callable

Clock = Callable[[], int]
"""Whole seconds since the epoch."""


def wall_clock() -> int:
    """Return the time now in whole seconds since the epoch."""
    import time

    return int(time.time())


def steady_clock() -> float:
    """Return seconds since some instant. They go on while the machine sleeps, and no setting of the clock moves them.

    `time.monotonic` stands still while the machine sleeps.
    """
    import time

    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":
        return time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.monotonic()
