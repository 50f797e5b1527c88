"""The trainer's side of the feeder: batches on the device, and random ones to compile with before the clock starts."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.channel import Channel, Gone, SharedMemory
from harness.clock import age_of_process
from harness.feeder import BATCH

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

FEED = "AUTORESEARCH_FEED"
"""Environment variable: the descriptor of the connection to a feeder that is there already."""


class Feed:
    """The connection to the feeder of this process."""

    def __init__(self, folder: Path) -> None:
        """Connect; when nobody has started a feeder, start that of the task in `folder`."""
        given = os.environ.pop(FEED, "")
        self.folder, self.by_hand, self.process = folder, not given, None
        self.waited = 0.0  # seconds that steps waited for their batch
        if given:
            self.channel = Channel.inherited(int(given))
            return
        self.channel, other = Channel.pair()
        with other.connection:
            begun = time.monotonic() - age_of_process()
            env = os.environ | {FEED: str(other.connection.fileno()), "AUTORESEARCH_STARTED": str(begun)}
            command = [sys.executable, str(folder / "prepare.py"), "feed"]
            self.process = subprocess.Popen(command, cwd=folder, env=env, pass_fds=[other.connection.fileno()])

    def ask(self, kind: str, body: bytes | dict[str, Any] = b"", descriptors: Iterable[int] = ()) -> Any:
        """Send a message and return the answer to it. Exits with one line when there is none, or a refusal."""
        try:
            self.channel.send(kind, body, list(descriptors))
            answer = self.channel.receive()
        except Gone as error:
            raise SystemExit(
                f"error: the feeder has ended ({error}); what it said stands above, or in feed.log"
            ) from None
        if answer.kind == "FAIL":
            raise SystemExit(f"error: {answer.json()['reason']}")
        return answer

    def tell(self, kind: str, body: dict[str, Any]) -> None:
        """Send a message that has no answer."""
        try:
            self.channel.send(kind, body)
        except Gone as error:
            raise SystemExit(
                f"error: the feeder has ended ({error}); what it said stands above, or in feed.log"
            ) from None


@functools.cache
def feed(folder: Path) -> Feed:
    """The one connection of this process, made when it is first needed."""
    return Feed(folder)


class Batches:
    """Batches of the training data; the feeder says when to end.

    Iterating gives (tensors, progress): a tensor on the device for each array of the task's training data, in the
    feeder's types (uint16 as int16), and the part of the budget that is spent, in [0, 1).
    """

    def __init__(self, folder: Path, device: torch.device, batch_size: int, **asked: Any) -> None:
        """`asked` goes to the task's `training`. Exits with one line when the data is not there or the sizes are
        wrong."""
        self.device, self.batch_size, self.feed = device, batch_size, feed(folder)
        self.begun = False
        answer = self.feed.ask("OPEN", {"batch_size": batch_size, **asked})
        about = answer.json()
        self.number, self.memory = about["number"], SharedMemory.given(answer.descriptors[0])
        self.slots = [
            [self._array(each, slot * about["bytes"]) for each in about["arrays"]] for slot in range(about["slots"])
        ]
        self.pinned = device.type == "cuda" and pin(self.memory)

    def _array(self, about: dict[str, Any], offset: int) -> np.ndarray:
        array = self.memory.array(about["dtype"], about["shape"], about["offset"] + offset)
        return array.view("<i2") if array.dtype == np.uint16 else array

    def warmup(self, count: int, make: Callable[[torch.Generator], Any], tensors: Iterable[Tensor]) -> Iterator[Any]:
        """Random batches by `make`, before the clock starts.

        Name in `tensors` the parameters and whatever else the steps on them change (optimiser state): they have their
        values back afterwards, and no gradients.
        """
        import torch

        if self.begun:
            raise SystemExit("error: warm-up batches come before the first batch; move warmup_batches up")
        held = [(tensor, tensor.detach().clone()) for tensor in tensors]
        generator = torch.Generator().manual_seed(0)
        self.feed.tell("WARM", {"begin": True})
        try:
            for _ in range(count):
                yield make(generator)
        finally:
            for tensor, value in held:
                tensor.detach().copy_(value)
                tensor.grad = None
            synchronize(self.device)
            self.feed.tell("WARM", {"begin": False})

    def __iter__(self) -> Iterator[tuple[list[Tensor], float]]:
        import torch

        cuda = self.device.type == "cuda"
        stream = torch.cuda.Stream(self.device) if cuda else None
        copies, steps, number = deque[Any](), deque[Any](), self.number.to_bytes(4, "little")
        synchronize(self.device)
        self.begun = True
        while True:
            asked = time.monotonic()
            if len(copies) > 1:  # asking for a batch gives back the slot of the one before the last
                copies.popleft().synchronize()
            answer = self.feed.ask("NEXT", number)
            if answer.kind == "ENDS":
                break
            slot, progress = BATCH.unpack(answer.body)
            host = [torch.from_numpy(array) for array in self.slots[slot]]
            if stream is not None:
                with torch.cuda.stream(stream):
                    batch = [tensor.to(self.device, non_blocking=self.pinned) for tensor in host]
                    copies.append(torch.cuda.Event())
                    copies[-1].record()
                current = torch.cuda.current_stream(self.device)
                current.wait_event(copies[-1])
                for tensor in batch:
                    tensor.record_stream(current)
            else:
                batch = [tensor.to(self.device, copy=True) for tensor in host]
            self.feed.waited += time.monotonic() - asked
            yield batch, progress
            if cuda:  # the host stays at most two batches ahead of the device
                steps.append(torch.cuda.Event())
                steps[-1].record()
                if len(steps) > 2:
                    steps.popleft().synchronize()
            else:
                synchronize(self.device)
        synchronize(self.device)
        end = answer.json()
        million = end["tokens"] / 1e6
        print(f"trained   {end['steps']} batches, {million:.2f} M tokens, in {end['seconds']:.1f} s", flush=True)


def pin(memory: SharedMemory) -> bool:
    """Lock shared memory for copies that run beside the host; return whether the driver did so."""
    import torch

    address = np.frombuffer(memory.memory, dtype=np.uint8).ctypes.data
    return int(torch.cuda.cudart().cudaHostRegister(address, memory.size, 0)) == 0


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    import torch

    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def flops_of_example(build_model: Callable[[], nn.Module], inputs: Callable[[], Tensor]) -> float:
    """Floating-point operations of training on one example: three times those of a forward pass on `inputs` [1, ...],
    as torch.utils.flop_counter counts them on the meta device, attention included and in full, whatever its window."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = build_model()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(inputs())
    return float(3 * counter.get_total_flops())
