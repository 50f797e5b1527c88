"""A sample of the many cases that a test could try, drawn anew for each commit; all of them on demand.

Random kills, matrices of steps, cheating programs and real trainings cost more than every run of the suite may. Each
commit draws others, so that all of them are tried in time, and a failure comes again with the same commit. Of a matrix
some cases are drawn (`drawn`); of whole tests that cost much, marked `sampled(part)`, each file runs a part: all of
them where it is 1, of a test whose cases cost more or less. Of the other slow tests each folder runs three of five when
the whole suite is run; whoever names a file or a folder gets all of those.
AUTORESEARCH_EVERY=1 tries all: before an issue is closed that touches what they test.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import pytest

Case = TypeVar("Case")

SLOW = 0.6
"""The part of a folder's slow tests that a run of the whole suite tries, where a test has no part of its own."""

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


def chosen(marked: Iterable[tuple[str, str, float]]) -> set[str]:
    """Return the tests that are drawn, of those given as (group, test, part); at least one of each group and part."""
    alike: defaultdict[tuple[str, float], dict[str, None]] = defaultdict(dict)
    for group, test, part in marked:
        alike[group, part][test] = None
    return {test for (group, part), tests in alike.items() for test in drawn(tests, part, f"{group} {part}")}


def part_of(item: pytest.Item, whole: bool) -> tuple[str, float] | None:
    """Return the group that a test is drawn from, and the part of it; None for a test that is always run.

    `whole` says that the whole suite is run: no file, folder or kind of tests was named.
    """
    if mark := item.get_closest_marker("sampled"):
        part, group = (*mark.args, item.location[0])[:2]
        return group, part
    if whole and item.get_closest_marker("slow"):
        return f"slow tests of {Path(item.location[0]).parent.as_posix()}", SLOW
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of which a part is drawn, and that are not in it."""
    named = config.option.keyword or config.option.markexpr or getattr(config.option, "lf", False)
    whole = not named and [Path(config.rootpath, name) for name in config.args] == [
        Path(config.rootpath, name) for name in config.getini("testpaths")
    ]
    marked = {
        item: (group, item.nodeid.partition("[")[0], part)
        for item in items
        for group, part in [part_of(item, whole) or ("", 1.0)]
        if group
    }
    here = chosen(marked.values())
    left = [item for item, (_, test, _) in marked.items() if test not in here]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in {*left}]
