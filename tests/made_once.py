"""What is slow to prepare is made once in a run of the suite, by whichever worker comes first, and copied by tests."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from cpu_seconds import seconds
from waiting import PATIENCE_S

from autoresearch.system.files import held_by_us

spent = 0.0
"""CPU seconds that this process has spent in making such folders, so that no test has to answer for them."""


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that `make` has filled; every worker gets the same one, and nobody may write in it."""
    global spent
    base = factory.getbasetemp()
    base = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    # A name may be anything, and two that look alike in a path are told apart by their hash.
    folder = base / f"once-{re.sub(r'[^A-Za-z0-9]+', '-', name)[:40]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    done, lock = (folder.with_name(f"{folder.name}.{what}") for what in ("done", "lock"))
    with held_by_us(lock, wait_s=PATIENCE_S):
        if not done.exists():
            folder.mkdir()
            before = seconds() - spent
            make(folder)
            spent = seconds() - before  # with what was made once within it
            done.touch()
    return folder
