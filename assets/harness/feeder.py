"""The feeder: a process that has the training data and the clock, and hands out batches to a trainer.

The trainer sees no training data before the clock runs, and only what it was handed then. Weights are taken when they
arrive and kept where the trainer cannot write, with the time at which they came.

Messages of the trainer, and what comes back:

    OPEN  {"batch_size": B, ...}   a loader   ->  LOAD {number, arrays, slots} and memory, or FAIL {reason}
    WARM  {"begin": true}          warm-up begins or ends
    NEXT  number of the loader     ->  a slot and the part of the budget that is spent, or ENDS {seconds, steps, tokens}
    LINE  {...}                    a line of the learning curve
    DONE  {...} and the weights    ->  DONE, when they are safe; then the feeder ends
"""

from __future__ import annotations

import fcntl
import itertools
import json
import math
import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.channel import Channel, Gone, Message
from harness.clock import Clock
from harness.errors import TaskError
from harness.files import write_json, written
from harness.loaders import SLOTS, Loader
from harness.task import Task

BATCH = struct.Struct("<Id")  # slot, progress
BLOCK = 2**22
MAX_LOADERS, MAX_CURVE_BYTES = 64, 2**28
WEIGHTS, CLOCK, SUMMARY, CURVE = "model.pt", "clock.json", "summary.json", "curve.jsonl"
OF_A_RUN = (WEIGHTS, CLOCK, SUMMARY, CURVE, "result.json")


