"""Cross-entropy from logits, in numpy and in torch, against plain float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from harness import scores
from harness.errors import Verdict
from harness.scores import cross_entropy

WAYS = (lambda z: z.copy(), torch.from_numpy)


def exact(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    z = torch.from_numpy(logits).double()
    chosen = torch.from_numpy(targets.astype(np.int64))
    return (z.logsumexp(-1) - z.gather(-1, chosen[..., None])[..., 0]).numpy()


@pytest.mark.parametrize("give", WAYS)
@pytest.mark.parametrize("size", [3, 40, 2**15])
def test_the_loss_equals_a_plain_float64_computation(give: Any, size: int) -> None:
    rng = np.random.default_rng(size)
    logits = (20 * rng.standard_normal((2, 37, size))).astype(np.float32)
    targets = rng.integers(0, size, (2, 37))
    found = cross_entropy(give(logits), targets)
    assert found.dtype == np.float64
    assert found == pytest.approx(exact(logits, targets), abs=1e-6)


@pytest.mark.parametrize("give", WAYS)
def test_large_logits_cost_what_they_should(give: Any) -> None:
    """In float32 without the maximum, logits + 2^34 would cost nothing."""
    logits = np.random.default_rng(0).standard_normal((1, 50, 64)).astype(np.float32)
    targets = np.zeros((1, 50), np.int64)
    shifted = logits + np.float32(2**34)
    assert cross_entropy(give(shifted), targets) == pytest.approx(exact(shifted, targets), abs=1e-6)
    assert cross_entropy(give(shifted), targets).mean() > math.log(64) - 0.1


@pytest.mark.parametrize("give", WAYS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_has_no_score(give: Any, value: float) -> None:
    logits, targets = np.zeros((1, 4, 8), np.float32), np.zeros((1, 4), np.int64)
    logits[0, 2, 0] = value
    with pytest.raises(Verdict, match="not finite") as refused:
        cross_entropy(give(logits), targets)
    assert refused.value.outcome == "no_metric"


def test_on_a_device_a_bounded_part_of_the_logits_is_looked_at_together(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.random.default_rng(1).standard_normal((3, 50, 16)).astype(np.float32)
    targets = np.random.default_rng(2).integers(0, 16, (3, 50))
    monkeypatch.setattr(scores, "CHUNK", 16 * 7)
    assert cross_entropy(torch.from_numpy(logits), targets) == pytest.approx(exact(logits, targets), abs=1e-6)
