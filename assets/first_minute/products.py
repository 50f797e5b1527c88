"""Matrix products by precision, on a large square and on the task's own shapes, and copies."""

from __future__ import annotations

from typing import Any

import torch
from harness.batches import synchronize
from harness.device import Machine

from first_minute.card import under_load
from first_minute.timing import in_a_line, seconds

SQUARE = {"cuda": 8192, "mps": 2048, "cpu": 1024}
COPIED = {"cuda": 2**30, "mps": 2**27, "cpu": 2**26}
"""Bytes; more than a cache holds."""

NEAR = 0.9
"""A precision within a tenth of the fastest is as good."""


def phase(own: Machine, shapes: dict[str, tuple[int, int, int]]) -> dict[str, Any]:
    """TFLOP/s by precision, and of each of `shapes` (name -> rows, inner, columns) in the precision that is used."""
    n = SQUARE[own.device.type]
    speeds = {name: speed(own, dtype, (n, n, n), tf32) for name, (dtype, tf32) in precisions(own).items()}
    used = {"torch.float32": "tf32" if "tf32" in speeds else "float32"}.get(str(own.dtype), str(own.dtype)[6:])
    found: dict[str, Any] = {
        "square": n, "tflops": {name: value for name, value in speeds.items() if isinstance(value, float)},
        "errors": {name: value for name, value in speeds.items() if isinstance(value, str)}, "used": used,
        "shapes": {name: speed(own, own.dtype, shape, used == "tf32") for name, shape in shapes.items()},
        "copy_gb_per_s": copies(own), "peak_tflops": own.peak and own.peak / 1e12,
    }  # fmt: skip
    if own.device.type == "cpu":
        found["one_thread_tflops"] = with_one_thread(own, n)
    elif own.device.type == "cuda":
        found["under_load"] = while_it_works(own, n)
    return found


def precisions(own: Machine) -> dict[str, tuple[torch.dtype, bool]]:
    """Name -> type, and whether float32 may be rounded to 19 bits on the way in."""
    known = {"float32": (torch.float32, False), "bfloat16": (torch.bfloat16, False)}
    if own.device.type == "cpu":
        return known
    half = {"float16": (torch.float16, False)}
    return known | half | ({"tf32": (torch.float32, True)} if own.device.type == "cuda" else {})


def speed(own: Machine, dtype: torch.dtype, shape: tuple[int, int, int], tf32: bool = False) -> float | str:
    """TFLOP/s of a product of this shape; why not, where it fails."""
    rows, inner, columns = shape
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        a = torch.randn(rows, inner, device=own.device).to(dtype)
        b = torch.randn(inner, columns, device=own.device).to(dtype)
        return 2 * rows * inner * columns / seconds(lambda: a @ b, own.device) / 1e12
    except Exception as error:  # whatever a library raises: the other precisions are worth knowing
        return in_a_line(error)
    finally:
        torch.set_float32_matmul_precision(before)


def copies(own: Machine) -> float | None:
    """GB/s of a copy within the device's memory, reads and writes together; None where it fails."""
    size = COPIED[own.device.type]
    try:
        block = torch.zeros(size, dtype=torch.uint8, device=own.device)
        other = torch.empty_like(block)
        return 2 * size / seconds(lambda: other.copy_(block), own.device) / 1e9
    except Exception:
        return None


def with_one_thread(own: Machine, n: int) -> float | None:
    """TFLOP/s of float32 with one thread, to hold all of them against."""
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        found = speed(own, torch.float32, (n, n, n))
        return found if isinstance(found, float) else None
    finally:
        torch.set_num_threads(threads)


def while_it_works(own: Machine, n: int) -> dict[str, float | None]:
    """Clock, power limit and temperature while products are queued: at rest a card lowers its clock."""
    try:
        a = torch.randn(n, n, device=own.device).to(own.dtype)
        for _ in range(300):
            a @ a
        told = under_load(own)
        synchronize(own.device)
        return told
    except Exception:
        return {}
