"""The grader: has the hidden data and the result file, and never imports the trainer's code.

It asks two model processes, one after the other (`models.py`), and computes every score itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.clock import check_clock
from harness.errors import TaskError, Verdict
from harness.feeder import CLOCK, SUMMARY, WEIGHTS
from harness.files import digest, read_json
from harness.models import Models
from harness.task import Task


def grade(task: Task, folder: Path, split: str) -> dict[str, float]:
    """The metrics of the run in `folder`. Raises Verdict when it has none, TaskError without data."""
    clock, summary = admitted(task, folder, split)
    models = Models(task, folder / WEIGHTS, clock["seconds"] / max(clock["tokens"], 1))
    try:
        metrics = task.judge(models, split, folder)
        if task.budget.kind == "flops":
            flops = models.flops() / task.tokens_per_example * clock["tokens"]
            check_clock(clock | {"flops": flops}, task.budget, **about(summary))
    finally:
        models.close()
    return metrics | measured(clock) | reported(summary, metrics)


def admitted(task: Task, folder: Path, split: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Clock and summary of a run that may be graded: the data is what was prepared, the run ended as it should and
    within its budget, unless that is flops. Raises as `grade` does."""
    data = task.prepared()
    expected = read_json(data / "manifest.json")["sha256"]
    for name in task.files(split):
        if digest(data / name) != expected[name]:
            raise Verdict("tampered", f"{name} is not what was prepared; run: python prepare.py --force")
    try:
        clock, summary = read_json(folder / CLOCK), read_json(folder / SUMMARY)
    except TaskError:
        raise Verdict("no_metric", "the trainer ended without calling finish(model)") from None
    if "weights_over" in clock:
        size, most = clock["weights_over"] / 2**20, task.allowances.weights_bytes / 2**20
        raise Verdict("over_budget", f"the weights have {size:.0f} MB, over the {most:.0f} MB of this profile")
    if task.budget.kind != "flops":
        check_clock(clock, task.budget, **about(summary))
    return clock, summary


def about(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What `check_clock` takes of the trainer's process."""
    cpu_s = os.environ.get("AUTORESEARCH_TRAIN_CPU_SECONDS")
    return {"cores": summary.get("cores", 0), "cpu_s": float(cpu_s) if cpu_s else None}


def measured(clock: Mapping[str, Any]) -> dict[str, float]:
    """What the feeder and the engine saw of the run."""
    lived = os.environ.get("AUTORESEARCH_TRAIN_SECONDS")
    total = {"total_seconds": float(lived)} if lived else {}
    return {"training_seconds": clock["seconds"], **total, "total_tokens_M": clock["tokens"] / 1e6,
            "num_steps": clock["steps"]}  # fmt: skip


def reported(summary: Mapping[str, Any], metrics: Mapping[str, float]) -> dict[str, float]:
    """What the trainer says of itself, under names that are not the grader's."""
    ours = {*metrics, "training_seconds", "total_seconds", "total_tokens_M", "num_steps", "cores"}
    names = sorted(name for name in summary if name.isidentifier() and name not in ours and not name.startswith("val_"))
    return {name: summary[name] for name in names[:32]}
