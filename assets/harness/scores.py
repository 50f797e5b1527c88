"""Scores from a model's outputs, in numpy where they lie in memory, in torch where they lie on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.errors import Verdict

CHUNK = 2**24
"""Numbers of a GPU's logits that are looked at together, so that what this takes is bounded."""


def cross_entropy(logits: Any, targets: np.ndarray) -> np.ndarray:
    """Nats of each target, float64 [...], under logits [..., V], float32, of which nothing is kept.

    The maximum is taken off first, so that large logits cost what they should; sums are in float64. Raises Verdict
    no_metric when a result is not finite.
    """
    nats = _numpy(logits, targets) if isinstance(logits, np.ndarray) else _torch(logits, targets)
    if not np.isfinite(nats).all():
        raise Verdict("no_metric", "the model's logits are not finite")
    return nats


def wrong(logits: Any, targets: np.ndarray) -> np.ndarray:
    """Whether the largest of each row of logits [N, C] is not the target, bool [N]; what is no number is wrong."""
    numbers = logits if isinstance(logits, np.ndarray) else logits.cpu().numpy()
    return (numbers.argmax(-1) != targets) | ~np.isfinite(numbers).all(-1)


def _numpy(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    nats = np.empty(targets.shape, np.float64)
    rows, chosen = logits.reshape(-1, logits.shape[-1]), targets.ravel()
    out, step = nats.reshape(-1), max(1, 2**19 // logits.shape[-1])  # a chunk stays in the cache
    with np.errstate(all="ignore"):
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            top = part.max(-1)
            own = part[np.arange(len(part)), chosen[start : start + step]].astype(np.float64)
            part -= top[:, None]
            np.exp(part, out=part)
            out[start : start + step] = np.log(part.sum(-1, dtype=np.float64)) + top - own
    return nats


def _torch(logits: Any, targets: np.ndarray) -> np.ndarray:
    import torch

    rows = logits.flatten(0, -2)
    chosen = torch.from_numpy(targets.astype(np.int64).ravel()).to(rows.device)
    parts, step = [], max(1, CHUNK // rows.size(1))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        top = part.amax(-1)
        own = part.gather(-1, chosen[start : start + step, None])[:, 0].double()
        total = (part - top[:, None]).exp().sum(-1, dtype=torch.float64)
        parts.append(total.log() + top.double() - own)
    return torch.cat(parts).view(targets.shape).cpu().numpy()
