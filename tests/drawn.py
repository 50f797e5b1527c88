"""A sample of the many cases that a test could try, drawn anew for each commit; all of them on demand.

Random kills, matrices of steps and cheating programs cost more than every run of the suite may. Each commit draws
others, so that all of them are tried in time, and a failure comes again with the same commit.
AUTORESEARCH_EVERY=1 tries all: before an issue is closed that touches what they test.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

Case = TypeVar("Case")

EVERY = bool(os.environ.get("AUTORESEARCH_EVERY"))
"""Read now: the tests get an environment without our variables."""


def _commit() -> str:
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True)
    return done.stdout.strip() or "no commit"


COMMIT = _commit()


def dice(name: str) -> random.Random:
    """Return random numbers that depend on the commit and on the test's name alone."""
    return random.Random(f"{COMMIT} {name}")


def drawn(cases: Iterable[Case], part: float, name: str) -> list[Case]:
    """Return about that part of the cases, at least one, in their order; all of them with AUTORESEARCH_EVERY."""
    known = list(cases)
    if EVERY or not known:
        return known
    chosen = dice(name).sample(range(len(known)), max(1, round(part * len(known))))
    return [known[at] for at in sorted(chosen)]
