"""Failures of the machine that look like a failure of the run: then nothing is decided about the idea."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path

from autoresearch.system.files import is_there
from autoresearch.system.process import Exit
from autoresearch.workspace.task_file import TaskFile

LOST_GPU = re.compile(
    r"uncorrectable ECC|GPU is lost|fallen off the bus|no CUDA-capable device|devices? is/are busy or unavailable"
    r"|Unable to determine the device handle|CUDA driver (?:error: unknown|initialization failed)|GPU requires reset"
    r"|hipErrorNoDevice",
    re.IGNORECASE,
)
"""What CUDA, its driver and ROCm say when the device itself is gone or broken; not for a kernel that crashed."""

LOST_DISK = re.compile(
    r"Stale (?:NFS )?file handle|Transport endpoint is not connected|Input/output error|Remote I/O error|Host is down"
)
"""What the system says of a file on a disk that does not answer any more."""

UNPREPARED = "data is not prepared"
"""What our harness says where it finds none."""

NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded|ENOSPC", re.IGNORECASE)
LITTLE = 256 * 2**20
"""Bytes: with less free, a run that complains of no space is right."""


def machine_failure(ended: Exit, run_dir: Path) -> str | None:
    """Return what failed on the machine, in a phrase, or None; called when the snapshot of the run is gone.

    A run that has filled the disk itself, which shows by the space that its going has freed, is no such failure.
    """
    if ended.standstill:
        return ended.standstill
    if ended.code in (0, None):
        return None
    lost = LOST_GPU.search(ended.tail)
    if lost is not None:
        return f"the GPU was lost ({lost[0]})"
    disk = LOST_DISK.search(ended.tail)
    if disk is not None:
        return f"a disk does not answer ({disk[0]})"
    if NO_SPACE.search(ended.tail):
        with contextlib.suppress(OSError):
            own = sum(path.stat().st_size for path in run_dir.rglob("*") if path.is_file() and not path.is_symlink())
            if shutil.disk_usage(run_dir).free + own < LITTLE:
                return "the disk is full"
    return None


def lost_data(ended: Exit, root: Path, task: TaskFile, cache: Path) -> str | None:
    """Return which data of the task is gone with its disk, in a phrase, where a run that has failed names it, or None.

    `root` is the workspace, `cache` the folder of prepared data. Of a disk that is gone there are links that lead to
    nothing, and an empty folder to mount it in.
    """
    for name in (*task.files.link, ".venv"):
        path = root / name
        if path.is_symlink() and not is_there(path) and (name in ended.tail or str(path.readlink()) in ended.tail):
            return f"{name} is gone: nothing is at {path.readlink()}"
    if task.task.harness and UNPREPARED in ended.tail:
        with contextlib.suppress(OSError):
            if any(cache.iterdir()):
                return None
        return f"the prepared data is gone: nothing is in {cache}"
    return None
