"""Each way to compute attention, and the compiler: whether they run, how far they are off, how long they take."""

from __future__ import annotations

import time
from typing import Any

import torch
import torch.nn.functional as F
from harness import attention
from harness.batches import synchronize
from harness.device import Machine
from torch import Tensor

from first_minute.timing import in_a_line, seconds

ROWS, LENGTH, HEADS, WINDOW = 2, 256, 2, 100
"""The rows on which errors are measured: short, so that scores that are written out fit anywhere."""

OFF = {torch.float32: 1e-3, torch.bfloat16: 0.05, torch.float16: 0.02}
"""How far an output may be off; what differs more computes something else."""


def attention_phase(own: Machine, sizes: dict[str, Any]) -> dict[str, Any]:
    """What each path does, and which one runs take.

    `sizes` are the task's: rows, seq_len, heads, head_dim, windows.
    """
    candidates = attention.attention_paths(own, sizes["seq_len"])
    names = [*candidates, *(name for name in ("sdpa", "written_out") if name not in candidates)]
    paths = {name: tried(own, name, sizes, timed=name in candidates) for name in names}
    taken = attention.choose_attention(own, sizes["seq_len"], sizes["head_dim"])
    return {"paths": paths, "candidates": candidates, "taken": taken}


def tried(own: Machine, name: str, sizes: dict[str, Any], *, timed: bool) -> dict[str, Any]:
    """Errors of one path against a float32 masked softmax, and milliseconds forward and backward on the task's rows."""
    try:
        found = errors(own, name, sizes["head_dim"])
        if timed:
            found["ms"] = {str(window): milliseconds(own, name, window, sizes) for window in sizes["windows"]}
        return found
    except Exception as error:  # whatever a kernel, its download or its compilation raises
        return {"error": in_a_line(error)}


def errors(own: Machine, name: str, head_dim: int) -> dict[str, Any]:
    """The largest error of output and gradients, over a short window and none; `agrees` where that is rounding."""
    path, needs = attention.PATHS[name]
    reference, its_needs = attention.PATHS["written_out"]
    output, gradient = 0.0, 0.0
    for window in (WINDOW, LENGTH):
        generator = torch.Generator(own.device).manual_seed(0)
        drawn = torch.randn(4, ROWS, LENGTH, HEADS, head_dim, device=own.device, generator=generator)
        given = [x.to(own.dtype) for x in drawn[:3]]
        own_in, exact_in = ([x.to(dtype, copy=True).requires_grad_() for x in given] for dtype in
                            (own.dtype, torch.float32))  # fmt: skip
        out = path(*own_in, window, needs(ROWS, LENGTH, window, own.device))
        exact = reference(*exact_in, window, its_needs(ROWS, LENGTH, window, own.device))
        (out.float() * drawn[3]).sum().backward()
        (exact * drawn[3]).sum().backward()
        output = max(output, apart(out, exact))
        gradient = max(gradient, *(apart(a.grad, b.grad) for a, b in zip(own_in, exact_in, strict=True)))
    return {"output": output, "gradient": gradient, "agrees": max(output, gradient / 4) <= OFF[own.dtype]}


def apart(found: Tensor | None, expected: Tensor | None) -> float:
    """The largest difference; infinite where something is missing or not finite."""
    if found is None or expected is None or not bool(found.isfinite().all()):
        return float("inf")
    return float((found.detach().float() - expected.detach()).abs().max())


def milliseconds(own: Machine, name: str, window: int, sizes: dict[str, Any]) -> float:
    """Forward and backward of one layer on the rows of a forward pass."""
    path, needs = attention.PATHS[name]
    shape = sizes["rows"], sizes["seq_len"], sizes["heads"], sizes["head_dim"]
    q, k, v = (torch.randn(shape, device=own.device).to(own.dtype).requires_grad_() for _ in range(3))
    made = needs(sizes["rows"], sizes["seq_len"], window, own.device)
    back = torch.randn(shape, device=own.device).to(own.dtype)
    return 1e3 * seconds(lambda: path(q, k, v, window, made).backward(back), own.device, most_times=10)


def compiler_phase(own: Machine, sizes: dict[str, Any]) -> dict[str, Any]:
    """Seconds that torch.compile takes for one MLP of the task's width, and what it gains."""
    width = sizes["heads"] * sizes["head_dim"]

    def layer(x: Tensor, up: Tensor, down: Tensor) -> Tensor:
        h = F.rms_norm(x, (width,))
        return x + F.linear(F.relu(F.linear(h, up)).square(), down)

    generator = torch.Generator().manual_seed(0)
    shapes = (sizes["rows"] * sizes["seq_len"], width), (4 * width, width), (width, 4 * width)
    tensors = [(0.02 * torch.randn(shape, generator=generator)).to(own.device, own.dtype).requires_grad_()
               for shape in shapes]  # fmt: skip
    try:
        eager = seconds(lambda: layer(*tensors).sum().backward(), own.device)
        made = torch.compile(layer, dynamic=False)
        began = time.perf_counter()
        made(*tensors).sum().backward()
        synchronize(own.device)
        spent = time.perf_counter() - began
        fast = seconds(lambda: made(*tensors).sum().backward(), own.device)
        return {"compile_s": spent, "gain": eager / fast, "used": own.compiles}
    except Exception as error:  # no compiler, no triton, a bug in either
        return {"error": in_a_line(error), "used": own.compiles}
