"""Bits per byte of a language model on packed rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harness.model_process import MOST_SHORTER
from harness.models import Models
from harness.probes import Prefixes, check_contamination, correction, draw_prefixes, fill_up, turns
from harness.scores import cross_entropy
from harness.text.tokenizer import Tokenizer

CONTROL_PROBES = 8
"""For so many places of the split one of the control is looked at again: who looked ahead there could hide
that the split is known."""


@dataclass(frozen=True, slots=True)
class BitsPerByte:
    value: float
    reference: float
    """The same with the bytes of a token counted as karpathy/autoresearch does."""
    texts: np.ndarray
    """float64 [D, 2]: bits and bytes of each document, in the order of the rows."""


def bits_per_byte(
    models: Models, rows: np.ndarray, control: np.ndarray, tokenizer: Tokenizer, batch: int, probes: int
) -> BitsPerByte:
    """Summed cross-entropy in bits over summed bytes of the targets, special tokens left out of both.

    `rows` and `control` are uint16 [R, T + 1]; `batch` rows are scored at a time and `probes` places looked at again
    by the second process. Raises Verdict when the model has no score.
    """
    together = np.concatenate((rows, control)).astype(np.int64)
    x, y = together[:, :-1], together[:, 1:]
    sizes = tokenizer.token_bytes()
    counted = sizes[y] > 0
    models.open(0, x[0], (x.shape[1], len(sizes)), batch)
    nats = np.empty(y.shape, np.float64)
    for here, logits in models.score(x):
        nats[here] = cross_entropy(logits, y[here])
    nats *= counted
    own = draw_prefixes(counted[: len(rows)], probes)
    theirs = draw_prefixes(counted[len(rows) :], probes // CONTROL_PROBES)
    prefixes = Prefixes(
        np.concatenate((own.rows, theirs.rows + len(rows))), np.concatenate((own.places, theirs.places))
    )
    models.open(1, x[0], (x.shape[1], len(sizes)), models.batch)
    filled, again = fill_up(prefixes, x), np.empty(len(prefixes.rows))
    whole, targets = nats[prefixes.rows, prefixes.places], y[prefixes.rows, prefixes.places]
    for turn in turns(prefixes):
        for part, length in lengths(prefixes.places[turn], x.shape[1], models.by_place):
            asked = turn[part]
            for here, logits in models.score(filled[asked, :length], prefixes.places[asked]):
                again[asked[here]] = cross_entropy(logits, targets[asked[here]])
    count = len(own.rows)
    added = correction(whole[:count], again[:count])
    correction(whole[count:], again[count:])
    texts = [by_document(x[part], y[part], nats[part], sizes, tokenizer.bos)
             for part in (slice(len(rows)), slice(len(rows), None))]  # fmt: skip
    check_contamination(*texts)
    bits = (nats[: len(rows)].sum() + added * counted[: len(rows)].sum()) / math.log(2)
    chosen = y[: len(rows)]
    size, as_reference = sizes[chosen].sum(), tokenizer.token_bytes(reference=True)[chosen].sum()
    return BitsPerByte(bits / size, bits / as_reference, texts[0] / (math.log(2), 1.0))


def lengths(places: np.ndarray, length: int, shorter: bool) -> Iterator[tuple[np.ndarray, int]]:
    """Indices of `places` [n] with the length of the rows that they are asked in: all of it, or, where they may be
    `shorter`, no more eighths of it than the place needs."""
    eighth = length // MOST_SHORTER if shorter and length % MOST_SHORTER == 0 else length
    needed = places // eighth + 1
    for count in np.unique(needed):
        yield np.flatnonzero(needed == count), int(count) * eighth


def by_document(x: np.ndarray, y: np.ndarray, nats: np.ndarray, sizes: np.ndarray, bos: int) -> np.ndarray:
    """float64 [D, 2]: nats and bytes of the targets of each document; a row begins with one, as it may end with a
    part."""
    document = np.cumsum(x.ravel() == bos) - 1
    count = int(document[-1]) + 1 if document.size else 0
    columns = (np.bincount(document, each, count) for each in (nats.ravel(), sizes[y.ravel()].astype(np.float64)))
    return np.stack(list(columns), 1)
