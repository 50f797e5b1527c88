"""The optimiser's side: `Oracle`, which is all that an optimiser has of the model.

    python -m oracle MODULE      (the evaluator starts it; the descriptor of the connection is in AUTORESEARCH_ORACLE)

It calls `optimize(oracle, rng)` of the module, which asks until the budget is spent. Nothing here is trusted: the
evaluator checks every request again, and counts by itself.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from harness.channel import Channel, Gone, Message, SharedMemory
from harness.files import read_json
from harness.finish import run_dir

from oracle.wire import LEFT, MOST, REQUEST, Shared

ORACLE = "AUTORESEARCH_ORACLE"
"""Environment variable: the descriptor of the connection to the evaluator."""


class Spent(Exception):
    """The budget does not allow what was asked for; a search that lets it pass has simply ended."""


@dataclass(frozen=True, slots=True)
class Gradient:
    """What `Oracle.grad` gives, for one string or for several."""

    loss: np.ndarray
    """[] or [B]"""
    wrong: np.ndarray
    """How many target tokens are not the likeliest, [] or [B]."""
    slope: np.ndarray
    """Of the loss by the weights, [L, V] or [B, L, V]."""


class Oracle:
    """A frozen model and one target. L tokens of a string, V vocabulary, D width of the embeddings."""

    def __init__(self, channel: Channel, message: Message) -> None:
        about = message.json()
        self._channel = channel
        self._shared = Shared(
            about["vocab"], about["width"], about["length"], SharedMemory.given(message.descriptors[0])
        )
        self.vocab: int = about["vocab"]
        self.length: int = about["length"]
        """L"""
        self.target: list[int] = about["target"]
        self.budget: float = about["budget"]
        """FLOPs of the whole search."""
        self.left: float = about["budget"]
        """FLOPs that are left."""
        self.scales: bool = about["scales"]
        """Whether `grad` takes another `skip_scale` than 1."""
        self.embeddings = self._shared.embeddings().copy()
        """float32 [V, D]"""
        self.allowed = np.flatnonzero(self._shared.allowed())
        """The ids that a string may have."""

    @property
    def progress(self) -> float:
        """The part of the budget that is spent."""
        return 1 - self.left / self.budget

    def loss(self, ids: np.ndarray) -> np.ndarray:
        """The losses [B] of strings [B, l], l from 1 to L: mean nats of a target token. Those of length L count, the
        best of them is the result. Forward. Raises Spent."""
        ids = self._strings(ids, 1)
        parts = []
        for start in range(0, len(ids), MOST["LOSS"]):
            some = ids[start : start + MOST["LOSS"]]
            self._shared.ids(*some.shape)[:] = some
            self._ask("LOSS", *some.shape)
            parts.append(self._shared.answer(len(some)).copy())
        return np.concatenate(parts)

    def grad(self, x: np.ndarray, skip_scale: float = 1.0) -> Gradient:
        """Loss and its gradient at one string [L] or strings [B, L], or at weights over the vocabulary, [L, V] or
        [B, L, V], of any finite numbers. In backward, residual branches are multiplied by `skip_scale`. Forward and
        backward. Raises Spent."""
        x = np.asarray(x)
        soft = x.dtype.kind == "f"
        x = x.astype(np.float32) if soft else x
        one = x.ndim == 1 + soft
        x = x[None] if one else x
        if soft:
            if x.shape[1:] != (self.length, self.vocab) or not np.isfinite(x).all():
                raise ValueError(f"weights are finite numbers [B, {self.length}, {self.vocab}], not {x.shape}")
        else:
            x = self._strings(x, self.length)
        if len(x) > MOST["GRAD"]:
            raise ValueError(f"at most {MOST['GRAD']} gradients in one request")
        where = self._shared.weights(len(x)) if soft else self._shared.ids(*x.shape)
        where[:] = x
        self._ask("GRAD", len(x), self.length, int(soft), skip_scale)
        loss, wrong, slope = (each.copy() for each in self._shared.gradients(len(x)))
        return Gradient(loss[0], wrong[0], slope[0]) if one else Gradient(loss, wrong, slope)

    def next(self, ids: np.ndarray) -> np.ndarray:
        """Log-probabilities [B, V] of what follows strings [B, l], l from 0 to L. Forward. Raises Spent."""
        ids = self._strings(ids, 0)
        if len(ids) > MOST["NEXT"]:
            raise ValueError(f"at most {MOST['NEXT']} strings in one request")
        self._shared.ids(*ids.shape)[:] = ids
        self._ask("NEXT", *ids.shape)
        return self._shared.answer(len(ids), self.vocab).copy()

    def _strings(self, ids: np.ndarray, least: int) -> np.ndarray:
        ids = np.asarray(ids)
        whole = not ids.size or ids.dtype.kind in "iu"
        if ids.ndim != 2 or not len(ids) or not least <= ids.shape[1] <= self.length or not whole:
            raise ValueError(f"strings are whole numbers [B, {least} to {self.length}], not {ids.dtype} {ids.shape}")
        if not np.isin(ids, self.allowed).all():
            raise ValueError("a string has an id that is not in oracle.allowed")
        return ids

    def _ask(self, kind: str, rows: int, length: int, soft: int = 0, scale: float = 1.0) -> None:
        self._channel.send(kind, REQUEST.pack(rows, length, soft, scale))
        answer = self._channel.receive()
        [self.left] = LEFT.unpack(answer.body)
        if answer.kind == "FULL":
            raise Spent(f"{self.left:g} FLOPs are left")


def main() -> None:
    channel = Channel.inherited(int(os.environ.pop(ORACLE)))
    try:
        optimize = importlib.import_module(sys.argv[1]).optimize
        channel.send("WAIT")
        message = channel.receive()
        oracle, about = Oracle(channel, message), message.json()
        with suppress(Spent):
            optimize(oracle, np.random.default_rng(about["seed"]), **about["settings"])
        channel.send("DONE")
    except Gone:  # the evaluator has ended this search
        os._exit(0)
    except BaseException as error:  # SystemExit too is a search that failed
        traceback.print_exc()
        channel.send("FAIL", {"type": type(error).__name__, "line": line_of(error, sys.argv[1])})


def line_of(error: BaseException, module: str) -> int:
    """The last line of the module's file that an error came by, or 0."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame.lineno for frame in frames if Path(frame.filename).stem == module and frame.lineno]
    return own[-1] if own else 0


def run_by_hand(folder: Path, namespace: dict[str, Any]) -> None:
    """What `python optimizer.py` does: by hand a whole evaluation; as the command of a run, which has no model, only
    to see that the file can be imported."""
    if not callable(namespace.get("optimize")):
        sys.exit("error: optimizer.py has no optimize(oracle, rng)")
    if "AUTORESEARCH_EXPERIMENT" in os.environ:
        print("optimize is there; the evaluator runs it")
        return
    done = subprocess.run([sys.executable, str(folder / "prepare.py"), "evaluate"], cwd=folder)
    if done.returncode or not read_json(run_dir(folder) / "result.json")["metrics"]:  # it has said why
        sys.exit(1)
    print("by hand: a score on targets of its own, and no verdict; for one: autoresearch try")
