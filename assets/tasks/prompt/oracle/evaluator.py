"""One search, seen from the evaluator: it has model, target and counter, and the optimiser is a process that asks.

Every request is charged by its shape before anything is computed, and refused when it does not fit any more. What
counts is the best string of L tokens whose loss was asked for; nothing that the optimiser says of it is looked at. The
seconds in which the evaluator waits for the next request are the optimiser's own, and are limited as well.
"""

from __future__ import annotations

import builtins
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from harness.channel import Channel, Gone, Late, Message
from harness.clock import OVERLOADED
from harness.device import cores
from harness.errors import Verdict
from harness.kin import adopt_orphans, children, end_strangers
from harness.models import PREFIX

from oracle.client import ORACLE
from oracle.frozen import Frozen
from oracle.wire import LEFT, MOST, REQUEST, Shared

STARTUP_S = 60.0
"""What the optimiser may take to import its file, before it knows the target."""

KEPT = ("AUTORESEARCH_RUN_ID",)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a search may spend, and by which program."""

    folder: Path
    """Where the program is: the workspace, or the snapshot of it that this process runs in."""
    flops: float
    own_s: float
    """Seconds of the optimiser's own arithmetic."""
    module: str = "optimizer"
    settings: dict[str, Any] = field(default_factory=dict)
    """Arguments of its `optimize` beside oracle and rng."""
    shown: bool = False
    """Whether what it prints is shown. Not where its target counts: it would tell the target, and what solves it."""


@dataclass(slots=True)
class Found:
    """What came of one search."""

    loss: float = float("inf")
    ids: np.ndarray | None = None
    """The best string [L]."""
    match: float = 0.0
    """The part of the target that is the likeliest token."""
    flops: float = 0.0
    requests: int = 0
    own_s: float = 0.0
    log: list[tuple[float, float]] = field(default_factory=list)
    """(FLOPs spent, best loss) after each request that changed the latter."""