class Feeder:
    """Answers one trainer until its weights are safe or it is gone."""

    def __init__(self, task: Task, channel: Channel, folder: Path, *, seed: int, begun: float) -> None:
        """`folder` takes what the run leaves; `begun` is when the trainer was started, by time.monotonic."""
        self.task, self.channel, self.folder, self.seed = task, channel, folder, seed
        self.clock = Clock(task.budget, task.allowances, begun)
        self.loaders: list[Loader] = []
        self.warming = math.nan  # when a warm-up began
        self.curve_bytes = 0
        for name in OF_A_RUN:
            (folder / name).unlink(missing_ok=True)

    def answers(self) -> dict[str, Callable[[Message], None]]:
        """What answers each kind of message."""
        return {"OPEN": self.open, "WARM": self.warm, "NEXT": self.batch, "LINE": self.line, "DONE": self.done}

    def serve(self) -> None:
        """Answer until the trainer is done or gone."""
        answers = self.answers()
        try:
            with (self.folder / CURVE).open("ab") as self.curve:
                while True:
                    message = self.channel.receive()
                    answer = answers.get(message.kind)
                    if answer is None:
                        raise Gone(f"{message.kind!r} is no message of a trainer")
                    answer(message)
                    for descriptor in message.descriptors:
                        os.close(descriptor)
                    if message.kind == "DONE":
                        return
        except Gone:  # an end without weights is the trainer's
            return

    def open(self, message: Message) -> None:
        asked = message.json()
        try:
            if len(self.loaders) >= MAX_LOADERS:
                raise TaskError(f"a run has at most {MAX_LOADERS} loaders; make them once, before the loop")
            size = asked.get("batch_size")
            loader = Loader(self.task.training(asked), size if type(size) is int else 0, self.seed)
        except TaskError as error:
            self.channel.send("FAIL", {"reason": str(error)})
            return
        flops = asked.get("flops_per_token")
        if self.task.budget.kind == "flops" and not self.clock.flops_per_token:
            if not isinstance(flops, int | float) or not 0 < flops < math.inf:
                self.channel.send("FAIL", {"reason": "a budget of flops needs build_model() in the file that is run"})
                return
            self.clock.flops_per_token = float(flops)
        self.loaders.append(loader)
        reply = {"number": len(self.loaders) - 1, "arrays": loader.layout, "slots": SLOTS, "bytes": loader.slot_bytes}
        self.channel.send("LOAD", reply, [loader.memory.descriptor])

    def warm(self, message: Message) -> None:
        if self.clock.running:
            return
        now = time.monotonic()
        if message.json().get("begin"):
            self.warming = now
        elif not math.isnan(self.warming):
            self.clock.warmup += now - self.warming
            self.warming = math.nan

    def batch(self, message: Message) -> None:
        number = int.from_bytes(message.body[:4], "little")
        if number >= len(self.loaders):
            raise Gone(f"there is no loader {number}")
        loader = self.loaders[number]
        if not self.clock.running:
            self.clock.begin()  # before the batch is there to be read
            if self.clock.late:
                late = f"{self.clock.late:.1f} s of it are charged to the budget"
                print(f"startup   took {time.monotonic() - self.clock.begun:.1f} s, {late}", flush=True)
        progress, tokens = self.clock.progress, loader.batch_size * loader.training.tokens
        if self.clock.ended or progress >= 1 or not self.clock.allows(tokens):
            if not self.clock.steps and progress < 1:
                reason = f"a batch of {loader.batch_size} takes more than the whole budget; make it smaller"
                self.channel.send("FAIL", {"reason": reason})
                return
            self.clock.end()
            self.channel.send("ENDS", {k: self.clock.ended[k] for k in ("seconds", "steps", "tokens")})
            return
        loader.fill()
        self.clock.count(tokens)
        self.channel.send("HERE", BATCH.pack(loader.hand_out(), progress))
        if self.task.budget.kind == "seconds":  # else a trainer would have seen a batch that was not counted
            loader.fill()

    def line(self, message: Message) -> None:
        """Keep a line of the learning curve: numbers and nulls under short names."""
        values = {
            str(name)[:64]: value
            for name, value in itertools.islice(message.json().items(), 64)
            if value is None or number(value) is not None
        }
        data = json.dumps(values).encode() + b"\n"
        self.curve_bytes += len(data)
        if self.curve_bytes <= MAX_CURVE_BYTES:
            self.curve.write(data)
            self.curve.flush()

    def done(self, message: Message) -> None:
        """Take the weights. They came when this message did, whatever copying them takes."""
        if not self.clock.running:
            raise Gone("weights came before the first batch")
        final = self.clock.final()
        if not message.descriptors:
            raise Gone("no weights came")
        if not sealed(message.descriptors[0]):
            raise Gone("the weights can still be changed")
        size, most = os.fstat(message.descriptors[0]).st_size, self.task.allowances.weights_bytes
        if size > most:
            final["weights_over"] = size
        else:
            with written(self.folder / WEIGHTS) as part, part.open("wb") as target:
                for start in range(0, size, BLOCK):  # by place, since the trainer shares where the file is read
                    target.write(os.pread(message.descriptors[0], min(BLOCK, size - start), start))
        reported = {
            str(name)[:64]: told
            for name, value in itertools.islice(message.json().items(), 64)
            if (told := number(value)) is not None
        }
        write_json(self.folder / SUMMARY, reported)
        write_json(self.folder / CLOCK, final)
        self.channel.send("DONE")


def number(value: object) -> float | None:
    """The value as a float; None when it is no finite number, or one that no float holds."""
    try:
        told = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return None
    return told if math.isfinite(told) else None


def sealed(descriptor: int) -> bool:
    """Whether nobody can write to this any more; true where the system has no seals."""
    if not hasattr(fcntl, "F_GET_SEALS"):
        return True
    try:
        return bool(fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE)
    except OSError:
        return False


def feed(
    task: Any, descriptor: int, folder: Path, *, seed: int, begun: float, kind: type[Feeder] = Feeder
) -> None:  # fmt: skip
    """Feed the trainer at the other end of `descriptor`; `kind` is what answers it."""
    folder.mkdir(parents=True, exist_ok=True)
    channel = Channel.inherited(descriptor)
    try:
        kind(task, channel, folder, seed=seed, begun=begun).serve()
    except TaskError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None
