"""Six hours of `run` in some minutes, with a hundred faults drawn at random: what stood still, and what was lost.

    uv run python benchmarks/night.py FOLDER [--hours 6] [--faults 100] [--seed 1] [--markdown]

Driver, engine, git, journal and the `anthropic` package are the real ones; the model is a server on loopback. Where
only waiting happens a clock is set forward instead: a run counts RUN_S seconds, an answer ANSWER_S, a limit what it
says. The agents are `anthropic,sampler`, so that the second has the machine while the first must rest or is gone.
Whoever would repair a login or raise a cap comes half an hour later, ends the loop with Ctrl-C, and types `run` again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

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
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace

RUN_S, ANSWER_S, HANG_S, PERSON_S, RESTART_S = 60.0, 30.0, 900.0, 1800.0, 10.0
"""What a run, an answer, a hang, a person who is not there, and a supervisor that starts the loop again take."""

REAL_HANG_S = 5.0
"""What a proposal that hangs is given of real time."""

EVERY = 1.15
"""Requests for each fault: between two faults hardly one is answered as it should be."""

CAP_USD = 3.0
"""Of one `run`: reached in the middle now and then, as what nobody knows the cost of counts whole."""

ANSWERS = ("better", "worse", "crash", "refused edit", "malformed answer", "429 with a reset time", "529", "hang",
           "broken connection", "login ended", "spending limit")  # fmt: skip
KILL = "kill of the driver"
"""The kinds of faults; `better` and `worse` are what the model says between them. A cap that is reached is one more."""

PRICES = {"input": 3.0, "output": 15.0}
USED = {"input_tokens": 8000, "output_tokens": 400, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
USD = (8000 * 3.0 + 400 * 15.0) / 1e6
"""What one answer costs."""

KNOBS = """# {a} turns; what is measured is a smooth function of these.
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
            self.clock.forward(HANG_S if "did not answer" in failure.message else ANSWER_S)
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
    def device(self, limit_s: float) -> Iterator[None]:
        with super().device(limit_s):
            yield
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


# --- the model ---


class Model:
    """Answers each request with what is drawn, and writes down what it did."""

    def __init__(self, faults: list[str], every: float, rng: random.Random) -> None:
        self.faults, self.every, self.rng = faults, every, rng
        self.done: Counter[str] = Counter()
        self.served = 0
        """Answers that were sent whole and cost something."""
        self.owed = 0.0
        self.broken_login = False
        self.ended = threading.Event()

    def draw(self) -> str:
        self.owed += 1 / self.every
        if self.faults and self.owed >= 1:
            self.owed -= 1
            return self.faults.pop()
        return "better" if self.rng.random() < 0.5 else "worse"

    def answer(self, request: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        """Return status, headers and body; a body of None is no answer, of bytes one that breaks off."""
        kind = self.draw()
        self.done[kind] += 1
        if kind == "429 with a reset time":
            return 429, {"retry-after": str(self.rng.choice([20, 120, 600]))}, error("rate_limit_error", "slow down")
        if kind == "529":
            return 529, {}, error("overloaded_error", "overloaded")
        if kind == "login ended":
            return 401, {}, error("authentication_error", "invalid x-api-key")
        if kind == "spending limit":
            return 400, {}, error("invalid_request_error", "Your credit balance is too low")
        if kind == "hang":
            return 0, {}, None
        self.served += 1
        if kind == "broken connection":
            return 200, {}, json.dumps(message([])).encode()
        if kind == "malformed answer":
            return 200, {}, message([{"type": "text", "text": '{"description": "cut off'}])
        return 200, {}, message([tool(self.edit(kind, json.dumps(request)))])

    def edit(self, kind: str, told: str) -> dict[str, Any]:
        values = {name: float(value) for name, value in re.findall(r"\\n([A-F]) = ([-\d.e]+)", told)}
        best = {"A": 0.7, "B": 0.2, "C": 71.0, "D": 0.09, "E": -4.0, "F": 0.98}
        name = self.rng.choice(sorted(best))
        old = values.get(name, 1.0)
        toward = old + (best[name] - old) * self.rng.uniform(0.3, 0.9)
        new = {"better": toward, "worse": old - (best[name] - old) * self.rng.uniform(0.2, 0.5) - 0.01}.get(
            kind, toward
        )
        text = "1 / 0" if kind == "crash" else f"{new:.5g}"
        spelled = next(iter(re.findall(rf"\\n({name} = [-\d.e]+)", told)), f"{name} = 1.0")
        wrong = "this text is nowhere" if kind == "refused edit" else spelled
        edits = [{"path": "knobs.py", "old": wrong, "new": f"{name} = {text}"}]
        return {"description": f"{name} {kind}", "hypothesis": "it is a number", "family": "size", "edits": edits}


def error(kind: str, text: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": text}}


def tool(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{time.monotonic_ns()}", "name": "propose", "input": arguments}


def message(content: list[dict[str, Any]]) -> dict[str, Any]:
    stop = "tool_use" if content and content[0]["type"] == "tool_use" else "end_turn"
    return {"id": "m", "type": "message", "role": "assistant", "model": "stand-in", "content": content,
            "stop_reason": stop, "stop_sequence": None, "usage": USED}  # fmt: skip


@contextlib.contextmanager
def serving(model: Model) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            status, headers, body = model.answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            if body is None:
                model.ended.wait()
                return
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            with contextlib.suppress(OSError):  # the loop was killed meanwhile
                self.send_response(status)
                for name, value in {"content-type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                if isinstance(body, bytes):
                    self.wfile.write(content[: len(content) // 2])
                    self.close_connection = True
                    self.connection.shutdown(2)
                    return
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        model.ended.set()
        server.shutdown()
        server.server_close()


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
            if child.returncode == 1 and not (folder / "lab" / "autoresearch.jsonl").exists():
                raise SystemExit(f"the loop does not begin; see {folder / 'loop.log'}")
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
    for name, text in (("knobs.py", KNOBS.format(a="Six")), ("bench.py", BENCH)):
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
