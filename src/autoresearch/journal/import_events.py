"""The lines of `import`: a builder and a reader for each, as in `events.py`.

`import` begins a segment of another tool's log, `imported` has one of its experiments. Other readers of the journal
take each line with a `run` for one of the session that the last `config` line began, so an imported one is inside a
line of another type, which they pass over. Where the journal itself was begun by an import it has a `config` line of
its own, and plain `run` lines behind it.
"""

from __future__ import annotations

from autoresearch.journal.events import config_line
from autoresearch.journal.fields import Event, mapping_at
from autoresearch.metrics import Metric

IMPORT, IMPORTED = "import", "imported"


def import_line(segment: int, name: str, metric: Metric, now: int, origin: str, file: str) -> Event:
    """Return the line before what is imported from another tool's log; `origin` tells that log from others."""
    return {**config_line(segment, name, metric, now), "type": IMPORT, "imported": origin, "from": file}


def imported_line(run: Event) -> Event:
    """Return the line of an imported experiment from its verdict, a `run` line."""
    return {"type": IMPORTED, "entry": run}


def entry_of(event: Event) -> Event | None:
    """Return the `run` line that an `imported` line has; None for a line of another type.

    Raises `ValueError` for one that has none.
    """
    if event.get("type") != IMPORTED:
        return None
    entry = mapping_at(event, "entry")
    if "run" not in entry or "type" in entry:
        raise ValueError("an imported line without a run")
    return entry
