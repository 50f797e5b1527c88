"""The sandbox by Landlock and seccomp, of Linux itself: needs no program, no root and no namespaces.

It is what is left where bubblewrap is not installed or not allowed to work, as in most containers.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

from autoresearch.runs.isolation import landlock_exec
from autoresearch.runs.isolation.sandbox import Access

PROGRAM = Path(landlock_exec.__file__).resolve()

PIECE = 100_000
"""Characters of one word of a command; the kernel takes words of up to 128 KiB."""

ONE_COMPILER = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
"""For a command that is `alone`: more compilers than one of torch talk through memory with a name, which it has not."""

_TRUNCATE, _TCP, _SIGNALS = 3, 4, 6
"""The first versions that hold these back."""


class Landlock:
    """Puts a small Python program before a command, which gives up its own rights and becomes the command."""

    name = "landlock"

    def missing(self) -> str | None:
        return _probe()

    def command(self, access: Access) -> list[str]:
        settings = {
            "places": [(str(path), right) for path, right in access.places()],
            "cwd": str(access.cwd),
            "tmp": str(access.tmp_name or access.tmp) if access.tmp else None,
            "scratch": str(access.scratch) if access.scratch else None,
            "in_tmp": dict(access.in_tmp),
            "env": ONE_COMPILER if access.alone else {},
            "network": access.network,
            "alone": access.alone,
        }
        text = json.dumps(settings)
        pieces = [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
        return [sys.executable, "-I", "-S", str(PROGRAM), *pieces, "--"]

    def gaps(self) -> list[str]:
        version, filtered = landlock_exec.abi(), landlock_exec.filters(os.uname().machine)
        found = [
            "whatever is not hidden can be read, and of what is hidden names, sizes and dates",
            "modes and dates of your files can be changed, shared memory and terminals written to",
            "processes outside can be seen" + (" and sent signals" if version < _SIGNALS else ""),
        ]
        if filtered:
            found.append("without a network there is no localhost either")
        else:
            found.append("a network is left open" + ("" if version < _TCP else " for all but TCP"))
            if version < _TRUNCATE:
                found.append("files can be emptied")
        return found


@functools.cache
def _probe() -> str | None:
    if sys.platform != "linux":
        return "Landlock is for Linux"
    try:
        landlock_exec.abi()
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return "Landlock is turned off in this kernel"
        return "this kernel has no Landlock (Linux 5.13)" if error.errno == errno.ENOSYS else f"no Landlock: {error}"
    command = [*Landlock().command(Access(cwd=Path("/"), tmp=Path("/nonexistent"), network=False)), "true"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, errors="replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"Landlock does not work here: {error}"
    message = " ".join(done.stderr.split())[:160]
    return None if done.returncode == 0 else f"Landlock does not work here: {message or done.returncode}"
