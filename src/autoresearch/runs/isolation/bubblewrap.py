"""The sandbox by bubblewrap: mounts and processes of its own. The first choice on Linux."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from autoresearch.runs.isolation import landlock_exec
from autoresearch.runs.isolation.sandbox import Access, within

PROGRAM = "bwrap"

TMP = Path("/tmp")

_SHAPE = ("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-pid", "--unshare-ipc",
          "--cap-drop", "ALL", "--die-with-parent")  # fmt: skip
"""Root keeps its capabilities unless they are dropped, and could unmount what hides; its /dev has the disks."""

GPUS = ("dri", "kfd", "dxg")
"""Of /dev, what computes; beside it everything of NVIDIA's."""


class Bubblewrap:
    """Puts `bwrap` before a command: what is hidden is not there, and no process outside can be seen."""

    name = "bubblewrap"

    def missing(self) -> str | None:
        return _probe()

    def command(self, access: Access) -> list[str]:
        words = [shutil.which(PROGRAM) or PROGRAM, *_SHAPE]
        for name in sorted(path.name for path in Path("/dev").iterdir()):
            if name in GPUS or name.startswith("nvidia"):
                words += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
        words += [] if access.network else ["--unshare-net"]
        # Of our own code a command that is to be alone needs one file first, wherever that lies.
        places = access.places() + ([(Path(landlock_exec.__file__).resolve(), "read")] if access.alone else [])
        places.sort(key=lambda place: len(place[0].parts))
        needed = (access.cwd, Path(sys.prefix), *access.fixed, *access.writable, *access.visible)
        tmp = TMP
        if access.tmp is None:
            words += ["--tmpfs", str(TMP)]
            named = {path for path, _ in places}
            places += [(path, "read") for path in access.visible if within(path, TMP) and path not in named]
            places.sort(key=lambda place: len(place[0].parts))
        elif any(within(path, TMP) for path in needed):
            tmp = access.tmp_name or access.tmp  # what the command needs lies in /tmp, which therefore stays what it is
        else:
            words += ["--bind", str(access.tmp), str(TMP)]
        for path, right in places:
            if right == "none":
                words += ["--tmpfs", str(path)] if path.is_dir() else ["--ro-bind", os.devnull, str(path)]
            else:
                words += ["--bind" if right == "write" else "--ro-bind", str(path), str(path)]
        for name, folder in (("TMPDIR", ""), *access.in_tmp):
            words += ["--setenv", name, str(tmp / folder)]
        words += ["--chdir", str(access.cwd), "--"]
        if access.alone:  # what mounts do not hold back: keys of the kernel, marks on files
            settings = json.dumps({"network": access.network, "alone": True})
            words += [sys.executable, "-I", "-S", str(Path(landlock_exec.__file__).resolve()), settings, "--"]
        return words

    def gaps(self) -> list[str]:
        return ["whatever is not hidden can be read"]


@functools.cache
def _probe() -> str | None:
    if sys.platform != "linux":
        return "bubblewrap is for Linux"
    if shutil.which(PROGRAM) is None:
        return "bubblewrap is not installed"
    command = [PROGRAM, *_SHAPE, "--unshare-net", "--", "true"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, errors="replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap does not work here: {error}"
    message = " ".join(done.stderr.split())[:160]
    return None if done.returncode == 0 else f"bubblewrap does not work here: {message or done.returncode}"
