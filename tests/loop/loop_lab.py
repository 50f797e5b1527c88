"""Agents for tests of the loop, and a way to run it in a lab whose metric is what `src/run.sh` prints."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lab import Called, Lab

from autoresearch.journal.ledger import Usage
from autoresearch.loop.agents.base import AgentGone, Brief, Edit
from autoresearch.loop.awake import Times
from autoresearch.loop.driver import Driver
from autoresearch.loop.options import Ended, Options

SCRIPT = "src/run.sh"

GREEDY = {"policy": "greedy"}


class Scripted:
    """An agent that does what a list says: each time a value to print, an exception, or a function of the brief."""

    def __init__(self, *steps: Any, name: str = "scripted", cost: float | None = 0.0) -> None:
        self.steps, self.name, self.cost = [*steps], name, cost
        self.briefs: list[Brief] = []

    def ready(self) -> str | None:
        return None

    def cost_usd(self, brief: Brief) -> float | None:
        return self.cost

    def propose(self, brief: Brief) -> Edit:
        self.briefs.append(brief)
        if not self.steps:
            raise AgentGone(f"{self.name} has nothing left", "see: autoresearch log")
        step = self.steps.pop(0)
        if isinstance(step, BaseException):
            raise step
        if callable(step):
            done = step(brief)
            assert isinstance(done, Edit)
            return done
        return prints(brief, step)


def write(path: Path, text: str) -> None:
    """Put a plain file at a place, whatever an edit before has put there: never through a link, which leads away."""
    for place in (path.parent, path):
        if place.is_symlink() or (place.exists() and not place.is_dir() and not place.is_file()):
            place.unlink()
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def prints(brief: Brief, value: object, usd: float | None = 0.0, **asi: str) -> Edit:
    """Make the mutable script print a value."""
    write(brief.folder / SCRIPT, f"echo METRIC total_ms={value}\n")
    return Edit(f"prints {value}", asi, Usage(usd=usd))


def writes(text: str, description: str = "an edit", **asi: str) -> Callable[[Brief], Edit]:
    """Return a step that writes the mutable script."""

    def step(brief: Brief) -> Edit:
        write(brief.folder / SCRIPT, text)
        return Edit(description, asi)

    return step


class Better:
    """Prints one less than its parent, always: also for the program in its own process."""

    name = "better"

    def ready(self) -> str | None:
        return None

    def cost_usd(self, brief: Brief) -> float | None:
        return 0.25

    def propose(self, brief: Brief) -> Edit:
        value = int((brief.folder / SCRIPT).read_text().strip().rpartition("=")[2]) - 1
        return prints(brief, value, 0.125)


class NotReady(Better):
    """Has a mistake in `ready`."""

    def ready(self) -> str | None:
        raise ZeroDivisionError("of the agent: in it")


class Clockwork:
    """Time that passes only while somebody waits."""

    def __init__(self, now: int = 1_800_000_000) -> None:
        self.now, self.passed, self.asleep = float(now), 0.0, 0.0
        self.at: list[tuple[float, Callable[[], None]]] = []
        """(seconds passed, what happens then)."""

    def sleep(self, seconds: float) -> None:
        self.now, self.passed = self.now + seconds, self.passed + seconds
        for event in [event for event in self.at if event[0] <= self.passed]:
            self.at.remove(event)
            event[1]()

    @property
    def times(self) -> Times:
        return Times(lambda: int(self.now), lambda: self.passed, self.sleep)


def loop(
    lab: Lab, *agents: Any, clock: Clockwork | None = None, said: list[str] | None = None, **options: Any
) -> Ended:
    """Run the loop in this process."""
    times = (clock or Clockwork()).times
    say = (lambda text: None) if said is None else said.append
    return Driver(lab.workspace, agents, Options(**options), times=times, say=say).run()


def proposals(lab: Lab) -> list[tuple[str, str]]:
    """Return (outcome, reason) of each proposal of a journal."""
    return [(e["outcome"], e.get("reason", "")) for e in lab.events("proposal")]


def replay_file(path: Path, *edits: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(edit) + "\n" for edit in edits))
    return path


def run_cli(lab: Lab, *words: str) -> Called:
    return lab.call("run", *words)


def names(agents: Sequence[Any]) -> str:
    return ",".join(agent.name for agent in agents)
