"""The line of a change that was refused because its code had been measured already: a builder and a reader.

No experiment begins with it and nothing was measured; it tells how often an agent proposes what it has tried.
"""

from __future__ import annotations

from autoresearch.journal.fields import Event, whole_at

REFUSED = "refused"


def refused_line(experiment: int, now: int) -> Event:
    """Return that a change was refused as the code of `experiment`."""
    return {"type": REFUSED, "experiment": experiment, "timestamp": now}


def read_refused(event: Event) -> int:
    """Return the number of the experiment that had the same code."""
    return whole_at(event, "experiment")
