"""Weights that a grader takes as numbers: read by a process, and what is refused."""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness.errors import Verdict
from harness.weights import plain, taken

SHAPES = {"a.weight": (3, 4), "b": (5,)}
ASSETS = Path(__file__).resolve().parents[2] / "assets"


def state() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {"b": torch.randn(5, generator=generator), "a.weight": torch.randn(3, 4, generator=generator)}


def saved(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


@pytest.mark.slow
def test_a_process_reads_the_numbers_and_the_grader_has_them_under_their_names(tmp_path: Path) -> None:
    path, own = tmp_path / "model.pt", state()
    path.write_bytes(saved(own))
    found = taken(path, ASSETS, SHAPES)
    assert {name: array.shape for name, array in found.items()} == SHAPES
    assert all((found[name] == own[name].numpy()).all() for name in SHAPES)


@pytest.mark.parametrize(
    ("done", "outcome", "says"),
    [
        (("", 1, b"Traceback\nValueError: they have\n"), "crash", "do not fit the model: ValueError: they have"),
        (("", -9, b""), "crash", "no reason given"),
        ((17 * "1234", 0, b""), "no_metric", "not finite"),
        ((16 * "1234", 0, b""), "crash", "do not fit"),
    ],
)
def test_a_process_that_gives_no_numbers_is_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: tuple[str, int, bytes], outcome: str, says: str
) -> None:
    numbers, code, stderr = done
    told = numbers.replace("1234", "\0\0\x80\x7f").encode("latin-1")  # infinite
    path = tmp_path / "model.pt"
    path.write_bytes(b"")
    monkeypatch.setattr(
        "harness.weights.subprocess.run",
        lambda *_, **__: subprocess.CompletedProcess([], code, told, stderr),
    )
    with pytest.raises(Verdict, match=says) as caught:
        taken(path, ASSETS, SHAPES)
    assert caught.value.outcome == outcome


def test_half_precision_becomes_float32_and_a_view_its_own_numbers() -> None:
    own = state()
    own["b"] = torch.arange(10.0)[::2]
    own["a.weight"] = own["a.weight"].bfloat16()
    numbers = np.frombuffer(plain(saved(own), SHAPES), "<f4")
    assert (numbers[:12] == own["a.weight"].float().numpy().ravel()).all() and numbers[12:].tolist() == [0, 2, 4, 6, 8]


class Program:
    """What runs a command where a pickle is believed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"c": torch.zeros(1)}, "tensors of the base"),
        ({"b": torch.zeros(6)}, r"shape \[6\] and must have \[5\]"),
        ({"b": torch.zeros(5, dtype=torch.long)}, "no tensor of plain numbers"),
        ({"b": [0.0] * 5}, "no tensor of plain numbers"),
    ],
)
def test_what_is_not_the_base_in_its_shapes_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        plain(saved(state() | change), SHAPES)


def test_a_missing_tensor_and_a_program_are_refused_and_the_program_does_not_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tensors of the base"):
        plain(saved({"b": torch.zeros(5)}), SHAPES)
    with pytest.raises(ValueError, match="tensors of the base"):
        plain(saved([torch.zeros(5)]), SHAPES)
    with pytest.raises(Exception, match="Weights only load failed"):
        plain(saved(state() | {"b": Program(tmp_path / "ran")}), SHAPES)
    assert not (tmp_path / "ran").exists()
