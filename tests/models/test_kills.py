"""Killed at any instant, `generate` and `judge` lose no answer that they have and ask for none again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chat_server import COST, PRICE, Body, Desk, by_mark, by_model, judging, wanted, writer
from drawn import EVERY, dice
from json_server import Said
from waiting import PATIENCE_S, wait_for

KILLS = 50 if EVERY else 2

WORDS = {
    "generate": ("--about", "units", "--model", "t", "--subtype", "a", "--subtype", "b", "--prompts", "20"),
    "judge": ("--prompts", "prompts.jsonl", "--base", "b", "--tuned", "t", "--judge", "j"),
}
MADE = {"generate": "out/examples.jsonl", "judge": "out/judgments.jsonl"}
EXAMPLES = {"generate": ("--examples", "12" if EVERY else "1"), "judge": ()}
PROMPTS = 120 if EVERY else 8


def tuned(body: Body) -> Said:
    return writer({**body, "messages": [*body["messages"], {"role": "user", "content": "well?"}]})


PLAY = by_model(b=writer, t=lambda body: writer(body) if wanted(body) else tuned(body), j=judging(by_mark("well")))


class Trap:
    """A play that stops at its nth request, so that a process can be killed while that is under way."""

    def __init__(self) -> None:
        self.served: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.set(0)

    def set(self, at: int) -> None:
        self.left, self.sprung, self.over = at, threading.Event(), threading.Event()

    def __call__(self, body: Body) -> Said:
        with self._lock:
            self.served[json.dumps(body, sort_keys=True)] += 1
            self.left -= 1
            caught, over = self.left == 0, self.over
        if caught:
            self.sprung.set()
            over.wait(PATIENCE_S)
        return PLAY(body)


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file that a kill may have torn at its end."""
    content = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in content.splitlines(keepends=True) if line.endswith(b"\n")]


def under_way(path: Path) -> list[dict[str, Any]]:
    """Return the requests that were sent and have neither an answer nor a failure."""
    ended = {line["id"] for line in lines(path) if line["type"] in ("answer", "failed")}
    return [line for line in lines(path) if line["type"] == "ask" and line["id"] not in ended]


def wait_until(reached: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    wait_for(lambda: reached() or process.poll() is not None, "an instant to kill at")


@pytest.mark.slow
@pytest.mark.parametrize("command", WORDS)
def test_kills_at_random_instants_lose_nothing_and_nothing_is_asked_twice(desk: Desk, command: str) -> None:
    rng, trap, path = dice(f"kills of {command}"), Trap(), desk.folder / "out/calls.jsonl"
    prices = [word for model in "btj" for word in ("--price", f"{model}={PRICE}")]
    words = [command, "out", *WORDS[command], *EXAMPLES[command], *prices, "--concurrency", "4"]
    desk.write_rows("prompts.jsonl", [{"prompt": f"question {n}"} for n in range(PROMPTS)])
    with desk.asking(PLAY):
        assert desk.call(*words).code == 0
    undisturbed = desk.rows(MADE[command])
    (desk.folder / "out").rename(desk.folder / "undisturbed")

    kept: dict[str, str] = {}
    left_open: set[str] = set()
    killed = 0
    with desk.asking(trap):
        while killed < KILLS:
            before, how = len(lines(path)), rng.choice(["asked", "answered", "size", "interrupt"])
            trap.set(rng.randint(1, 4) if how in ("asked", "interrupt") else 0)
            size = (path.stat().st_size if path.exists() else 0) + rng.randint(1, 4000)
            reached = {
                "asked": trap.sprung.is_set,
                "interrupt": trap.sprung.is_set,
                "answered": lambda before=before: len(lines(path)) > before + 3,
                "size": lambda size=size: path.exists() and path.stat().st_size >= size,
            }[how]
            process = subprocess.Popen(
                [sys.executable, "-m", "autoresearch", *words], cwd=desk.folder, env=dict(os.environ),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )  # fmt: skip
            wait_until(reached, process)
            ended = process.poll() is not None
            process.send_signal(signal.SIGINT if how == "interrupt" else signal.SIGKILL)
            said = process.communicate()[1].decode()
            trap.over.set()
            if ended:
                assert process.returncode == 0, said
                break  # all was answered; there is nothing left to kill
            killed += 1
            assert how != "interrupt" or f"go on: autoresearch {command} out" in said, said
            for line in lines(path):
                if line["type"] == "answer":
                    assert kept.setdefault(line["key"], line["text"]) == line["text"]
            left_open |= {line["id"] for line in under_way(path)}
        assert killed == KILLS, "too little work for so many kills"
        done = desk.call(*words, "--json")
    assert done.code == 0 and desk.rows(MADE[command]) == undisturbed
    answers = [line for line in lines(path) if line["type"] == "answer"]
    assert len({line["key"] for line in answers}) == len(answers)
    assert kept.items() <= {line["key"]: line["text"] for line in answers}.items()
    # Nothing was sent that had not been written down before, and sent again only what a kill had left under way.
    asks = Counter(json.dumps(line["request"], sort_keys=True) for line in lines(path) if line["type"] == "ask")
    assert {asked: count for asked, count in trap.served.items() if count > asks[asked]} == {}
    left = under_way(path)
    assert {line["id"] for line in left} == left_open and asks.total() == len(answers) + len(left)
    # The ledger has every answer as it was, and what was under way whole.
    cost = done.json["cost"]
    assert cost["open"] == len(left)
    assert cost["usd"] == pytest.approx(len(answers) * COST + sum(line["usd"] for line in left), abs=1e-8)
