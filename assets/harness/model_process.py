"""A model process: runs the trainer's model on inputs that the grader sends, and fills a buffer of the grader's.

    python -m harness.model_process      (the descriptor of the connection is in AUTORESEARCH_GRADER)

It runs the mutable file's code, so nothing that it says is believed but the numbers in the buffer, which are checked.
It imports torch, then waits; the mutable file is imported when the grader says so.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import math
import os
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.channel import Channel, Gone, Message, SharedMemory
from harness.device import no_memory, pick_device, prepare_cpu

if TYPE_CHECKING:
    from torch import Tensor

GRADER = "AUTORESEARCH_GRADER"
"""Environment variable: the descriptor of the connection to the grader."""

RUN = struct.Struct("<III")  # examples; how long they are; 1 where only one place of each is wanted

PLACES = b"places"
"""What a model process says where the model's forward takes `places`: it may be asked for one place of shorter rows."""

UNSHARED = "the grader's memory on the GPU cannot be opened"
"""How a model process begins to say so; then the host's memory takes its place."""

MOST_SHORTER = 8
"""Rows may be cut to a part of their length, no less than one in so many, and then so many times more go together."""


def examples(buffer: np.ndarray, count: int, length: int) -> np.ndarray:
    """The first `count` examples of the input buffer [B, ...], of which each has `length` along its first axis."""
    if buffer.ndim == 1:
        return buffer[:count]
    shape = (count, length, *buffer.shape[2:])
    return buffer.reshape(-1)[: math.prod(shape)].reshape(shape)


class Refused(Exception):
    """The model cannot be scored: an outcome and a reason."""


class Server:
    """Answers the grader with one model."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.device = pick_device()
        if self.device.type == "cpu":
            prepare_cpu()

    def serve(self) -> None:
        answers = {"LOAD": self.load, "RUNS": self.run, "FLOP": self.flops}
        self.channel.send("WAIT", self.device.type.encode())
        while True:
            message = self.channel.receive()
            try:
                self.channel.send("GOOD", answers[message.kind](message) or b"")
            except Gone:
                raise
            except Refused as error:
                self.channel.send("FAIL", {"outcome": error.args[0], "reason": error.args[1]})
            except BaseException as error:  # whatever the trainer's code raises, SystemExit too, is its failure
                self.channel.send("FAIL", self.failure(error))

    def failure(self, error: BaseException) -> dict[str, Any]:
        import torch

        text = " ".join(str(error).split())[:200]
        if no_memory(error):
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            return {"outcome": "oom", "reason": f"evaluation does not fit in memory: {text}"}
        return {"outcome": "crash", "reason": f"evaluating the model raised {type(error).__name__}: {text}"}

    def load(self, message: Message) -> bytes:
        """Make the model, and map the buffers; return whether it takes `places`."""
        import torch

        about = message.json()
        weights, inputs, outputs = message.descriptors
        self.inputs = SharedMemory.given(inputs).array(about["inputs"]["dtype"], about["inputs"]["shape"])
        batch = len(self.inputs)
        self.places = SharedMemory.given(inputs).array("<i8", (batch * MOST_SHORTER,), about["places"])
        self.shape = tuple(about["outputs"])  # of one example
        if about["cuda"]:
            from harness.cuda_memory import open_block

            try:
                self.outputs = open_block(bytes.fromhex(about["cuda"]), batch * math.prod(self.shape))
            except OSError as error:
                raise Refused("crash", f"{UNSHARED}: {error}") from None
        else:
            self.outputs = torch.from_numpy(SharedMemory.given(outputs).array("<f4", (batch * math.prod(self.shape),)))
        sys.path.insert(0, str(Path.cwd()))
        self.train = importlib.import_module(about["module"])
        with os.fdopen(weights, "rb") as file:
            state = torch.load(file, map_location="cpu", weights_only=True)
        model = self.train.build_model()
        try:
            model.load_state_dict(state, strict=True)
        except RuntimeError as error:
            text = " ".join(str(error).split())[:200]
            raise Refused("crash", f"the weights do not fit build_model(): {text}") from None
        self.model = model.eval().to(self.device)
        # On a GPU one place is computed by other kernels than all of them, whose rounding differs by too much.
        own = inspect.signature(type(model).forward).parameters if self.device.type == "cpu" else {}
        self.by_place = "places" in own
        return PLACES if self.by_place else b""

    def run(self, message: Message) -> None:
        """Score the examples in the input buffer."""
        import torch

        count, length, picks = RUN.unpack(message.body)
        given = examples(self.inputs, count, length)
        inputs = torch.from_numpy(given.astype("i8" if given.dtype.kind in "ui" else "f4"))
        places = torch.from_numpy(self.places[:count].copy()).to(self.device) if picks else None
        with torch.inference_mode():
            out = self.output(inputs, places)
            self.outputs[: out.numel()].view(out.shape).copy_(out)
            if self.device.type == "cuda":
                torch.cuda.synchronize()

    def output(self, inputs: Tensor, places: Tensor | None) -> Tensor:
        """model(inputs), checked to be plain numbers of the right shape; with `places` [N] only the output at them.

        A model whose forward takes `places` is asked for no more than these, where that gives the same numbers.
        """
        import torch

        given = (inputs.to(self.device), *([places] if places is not None and self.by_place else []))
        out = self.model(*given)
        plain, shape = type(out) is torch.Tensor, (len(inputs), *self.shape[len(given) - 1 :])
        if not plain or tuple(out.shape) != shape or not out.is_floating_point():
            got = f"shape {tuple(out.shape)} of {out.dtype}" if plain else type(out).__name__
            raise Refused("tampered", f"the model must return logits of shape {shape}, and returned {got}")
        if places is None or self.by_place:
            return out
        return out[torch.arange(len(out), device=out.device), places]

    def flops(self, _: Message) -> bytes:
        """Floating-point operations of training on one example."""
        import torch

        from harness.batches import flops_of_example

        shape, kind = self.inputs.shape[1:], torch.long if self.inputs.dtype.kind in "ui" else torch.float32
        return struct.pack("<d", flops_of_example(self.train.build_model, lambda: torch.zeros(1, *shape, dtype=kind)))


def main() -> None:
    gc.disable()  # the many objects of torch's modules stay: looking at them again and again is a seventh of the import
    import torch  # noqa: F401  (the slow import, done while the grader needs nothing)

    gc.freeze()
    gc.enable()
    channel = Channel.inherited(int(os.environ.pop(GRADER)))
    try:
        Server(channel).serve()
    except Gone:  # the grader is done
        os._exit(0)


if __name__ == "__main__":
    main()
