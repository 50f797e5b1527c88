"""A kill at any instant of `confirm`, `ablate` or `replicate` loses no run, counts none twice, and changes nothing."""

from __future__ import annotations

import itertools
import json

import kill_lab
import pytest
from drawn import EVERY, dice, drawn
from kill_hunts import check_studies, hunt_study, keep_something, state
from kill_lab import FILE, Maker

bytecode, make_lab = kill_lab.bytecode, kill_lab.make_lab


STUDIES = [("confirm", "--seeds", "2"), ("ablate", "--seeds", "1")]

NAMED = (
    *("after append study", "before the command, which runs", "after write result.json", "after append study_run"),
    *("before append study_end", "after append study_end"),
)
"""Where a kill is tried; with AUTORESEARCH_EVERY=1 it is everywhere."""


def instants(points: list[str]) -> list[int]:
    """Return where to kill, from 1: the first and the last of each named point, or all."""
    if EVERY:
        return [*range(1, len(points) + 1)]
    places = {name: [at for at, point in enumerate(points, 1) if point == name] for name in NAMED}
    return drawn(sorted({at for found in places.values() for at in (found[:1] + found[-1:])}), 0.1, "studies")


@pytest.mark.slow
@pytest.mark.sampled(0.15)
@pytest.mark.parametrize("command", drawn(STUDIES, 0.5, "study that goes on"))
def test_a_killed_study_goes_on_where_it_stopped(make_lab: Maker, command: tuple[str, ...]) -> None:
    lab = make_lab("noisy")
    keep_something(lab)
    before = state(lab)
    points = lab.drive(0, *command)
    check_studies(lab)
    for at in instants(points):
        studies = len([e for e in lab.events() if e.get("type") == "study"])
        passed = lab.drive(at, *command)
        lab.resume()
        try:
            check_studies(lab)
            assert state(lab) == before
            view = lab.json(*command)
            check_studies(lab)
            assert state(lab) == before
        except AssertionError as error:
            raise AssertionError(f"killed {passed[-1]}: {error}") from error
        begun = [e for e in lab.events() if e.get("type") == "study"][studies:]
        ended = "after append study_end" in passed
        assert [("continues" in e) for e in begun] == [False, not ended][: len(begun)]
        assert view["study" if "study" in view else "incumbent"]


@pytest.mark.slow
@pytest.mark.sampled(0.15)
def test_a_killed_replicate_counts_its_run_once(make_lab: Maker) -> None:
    lab = make_lab("noisy")
    lab.drive(0, "replicate", "1", "--seed", "50")
    seeds = itertools.count(51)
    for name in ("after append study", "before the command, which runs", "before append repeat", "after append repeat"):
        seed = next(seeds)
        lab.drive(name, "replicate", "1", "--seed", str(seed))
        lab.resume()
        check_studies(lab)
        found = [e for e in lab.events() if e.get("type") == "repeat" and e["seed"] == seed]
        assert len(found) == (name == "after append repeat"), name
        end = [e for e in lab.events() if e.get("type") == "study_end"][-1]
        assert end["outcome"] == ("done" if found else "interrupted")
    assert lab.content == (lab.folder / FILE).read_text()


@pytest.mark.slow
@pytest.mark.sampled(0.15)
@pytest.mark.parametrize("command", drawn(STUDIES, 0.5, "killed study"))
def test_studies_killed_at_random_instants_lose_nothing(make_lab: Maker, command: tuple[str, ...]) -> None:
    hunt_study(make_lab("noisy"), 12 if EVERY else 2, dice(f"kills of {command[0]}"), *command)


@pytest.mark.slow
@pytest.mark.sampled(0.15)
def test_a_killed_selftest_leaves_nothing_running_and_goes_on(make_lab: Maker) -> None:
    lab = make_lab("noisy")
    before, events = state(lab), lab.events()
    inner = lab.folder / ".autoresearch" / "selftest" / "autoresearch.jsonl"
    lab.drive(0, "selftest", "-n", "1")
    points = lab.drive(0, "selftest", "-n", "2")
    names = ("before git update-ref", "after append start", "before the command, which runs", "before append run")
    for done, name in enumerate((*names, "after append run"), 2):
        lab.drive(points.index(name) + 1, "selftest", "-n", str(done + 1))
        lab.resume()
        check_studies(lab)
        assert (state(lab), lab.events()) == (before, events)
        assert lab.json("selftest", "-n", str(done + 1))["experiments"] == done + 1, name
        verdicts = [json.loads(line) for line in inner.read_text().splitlines() if '"run"' in line]
        numbers = [e["run"] for e in verdicts]
        assert numbers == sorted(set(numbers))


@pytest.mark.slow
@pytest.mark.sampled(0.15)
def test_a_selftest_killed_while_its_laboratory_is_made_begins_again(make_lab: Maker) -> None:
    lab = make_lab("exact")
    points = lab.drive(0, "selftest", "-n", "1")
    for name in ("after git read-tree", "after git commit", "before append start"):
        at = points.index(name) + 1
        lab.drive(at, "selftest", "-n", "1", "--fresh")
        lab.resume()
        check_studies(lab)
        assert lab.json("selftest", "-n", "1")["experiments"] == 1
