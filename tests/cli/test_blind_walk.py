"""An agent that has only what commands print goes on rightly, from its first edit to the confirmed number."""

from __future__ import annotations

import itertools
import re
import shlex

import pytest
from lab import Called, Lab, Maker

from autoresearch.system import clock

NOISY = """noise=(0 30 -20 10 -30 20 5 -10 25 -15 10 -5 15 0 20 -20 10)
hundredths=$(($(cat src/base) + ${noise[$AUTORESEARCH_SEED % 16]}))
echo METRIC total_ms=${hundredths:0:-2}.${hundredths: -2}
"""
"""Prints the base value of this commit, in hundredths, plus the noise of its seed."""

MINUTE = 60


class Blind:
    """Knows nothing but the last output, and types what it says."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.last = lab, ""

    def type(self, *words: str) -> Called:
        done = self.lab.call(*words)
        self.last = done.out + done.err
        return done

    def does(self, pattern: str) -> Called:
        """Type the command of the last output that this pattern finds."""
        found = re.search(pattern, self.last)
        assert found is not None, (pattern, self.last)
        program, *words = shlex.split(found[1])
        assert program == "autoresearch", found[1]
        return self.type(*words)

    def tries(self, value: float, what: str) -> Called:
        self.lab.write("src/base", f"{round(value * 100)}\n")
        return self.type("try", "-m", what, "--asi", f"hypothesis={what}")


@pytest.mark.slow
def test_by_the_outputs_alone_from_an_edit_to_the_confirmed_number(
    make_lab: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab(run={"command": NOISY, "smoke": "bash -n src/more.sh"}, stop={"max_hours": 10})
    begun = lab.session.current[0].started
    assert begun is not None
    ticks = itertools.count()
    monkeypatch.setattr(clock, "wall_clock", lambda: begun + MINUTE * next(ticks))
    page = lab.root / "autoresearch.md"
    page.write_text(re.sub(r"(## Goal\n\n).*", r"\1below 95 ms", page.read_text()))
    agent = Blind(lab)
    agent.type("resume")
    assert re.search(r"time +\d+.* left of 10\.0 h", agent.last), "it knows how long it has"

    lab.write("src/more.sh", "if true; then\n")
    assert agent.type("smoke").code == 1, "an edit that does not run costs no run"
    assert "correct it" in agent.last
    lab.write("src/more.sh", "true\n")
    assert agent.type("smoke").code == 0
    assert len(lab.events("start")) == 1

    assert agent.tries(99.9, "a little faster").code == 0
    assert agent.does(r"(autoresearch start \d+) \(a near miss").code == 0, "it goes on from what was close"
    assert (lab.root / "src/more.sh").exists() and (lab.root / "src/base").read_text() == "9990\n"
    for number in range(4):
        agent.tries(104 + number, f"worse {number}")
    assert agent.does(r"next   (autoresearch next) \(5 in a row").code == 0, "it is sent elsewhere"
    start = re.search(r"^start +(autoresearch start \d+)$", agent.last, re.M)
    assert start is None or agent.does(r"^start +(autoresearch start \d+)$").code == 0

    lab.git("checkout", "-q", "--", "src")
    assert agent.tries(90, "much faster").code == 0
    assert "KEEP" in agent.last and "confirm about" in agent.last
    best = agent.type("show", "best", "--file", "src/base").out
    assert best == "9000\n", "the next edit is prepared from the best, outside"
    agent.tries(91, "a detour")
    again = agent.type("try", "--again", "2", "--json").json
    assert again["asi"]["hypothesis"] == "a little faster", "what is measured again is what it was"

    rows = agent.type("log").out
    one_run = [line for line in rows.splitlines() if "a detour" in line]
    assert "*" in one_run[0] and "* one run" in rows, "a number of one run is not taken for the best"

    monkeypatch.setattr(clock, "wall_clock", lambda: begun + 10 * 60 * MINUTE - 5 * MINUTE)
    before = lab.events()
    assert agent.tries(80, "too late").code == 6 and lab.events() == before
    lab.git("checkout", "-q", "--", "src")
    assert agent.does(r"take the honest number now: (autoresearch confirm .*)").code == 0
    assert "of the claim" in agent.last and "baseline" in agent.last, "both sides, and what is left of the claim"
    assert "goal       below 95 ms" in agent.last

    lab.write("STOP", "goal reached\n")
    agent.type("status")
    assert "next         nothing" in agent.last and "autoresearch try" not in agent.last
