"""A block of GPU memory that the grader allocates and a model process writes into, by CUDA's own handles.

torch's way of sharing tensors counts references in files that a sandbox hides, and shares whatever else lies in the
same allocation; here the block is an allocation of its own.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class _Handle(ctypes.Structure):
    _fields_ = (("reserved", ctypes.c_char * 64),)


class _Floats:
    """`count` float32 numbers at an address of the device, as __cuda_array_interface__ describes them."""

    def __init__(self, address: int, count: int) -> None:
        self.__cuda_array_interface__ = {
            "shape": (count,), "typestr": "<f4", "data": (address, False), "version": 3, "strides": None,
        }  # fmt: skip


def make_block(count: int) -> tuple[Tensor, bytes]:
    """(float32 [count] on the device, the handle that gives it to another process). Raises OSError where it cannot
    be."""
    import torch

    torch.cuda.init()
    torch.zeros(1, device="cuda")  # makes the context
    runtime, address, handle = _runtime(), ctypes.c_void_p(), _Handle()
    _check(runtime, runtime.cudaMalloc(ctypes.byref(address), ctypes.c_size_t(4 * count)))
    try:
        _check(runtime, runtime.cudaIpcGetMemHandle(ctypes.byref(handle), address))
    except OSError:
        runtime.cudaFree(address)
        raise
    return torch.as_tensor(_Floats(address.value or 0, count), device="cuda"), bytes(handle)


def open_block(handle: bytes, count: int) -> Tensor:
    """The block of another process. Raises OSError."""
    import torch

    torch.cuda.init()
    torch.zeros(1, device="cuda")
    runtime, address = _runtime(), ctypes.c_void_p()
    given = _Handle.from_buffer_copy(handle)
    _check(runtime, runtime.cudaIpcOpenMemHandle(ctypes.byref(address), given, ctypes.c_uint(1)))
    return torch.as_tensor(_Floats(address.value or 0, count), device="cuda")


def _runtime() -> ctypes.CDLL:
    """The CUDA runtime that torch has loaded."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.rpartition(" ")[2]
        if "/libcudart" in path:
            return ctypes.CDLL(path)
    raise OSError("torch has loaded no CUDA runtime of its own")


def _check(runtime: ctypes.CDLL, code: int) -> None:
    if code:
        runtime.cudaGetLastError()  # which CUDA keeps, and torch would raise after its next kernel
        raise OSError(f"CUDA error {code}")
