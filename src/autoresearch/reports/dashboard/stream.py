"""The events of one workspace while they happen, in the form of server-sent events.

The id of an event is the place in the journal that it was read up to, so a browser that comes back gets exactly what
it has missed. What has changed is named, and the page asks for it: an event has no numbers of its own.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

from autoresearch.reports import run_files
from autoresearch.reports.dashboard.journal_tail import Position, tail_of
from autoresearch.workspace.lock import current_run
from autoresearch.workspace.workspace import Workspace

LOOK_S = 0.25
"""How often files are looked at; an event is there within a second of the line."""
ALIVE_S = 10.0
"""How often something is said even when nothing happens, so that a page knows a dead connection from a quiet one."""


@dataclass(slots=True)
class Watch:
    """What one browser knows already."""

    workspace: Workspace
    position: Position | None
    running: Any = None
    curve_bytes: int = -1
    begun: bool = field(default=False, init=False)

    def look(self) -> list[str]:
        """Return what has happened since the last look, an event each."""
        events: list[str] = []
        tail = tail_of(self.workspace.journal, self.position)
        if tail is not None and (tail.end != self.position or tail.reset):
            if tail.reset:
                events.append(self._event("reset", {}, tail.end))
            elif tail.lines:
                events.append(self._event("journal", {"changed": tail.changed, "lines": tail.lines}, tail.end))
            self.position = tail.end
        run = current_run(self.workspace)
        known = None if run is None else {"experiment": run.get("experiment"), "seed": run.get("seed")}
        size = self._curve_size(known)
        if self.begun and known != self.running:
            events.append(self._event("running", {"running": known}))
        elif self.begun and size != self.curve_bytes:
            events.append(self._event("points", {"running": known, "bytes": size}))
        self.running, self.curve_bytes, self.begun = known, size, True
        return events

    def _curve_size(self, run: dict[str, Any] | None) -> int:
        if run is None:
            return -1
        with run_files.opened(self.workspace, str(run["experiment"]), str(run["seed"]), run_files.CURVE) as file:
            return -1 if file is None else os.fstat(file.fileno()).st_size

    def _event(self, name: str, data: dict[str, Any], place: Position | None = None) -> str:
        place = place or self.position
        head = f"id: {place}\n" if place is not None else ""
        return f"{head}event: {name}\ndata: {json.dumps(data)}\n\n"
