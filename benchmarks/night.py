"""Six hours of `run` in some minutes, with a hundred faults drawn at random: what stood still, and what was lost.

    uv run python benchmarks/night.py FOLDER [--hours 6] [--faults 100] [--seed 1] [--markdown]

Driver, engine, git, journal and the `anthropic` package are the real ones; the model is a server on loopback. Where
only waiting happens a clock is set forward instead: a run counts RUN_S seconds, an answer ANSWER_S, a hang what the
proposal was given, a limit what it says. The agents are `anthropic,sampler`, so that the second has the machine while
the first must rest or is gone. Whoever would repair a login or raise a cap comes half an hour later, ends the loop with
Ctrl-C, and types `run` again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from night_model import ANSWERS, USD, Model, serving

from autoresearch.errors import AutoresearchError
from autoresearch.journal.session import Session
from autoresearch.loop.agents.anthropic import Anthropic
from autoresearch.loop.agents.base import Agent, AgentGone, Brief, Edit, ProposalFailed
from autoresearch.loop.agents.sampler import Sampler
from autoresearch.loop.awake import Times
from autoresearch.loop.driver import Driver
from autoresearch.loop.ledger import Accounts
from autoresearch.loop.options import Options
from autoresearch.loop.turn import Turns
from autoresearch.models.endpoint import Patience
from autoresearch.runs.spec import Account
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace

RUN_S, ANSWER_S, PERSON_S, RESTART_S = 60.0, 30.0, 1800.0, 10.0
"""What a run, an answer, a person who is not there, and a supervisor that starts the loop again take."""

REAL_HANG_S = 5.0
"""What a proposal that hangs is given of real time."""

EVERY = 1.15
"""Requests for each fault: between two faults hardly one is answered as it should be."""

CAP_USD = 3.0
"""Of one `run`: reached in the middle now and then, as what nobody knows the cost of counts whole."""

KILL = "kill of the driver"
"""A fault beside those of the model; a cap that is reached is one more."""

KNOBS = """# Six knobs; what is measured is a smooth function of these.
A = 2.0  # [0.1, 10] log
B = 0.5  # [0, 1]
C = 40  # [1, 100]
D = 0.3  # [0.01, 3] log
E = 3.0  # [-10, 10]
F = 0.9  # [0.5, 0.999] log1m
"""

BENCH = """import math, os, random
exec(open("knobs.py").read())
seed = int(os.environ["AUTORESEARCH_SEED"])
x = [math.log(A / 0.7), B - 0.2, (C - 71) / 50, math.log(D / 0.09), (E + 4) / 10, math.log((1 - F) / 0.02) / 2]
print("METRIC loss=%.6f" % (1 + 0.05 * sum(v * v for v in x) + random.Random(seed).gauss(0, 0.002)))
"""

TASK = """[task]
name = "night"

[metric]
name = "loss"
direction = "lower"

[run]
command = "python3 -S bench.py"
limit_s = 60

[files]
mutable = ["knobs.py"]
immutable = ["bench.py", "autoresearch.toml"]

[stop]
max_hours = {hours}
time_for_confirm = false

[prices."stand-in"]
input = 3.0
output = 15.0
"""


class Clock:
    """A clock that is set forward; how far is kept in a file, so that the next process goes on from there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        told = json.loads(path.read_text()) if path.exists() else {}
        self.ahead, self.busy = told.get("ahead", 0.0), told.get("busy", 0.0)
        self.person_at: float | None = None

    def now(self) -> float:
        return time.time() + self.ahead

    def forward(self, seconds: float, *, busy: bool = False) -> None:
        self.ahead += seconds
        self.busy += seconds if busy else 0.0
        write(self.path, json.dumps({"ahead": self.ahead, "busy": self.busy}))
        if self.person_at is not None and self.now() >= self.person_at:
            self.person_at = None
            os.kill(os.getpid(), signal.SIGINT)

    @property
    def times(self) -> Times:
        return Times(lambda: int(self.now()), lambda: time.monotonic() + self.ahead, self.forward)


