"""Errors a user can cause. Each says in one sentence what is wrong, and in another what to type next."""

from __future__ import annotations

import re
from typing import ClassVar

PROGRAMS = "autoresearch|git|rm|mv|cd|sed|cat|uv|poetry|pdm|pip|unset|apt"
"""What a command in a fix begins with."""

_COMMAND = re.compile(rf"(?:^|: )((?:{PROGRAMS}) .*)$")


class AutoresearchError(Exception):
    """The root of the tree; caught once, in `cli/output.py`."""

    kind: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.folder: str | None = None
        """Where its fix is to be typed; None is the workspace, or the folder that the command worked in."""

    def __str__(self) -> str:
        return f"{self.message}; {self.fix}" if self.fix else self.message

    @property
    def command(self) -> str | None:
        """What its fix ends with, when that is a command: the fix itself, or what stands behind a colon."""
        found = _COMMAND.search(self.fix)
        return found[1] if found is not None else None

    def from_folder(self, folder: str) -> None:
        """Let the command of its fix go to `folder` first: that is where it is meant to be typed."""
        if self.command is not None and not self.command.startswith("cd "):
            self.fix = f"{self.fix.removesuffix(self.command)}cd {folder} && {self.command}"

    def as_dict(self) -> dict[str, str]:
        """Return the error as `--json` prints it."""
        return {"kind": self.kind, "message": self.message, "fix": self.fix}


class MachineError(AutoresearchError):
    """The machine failed (disk full, process killed, lost GPU); nothing was decided about the idea."""

    kind = "machine"


class UsageError(AutoresearchError):
    """The words of a command are off."""

    kind = "usage"
    exit_code = 2


class NoSession(AutoresearchError):
    """There is no session here."""

    kind = "no_session"
    exit_code = 3


class IntegrityError(AutoresearchError):
    """Something that must not change has changed: an immutable file, the journal, the history."""

    kind = "integrity"
    exit_code = 4


class PreconditionError(AutoresearchError):
    """The state of the folder does not allow this now; nothing was measured."""

    kind = "precondition"
    exit_code = 5


class StillRunning(PreconditionError):
    """What was waited for has not ended yet; nothing is wrong, and waiting again is right."""

    kind = "running"


class StopReached(AutoresearchError):
    """A stop condition holds: no further experiment is started."""

    kind = "stop"
    exit_code = 6


def error_of(fields: dict[str, str]) -> AutoresearchError:
    """Return the error that `as_dict` told, of the class of its kind."""
    kinds: dict[str, type[AutoresearchError]] = {}
    classes = [AutoresearchError]
    while classes:
        cls = classes.pop()
        kinds.setdefault(cls.kind, cls)
        classes += cls.__subclasses__()
    return kinds.get(fields["kind"], AutoresearchError)(fields["message"], fields["fix"])
