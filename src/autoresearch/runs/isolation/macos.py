"""The sandbox of macOS: `sandbox-exec` and a profile that allows everything but what is denied in it.

Apple calls the program deprecated and has nothing in its place. To deny by default would take the GPU away, whose
driver opens services that differ from release to release.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from pathlib import Path

from autoresearch.runs.isolation.sandbox import Access

PROGRAM = "sandbox-exec"

TMP = "TMP"
"""The parameter of a profile that is the temporary folder."""

_FRESH = (
    'tmp=$(mktemp -d "$1/XXXXXXXX") && tmp=$(cd "$tmp" && pwd -P) || { echo "sandbox-exec: no temporary folder" >&2;'
    ' exit 1; }; profile=$2; shift 2; exec sandbox-exec -D "TMP=$tmp" -p "$profile" '
    'sh -c \'tmp=$1; shift; while [ "$1" != -- ]; do export "$1=$tmp/$2"; shift 2; done; shift;'
    ' export TMPDIR="$tmp"; exec "$@"\' sh "$tmp" "$@"'
)
"""A shell program: makes a temporary folder in its first word, and starts the command under its second, a profile."""

_WRITTEN = ("/dev/null", "/dev/zero", "/dev/tty", "/dev/dtracehelper", "/dev/random", "/dev/urandom")


class SandboxExec:
    """Puts `sandbox-exec` and a profile before a command."""

    name = "sandbox-exec"

    def missing(self) -> str | None:
        return _probe()

    def command(self, access: Access) -> list[str]:
        chdir = ["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(access.cwd)]
        if access.tmp is None:
            pairs = [word for pair in access.in_tmp for word in pair]
            return ["sh", "-c", _FRESH, "sh", str(access.scratch), profile(access), *pairs, "--", *chdir]
        tmp = access.tmp.resolve()
        named = [f"{name}={(access.tmp_name or tmp) / folder}" for name, folder in (("TMPDIR", ""), *access.in_tmp)]
        return [PROGRAM, "-D", f"{TMP}={tmp}", "-p", profile(access), "env", *named, *chdir]

    def gaps(self) -> list[str]:
        return [
            "whatever is not hidden can be read, and of what is hidden names, sizes and dates",
            "processes outside can be seen",
            "without a network there is no localhost either",
        ]


def profile(access: Access) -> str:
    """Return the profile; of its rules the last that fits decides."""
    rules = ["(version 1)", "(allow default)", "(deny file-write*)"]
    rules += [f"(allow file-write* {' '.join(f'(literal {_quoted(path)})' for path in _WRITTEN)})"]
    rules += ["(deny signal)", "(allow signal (target same-sandbox))"]
    rules += [] if access.network else ["(deny network*)", '(allow network* (subpath "/"))']  # sockets that are files
    rules += ["(deny ipc-sysv*)", "(deny ipc-posix-shm-write*)"] if access.alone else []
    for path, right in sorted(_resolved(access), key=lambda place: len(place[0].parts)):
        place = f"({'subpath' if path.is_dir() else 'literal'} {_quoted(str(path))})"
        rules.append(f"({'deny' if right == 'none' else 'allow'} file-read-data file-read-xattr {place})")
        rules.append(f"({'allow' if right == 'write' else 'deny'} file-write* {place})")
    moved = [f"(literal {_quoted(str(path.resolve()))})" for path in access.kept_in_place()]
    rules += [f"(deny file-write-unlink {' '.join(moved)})"] if moved else []
    rules.append(f'(allow file-read* file-write* (subpath (param "{TMP}")))')
    return "\n".join(rules) + "\n"


def _resolved(access: Access) -> list[tuple[Path, str]]:
    """Return the places without links in them: the kernel compares with those."""
    return [(path.resolve(), right) for path, right in access.places()]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@functools.cache
def _probe() -> str | None:
    if sys.platform != "darwin":
        return "sandbox-exec is for macOS"
    if shutil.which(PROGRAM) is None:
        return "sandbox-exec is not there"
    command = SandboxExec().command(Access(cwd=Path("/"), tmp=Path("/private/tmp"), network=False, alone=True))
    try:
        done = subprocess.run([*command, "true"], capture_output=True, text=True, timeout=10, errors="replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"sandbox-exec does not work here: {error}"
    message = " ".join(done.stderr.split())[:160]
    return None if done.returncode == 0 else f"sandbox-exec does not work here: {message or done.returncode}"
