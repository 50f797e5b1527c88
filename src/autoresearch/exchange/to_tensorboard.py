"""`export --to tensorboard`: a folder for each run with its curve, its numbers and what went into it.

Written by tensorboardX, without TensorBoard and without a network. The folder is made anew each time, so that a second
export has nothing twice; one that is not ours is left alone.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

from autoresearch.errors import PreconditionError, UsageError
from autoresearch.exchange.trackers import TrackedRun
from autoresearch.system.files import remove_tree, write_atomic

MARK = ".autoresearch-export"
"""A file in a folder that an export has written, and may replace."""


def to_tensorboard(folder: Path, runs: Iterable[TrackedRun]) -> int:
    """Write runs as event files, a folder each; return how many.

    Raises `PreconditionError` where tensorboardX is not installed, `UsageError` for a folder with other files.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise PreconditionError(
            "tensorboardX is not installed", "install it with: pip install 'autoresearch[trackers]'"
        ) from None
    if folder.exists() and not (folder / MARK).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} has files that no export has written", "name another folder with -o")
    folder.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as building:
        new = Path(building, "new")
        for run in runs:
            count += 1
            with SummaryWriter(logdir=str(new / run.name)) as writer:
                _write(writer, run)
        write_atomic(new / MARK, json.dumps({"runs": count}) + "\n")
        if folder.exists():
            folder.rename(Path(building, "old"))
        new.rename(folder)
        remove_tree(Path(building, "old"))
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
