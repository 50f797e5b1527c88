"""The task's own training step on random tokens, without its data: time, speed, memory against the estimate."""

from __future__ import annotations

import dataclasses
import math
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from harness import attention, cuda_memory, device
from harness.batches import synchronize
from torch import Tensor

from first_minute.timing import in_a_line


class RandomRows:
    """As much of a loader as warming up needs: rows of random tokens."""

    def __init__(self, rows: int, seq_len: int, vocabulary: int, on: torch.device) -> None:
        self.batch_size = rows
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(vocabulary, (rows, seq_len + 1), generator=generator)
        self.batch = ids[:, :-1].to(on), ids[:, 1:].to(on)

    def warmup_batches(self, count: int, tensors: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """`count` batches, with a copy of `tensors` held meanwhile, as the real loader holds it."""
        held = [tensor.detach().clone() for tensor in tensors]
        for _ in range(count):
            yield self.batch
        del held


def sizes(train: Any, share: int = 1) -> dict[str, Any]:
    """What train.py chooses on this machine, or on one of `share` parts of its memory."""
    divide(train, share)
    layers, width = train.model_size()
    rows, again = device.fit(lambda *how: train.memory_bytes(*how, (layers, width)), train.machine().memory,
                             train.batch_rows())  # fmt: skip
    return {
        "layers": layers, "width": width, "head_dim": train.HEAD_DIM, "heads": width // train.HEAD_DIM, "rows": rows,
        "batch_rows": train.batch_rows(), "seq_len": train.MAX_SEQ_LEN, "vocabulary": train.VOCAB_SIZE,
        "windows": sorted({*train.windows(layers)}), "checkpointed": again, "profile": train.PROFILE,
        "budget_s": None if math.isinf(train.TIME_BUDGET) else train.TIME_BUDGET,
    }  # fmt: skip


def divide(train: Any, share: int) -> None:
    """Let train.py see one of `share` parts of the memory."""
    whole = device.machine(train.COMPILE)
    own = dataclasses.replace(whole, memory=whole.memory / share)
    train.machine = lambda: own


def shapes(chosen: dict[str, Any]) -> dict[str, tuple[int, int, int]]:
    """The products of a layer and of the head, forward: name -> rows, inner, columns."""
    tokens, width = chosen["rows"] * chosen["seq_len"], chosen["width"]
    return {
        "qkv": (tokens, width, 3 * width), "up": (tokens, width, 4 * width), "down": (tokens, 4 * width, width),
        "head": (min(tokens, 4096), width, chosen["vocabulary"]),
    }  # fmt: skip


def phase(train: Any, seconds: float, share: int = 1) -> dict[str, Any]:
    """Steps of train.py for about `seconds`, at least two after the first."""
    chosen = sizes(train, share)
    own = train.machine()
    device.prepare_device(own)
    train.make_dataloader = lambda rows, seq_len, _split, on: RandomRows(rows, seq_len, train.VOCAB_SIZE, on)
    began = time.perf_counter()
    model = train.build_model().to(own.device)
    optimizer = train.Optimizer(model)
    loader, parts, compiles = train.fitting_loader(model, optimizer)
    x, y = loader.batch

    def step() -> float:
        start = time.perf_counter()
        for _ in range(parts):
            loss, _ = train.train_step(model, optimizer, x, y, parts)
        optimizer.step(train.rate_at(0.0))
        synchronize(own.device)
        if not bool(loss.isfinite()):
            raise ValueError(f"the loss of random tokens is {loss.item()}")
        return time.perf_counter() - start

    step()
    first, spent = time.perf_counter() - began, [step(), step()]
    while sum(spent) < seconds:
        spent.append(step())
    usual = sorted(spent)[len(spent) // 2]
    tokens = train.batch_rows() * train.MAX_SEQ_LEN / usual
    flops = train.flops_of_token((chosen["layers"], chosen["width"])) * tokens
    estimate = train.memory_bytes(loader.batch_size, model.checkpoint, (chosen["layers"], chosen["width"]))
    return {
        **chosen, "rows": loader.batch_size, "parts": parts, "checkpointed": model.checkpoint, "compiles": compiles,
        "attention": attention.choose_attention(own, train.MAX_SEQ_LEN, train.HEAD_DIM), "dtype": str(own.dtype)[6:],
        "first_s": first, "steps": len(spent), "step_s": usual, "tokens_a_second": tokens,
        "tflops": flops / 1e12, "mfu": own.peak and 100 * flops / own.peak,
        "estimated_mb": estimate / 2**20, "measured_mb": most_memory(own.device) / 2**20,
    }  # fmt: skip


def most_memory(on: torch.device) -> float:
    """Bytes that this process took at most: of the device's memory where it has its own, else of the machine's."""
    if on.type == "cuda":
        return torch.cuda.max_memory_allocated(on)
    if on.type == "mps":
        return torch.mps.driver_allocated_memory()
    try:  # ru_maxrss of a child counts the memory of the process that started it
        about = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", about)[1])
    except (OSError, TypeError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def handed_over(own: device.Machine) -> dict[str, Any]:
    """Whether another process writes into a block of this one's device memory, as a model process does for the grader.

    Where it does not, logits go through the machine's memory.
    """
    if own.device.type != "cuda":
        return {"works": None}
    try:
        block, handle = cuda_memory.make_block(1024)
        command = [sys.executable, "-m", "first_minute", "fill", handle.hex()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise OSError((done.stderr.strip().splitlines() or ["no reason was given"])[-1])
        synchronize(own.device)
        if float(block.sum()) != 1024:
            raise ValueError("what the other process wrote is not there")
        return {"works": True}
    except Exception as error:
        return {"works": False, "error": in_a_line(error)}


def fill(handle: bytes) -> None:
    """The other process of `handed_over`."""
    cuda_memory.open_block(handle, 1024).fill_(1.0)
    torch.cuda.synchronize()
