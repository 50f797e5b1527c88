"""Where a metric with a guard is in the output of a run that did not report it: the line to add to the task."""

from __future__ import annotations

import re
from pathlib import Path

from autoresearch.metrics import compile_pattern, last_matches
from autoresearch.runs.candidates import in_output
from autoresearch.workspace.metric_names import canonical
from autoresearch.workspace.task_file import NAME, TaskFile

MOST_BYTES = 2**20
"""Of the log's end that is looked at."""

AGAIN = f"in {NAME}, commit that, then: autoresearch segment"


def unplaced(task: TaskFile, reported: dict[str, float], log: Path) -> list[str]:
    """Return for each guard whose metric a run did not report how it is read, a sentence each; `log` is what the run
    printed, on both streams."""
    silent = [guard.name for guard in task.rules.guards if guard.name not in reported]
    places = task.metric.places
    return [_told(name, log) for name in silent if name not in places]


def _told(name: str, log: Path) -> str:
    pattern = _pattern(name, log)
    if pattern is None:
        return f"{name} has a guard, and nothing reports it: print METRIC {name}=number, or name its place {AGAIN}"
    return f"the output has {name}: add {name} = {{ pattern = '{pattern}' }} to [metric.sources] {AGAIN}"


def _pattern(name: str, log: Path) -> str | None:
    """Return the pattern that finds the one number of a name, and no other; None where there is none, or several."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - MOST_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return None
    lines = [line for line in re.split(r"[\r\n\b]+", text) if line.strip()]
    found = [each for each in in_output("stdout", "", lines) if canonical(each.name) == canonical(name)]
    if len(found) != 1 or found[0].metric or found[0].value is None or found[0].row or found[0].unit:
        return None
    before = found[0].line.rpartition(found[0].text)[0]
    short = re.search(r"[\w./@%-]+\W*$", before)
    for pattern in ([re.escape(short[0]).replace(r"\ ", " ") + r"(\S+)"] if short else []) + [found[0].options[1]]:
        written = pattern.isprintable() and "'" not in pattern
        if written and last_matches([compile_pattern(pattern)], reversed(lines)) == [found[0].text]:
            return pattern
    return None
