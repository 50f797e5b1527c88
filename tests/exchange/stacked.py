"""A session whose three kept changes are a file each, with a discard between; made once, copied by tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lab import INIT, Lab, new_repo

from autoresearch.journal import events
from autoresearch.runs.isolation.sandbox import SWITCH

SUM = """total=1000
for part in src/*.part; do [ -f $part ] && total=$((total + $(cat $part))); done
[ -f src/b.part ] && [ -f src/c.part ] && total=$((total + 150))
echo METRIC total_ms=$total
"""
"""What parts there are; b gets in the way of c."""


def make(folder: Path) -> None:
    new_repo(folder / "lab")
    lab = Lab(folder / "lab")
    lab.edit(SUM)
    lab.commit("a sum")
    with pytest.MonkeyPatch.context() as env:
        env.setenv(SWITCH, "off")
        for words in ((*INIT, "--policy", "greedy"), ("baseline",)):
            done = lab.call(*words)
            assert done.code == 0, done
        part(lab, "a", -500, "Wider: äöü & more", "size", hypothesis="capacity pays")
        part(lab, "b", -100, "deeper", "size")
        part(lab, "d", 700, "not it", "data", kept=False)
        part(lab, "c", -200, "cache it", "cache")


def part(lab: Lab, name: str, value: int, text: str, family: str, *, kept: bool = True, **asi: str) -> None:
    """Make an experiment that adds a part."""
    lab.write(f"src/{name}.part", f"{value}\n")
    more = [word for key, said in {"family": family, **asi}.items() for word in ("--asi", f"{key}={said}")]
    view = lab.call("try", "-m", text, *more, "--json").json
    assert (view["status"] == "keep") == kept, view


def ablated(lab: Lab, **verdicts: str) -> None:
    """Write what an `ablate` of the incumbent has found, by the numbers of the experiments (`_3="hurts"`)."""
    session = lab.session
    number, incumbent = len(session.studies) + 1, session.incumbent
    assert incumbent is not None
    changes = [
        {"without": [int(name[1:])], "verdict": verdict, "reason": "", "worth": -50.0, "error": 1.0, "seeds": 2}
        for name, verdict in verdicts.items()
    ]
    found: dict[str, Any] = {"incumbent": incumbent.number, "changes": changes, "stack": None, "offered": False}
    about = {"incumbent": incumbent.number, "kept": [], "seeds": [1, 2]}
    with lab.workspace.journal.open("a") as file:
        for line in (
            events.study_line(number, "ablate", about, "search", 1_790_000_000),
            events.study_end_line(number, "done", found, 1_790_000_001),
        ):
            file.write(json.dumps(line) + "\n")
