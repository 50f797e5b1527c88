"""Whether a process is still the one that it was, by its number and when it was created."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_ZOMBIE = b"Z"

_SAME_S = 1.0
"""Two readings of one process's creation differ by less; a number is not used again that soon."""


def created(pid: int) -> float:
    """Return when a process was created, in seconds since the epoch; 0 when it is gone."""
    about = _about(pid)
    return about[0] if about is not None else 0.0


def alive(pid: int, created: float) -> bool:
    """Whether the process with this number is still the one that was created then (seconds since the epoch)."""
    about = _about(pid)
    return about is not None and about[1] and abs(about[0] - created) < _SAME_S


def _about(pid: int) -> tuple[float, bool] | None:
    """Return when a process was created and whether it runs (a zombie does not), or None when it is gone."""
    if sys.platform == "linux":
        try:
            # The name in it may hold blanks and parentheses.
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            since_boot_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
            return _boot_time() + since_boot_s, fields[0] != _ZOMBIE
        except (FileNotFoundError, ProcessLookupError):
            return None
        except (OSError, ValueError, IndexError):
            pass  # no /proc that can be read: psutil says why, or knows another way
    import psutil

    try:
        process = psutil.Process(pid)
        return float(process.create_time()), process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return None


def _boot_time() -> int:
    """Return when this machine was started, in seconds since the epoch, as the kernel tells it now."""
    with Path("/proc/stat").open("rb") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(b"btime "))
