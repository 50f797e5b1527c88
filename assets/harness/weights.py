"""Grading where the forward pass is fixed: of a run nothing but numbers is taken, and no code of the trainer runs.

    python -m harness.weights SHAPES     weights on standard input, float32 numbers on standard output

What the trainer has sent is a file of torch. It is read by a process in the sandbox of a model process, so that the
grader, which has the hidden data, unpickles nothing that came from there.
"""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from harness.errors import Verdict
from harness.feeder import WEIGHTS
from harness.grader import admitted, measured, reported
from harness.models import KEPT, PREFIX
from harness.task import Task

READ_S = 120.0
"""What reading may take: importing torch, nearly all of it."""

Shapes = Mapping[str, Sequence[int]]
"""Name of a tensor -> its shape."""


class FixedTask(Task, Protocol):
    """A task whose model is the harness's."""

    def shapes(self) -> Shapes:
        """Of the tensors that a run hands in."""
        ...

    def score(self, weights: Mapping[str, np.ndarray], split: str, folder: Path) -> dict[str, float]:
        """The metrics of float32 `weights` on `split`; `folder` is the run's. Raises Verdict."""
        ...


def grade_weights(task: FixedTask, folder: Path, split: str) -> dict[str, float]:
    """`harness.grader.grade` of such a task. Raises Verdict."""
    clock, summary = admitted(task, folder, split)
    metrics = task.score(taken(folder / WEIGHTS, task.folder, task.shapes()), split, folder)
    return metrics | measured(clock) | reported(summary, metrics)


def taken(path: Path, folder: Path, shapes: Shapes) -> dict[str, np.ndarray]:
    """The tensors of a run's file, float32, by a process that is started in `folder`. Raises Verdict when they are not
    what `shapes` says, or no finite numbers."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AUTORESEARCH_") or name in KEPT}
    words = [*json.loads(os.environ.get(PREFIX) or "[]"), sys.executable, "-m", "harness.weights"]
    asked = json.dumps({name: list(shape) for name, shape in shapes.items()})
    try:
        with path.open("rb") as file:
            done = subprocess.run([*words, asked], stdin=file, capture_output=True, cwd=folder, env=kept,
                                  timeout=READ_S, check=False)  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Verdict("over_budget", f"the weights could not be read in {READ_S:.0f} s") from None
    counts = [math.prod(shape) for shape in shapes.values()]
    if done.returncode or len(done.stdout) != 4 * sum(counts):
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        raise Verdict("crash", f"the weights do not fit the model: {' '.join(said[-1].split())[:200]}")
    numbers = np.frombuffer(done.stdout, "<f4")
    if not np.isfinite(numbers).all():
        raise Verdict("no_metric", "the weights are not finite")
    parts = np.split(numbers, np.cumsum(counts)[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def plain(data: bytes, shapes: Shapes) -> bytes:
    """The numbers in a file of torch, one tensor behind the other in the order of `shapes`. Raises ValueError."""
    import torch

    state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or {*state} != {*shapes}:
        given = sorted(map(str, state)) if isinstance(state, dict) else type(state).__name__
        raise ValueError(f"they must be the tensors of the base, and are {given}"[:200])
    parts = []
    for name, shape in shapes.items():
        tensor = state[name]
        if type(tensor) is not torch.Tensor or tensor.layout != torch.strided or not tensor.is_floating_point():
            raise ValueError(f"{name} is no tensor of plain numbers")
        if list(tensor.shape) != list(shape):
            raise ValueError(f"{name} has the shape {list(tensor.shape)} and must have {list(shape)}")
        parts.append(tensor.float().contiguous().numpy().astype("<f4").tobytes())
    return b"".join(parts)


def main() -> None:
    try:
        numbers = plain(sys.stdin.buffer.read(), json.loads(sys.argv[1]))
    except Exception as error:  # whatever torch raises on such a file
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    sys.stdout.buffer.write(numbers)


if __name__ == "__main__":
    main()
