"""The machine of a run: what it computes on, how fast and how much that may be, how torch is to be set up for it."""

from __future__ import annotations

import ctypes
import functools
import math
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# torch's threads spin a moment while they wait for each other, then sleep. At libgomp's own count they lose a time
# slice at every step when another program keeps a core busy; sleeping at once costs a third of the speed when none
# does (benchmarks/results/threads.md). torch reads this when it is imported, so this module comes before it.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

# Dense matrix FLOP/s in 16 bits with 32-bit sums, from the makers' data sheets, by a word of the device's name.
PEAK_FLOPS = {
    "B200": 2250e12, "H200": 989e12, "GH200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12,
    "L40S": 362e12, "L40": 181e12, "L4": 121e12, "A10G": 70e12, "A10": 125e12, "A40": 150e12, "V100": 125e12,
    "T4": 65e12, "RTX 6000 Ada": 364e12, "RTX A6000": 155e12, "RTX 5090": 210e12, "RTX 4090": 165e12,
    "RTX 4080": 97e12, "RTX 3090": 71e12, "RTX 3080": 60e12, "RTX 3060": 25e12,
}  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """What this run computes on."""

    device: torch.device
    dtype: torch.dtype  # of matrix products
    peak: float | None  # FLOP/s; None: not known
    likely: float  # FLOP/s that training reaches, roughly; sizes are chosen by it, nothing else
    memory: float  # bytes
    compiles: bool

    def half(self, training: bool) -> bool:
        """Whether products are in 16 bits. Not where a CPU evaluates: two processes of one model have differed there by
        0.03 nats at some places, and in 32 bits whatever kernels the system chooses agree to 1e-5."""
        import torch

        return self.dtype != torch.float32 and (training or self.device.type != "cpu")


def no_memory(error: BaseException) -> bool:
    """Whether an error says that memory was too small: Apple's GPU and the CPU have no error of their own for that."""
    import torch

    told = isinstance(error, RuntimeError) and re.search(r"out of memory|can't allocate memory", str(error))
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or bool(told)


def pick_device() -> torch.device:
    """CUDA, else Apple's GPU, else the processor."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


@functools.cache
def machine(compiles: bool | None = None) -> Machine:
    """This machine. `compiles` None is: on CUDA, where there is a compiler."""
    import torch

    device = pick_device()
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        peak = peak_of(card.name)
        dtype = torch.bfloat16 if card.major >= 8 else torch.float16 if card.major >= 7 else torch.float32
        from torch.utils._triton import has_triton

        able = has_triton() if compiles is None else compiles
        return Machine(device, dtype, peak, 0.4 * (peak or 40e12), card.total_memory, able)
    if device.type == "mps":
        return Machine(device, torch.float32, None, 2e12, torch.mps.recommended_max_memory(), False)
    bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(device, torch.bfloat16 if bf16 else torch.float32, None, 6e10 * cores(), memory, bool(compiles))


def peak_of(card: str) -> float | None:
    """FLOP/s of a card by its name."""
    return next((flops for name, flops in PEAK_FLOPS.items() if re.search(rf"\b{name}\b", card)), None)


def cores() -> int:
    """CPU cores that this process may use, by its affinity and, in a container, its quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(count, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or a quota of "max"
        return count


def prepare_device(own: Machine) -> None:
    """Set torch up for this machine, before the model is built."""
    import torch

    if own.device.type == "cpu":
        prepare_cpu()
    if own.device.type == "cuda":
        torch.set_float32_matmul_precision("high")


def prepare_cpu() -> None:
    """As many threads as there are cores, and freed memory kept: glibc gives large blocks back to the system, and
    having them zeroed again at the next use takes a fifth of a step."""
    import torch

    torch.set_num_threads(min(torch.get_num_threads(), cores()))
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(-3, 2**30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        ask_for_huge_pages(libc, 2**28)


def ask_for_huge_pages(libc: ctypes.CDLL, size: int) -> None:
    """Have Linux back the next `size` bytes of the heap by pages of 2 MiB as they are used: a step walks through some
    hundred MB, and with pages of 4 KiB it waits for them (in a virtual machine a third of its time:
    benchmarks/results/two_cores.md)."""
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    libc.free.argtypes = (ctypes.c_void_p,)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    if block := libc.malloc(size):
        first, page = -(-block // 2**21) * 2**21, 2**21
        libc.madvise(first, (block + size - first) // page * page, 14)  # MADV_HUGEPAGE; refused, nothing changes
        libc.free(block)


@functools.cache
def compiled(function: Callable[..., Any], compiles: bool) -> Callable[..., Any]:
    """The function, by torch.compile where `compiles`."""
    import torch

    return torch.compile(function, dynamic=False) if compiles else function


def fit(estimate: Callable[[int, bool], float], memory: float, total: int) -> tuple[int, bool]:
    """(rows of a forward pass, whether to checkpoint): the most rows that divide `total` and fit in nine tenths of
    `memory` bytes, without checkpoints if any fit so. One row with checkpoints when nothing does: it may still work.

    `estimate` gives bytes from rows and whether there are checkpoints."""
    for again in (False, True):
        for rows in range(total, 0, -1):
            if total % rows == 0 and estimate(rows, again) <= 0.9 * memory:
                return rows, again
    return 1, True
