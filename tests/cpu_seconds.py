"""CPU seconds of this process and of the children that were waited for."""

from __future__ import annotations

import os


def seconds() -> float:
    """Return them; they only grow."""
    return sum(os.times()[:4])
