"""A kill at any instant of `confirm`, `ablate` or `replicate` loses no run, counts none twice, and changes nothing."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections import Counter
from typing import Any

import pytest
from test_kill import EVERY, FILE, KILL_SEED, KILLS, Lab, Maker, bytecode, kill, make_lab  # noqa: F401

NAMED = (
    *("after append study", "before the command, which runs", "after write result.json", "after append study_run"),
    *("before append study_end", "after append study_end"),
)
"""Where a kill is tried; with AUTORESEARCH_EVERY_KILL=1 it is everywhere."""


def state(lab: Lab) -> dict[str, Any]:
    """What no study may change: branch, folder, verdicts and refs of experiments."""
    refs = lab.git("for-each-ref", "--format=%(objectname) %(refname)").splitlines()
    return {
        "head": lab.head,
        "content": lab.content,
        "status": lab.git("status", "--porcelain"),
        "verdicts": lab.verdicts(),
        "refs": [ref for ref in refs if "-ablate/" not in ref],
    }


def check(lab: Lab) -> None:
    """Each study that began has one end; no run is in the journal twice; nothing is left running or lying about."""
    events = lab.events()
    begun = {e["study"]: e for e in events if e.get("type") == "study"}
    ends = Counter(e["study"] for e in events if e.get("type") == "study_end")
    assert ends == Counter(dict.fromkeys(begun, 1))
    chains = {n: n for n in begun}
    for n, e in begun.items():
        chains[n] = chains[e["continues"]] if "continues" in e else n
    runs = Counter((chains[e["study"]], e["commit"], e["seed"]) for e in events if e.get("type") == "study_run")
    assert all(count == 1 for count in runs.values()), runs
    assert lab.marked() == [] and lab.locks() == []
    folder = lab.folder / ".autoresearch"
    assert not (folder / "running.json").exists() and not (folder / "git-at-work").exists()
    assert not (folder / "scratch").exists() or not [*(folder / "scratch").iterdir()]


def instants(points: list[str]) -> list[int]:
    """Return where to kill, from 1: the first and the last of each named point, or all."""
    if EVERY:
        return [*range(1, len(points) + 1)]
    places = {name: [at for at, point in enumerate(points, 1) if point == name] for name in NAMED}
    return sorted({at for found in places.values() for at in (found[:1] + found[-1:])})


def settle_baseline(lab: Lab) -> None:
    lab.edit_better()
    assert lab.json("try", "-m", "better")["status"] == "keep"


@pytest.mark.parametrize("command", [("confirm", "--seeds", "2"), ("ablate", "--seeds", "1")])
def test_a_killed_study_goes_on_where_it_stopped(make_lab: Maker, command: tuple[str, ...]) -> None:  # noqa: F811
    lab = make_lab("noisy")
    settle_baseline(lab)
    before = state(lab)
    points = lab.drive(0, *command)
    check(lab)
    for at in instants(points):
        studies = len([e for e in lab.events() if e.get("type") == "study"])
        passed = lab.drive(at, *command)
        lab.resume()
        try:
            check(lab)
            assert state(lab) == before
            view = lab.json(*command)
            check(lab)
            assert state(lab) == before
        except AssertionError as error:
            raise AssertionError(f"killed {passed[-1]}: {error}") from error
        begun = [e for e in lab.events() if e.get("type") == "study"][studies:]
        ended = passed[-1] == "after append study_end"
        assert [("continues" in e) for e in begun] == [False, not ended][: len(begun)]
        assert view["study" if "study" in view else "incumbent"]


def test_a_killed_replicate_counts_its_run_once(make_lab: Maker) -> None:  # noqa: F811
    lab = make_lab("noisy")
    points = lab.drive(0, "replicate", "1", "--seed", "50")
    seeds = itertools.count(51)
    for name in ("after append study", "before the command, which runs", "before append repeat", "after append repeat"):
        seed = next(seeds)
        lab.drive(points.index(name) + 1, "replicate", "1", "--seed", str(seed))
        lab.resume()
        check(lab)
        found = [e for e in lab.events() if e.get("type") == "repeat" and e["seed"] == seed]
        assert len(found) == (name == "after append repeat"), name
        end = [e for e in lab.events() if e.get("type") == "study_end"][-1]
        assert end["outcome"] == ("done" if found else "interrupted")
    assert lab.content == (lab.folder / FILE).read_text()


@pytest.mark.slow
def test_studies_killed_at_random_instants_lose_nothing(make_lab: Maker) -> None:  # noqa: F811
    lab, rng = make_lab("noisy"), random.Random(f"studies {KILL_SEED}")
    settle_baseline(lab)
    before, windows = state(lab), Counter[str]()
    commands = [("confirm", "--seeds", "2"), ("ablate", "--seeds", "1")]
    seconds = []
    for command in commands:
        began = time.monotonic()
        assert lab.start(*command).wait(60) == 0
        seconds.append(time.monotonic() - began)
    for _ in range(KILLS):
        which = rng.randrange(2)
        process = lab.start(*commands[which])
        time.sleep(rng.random() * seconds[which])
        kill(process, rng.choice(["engine", "group", "tree"]))
        began, ended = (sum(e.get("type") == kind for e in lab.events()) for kind in ("study", "study_end"))
        windows[f"{commands[which][0]}, {'within' if began > ended else 'outside'}"] += 1
        lab.resume()
        check(lab)
        assert state(lab) == before
    for window, count in windows.items():
        print(f"studies    {count:>4}  {window}")


def test_a_killed_selftest_leaves_nothing_running_and_goes_on(make_lab: Maker) -> None:  # noqa: F811
    lab = make_lab("noisy")
    before, events = state(lab), lab.events()
    inner = lab.folder / ".autoresearch" / "selftest" / "autoresearch.jsonl"
    lab.drive(0, "selftest", "-n", "1")
    points = lab.drive(0, "selftest", "-n", "2")
    names = ("before git update-ref", "after append start", "before the command, which runs", "before append run")
    for done, name in enumerate((*names, "after append run"), 2):
        lab.drive(points.index(name) + 1, "selftest", "-n", str(done + 1))
        lab.resume()
        check(lab)
        assert (state(lab), lab.events()) == (before, events)
        assert lab.json("selftest", "-n", str(done + 1))["experiments"] == done + 1, name
        verdicts = [json.loads(line) for line in inner.read_text().splitlines() if '"run"' in line]
        numbers = [e["run"] for e in verdicts]
        assert numbers == sorted(set(numbers))


def test_a_selftest_killed_while_its_laboratory_is_made_begins_again(make_lab: Maker) -> None:  # noqa: F811
    lab = make_lab("exact")
    points = lab.drive(0, "selftest", "-n", "1")
    for name in ("after git checkout-index", "after git commit", "before append start"):
        at = points.index(name) + 1
        lab.drive(at, "selftest", "-n", "1", "--fresh")
        lab.resume()
        check(lab)
        assert lab.json("selftest", "-n", "1")["experiments"] == 1