class Search:
    """One optimiser process and one target."""

    def __init__(self, frozen: Frozen, allowed: np.ndarray, target: np.ndarray, seed: int, terms: Terms) -> None:
        """`allowed` are the ids that strings may have; `target` [T]; `seed` of the optimiser's random numbers."""
        self.frozen, self.target, self.seed, self.terms = frozen, target, seed, terms
        self.found = Found()
        self.shared = Shared(frozen.vocab, frozen.width, frozen.length)
        self.shared.embeddings()[:] = frozen.model.table.detach().float().cpu().numpy()
        self.shared.allowed()[allowed] = 1
        self.may = np.zeros(frozen.vocab, bool)  # what the optimiser cannot reach
        self.may[allowed] = True

    def run(self) -> Found:
        """Start the optimiser, answer it until it is done, and score the best string. Raises Verdict."""
        adopt_orphans()
        before = children()
        self.channel, other = Channel.pair()
        try:
            self.process = self._start(other)
            self._expect("WAIT", STARTUP_S)
            self._load()
            while self._answer():
                pass
        finally:
            self._end()
            end_strangers(before)
        found = self.found
        if found.ids is None:
            raise Verdict("no_metric", f"the optimiser asked for the loss of no string of {self.frozen.length} tokens")
        found.loss, found.match = self.frozen.score(found.ids, self.target)
        return found

    def _start(self, other: Channel) -> subprocess.Popen[bytes]:
        number = other.connection.fileno()
        kept = {k: v for k, v in os.environ.items() if not k.startswith("AUTORESEARCH_") or k in KEPT}
        words = [*json.loads(os.environ.get(PREFIX) or "[]"), sys.executable, "-m", "oracle", self.terms.module]
        output = None if self.terms.shown else subprocess.DEVNULL
        with other.connection:
            return subprocess.Popen(
                words, cwd=self.terms.folder, env=kept | {ORACLE: str(number)}, pass_fds=[number],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    def _load(self) -> None:
        about = {
            "vocab": self.frozen.vocab, "width": self.frozen.width, "length": self.frozen.length,
            "target": self.target.tolist(), "seed": self.seed, "budget": self.terms.flops,
            "scales": self.frozen.scales, "settings": self.terms.settings,
        }  # fmt: skip
        with suppress(Gone):  # shows when the next message is waited for
            self.channel.send("LOAD", about, [self.shared.memory.descriptor])

    def _answer(self) -> bool:
        """Answer one message; whether there may be more."""
        asked = time.monotonic()
        message = self._expect("", self.terms.own_s - self.found.own_s)
        self.found.own_s += time.monotonic() - asked
        if message.kind == "DONE":
            return False
        rows, length, soft, scale = self._request(message)
        price = rows * self.frozen.price(message.kind, length)
        answer = "FULL"
        if self.found.flops + price <= self.terms.flops:
            self.found.flops += price
            self.found.requests += 1
            self._compute(message.kind, rows, length, soft, scale)
            answer = "GOOD"
        with suppress(Gone):
            self.channel.send(answer, LEFT.pack(self.terms.flops - self.found.flops))
        return True

    def _request(self, message: Message) -> tuple[int, int, bool, float]:
        """What is asked for. Raises Verdict where it is no request: `oracle.client` sends none of these."""
        if message.kind not in MOST or len(message.body) != REQUEST.size or message.descriptors:
            raise Verdict("tampered", "the optimiser sent what is no request")
        rows, length, soft, scale = REQUEST.unpack(message.body)
        whole = message.kind == "GRAD"
        least = self.frozen.length if whole else 0 if message.kind == "NEXT" else 1
        fits = 1 <= rows <= MOST[message.kind] and least <= length <= self.frozen.length
        if not fits or soft not in ((0, 1) if whole else (0,)):
            raise Verdict("tampered", f"the optimiser asked for {rows} strings of {length} tokens in one request")
        if not 0 <= scale <= 1 or (scale != 1 and not (whole and self.frozen.scales)):
            raise Verdict("tampered", f"the optimiser asked for branches scaled by {scale}")
        return rows, length, bool(soft), scale

    def _compute(self, kind: str, rows: int, length: int, soft: bool, scale: float) -> None:
        # A copy: the optimiser could change the memory between the check and the use.
        given = (self.shared.weights(rows) if soft else self.shared.ids(rows, length)).copy()
        if soft and not np.isfinite(given).all():
            raise Verdict("tampered", "the optimiser sent weights that are no numbers")
        if not soft and not (((given >= 0) & (given < len(self.may))).all() and self.may[given].all()):
            raise Verdict("tampered", "the optimiser sent a string with an id that is not allowed")
        if kind == "LOSS":
            losses = self.frozen.losses(given, self.target)
            self.shared.answer(rows)[:] = losses
            best = int(losses.argmin())
            if length == self.frozen.length and losses[best] < self.found.loss:
                self.found.loss, self.found.ids = float(losses[best]), given[best].astype(np.int64)
                self.found.log.append((self.found.flops, self.found.loss))
        elif kind == "GRAD":
            for where, what in zip(
                self.shared.gradients(rows), self.frozen.gradients(given, self.target, scale), strict=True
            ):
                where[:] = what
        else:
            self.shared.answer(rows, self.frozen.vocab)[:] = self.frozen.following(given)

    def _expect(self, kind: str, limit_s: float) -> Message:
        """The next message, of this kind unless that is empty. Raises Verdict when it says that it has failed, has
        ended, or takes too long."""
        try:
            if limit_s <= 0:
                raise Late
            message = self.channel.receive(limit_s)
        except Late:
            reason = f"the optimiser took over {limit_s + self.found.own_s:.3g} s of its own for one target"
            load = os.getloadavg()[0]
            if load > OVERLOADED * cores():
                raise Verdict("killed", f"{reason}, but the machine was overloaded (load {load:.1f})") from None
            raise Verdict("over_budget", reason) from None
        except Gone as error:
            raise Verdict("crash", f"the optimiser's process ended ({error})") from None
        if message.kind == "FAIL":
            raise Verdict("crash", failure(message))
        if kind and message.kind != kind:
            raise Verdict("tampered", f"the optimiser sent something before it knew its target, instead of {kind}")
        return message

    def _end(self) -> None:
        if hasattr(self, "process"):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.channel.close()
        os.close(self.shared.memory.descriptor)


def failure(message: Message) -> str:
    """Why an optimiser failed: the kind of error and a line, no word of its own, since that could tell its target."""
    try:
        about = message.json()
    except Gone:
        about = {}
    name, line = about.get("type"), about.get("line")
    known = isinstance(name, str) and isinstance(getattr(builtins, name, None), type)
    where = f" at line {line}" if type(line) is int and 0 < line < 100_000 else ""
    return f"the optimiser raised {name if known else 'an error'}{where}; to see it: python optimizer.py"
