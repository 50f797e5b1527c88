"""Attention by every path of this machine against a float64 masked softmax, and which path is taken."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from harness import attention
from harness.device import Machine

PATHS = ("written_out", "sdpa", "flex", "varlen", "flash3")
CPU = Machine(torch.device("cpu"), torch.float32, None, 1e11, 2**34, False)


def chosen() -> str:
    attention.choose_attention.cache_clear()
    try:
        return attention.choose_attention(CPU, 256, 64)
    finally:
        attention.choose_attention.cache_clear()


def plain_attention(q: Any, k: Any, v: Any, window: int) -> Any:
    """float64 [B, T, H, K], one place at a time."""
    out = torch.zeros_like(q)
    for i in range(q.size(1)):
        first = max(0, i - window)
        scores = torch.einsum("bhk,bjhk->bhj", q[:, i], k[:, first : i + 1]) / math.sqrt(q.size(3))
        out[:, i] = torch.einsum("bhj,bjhk->bhk", scores.softmax(-1), v[:, first : i + 1])
    return out


@pytest.mark.parametrize("window", [1, 5, 31, 40])
@pytest.mark.parametrize("name", PATHS)
def test_attention_and_its_gradients_equal_a_masked_softmax(name: str, window: int) -> None:
    cuda, half = torch.cuda.is_available(), name in ("varlen", "flash3")
    if name in ("varlen", "flash3", "flex") and not cuda:
        pytest.skip(f"{name} needs a CUDA device")
    if name == "flash3" and torch.cuda.get_device_capability()[0] != 9:
        pytest.skip("flash3 needs a Hopper GPU")
    if name == "flash3":
        try:
            attention.flash3_kernel()
        except Exception as error:  # whatever the package or its download raises
            pytest.skip(f"flash3 needs a kernel from the hub ({type(error).__name__})")
    device, tolerance = torch.device("cuda" if cuda else "cpu"), 3e-2 if half else 1e-4
    generator = torch.Generator().manual_seed(window)
    drawn = [torch.randn(2, 32, 2, 64, generator=generator) for _ in range(4)]
    own = [x.to(device, torch.bfloat16 if half else torch.float32).requires_grad_() for x in drawn[:3]]
    exact = [x.detach().cpu().double().requires_grad_() for x in own]
    path, needs = attention.PATHS[name]
    found, expected = path(*own, window, needs(2, 32, window, device)), plain_attention(*exact, window)
    (found * drawn[3].to(device)).sum().backward()
    (expected * drawn[3].double()).sum().backward()
    assert torch.allclose(found.cpu().double(), expected, atol=tolerance)
    for a, b in zip(own, exact, strict=True):
        assert a.grad is not None
        assert torch.allclose(a.grad.cpu().double(), b.grad, atol=tolerance)


def test_a_kernel_that_fails_or_differs_gives_way_to_the_next_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(*_: object) -> Any:
        raise ImportError("no such kernel\nin two lines")

    def wrong(q: Any, *_: object) -> Any:
        return 2 * q

    paths = {"flash3": (attention.flash3, absent), "varlen": (wrong, attention.row_ends)}
    monkeypatch.setattr(attention, "PATHS", {**attention.PATHS, **paths})
    monkeypatch.setattr(attention, "attention_paths", lambda *_: ["flash3", "varlen", "written_out", "sdpa"])
    assert chosen() == "written_out"
    assert capsys.readouterr().out.splitlines() == [
        "attention flash3 is not used (ImportError: no such kernel)",
        "attention varlen is not used (ValueError: its output is off)",
    ]


def test_the_choice_of_a_path_does_not_depend_on_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "attention_paths", lambda *_: ["written_out", "sdpa"])
    with torch.autocast("cpu", torch.bfloat16):  # as a model process does
        assert chosen() == "written_out"
