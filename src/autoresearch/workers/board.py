"""What `status` shows of the slots while a command has some: how many, who has which lease, what waits, how busy."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoresearch.system.files import write_atomic
from autoresearch.system.living import alive, created
from autoresearch.workspace.workspace import Workspace

if TYPE_CHECKING:  # `status` shows it, and imports nothing that measures
    from autoresearch.runs.spec import RunSpec


@dataclass(slots=True)
class Board:
    """A file that says how the slots of a command are used; without it, nothing is measured in another way."""

    workspace: Workspace
    began: float = 0.0
    """When the first attempt did, by this process's steady clock."""
    busy_s: float = 0.0
    """Seconds of slots that attempts which have ended took."""

    def show(self, slots: int, leases: Sequence[tuple[RunSpec, float, int]], queue: int) -> None:
        """Write down the leases (run, when it began by the steady clock, its attempt), and how many runs wait."""
        now, wall = time.monotonic(), time.time()
        self.began = self.began or now
        busy = self.busy_s + sum(now - begun for _, begun, _ in leases)
        held = [
            {"experiment": spec.experiment, "seed": spec.seed, "since": int(wall - (now - begun)), "attempt": number}
            for spec, begun, number in leases
        ]
        about = {"pid": os.getpid(), "created": created(os.getpid()), "slots": slots, "leases": held, "queue": queue,
                 "began": self.began, "busy_s": busy, "at": now}  # fmt: skip
        with contextlib.suppress(OSError):
            write_atomic(_file(self.workspace), json.dumps(about), durable=False)

    def remove(self) -> None:
        _file(self.workspace).unlink(missing_ok=True)


def workers_view(workspace: Workspace) -> dict[str, Any] | None:
    """Return slots, leases, queue and utilisation (of the time since the first attempt) of the command that has slots
    now; None when none has."""
    now = time.monotonic()  # the same for every process of a machine, and no setting of the clock moves it
    try:
        about = json.loads(_file(workspace).read_text())
        if not alive(about["pid"], about["created"]):
            return None
        busy = about["busy_s"] + (now - about["at"]) * len(about["leases"])
        whole = about["slots"] * (now - about["began"])
        used = round(min(1.0, busy / whole), 2) if whole > 0 else None
        return {**{key: about[key] for key in ("slots", "leases", "queue")}, "utilisation": used}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def workers_words(view: dict[str, Any]) -> str:
    """Return the view in a line."""
    used = view["utilisation"]
    told = f"{len(view['leases'])} of {view['slots']} slots at work, {view['queue']} more runs wait"
    again = sum(lease["attempt"] > 1 for lease in view["leases"])
    told += f", {used:.0%} of their time used" if used is not None else ""
    return told + (f"; {again} made again" if again else "")


def _file(workspace: Workspace) -> Path:
    return workspace.state / "workers.json"
