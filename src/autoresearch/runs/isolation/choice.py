"""Which sandbox is in force: the first that works here, unless a person has asked for one by name."""

from __future__ import annotations

from autoresearch.errors import PreconditionError
from autoresearch.runs.isolation.bubblewrap import Bubblewrap
from autoresearch.runs.isolation.landlock import Landlock
from autoresearch.runs.isolation.macos import SandboxExec
from autoresearch.runs.isolation.sandbox import SWITCH, Sandbox, asked_for

OFF = "off"

SANDBOXES: tuple[Sandbox, ...] = (Bubblewrap(), Landlock(), SandboxExec())
"""In the order in which they are taken."""


def choose() -> Sandbox | None:
    """Return the sandbox that runs here get; None where there is none, or it was turned off.

    Raises `PreconditionError` when the switch names one that is not known, or does not work here.
    """
    asked = asked_for()
    if asked == OFF:
        return None
    if not asked:
        return next((sandbox for sandbox in SANDBOXES if sandbox.missing() is None), None)
    for sandbox in SANDBOXES:
        if sandbox.name == asked:
            why = sandbox.missing()
            if why is None:
                return sandbox
            raise PreconditionError(f"{SWITCH}={asked}, and {why}", f"unset {SWITCH}")
    names = ", ".join([OFF, *(sandbox.name for sandbox in SANDBOXES)])
    raise PreconditionError(f"{SWITCH}={asked} is no sandbox; there are {names}", f"unset {SWITCH}")


def missing() -> str | None:
    """Return why there is no sandbox here; None when there is one. Raises as `choose` does."""
    if choose() is not None:
        return None
    if asked_for() == OFF:
        return f"turned off by {SWITCH}"
    return "; ".join(why for sandbox in SANDBOXES if (why := sandbox.missing()) and " is for " not in why)
