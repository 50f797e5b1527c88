"""`export --to tensorboard`: a folder for each run with its curve, its numbers and what went into it.

Written by tensorboardX, without TensorBoard and without a network.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from autoresearch.exchange.tracker_folder import made_anew, missing
from autoresearch.exchange.trackers import TrackedRun


def to_tensorboard(folder: Path, runs: Iterable[TrackedRun]) -> int:
    """Write runs as event files, a folder each; return how many.

    Raises `PreconditionError` where tensorboardX is not installed, `UsageError` for a folder with other files.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise missing("tensorboardX") from None
    count = 0
    with made_anew(folder) as new:
        for run in runs:
            count += 1
            with SummaryWriter(logdir=str(new / run.name.replace("/", "-"))) as writer:  # a tag may lead anywhere
                _write(writer, run)
    return count


def _write(writer: object, run: TrackedRun) -> None:
    scalar, text = writer.add_scalar, writer.add_text  # type: ignore[attr-defined]  # it has no types
    for point in run.history:
        for name, value in point.values.items():
            scalar(f"curve/{name}", value, global_step=point.step, walltime=point.time)
    last = run.history[-1].step if run.history else 0
    for name, value in run.summary.items():
        scalar(name, value, global_step=last, walltime=run.time)
    rows = "\n".join(f"    {name}: {value}" for name, value in run.config.items())
    text("run", f"{run.title}\n\n{rows}", global_step=last, walltime=run.time)
