"""Attention by the fastest kernel that this machine has and that gives what a masked softmax gives.

Every path is q, k, v [B, T, H, K] -> [B, T, H, K], where place i sees places i - window to i. What a path needs beside
them (a mask, a kernel) is made once by the second function of its entry in PATHS.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.device import Machine

SHORT = 512
"""Rows up to this length have their scores written out on a CPU, which is twice as fast as SDPA there."""


@functools.cache
def hidden(B: int, T: int, window: int, device: torch.device) -> Tensor:
    """bool [T, T]: what place i (first) may not see of place j."""
    distance = torch.arange(T, device=device)[:, None] - torch.arange(T, device=device)
    return (distance < 0) | (distance > window)


@functools.cache
def penalty(B: int, T: int, window: int, device: torch.device) -> Tensor:
    return torch.zeros(T, T, device=device).masked_fill(hidden(B, T, window, device), -math.inf)


def written_out(q: Tensor, k: Tensor, v: Tensor, window: int, penalty: Tensor) -> Tensor:
    """Masked softmax as it stands in the paper (Vaswani et al., 2017)."""
    B, T, H, K = q.shape
    q, k, v = (x.transpose(1, 2).reshape(B * H, T, K) for x in (q * K**-0.5, k, v))
    scores = torch.baddbmm(penalty.to(q.dtype), q, k.mT)  # [B H, T, T]
    return (scores.softmax(-1) @ v).view(B, H, T, K).transpose(1, 2)


def sdpa(q: Tensor, k: Tensor, v: Tensor, window: int, hidden: Tensor) -> Tensor:
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if window >= q.size(2) - 1:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=~hidden).transpose(1, 2)


@functools.cache
def block_mask(B: int, T: int, window: int, device: torch.device) -> object:
    from torch.nn.attention.flex_attention import create_block_mask

    def seen(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return (i >= j) & (i - j <= window)

    return create_block_mask(seen, None, None, T, T, device=device)


@functools.cache
def compiled_flex() -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False)


def flex(q: Tensor, k: Tensor, v: Tensor, window: int, blocks: object) -> Tensor:
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return compiled_flex()(q, k, v, block_mask=blocks).transpose(1, 2)


@functools.cache
def row_ends(B: int, T: int, window: int, device: torch.device) -> Tensor:
    return torch.arange(0, (B + 1) * T, T, dtype=torch.int32, device=device)


def varlen(q: Tensor, k: Tensor, v: Tensor, window: int, ends: Tensor) -> Tensor:
    """FlashAttention 2 as torch >= 2.11 has it, on sm80 and later."""
    from torch.nn.attention.varlen import varlen_attn

    T = q.size(1)
    left = -1 if window >= T - 1 else window
    flat = varlen_attn(*(x.flatten(0, 1) for x in (q, k, v)), ends, ends, T, T, window_size=(left, 0))
    return flat.view_as(q)


@functools.cache
def flash3_kernel(*_: object) -> Callable[..., Any]:
    from kernels import get_kernel

    return get_kernel("kernels-community/flash-attn3", version=1).flash_attn_func


def flash3(q: Tensor, k: Tensor, v: Tensor, window: int, kernel: Callable[..., Any]) -> Tensor:
    """FlashAttention 3 (Shah et al., 2024), a kernel from the hub, for Hopper."""
    left = -1 if window >= q.size(1) - 1 else window
    out = kernel(q, k, v, causal=True, window_size=(left, 0))
    return out[0] if isinstance(out, tuple) else out


PATHS: dict[str, tuple[Callable[..., Tensor], Callable[..., Any]]] = {
    "flash3": (flash3, flash3_kernel), "varlen": (varlen, row_ends), "flex": (flex, block_mask),
    "sdpa": (sdpa, hidden), "written_out": (written_out, penalty),
}  # fmt: skip


def attention_paths(own: Machine, seq_len: int) -> list[str]:
    """What this machine may have for rows of `seq_len` tokens, best first."""
    if own.device.type == "cpu" and seq_len <= SHORT:
        return ["written_out"]
    if own.device.type != "cuda":
        return ["sdpa"]
    major = torch.cuda.get_device_capability(own.device)[0]
    return ["flash3"] * (major == 9) + ["varlen"] * (major >= 8) + ["flex"] * own.compiles + ["sdpa"]


@functools.cache
def choose_attention(own: Machine, seq_len: int, head_dim: int) -> str:
    """The first path that gives what a masked softmax gives; one line for each that does not run or differs."""
    paths = attention_paths(own, seq_len)
    for name in paths[:-1]:
        path, needs = PATHS[name]
        try:
            generator = torch.Generator(own.device).manual_seed(0)
            drawn = torch.randn(3, 2, 256, 2, head_dim, device=own.device, generator=generator)
            # The caller may be in mixed precision, under which what is expected would be as rough as what is found.
            with torch.enable_grad(), torch.autocast(own.device.type, enabled=False):
                q, k, v = drawn.to(own.dtype).requires_grad_().unbind()
                out = path(q, k, v, 100, needs(2, 256, 100, own.device))
                out.float().sum().backward()
                expected = sdpa(q.float(), k.float(), v.float(), 100, hidden(2, 256, 100, own.device))
            if not torch.allclose(out.float(), expected, atol=0.05):
                raise ValueError("its output is off")
            return name
        except Exception as error:  # whatever a kernel or its download raises, the next path may do
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:120]
            print(f"attention {name} is not used ({reason})", flush=True)
    return paths[-1]
