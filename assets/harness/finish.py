"""The end of a run: the learning curve, and the weights on their way to the feeder."""

from __future__ import annotations

import fcntl
import gc
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from harness.batches import Feed, feed, synchronize
from harness.files import read_json

if TYPE_CHECKING:
    from torch import nn

MAX_CURVE_VALUES = 64


def run_seed() -> int:
    """AUTORESEARCH_SEED, or 1."""
    return int(os.environ.get("AUTORESEARCH_SEED") or 1)


def run_dir(folder: Path) -> Path:
    """Where feeder and grader keep what a run leaves: the engine's folder, or one of the workspace by hand."""
    return Path(os.environ.get("AUTORESEARCH_RUN_DIR") or folder / ".autoresearch" / "by-hand")


def seed_everything() -> None:
    """Seed torch's generators from AUTORESEARCH_SEED; to be called before the model is built."""
    import torch

    torch.manual_seed(run_seed())


def log_step(folder: Path, **values: float) -> None:
    """Add a line to the run's learning curve; a value that is not finite becomes null."""
    line = {name: value if math.isfinite(value) else None for name, value in values.items()}
    feed(folder).tell("LINE", line)


def finish(folder: Path, model: nn.Module, **stats: float) -> None:
    """Give the weights to the feeder; by hand, have them graded and print the score.

    `stats` are figures that the trainer reports of itself: they are shown, and nothing is decided on them.
    """
    import resource

    import torch

    model = getattr(model, "_orig_mod", model)  # the module inside a compiled one
    parameters = list(model.parameters())
    device = parameters[0].device
    synchronize(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    own = {
        "peak_vram_mb": torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0,
        "peak_ram_mb": peak,
        "num_params_M": sum(p.numel() for p in parameters) / 1e6,
        "waited_s": feed(folder).waited,
        "cores": torch.get_num_threads() if device.type == "cpu" else 0,
    }
    reported = {name: float(value) for name, value in stats.items() if math.isfinite(value)} | own
    connection = feed(folder)
    with unnamed_file() as file:
        torch.save({name: tensor.cpu() for name, tensor in model.state_dict().items()}, file)
        file.flush()
        if hasattr(fcntl, "F_ADD_SEALS"):
            fcntl.fcntl(file.fileno(), fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
        connection.ask("DONE", reported, [file.fileno()])
    gc.freeze()  # as a process ends all that is left is collected; of torch's modules that takes a third of a second
    if connection.by_hand:
        grade_by_hand(folder, connection)


def unnamed_file() -> IO[bytes]:
    """A file for the weights that has no name and can be sealed, where there is such a thing."""
    if not hasattr(os, "memfd_create"):
        return tempfile.TemporaryFile()
    return os.fdopen(os.memfd_create("weights", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "w+b")


def grade_by_hand(folder: Path, connection: Feed) -> None:
    """Run the grader on what the feeder has just taken, and print the score."""
    if connection.process is not None:
        connection.process.wait()
    command = [sys.executable, str(folder / "prepare.py"), "evaluate"]
    grader = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
    if grader.returncode:
        raise SystemExit(f"error: the grader ended with exit code {grader.returncode}")
    metrics = read_json(run_dir(folder) / "result.json")["metrics"]
    if not metrics:  # the grader has said why
        raise SystemExit(1)
    print("---")
    for name, value in metrics.items():
        print(f"{name + ':':<20}{_shown(name, value)}")
    print(grader.stdout, end="")
    print("by hand: a score and no verdict, since nothing kept this run from the data; for one: autoresearch try")


def _shown(name: str, value: float) -> str:
    """Return a number for a person: a score with six decimals, others with five digits."""
    if name.startswith("val_"):
        return f"{value:.6f}"
    return f"{value:.0f}" if abs(value) >= 1e4 or float(value).is_integer() else f"{value:.5g}"
