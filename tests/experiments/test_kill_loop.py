"""A kill of the loop at any instant: the same command goes on, no answer is lost or paid twice, the ledger is exact."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import kill_agents
import kill_lab
import pytest
from drawn import EVERY, dice, drawn
from kill_agents import CALLS, MOST, PRICE
from kill_hunts import strike
from kill_lab import Lab, Maker

from autoresearch.loop.driver import INTERRUPTED

pytestmark = [pytest.mark.slow, pytest.mark.sampled(0.3)]

bytecode, make_lab = kill_lab.bytecode, kill_lab.make_lab

RUN = ("run", "--agent", "kill_agents:Counting", "--max-experiments", "2", "--strategy", "best")


@pytest.fixture
def lab(make_lab: Maker) -> Lab:
    lab = make_lab()
    lab.env["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(Path(kill_agents.__file__).parent), os.environ.get("PYTHONPATH")])
    )
    return lab


def check_loop(lab: Lab, kills: int, wanted: int = 2) -> None:
    """Check the promises of the loop after its end, from the journal as it is written and from the agent's calls."""
    lab.edits.clear()  # the check of try is about a person's edits; an agent's versions are checked here
    lab.check()
    events = lab.events()
    made = [e for e in events if e.get("type") == "proposal" and e["outcome"] == "made"]
    given_up = {e["turn"] for e in events if e.get("type") == "proposal" and e["outcome"] == "given_up"}
    for turn in given_up:  # only what was cut short again and again is
        killed = [e for e in lab.verdicts().values() if e["description"] == f"turn {turn}" and e["outcome"] == "killed"]
        assert len(killed) == INTERRUPTED, turn
    versions = {e["turn"]: lab.version(e["commit"]) for e in made if e["turn"] not in given_up}
    measured = {lab.version(lab.starts()[n]["commit"]) for n, e in lab.verdicts().items() if e["outcome"] == "ok"}
    assert {*versions.values()} <= measured, "every proposal was measured"
    assert len(measured) == wanted + 1, "and no more of them than were asked for"
    wanted += len(given_up)
    assert sorted({*versions, *given_up}) == [*range(1, wanted + 1)]
    calls = (lab.folder.parent / CALLS).read_text().split("\n")
    called, answered = [line for line in calls if "called" in line], {line for line in calls if "answered" in line}
    reserved = {e["id"]: e for e in events if e.get("type") == "reserve"}
    settled = {e["id"]: e for e in events if e.get("type") == "settle"}
    assert len([e for e in events if e.get("type") == "settle"]) == len(settled) and {*settled} <= {*reserved}
    paid = [id for id, e in reserved.items() if e.get("agent")]
    assert len(called) <= len(paid) <= len(called) + kills, "nothing is asked that was not reserved"
    assert len(answered) == wanted and len(called) - wanted <= kills, "an answer is asked for again only after a kill"
    assert len([id for id in paid if id not in settled]) <= kills
    spent = lab.json("status")["spent"]
    open_ones = [id for id in paid if id not in settled]
    assert spent["usd"] == pytest.approx(PRICE * (len(paid) - len(open_ones)) + MOST * len(open_ones))
    begun = [e["options"] for e in events if e.get("type") == "loop_run" and e["event"] == "begin"]
    assert 1 <= len(begun) <= 1 + kills and all(options == begun[0] for options in begun)
    assert not (lab.folder / ".autoresearch/proposal").exists()


def finish(lab: Lab, words: Sequence[str] = RUN) -> None:
    """Type the command again; once the loop has ended that would begin another one, so then only repair."""
    done = lab.run("resume") if has_ended(lab) else lab.run(*words, "--json")
    assert done.returncode == 0, (done.stdout, done.stderr)


STEPS = {
    "before append loop_run", "after append reserve", "before write edit.json", "after write edit.json",
    "after append settle", "before append proposal", "after append proposal", "before git reset", "after git reset",
    "before append start", "after append run",
}  # fmt: skip


def test_a_kill_at_each_step_of_the_loop_loses_nothing(lab: Lab) -> None:
    restore = lab.saved()
    points = lab.drive(0, *RUN)
    assert {*points} >= STEPS
    check_loop(lab, 0)
    cases = [*range(1, len(points) + 1)] if EVERY else first_of_each(points)
    # The last proposal, after which no turn tidies up, and the last verdict, after which nothing is left to measure.
    ends = {len(points) - points[::-1].index(f"after append {line}") for line in ("proposal", "run")}
    for at in sorted({*drawn(cases, 0.03, "kills of run"), *ends}):
        restore()
        (lab.folder.parent / CALLS).unlink(missing_ok=True)
        assert lab.drive(at, *RUN)[-1] == points[at - 1]
        finish(lab)
        try:
            check_loop(lab, 1)
        except (AssertionError, KeyError) as error:
            raise AssertionError(f"killed {points[at - 1]}, step {at}: {error}") from error


def first_of_each(points: list[str]) -> list[int]:
    """Return the first step of each name, counted from 1."""
    return sorted({name: at for at, name in reversed([*enumerate(points, 1)])}.values())


def test_kills_at_random_instants_of_the_loop_lose_nothing(lab: Lab) -> None:
    rng, wanted, kills = dice("random kills of run"), 60 if EVERY else 2, 0
    words = [*RUN[:4], str(wanted), *RUN[5:]]
    while kills < (100 if EVERY else 2) and not has_ended(lab):
        strike(lab, 2.0, rng, rng.choice(["engine", "group", "tree"]), *words)
        kills += 1
        if rng.random() < 0.3:
            lab.resume()
    finish(lab, words)
    check_loop(lab, kills, wanted)


def has_ended(lab: Lab) -> bool:
    """Whether the loop has come to its end, so that the next command would begin another one."""
    return '"type":"loop_run","event":"end"' in (lab.folder / "autoresearch.jsonl").read_text()
