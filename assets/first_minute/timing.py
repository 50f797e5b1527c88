"""How long work on a device takes, and what an error says in one line."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from harness.batches import synchronize

MOST_TEXT = 160


def seconds(work: Callable[[], Any], device: torch.device, most_s: float = 0.5, most_times: int = 20) -> float:
    """Median time of `work` in seconds, after one call that does not count; less often than `most_times` where that
    would take longer than `most_s`."""
    _timed(work, device)
    spent = [_timed(work, device)]
    while len(spent) < most_times and sum(spent) < most_s:
        spent.append(_timed(work, device))
    return sorted(spent)[len(spent) // 2]


def _timed(work: Callable[[], Any], device: torch.device) -> float:
    synchronize(device)
    began = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - began


def in_a_line(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}".rstrip(": ")[:MOST_TEXT]
