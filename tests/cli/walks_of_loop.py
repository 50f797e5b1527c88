"""Walks from what the loop without a person refuses: its agents are lists of edits, or a class of this module."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from lab import Lab
from walking import Ask, Words, edit, ready, then, walk

from autoresearch.journal.ledger import Usage
from autoresearch.journal.session import Session
from autoresearch.loop.agents.base import Brief, Edit
from autoresearch.search.strategies import Proposal

NAMED = "walks_of_loop:{}"


def run(agent: str, *words: str) -> Words:
    """Return the words of a loop that ends with its first experiment."""
    return ("run", "--agent", agent, "--max-experiments", "1", *words)


def listed(lab: Lab, *values: int, usd: float = 0.0, script: str = "") -> str:
    """Return an agent that proposes these values of `src/free`, one after another; `script` goes before the metric."""
    whole = script + "echo METRIC total_ms=$(( $(cat src/kept) + $(cat src/free) ))\n"
    lines = [
        {"description": f"free is {value}", "usage": {"usd": usd},
         "files": {"src/free": f"{value}\n", **({"src/run.sh": whole} if script else {})}}
        for value in values
    ]  # fmt: skip
    path = lab.root.parent / "edits.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return f"replay:{path}"


class Agent:
    """Makes `src/free` one less, unless a subclass is in the way of that."""

    name = "mine"

    def ready(self) -> str | None:
        return None

    def cost_usd(self, brief: Brief) -> float | None:
        return 0.0

    def propose(self, brief: Brief) -> Edit:
        path = brief.folder / "src/free"
        path.write_text(f"{int(path.read_text()) - 1}\n")
        return Edit("one less")


def gate() -> Path:
    """Return the file that the agents below wait for; a walk names it."""
    return Path(os.environ["THE_GATE"])


class NeedsThat(Agent):
    def ready(self) -> str | None:
        return None if gate().exists() else f"there is no {gate().name}: touch it"


class NeedsSomething(Agent):
    def ready(self) -> str | None:
        return None if gate().exists() else "something is missing"


class BreaksWithoutThat(Agent):
    def ready(self) -> str | None:
        return gate().read_text() or None


class EndedByHand(Agent):
    """A person presses Ctrl-C while it is at work, the first time."""

    def propose(self, brief: Brief) -> Edit:
        if gate().exists():
            return super().propose(brief)
        gate().touch()
        raise KeyboardInterrupt


class StoppedByHand(Agent):
    """A person makes the file STOP while it is at work, the first time."""

    def propose(self, brief: Brief) -> Edit:
        if not gate().exists():
            gate().touch()
            (gate().parent / "a lab/STOP").touch()
        return super().propose(brief)


class PriceUnknown(Agent):
    def cost_usd(self, brief: Brief) -> float | None:
        return None


class TooDear(Agent):
    def cost_usd(self, brief: Brief) -> float | None:
        return 0.5

    def propose(self, brief: Brief) -> Edit:
        done = super().propose(brief)
        return Edit(done.description, usage=Usage(usd=0.25))


class Nowhere:
    """A strategy that asks for an experiment that there is not."""

    def propose(self, session: Session, rng: random.Random) -> Proposal:
        return Proposal("improve", 99, "no reason")


class Breaks:
    """A strategy with a mistake in it."""

    def propose(self, session: Session, rng: random.Random) -> Proposal:
        raise ZeroDivisionError("of the strategy")


def with_gate(lab: Lab, env: pytest.MonkeyPatch) -> Path:
    env.setenv("THE_GATE", str(lab.root.parent / "gate"))
    return gate()


# --- who proposes ---


@walk("loop/agents/replay.py __init__: the agent replay needs a file of edits")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(run("replay"), lambda: run(listed(lab, 20)))


@walk("loop/agents/replay.py propose: all edits of {} were proposed")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    ready(lab, run(listed(lab, 20)))
    more = then(lambda: listed(lab, 20, 10), run(listed(lab, 20)))
    return Ask(run(listed(lab, 20)), more)


@walk("loop/registry.py agents_of: no agent is named")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(run(","), lambda: run(listed(lab, 20)))


@walk("loop/registry.py agents_of: the agent {} is named twice")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    agent = listed(lab, 20)
    return Ask(run(f"{agent},{agent}"), lambda: run(agent))


@walk("loop/registry.py agent_of: there is no agent {}{}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(run("nobody"), lambda: run(NAMED.format("Agent")))


@walk("loop/registry.py agent_of: there is no agent {}{}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    env.syspath_prepend(lab.root.parent)
    (lab.root.parent / "own_agent_that_breaks.py").write_text("1 / 0\n")
    return Ask(run("own_agent_that_breaks:Agent"), lambda: run(NAMED.format("Agent")))


@walk("loop/registry.py agent_of: the agent {} cannot be made so: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(run("sampler:MODEL"), lambda: run(NAMED.format("Agent")))


@walk("loop/registry.py agent_of: the agent {} cannot be made so: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(run("pathlib:Path"), lambda: run(NAMED.format("Agent")))


@walk("loop/driver.py _not_ready: the agent {} is not ready: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    agent = run(NAMED.format("NeedsThat"))
    return Ask(agent, then(with_gate(lab, env).touch, agent))


@walk("loop/driver.py _not_ready: the agent {} is not ready: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    agent = run(NAMED.format("BreaksWithoutThat"))
    return Ask(agent, then(with_gate(lab, env).touch, agent))


@walk("loop/driver.py _not_ready: the agent {} is not ready: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    with_gate(lab, env)
    return Ask(run(NAMED.format("NeedsSomething")), lambda: run(NAMED.format("Agent")))


@walk("loop/driver.py _not_ready: the agent {} is not ready: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    agent = listed(lab, 20)
    path = lab.root.parent / "edits.jsonl"
    right = path.read_text()
    path.write_text("{}\n")
    return Ask(run(agent), then(lambda: path.write_text(right), run(agent)))


@walk("loop/turn.py _cannot_pay: raise --max-usd or [stop] max_usd, or name another agent after it")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    agent = NAMED.format("TooDear")
    return Ask(run(agent, "--max-usd", "0.1"), lambda: run(agent, "--max-usd", "1"))


@walk("loop/turn.py _cannot_pay: raise --max-usd or [stop] max_usd, or name another agent after it")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    both = f"{NAMED.format('TooDear')},{listed(lab, 20)}"
    return Ask(run(NAMED.format("TooDear"), "--max-usd", "0.1"), lambda: run(both, "--max-usd", "0.1"))


@walk("loop/turn.py _cannot_pay: leave out --max-usd and [stop] max_usd, or name another agent after it")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    agent = NAMED.format("PriceUnknown")
    return Ask(run(agent, "--max-usd", "9"), lambda: run(agent))


# --- what it begins from ---


@walk("loop/place.py check_place: {} has edits that were not measured, and the loop leaves them alone")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab, 25)
    lab.write("src/new", "mine\n")
    return Ask(run(listed(lab, 20)))


@walk("loop/place.py check_place: {} has edits that were not measured, and the loop leaves them alone")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab, 25)
    aside = then(lambda: lab.git("stash", "-q", "-u"), run(listed(lab, 20)))
    return Ask(run(listed(lab, 20)), aside, {'autoresearch try -m "..."': "git stash list"})


@walk("loop/place.py check_place: there is a commit that was not measured")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab, 25)
    lab.commit("by hand")
    return Ask(run(listed(lab, 20)))


@walk("loop/place.py put_on_branch: the commit of a proposal is gone from the repository")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    with_gate(lab, env)
    agent = run(NAMED.format("StoppedByHand"))
    ready(lab, agent)
    (lab.root / "STOP").unlink()
    proposed = lab.session.proposed
    assert proposed is not None and proposed.commit is not None
    lab.git("gc", "-q", "--prune=now")
    assert lab.git("cat-file", "-t", proposed.commit, check=False) == "", "nothing keeps it"
    return Ask(agent)


@walk("search/strategies.py parent_of: choose another with --strategy, or see what there is: autoresearch log")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    agent = listed(lab, 20)
    return Ask(run(agent, "--strategy", NAMED.format("Nowhere")), lambda: run(agent, "--strategy", "best"))


@walk("search/strategies.py parent_of: choose another with --strategy, or see what there is: autoresearch log")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("next", "--strategy", NAMED.format("Nowhere")), lambda: ("next", "--strategy", "best"))


@walk("search/strategies.py propose: the strategy {} has failed ({}: {})")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    agent = listed(lab, 20)
    return Ask(run(agent, "--strategy", NAMED.format("Breaks")), lambda: run(agent, "--strategy", "best"))


# --- how it ends ---


@walk("loop/driver.py run: interrupted")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    with_gate(lab, env)
    return Ask(run(NAMED.format("EndedByHand")))


@walk("loop/driver.py _check_stops: for more, raise {}, or leave it out")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    agent = listed(lab, 20)
    return Ask(run(agent, "--max-hours", "0"), lambda: run(agent))


@walk("loop/driver.py _check_stops: for more, raise {}, or leave it out")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    agent = listed(lab, 20, usd=0.5)
    return Ask(run(agent, "--max-usd", "0"), lambda: run(agent, "--max-usd", "1"))


@walk("loop/driver.py _turn: see: autoresearch log")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    # What was measured already, five times.
    return Ask(run(listed(lab, 50, 50, 50, 50, 50, 20)))


@walk("loop/driver.py _count: see what autoresearch doctor says of it, then: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    well = with_gate(lab, env)
    agent = listed(lab, 20, script=f"[ -e '{well}' ] || kill -9 $$\n")
    again = f"autoresearch run --agent {agent}"
    return Ask(run(agent), lambda: None, {again: f"touch {well} && {again}"})
