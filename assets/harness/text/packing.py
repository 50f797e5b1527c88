"""Tokens to rows: the best fit of karpathy/autoresearch, exactly, in a bounded memory."""

from __future__ import annotations

import bisect
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from harness.text.rows import HEADER, open_rows

PACK_BUFFER, PACK_REFILL = 1000, 128
"""Documents among which the best fit is looked for; taken at a time."""


def read_tokens(paths: Iterable[Path], bos: int, block: int = 2**22) -> Iterator[np.ndarray]:
    """The documents in files of tokens, uint16 [n], each from its <|bos|> on; views that the next block outdates."""
    for path in paths:
        open_rows(path)  # checks the header
        with path.open("rb") as file:
            file.seek(HEADER.size)
            rest = np.empty(0, dtype="<u2")
            while (read := np.fromfile(file, dtype="<u2", count=block)).size:
                rest = np.concatenate((rest, read))
                starts = np.flatnonzero(rest == bos).tolist()
                for start, end in itertools.pairwise(starts):
                    yield rest[start:end]
                rest = rest[starts[-1] :]
            if rest.size:
                yield rest


def cut_tokens(documents: Iterable[np.ndarray], width: int) -> Iterator[np.ndarray]:
    """Documents of at most `width` tokens, those of one longer document each behind its <|bos|>."""
    for document in documents:
        if len(document) <= width:
            yield document
            continue
        for start in range(1, len(document), width - 1):
            yield np.concatenate((document[:1], document[start : start + width - 1]))


def pack(documents: Iterable[np.ndarray], width: int) -> Iterator[np.ndarray]:
    """Rows of documents, uint16 [width], without padding; each begins with a <|bos|>. A row is valid until the next.

    karpathy/autoresearch's best fit, exactly: of 1,000 waiting documents and more, taken 128 at a time, the longest
    that fits is next; when none fits, the shortest is cropped to fill the row and its rest is dropped; of equals the
    one that came first. When no more come, those that wait are used up; a last row that is not full is dropped.
    Documents wait in one queue per length, under a sorted list of these lengths: a choice is a bisection.
    """
    source, queues, lengths, waiting = iter(documents), dict[int, deque[np.ndarray]](), list[int](), 0
    row, filled, more = np.empty(width, dtype="<u2"), 0, True
    while True:
        while more and waiting < PACK_BUFFER:
            more = False
            for document in itertools.islice(source, PACK_REFILL):
                if len(document) not in queues:
                    queues[len(document)] = deque()
                    bisect.insort(lengths, len(document))
                queues[len(document)].append(document[:width].copy())  # more of it is never used
                waiting, more = waiting + 1, True
        if not waiting:
            return
        at = max(bisect.bisect_right(lengths, width - filled) - 1, 0)
        queue = queues[lengths[at]]
        part = queue.popleft()[: width - filled]
        if not queue:
            del queues[lengths.pop(at)]
        row[filled : filled + len(part)] = part
        waiting, filled = waiting - 1, filled + len(part)
        if filled == width:
            yield row
            filled = 0
