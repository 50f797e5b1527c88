"""What evaluator and optimiser share: messages of a fixed size over a socket, and memory that the evaluator has made.

    optimiser                          evaluator
    WAIT                               LOAD {sizes, target, budget, ...} and the memory
    LOSS, GRAD or NEXT with a REQUEST  GOOD with LEFT, the answer in the memory; or FULL with LEFT: not computed
    DONE, or FAIL {type, line}

L tokens of a string, V vocabulary, D width of an embedding.
"""

from __future__ import annotations

import math
import struct

import numpy as np
from harness.channel import SharedMemory

REQUEST = struct.Struct("<IIId")
"""Strings; tokens of each; 1 where they are weights over the vocabulary; the scale of residual branches in backward."""

LEFT = struct.Struct("<d")
"""FLOPs that are left."""

MOST = {"LOSS": 512, "GRAD": 16, "NEXT": 64}
"""Strings in one request."""


class Shared:
    """Views of the shared memory: inputs, then answers, the table of embeddings, and which ids are allowed."""

    def __init__(self, vocab: int, width: int, length: int, memory: SharedMemory | None = None) -> None:
        """`memory` is what the other side has made; without it this side makes it."""
        self.vocab, self.width, self.length = vocab, width, length
        weights = MOST["GRAD"] * length * vocab
        inputs = _aligned(4 * max(MOST["LOSS"] * length, weights))
        answers = _aligned(4 * max(MOST["LOSS"], weights + 2 * MOST["GRAD"], MOST["NEXT"] * vocab))
        table = _aligned(4 * vocab * width)
        self.memory = memory or SharedMemory.make(inputs + answers + table + vocab)
        self.answers, self.table, self.flags = inputs, inputs + answers, inputs + answers + table

    def ids(self, rows: int, length: int) -> np.ndarray:
        """int32 [rows, length] of a request."""
        return self.memory.array("<i4", (rows, length)) if length else np.zeros((rows, 0), "<i4")

    def weights(self, rows: int) -> np.ndarray:
        """float32 [rows, L, V] of a request."""
        return self.memory.array("<f4", (rows, self.length, self.vocab))

    def answer(self, *shape: int) -> np.ndarray:
        """float32 [...] of an answer."""
        return self.memory.array("<f4", shape, self.answers)

    def gradients(self, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of an answer: losses [rows], wrong tokens [rows], gradients [rows, L, V]; float32."""
        whole = self.answer(rows * (2 + self.length * self.vocab))
        return whole[:rows], whole[rows : 2 * rows], whole[2 * rows :].reshape(rows, self.length, self.vocab)

    def embeddings(self) -> np.ndarray:
        """float32 [V, D]."""
        return self.memory.array("<f4", (self.vocab, self.width), self.table)

    def allowed(self) -> np.ndarray:
        """uint8 [V]: 1 where a string may have the id."""
        return self.memory.array("u1", (self.vocab,), self.flags)


def _aligned(size: int) -> int:
    return 64 * math.ceil(size / 64)
