"""The sandbox of a run: bubblewrap, where it is installed and the system lets it work."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from autoresearch.errors import MachineError
from autoresearch.system.process import Exit

SWITCH = "AUTORESEARCH_SANDBOX"
"""Environment variable; `off` is the person's way past a sandbox that does not work here."""

_SHAPE = ("--ro-bind", "/", "/", "--dev-bind", "/dev", "/dev", "--tmpfs", "/dev/shm", "--proc", "/proc",
          "--unshare-pid", "--unshare-ipc", "--die-with-parent")  # fmt: skip


@dataclass(frozen=True, slots=True)
class BubblewrapMounts:
    """What a command may reach. Everything else can be read and not written; processes outside cannot be seen."""

    cwd: Path
    writable: tuple[Path, ...]
    """The run's own folders."""
    shared: tuple[Path, ...] = ()
    """Other folders that may be written; what lies in them and is in `fixed` may not."""
    fixed: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    """Files and folders that are empty inside."""
    tmp: Path | None = None
    """What is /tmp inside."""
    network: bool = True

    def command(self) -> list[str]:
        """Return the words to put before a command."""
        words = ["bwrap", *_SHAPE]
        words += [] if self.network else ["--unshare-net"]
        for path in self.shared:
            words += ["--bind", str(path), str(path)]
        for path in self.fixed:
            words += ["--ro-bind", str(path), str(path)]
        words += ["--bind", str(self.tmp), "/tmp"] if self.tmp else []
        for path in self.hidden:
            words += ["--tmpfs", str(path)] if path.is_dir() else ["--ro-bind", os.devnull, str(path)]
        for path in self.writable:
            words += ["--bind", str(path), str(path)]
        return [*words, "--chdir", str(self.cwd), "--"]


def check_set_up(ended: Exit) -> None:
    """Raise `MachineError` when what ended is the sandbox itself, before the command in it began."""
    if ended.code and ended.tail.startswith("bwrap: "):
        line = ended.tail.splitlines()[0]
        raise MachineError(f"the sandbox could not be set up ({line})", f"go without it: {SWITCH}=off autoresearch ...")


def missing() -> str | None:
    """Return why there is no sandbox here; None when there is one."""
    if os.environ.get(SWITCH) == "off":
        return f"turned off by {SWITCH}"
    return _probe()


@functools.cache
def _probe() -> str | None:
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed"
    command = ["bwrap", *_SHAPE, "--unshare-net", "--", "true"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, errors="replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap does not work here: {error}"
    message = " ".join(done.stderr.split())[:160]
    return None if done.returncode == 0 else f"bubblewrap does not work here: {message or done.returncode}"
