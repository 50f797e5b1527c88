"""Waiting in tests: for an event, with a bound that only a broken machine reaches. Nothing is decided by speed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE_S = 480.0
"""How long anything may take that a test waits for; many times what it takes on a machine that does other work."""

LOOK_S = 0.01


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Return when `condition` holds; fail and say `what` was waited for when it never does."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"waited {PATIENCE_S:g} s for {what}"
        time.sleep(LOOK_S)


def wait_for_file(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Return when `path` is there: the place that a process says it has reached. Fail when the process ends before."""

    def there() -> bool:
        ended = process.poll() is not None
        assert path.exists() or not ended, f"the process ended before {path.name} was there"
        return path.exists()

    wait_for(there, str(path))
