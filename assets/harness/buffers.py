"""The grader's buffer for a model's outputs: filled with NaN before each request, copied before it is looked at."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.channel import SharedMemory


class HostBuffer:
    """float32 numbers in shared memory."""

    handle = b""

    def __init__(self, count: int) -> None:
        self.memory = SharedMemory.make(4 * count)
        self.numbers = self.memory.array("<f4", (count,))

    def spoil(self, count: int) -> None:
        """Fill the first `count` numbers, all that will be looked at, with NaN."""
        self.numbers[:count].fill(np.nan)

    def copy(self, count: int, shape: Sequence[int]) -> np.ndarray:
        """float32 [count, *shape] that nobody else has."""
        return self.numbers[: count * math.prod(shape)].reshape(count, *shape).copy()


class DeviceBuffer:
    """float32 numbers on the GPU."""

    def __init__(self, count: int) -> None:
        from harness.cuda_memory import make_block

        self.numbers, self.handle = make_block(count)
        self.memory = SharedMemory.make(4)  # takes the place of a buffer in the message

    def spoil(self, count: int) -> None:
        """Fill the first `count` numbers, all that will be looked at, with NaN."""
        import torch

        self.numbers[:count].fill_(math.nan)
        torch.cuda.synchronize()

    def copy(self, count: int, shape: Sequence[int]) -> Any:
        """float32 [count, *shape] on the device, that nobody else has."""
        return self.numbers[: count * math.prod(shape)].view(count, *shape).clone()


def make_buffer(count: int, device: str) -> HostBuffer | DeviceBuffer:
    """A buffer for `count` numbers: on the GPU where processes can share such memory, else on the host."""
    if device == "cuda":
        try:
            return DeviceBuffer(count)
        except OSError as error:
            print(f"logits go over the host ({error})", file=sys.stderr, flush=True)
    return HostBuffer(count)
