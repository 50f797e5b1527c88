"""The feeder's side of a loader: batches in memory that the trainer shares, in an order that the seed decides."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from harness.channel import SharedMemory
from harness.errors import TaskError
from harness.task import Training

SLOTS = 3
"""Batches in shared memory: one that the trainer was handed, the one before, which may still be copied, and the
next."""

MAX_BATCH_BYTES = 2**32


class Loader:
    """The batches of one loader of the trainer, in shared memory, where nothing is before it asks for one."""

    def __init__(self, training: Training, batch_size: int, seed: int) -> None:
        if batch_size < 1:
            raise TaskError("batch_size must be at least 1")
        self.training, self.batch_size = training, batch_size
        self.choices = order(len(training.arrays[0]), batch_size, seed)
        shapes = [(batch_size, *array.shape[1:]) for array in training.arrays]
        sizes = [-(-math.prod(shape) * array.itemsize // 64) * 64
                 for shape, array in zip(shapes, training.arrays, strict=True)]  # fmt: skip
        if SLOTS * sum(sizes) > MAX_BATCH_BYTES:
            raise TaskError(f"a batch of {batch_size} takes over {MAX_BATCH_BYTES // SLOTS} bytes; make it smaller")
        self.memory = SharedMemory.make(SLOTS * sum(sizes))
        self.layout = [
            {"dtype": array.dtype.str, "shape": shape, "offset": offset}
            for array, shape, offset in zip(
                training.arrays, shapes, itertools.accumulate(sizes, initial=0), strict=False
            )
        ]
        self.slot_bytes = sum(sizes)
        self.slots = [
            [self.memory.array(a["dtype"], a["shape"], slot * self.slot_bytes + a["offset"]) for a in self.layout]
            for slot in range(SLOTS)
        ]
        self.next, self.ready = 0, False

    def fill(self) -> None:
        """Put the next batch into its slot, unless it is there."""
        if self.ready:
            return
        chosen, self.ready = next(self.choices), True
        for source, target in zip(self.training.arrays, self.slots[self.next], strict=True):
            if source.flags.c_contiguous:
                np.take(source, chosen, axis=0, out=target, mode="clip")
            else:  # `take` would copy all of it first
                target[...] = source[chosen]

    def hand_out(self) -> int:
        """The slot of the batch that `fill` put there."""
        slot, self.next, self.ready = self.next, (self.next + 1) % SLOTS, False
        return slot


def order(count: int, batch_size: int, seed: int) -> Iterator[np.ndarray]:
    """int64 [B]: the examples of each batch, without end; each once an epoch, in an order by the seed alone."""
    waiting = np.empty(0, dtype=np.int64)
    for epoch in itertools.count():
        waiting = np.concatenate((waiting, np.random.default_rng((seed, epoch)).permutation(count)))
        while len(waiting) >= batch_size:
            yield waiting[:batch_size]
            waiting = waiting[batch_size:]
