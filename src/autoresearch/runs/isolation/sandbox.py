"""What a sandbox is: words to put before a command, after which it reaches what an `Access` says and nothing else."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from autoresearch.errors import MachineError
from autoresearch.system.process import Exit

SWITCH = "AUTORESEARCH_SANDBOX"
"""Environment variable: `off` is the person's way past a sandbox that does not work here, a name asks for that one."""

FAILED = "autoresearch sandbox: "
"""What a line of ours begins with when the sandbox itself could not be set up."""

SERVICES = tuple(map(Path, ("/run/user", "/run/dbus", "/run/docker.sock", "/run/podman", "/run/containerd")))
"""Sockets of programs that would do something for whoever asks them."""

Right = Literal["none", "read", "write"]
"""What may be done in one place; `write` includes `read`."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a command may reach. Outside of what is named here, everything can be read and nothing written."""

    cwd: Path
    writable: tuple[Path, ...] = ()
    """The run's own folders."""
    shared: tuple[Path, ...] = ()
    """Other folders that may be written; what lies in them and is in `fixed` may not."""
    fixed: tuple[Path, ...] = ()
    """Read, never written."""
    hidden: tuple[Path, ...] = ()
    """Files and folders that are there and cannot be read."""
    visible: tuple[Path, ...] = ()
    """Files and folders inside something hidden that can be read all the same, unless hidden themselves; they exist."""
    tmp: Path | None = None
    """The folder of temporary files. None is an empty one for each start of the command, which no other can reach."""
    tmp_name: Path | None = None
    """What programs are told of it, where its own name is too long for the sockets that they make there."""
    scratch: Path | None = None
    """Where a sandbox that has no mounts makes that one."""
    in_tmp: tuple[tuple[str, str], ...] = ()
    """Environment variable -> the folder in the temporary one that it names, beside TMPDIR, which is set always."""
    network: bool = True
    alone: bool = False
    """Whether nothing that it leaves may be found by another process: no named shared memory, no marks on files."""

    def places(self) -> list[tuple[Path, Right]]:
        """Return (place, what may be done there), outer ones first: the innermost that contains a path decides."""
        found: dict[Path, Right] = {}
        found |= dict.fromkeys([*self.shared, *self.kept_in_place()], "write")
        found |= dict.fromkeys(self.fixed, "read")
        found |= dict.fromkeys([p for p in self.visible if any(within(p, h) for h in self.hidden)], "read")
        found |= dict.fromkeys(self.hidden, "none")
        found |= dict.fromkeys(self.writable, "write")
        found |= dict.fromkeys([self.tmp] if self.tmp else [], "write")
        return sorted(found.items(), key=lambda place: len(place[0].parts))

    def kept_in_place(self) -> list[Path]:
        """Return the folders between one that may be written and what is held back in it, which may be written
        themselves. Whoever could move one of them away could put something else where that was."""
        known = dict.fromkeys([*self.shared, *self.writable], True) | dict.fromkeys([*self.fixed, *self.hidden], False)
        between = dict.fromkeys(folder for path in (*self.fixed, *self.hidden) for folder in path.parents)
        return [f for f in between if f not in known and next((known[p] for p in f.parents if p in known), False)]


class Sandbox(Protocol):
    """One way to hold a command to an `Access`."""

    name: str
    """As it stands in verdicts, and as the switch names it."""

    def missing(self) -> str | None:
        """Return why it cannot be had here; None when it can."""

    def command(self, access: Access) -> list[str]:
        """Return the words to put before a command. File descriptors that it inherits go through."""

    def gaps(self) -> list[str]:
        """Return what it does not hold back here, a phrase each."""


def within(path: Path, folder: Path) -> bool:
    return path == folder or path.is_relative_to(folder)


def asked_for() -> str:
    """Return the name in the switch: of a sandbox, `off`, or empty for whichever works."""
    value = os.environ.get(SWITCH, "")
    return "" if value == "auto" else value


def check_set_up(ended: Exit) -> None:
    """Raise `MachineError` when what ended is the sandbox itself, before the command in it began."""
    if ended.code and ended.tail.startswith((FAILED, "bwrap: ", "sandbox-exec: ")):
        line = ended.tail.splitlines()[0]
        raise MachineError(f"the sandbox could not be set up ({line})", f"go without it: {SWITCH}=off autoresearch ...")
