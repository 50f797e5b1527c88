"""The model processes of one evaluation, seen from the grader.

What they write into a buffer is all that is taken from them. The buffer is filled with NaN before each request, so that
what was not written shows, and copied before it is looked at, so that it cannot change between two looks.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from harness.buffers import HostBuffer, make_buffer
from harness.channel import Channel, Gone, Late, SharedMemory, private_copy
from harness.errors import Verdict
from harness.kin import adopt_orphans, children, end_strangers
from harness.model_process import GRADER, MOST_SHORTER, PLACES, RUN, UNSHARED, examples
from harness.task import Task

PREFIX = "AUTORESEARCH_MODEL_PREFIX"
"""Environment variable: the words, as JSON, that put a model process into a sandbox."""

OUTCOMES = ("crash", "oom", "tampered")
"""What a model process may say of itself."""

GRACE_S, SLOWEST = 10.0, 3.0
"""Scoring may take these seconds, and this factor of what training on as many tokens took: about nine times what an
honest model takes, so that little can be trained on in the exam."""


class ModelProcess:
    """One model process, seen from the grader."""

    def __init__(self, folder: Path, load_s: float, score_s: float) -> None:
        """Start it in the snapshot `folder`. It has `load_s` seconds to make the model, `score_s` at most to score."""
        self.channel, other = Channel.pair()
        self.load_s, self.score_s, self.deadline = load_s, score_s, math.inf
        self.until: float | None = None  # when scoring must have ended, of what was asked so far
        self.last = math.inf  # and at the latest
        number = other.connection.fileno()
        kept = {k: v for k, v in os.environ.items() if not k.startswith("AUTORESEARCH_") or k in KEPT}
        words = [*json.loads(os.environ.get(PREFIX) or "[]"), sys.executable, "-m", "harness.model_process"]
        with other.connection:
            self.process = subprocess.Popen(
                words, cwd=folder, env=kept | {GRADER: str(number)}, pass_fds=[number], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        # A pipe that both processes had would be a way from the first to the second.
        threading.Thread(target=self._show, daemon=True).start()

    def _show(self) -> None:
        """Copy what it prints to where the grader's own messages go."""
        assert self.process.stdout is not None
        with suppress(OSError, ValueError):
            while block := os.read(self.process.stdout.fileno(), 2**16):
                sys.stderr.buffer.write(block)
                sys.stderr.buffer.flush()

    def device(self) -> str:
        """Wait until it has imported torch, which is all that it has done then; return what it computes on."""
        return self.answer("WAIT").decode("ascii", "replace")

    def load(self, about: dict[str, Any], weights: Path, inputs: SharedMemory, outputs: SharedMemory) -> bytes:
        """Have it make the model; return what it says of that. Raises Verdict."""
        copy = private_copy(weights)
        if math.isinf(self.deadline):  # a second try has what is left of the first
            self.deadline = time.monotonic() + self.load_s
        try:
            self.send("LOAD", about, [copy, inputs.descriptor, outputs.descriptor])
        finally:
            os.close(copy)
        return self.answer("GOOD")

    def allow(self, seconds: float) -> None:
        """Scoring may take `seconds` more."""
        now = time.monotonic()
        if self.until is None:
            self.until, self.last = now + GRACE_S, now + self.score_s
        self.until += seconds
        self.deadline = min(self.until, self.last)

    def send(self, kind: str, body: bytes | dict[str, Any] = b"", descriptors: Sequence[int] = ()) -> None:
        with suppress(Gone):  # that it has ended shows when its answer is waited for
            self.channel.send(kind, body, descriptors)

    def answer(self, expected: str) -> bytes:
        """Wait for an answer. Raises Verdict when it is another one, or none comes."""
        try:
            message = self.channel.receive(self.deadline - time.monotonic())
            for descriptor in message.descriptors:
                os.close(descriptor)
            if message.kind == "FAIL":
                about = message.json()
                outcome = about.get("outcome")
                raise Verdict(
                    outcome if outcome in OUTCOMES else "crash", " ".join(str(about.get("reason")).split())[:300]
                )
            if message.kind != expected:
                raise Gone(f"it said {message.kind!r}")
        except Late:
            raise Verdict("over_budget", "the model took too long to be scored") from None
        except Gone as error:
            self.end()
            raise Verdict("crash", f"the model's process ended while it was scored ({error})") from None
        return message.body

    def end(self) -> None:
        """Kill it and what it has started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.channel.close()


KEPT = ("AUTORESEARCH_CACHE", "AUTORESEARCH_RUN_ID", "AUTORESEARCH_SEED")


class Models:
    """The two model processes of one evaluation. Both start at once; the second waits until the first is dead."""

    def __init__(self, task: Task, weights: Path, training_s: float) -> None:
        """`training_s` is how long training took for each token."""
        self.weights, allowed = weights, task.allowances
        self.example_s = SLOWEST * training_s * task.tokens_per_example
        adopt_orphans()
        self.processes = [ModelProcess(task.folder, allowed.startup_s, allowed.model_s) for _ in range(2)]
        self.known = children()
        self.at: int | None = None
        self.batch = 0

    def open(self, which: int, example: np.ndarray, outputs: Sequence[int], batch: int) -> None:
        """Have process `which`, 0 or 1, make the model for inputs like `example`, with `outputs` numbers for each.

        Raises Verdict, and ValueError unless they come one after the other."""
        if which != (0 if self.at is None else 1) or which == self.at:
            raise ValueError("the model processes come one after the other")
        if which == 1:
            self.processes[0].end()
            end_strangers(self.known)
        self.at, self.batch = which, batch
        device = self.processes[which].device()
        size = -(-batch * example.nbytes // 64) * 64
        self.memory = SharedMemory.make(size + 8 * batch * MOST_SHORTER)
        self.inputs = self.memory.array(example.dtype.str, (batch, *example.shape))
        self.places = self.memory.array("<i8", (batch * MOST_SHORTER,), size)
        self.outputs = make_buffer(count := batch * math.prod(outputs), device)
        about = {
            "module": "train", "inputs": {"dtype": example.dtype.str, "shape": self.inputs.shape}, "places": size,
            "outputs": list(outputs), "cuda": self.outputs.handle.hex() if device == "cuda" else "",
        }  # fmt: skip
        self.shape = tuple(outputs)
        try:
            answer = self.processes[which].load(about, self.weights, self.memory, self.outputs.memory)
        except Verdict as verdict:
            if not about["cuda"] or UNSHARED not in str(verdict):
                raise
            print(f"logits go over the host ({verdict})", file=sys.stderr, flush=True)
            self.outputs = HostBuffer(count)
            answer = self.processes[which].load(about | {"cuda": ""}, self.weights, self.memory, self.outputs.memory)
        self.by_place = answer == PLACES

    def score(self, inputs: np.ndarray, places: np.ndarray | None = None) -> Iterator[tuple[slice, Any]]:
        """The model's outputs for `inputs` [N, ...]: slices of them, each with float32 [n, ...], numpy or on the GPU.

        With `places` [N] only the output at that place of each example. Every request has as many examples, the last
        filled up with the first, so that the same kernels compute the same numbers wherever a row lies. The next
        request runs while the caller computes. When memory does not suffice, fewer examples go in one. A model that is
        `by_place` can be asked for places of examples that are cut off behind them.
        """
        process, start = self.processes[self.at or 0], 0
        process.allow(self.example_s * -(-len(inputs) // self.batch) * self.batch)
        shape = self.shape if places is None else self.shape[1:]
        count = self._ask(process, inputs, places, start)
        while start < len(inputs):
            try:
                process.answer("GOOD")
            except Verdict as verdict:
                if verdict.outcome != "oom" or self.batch == 1:
                    raise
                self.batch //= 2
                count = self._ask(process, inputs, places, start)
                continue
            here = slice(start, min(start + count, len(inputs)))
            copy = self.outputs.copy(count, shape)[: here.stop - start]
            start = here.stop
            if start < len(inputs):
                count = self._ask(process, inputs, places, start)
            yield here, copy

    def _ask(self, process: ModelProcess, inputs: np.ndarray, places: np.ndarray | None, start: int) -> int:
        """Send a request for the examples from `start` on; return how many there are in it."""
        count, length, shape = self.batch, 1, self.shape
        if inputs.ndim > 1:
            length = inputs.shape[1]
            count *= self.inputs.shape[1] // length
        if self.by_place and places is not None:
            count = min(count, len(inputs) - start)  # there one place is the same in any company
        chosen = np.arange(start, start + count) % len(inputs)
        examples(self.inputs, count, length)[:] = inputs[chosen]
        if places is not None:
            self.places[:count], shape = places[chosen], self.shape[1:]
        self.outputs.spoil(count * math.prod(shape))
        process.send("RUNS", RUN.pack(count, length, int(places is not None)))
        return count

    def flops(self) -> float:
        """Floating-point operations of training on one example, as the model's process counts them."""
        process = self.processes[self.at or 0]
        process.send("FLOP")
        told = process.answer("GOOD")
        flops = float(np.frombuffer(told, "<f8")[0]) if len(told) == 8 else math.nan
        if not 0 < flops < math.inf:
            raise Verdict("crash", "the model's process gave no number of floating-point operations")
        return flops

    def close(self) -> None:
        for process in self.processes:
            process.end()
        end_strangers(self.known)
