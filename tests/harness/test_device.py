"""What the harness says of a machine."""

from __future__ import annotations

import pytest
from harness import device


@pytest.mark.parametrize(
    ("card", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L40", 181e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA GeForce RTX 4090", 165e12),
        ("NVIDIA RTX A4000", None),
    ],
)
def test_the_peak_is_that_of_the_device(card: str, peak: float | None) -> None:
    assert device.peak_of(card) == peak


@pytest.mark.parametrize(("quota", "expected"), [("150000 100000", 2), ("max 100000", 64), ("50000 100000", 1)])
def test_threads_keep_to_the_quota_of_a_container(monkeypatch: pytest.MonkeyPatch, quota: str, expected: int) -> None:
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(device.Path, "read_text", lambda _: quota)
    assert device.cores() == expected