def write(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


# --- the loop's process ---


class Paced:
    """The agent of the package, whose answers take time, and who is missed when gone."""

    name, strategy = "anthropic", "best"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.agent = Anthropic("stand-in", Patience(clock.now, clock.forward, random.Random(1)))

    def ready(self) -> str | None:
        return self.agent.ready()

    def cost_usd(self, brief: Brief) -> float | None:
        return self.agent.cost_usd(brief)

    def propose(self, brief: Brief) -> Edit:
        try:
            edit = self.agent.propose(replace(brief, limit_s=REAL_HANG_S))
        except ProposalFailed as failure:
            self.clock.forward(brief.limit_s if "did not answer" in failure.message else ANSWER_S)
            raise
        except AgentGone:
            self.clock.person_at = self.clock.now() + PERSON_S
            raise
        self.clock.forward(ANSWER_S)
        return edit


class Timed(Accounts):
    """Accounts of runs that count RUN_S seconds."""

    def __init__(self, workspace: Workspace, clock: Clock) -> None:
        super().__init__(workspace, clock.times.wall, clock.times.steady)
        self.ours = clock

    @contextlib.contextmanager
    def device(self, limit_s: float, experiment: int | None = None) -> Iterator[Account]:
        with super().device(limit_s, experiment) as account:
            yield account
            self.ours.forward(RUN_S, busy=True)


@dataclass(slots=True)
class Watched(Turns):
    """Turns whose cap somebody raises, half an hour after it was reached."""

    clock: Clock

    def _is_gone(self, agent: Agent, why: AutoresearchError) -> None:
        if "left of the cap" in str(why) and self.clock.person_at is None:
            say("fault: cap")
            self.clock.person_at = self.clock.now() + PERSON_S
        Turns._is_gone(self, agent, why)


def loop(folder: Path) -> None:
    """Be one process of the loop."""
    clock, workspace = Clock(folder / "clock.json"), Workspace(folder / "lab")
    os.chdir(workspace.root)
    agents = [Paced(clock), Sampler(workspace=workspace)]
    driver = Driver(workspace, agents, Options(max_usd=CAP_USD), times=clock.times, say=say)
    driver.accounts = Timed(workspace, clock)
    driver.turns = Watched(workspace, driver.roster, driver.accounts, driver.options, clock.times, say, clock)
    say(driver.run().reason)


def say(text: str) -> None:
    print(text, flush=True)


# --- the night ---


def night(folder: Path, hours: float, count: int, seed: int) -> dict[str, Any]:
    """Make the session and let it run to its end; return what came of it."""
    rng = random.Random(seed)
    kinds = [rng.choice([*ANSWERS[2:-2], KILL]) for _ in range(count)]
    kinds[: count // 12] = [rng.choice(ANSWERS[-2:]) for _ in range(count // 12)]  # each of these costs half an hour
    rng.shuffle(kinds)
    kills, faults = kinds.count(KILL), [kind for kind in kinds if kind != KILL]
    lab = make(folder, hours)
    begun = Clock(folder / "clock.json").now()
    kill_at = sorted(rng.uniform(0, 0.95 * 3600 * hours) for _ in range(kills))
    model = Model(faults, every=EVERY, rng=rng)
    killed, people, began = 0, 0, time.monotonic()
    log = (folder / "loop.log").open("a")
    with serving(model) as url:
        env = {**os.environ, "ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "a-key", "PYTHONUNBUFFERED": "1"}
        while True:
            child = subprocess.Popen([sys.executable, __file__, str(folder), "--loop"], stdout=log, stderr=log, env=env)
            while child.poll() is None:
                passed = Clock(folder / "clock.json").now() - begun
                if killed < len(kill_at) and passed >= kill_at[killed]:
                    time.sleep(rng.uniform(0, 1.0))
                    child.kill()
                    child.wait()
                    killed += 1
                time.sleep(0.02)
            clock = Clock(folder / "clock.json")
            if clock.now() - begun >= 3600 * hours:
                break
            if time.monotonic() - began > 3600:
                raise SystemExit(f"this takes too long; see {folder / 'loop.log'}")
            people += child.returncode >= 0
            clock.forward(RESTART_S)
    clock = Clock(folder / "clock.json")
    return {
        "hours": (clock.now() - begun) / 3600, "share": clock.busy / (clock.now() - begun), "kills": killed,
        "restarts": people, "faults": dict(model.done), "left": len(model.faults), "served": model.served,
        **checked(lab, model.served, killed, model.done), "real_s": time.monotonic() - began,
    }  # fmt: skip


def make(folder: Path, hours: float) -> Path:
    lab = folder / "lab"
    lab.mkdir(parents=True)
    for name, text in (("knobs.py", KNOBS), ("bench.py", BENCH)):
        (lab / name).write_text(text)
    (lab / "autoresearch.toml").write_text(TASK.format(hours=hours))
    for words in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-q", "-m", "start")):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words], cwd=lab, check=True)
    for words in (("init", ".", "--task", "command", "--tag", "night"), ("baseline",)):
        subprocess.run([sys.executable, "-m", "autoresearch", *words], cwd=lab, check=True, stdout=subprocess.DEVNULL)
    return lab


def checked(lab: Path, served: int, kills: int, done: Counter[str]) -> dict[str, Any]:
    """Return what the journal says, after checks that nothing was lost and nothing paid twice; raise when one fails."""
    said = subprocess.run([sys.executable, "-m", "autoresearch", "resume", "--json"], cwd=lab, capture_output=True)
    assert said.returncode == 0, said.stderr
    check = subprocess.run([sys.executable, "-m", "autoresearch", "check"], cwd=lab, capture_output=True)
    assert check.returncode == 0, check.stderr
    session = load_session(Workspace(lab))
    problems = [*lost(session), *unpaid(session, served, kills, done)]
    asked = [e for e in session.ledger.entries if e.agent]
    return {
        "problems": problems,
        "experiments": len(session.experiments), "kept": session.counts["keep"], "crashed": session.counts["crash"],
        "gain": session.gain, "usd": session.ledger.cost.usd, "asked": len(asked),
        "open": sum(not e.settled for e in asked),
    }  # fmt: skip


def lost(session: Session) -> list[str]:
    """Return what was proposed and never decided, and what was decided twice."""
    problems = []
    verdicts = Counter(e.commit for e in session.experiments if e.status and e.outcome != "killed")
    problems += [f"{commit} was decided {n} times" for commit, n in verdicts.items() if n > 1]
    last = {p.turn: p for p in session.loop.proposals}
    waiting = session.proposed.turn if session.proposed else None
    for turn, proposal in last.items():
        if proposal.outcome == "made" and turn != waiting and proposal.commit not in verdicts:
            problems.append(f"turn {turn} was proposed and never decided")
    return problems


def unpaid(session: Session, served: int, kills: int, done: Counter[str]) -> list[str]:
    """Return where the ledger and the model's own account differ by more than the kills explain."""
    entries = [e for e in session.ledger.entries if e.agent == "anthropic"]
    known = [e for e in entries if e.settled and e.usage.usd]
    unknown = [e for e in entries if not e.settled or e.usage.usd is None]
    answers = round(sum(e.usage.usd or 0.0 for e in known) / USD)
    broken = done["broken connection"] + done["hang"]
    problems = []
    if answers > served:
        problems.append(f"{answers} answers are paid for, {served} were given")
    if served - answers > len(unknown):
        problems.append(f"{served - answers} answers are in no entry, and {len(unknown)} entries are open")
    if len([e for e in entries if not e.settled]) > kills + broken:
        problems.append("more entries are open than there were kills, hangs and broken connections")
    return problems


def markdown(found: dict[str, Any]) -> str:
    faults = {kind: n for kind, n in found["faults"].items() if kind not in ANSWERS[:2]} | {KILL: found["kills"]}
    rows = [f"| {kind} | {n} |" for kind, n in sorted(faults.items())]
    return "\n".join([
        f"{found['hours']:.2f} hours in {found['real_s']:.0f} s: {found['experiments']} experiments, {found['kept']} "
        f"kept, {found['crashed']} crashed, gain {found['gain']:.4f}. The machine had work "
        f"{100 * found['share']:.1f} % of the time.",
        f"{found['asked']} proposals were asked for, {found['served']} answers given, {found['usd']:.3f} USD in the "
        f"ledger, {found['open']} reservations open; the loop was started again {found['restarts']} times by a person.",
        f"Lost or paid twice: {'; '.join(found['problems']) or 'nothing'}.",
        "", "| fault | times |", "|---|--:|", *rows, f"| all | {sum(faults.values())} |",
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hours", type=float, default=6)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--loop", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    if args.loop:
        loop(args.folder.resolve())
        return
    found = night(args.folder.resolve(), args.hours, args.faults, args.seed)
    print(markdown(found) if args.markdown else json.dumps(found, indent=1))
    sys.exit(1 if found["problems"] else 0)


if __name__ == "__main__":
    main()
