"""The numbers of a run that do not come from METRIC lines: those that a pattern finds, and those in files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from autoresearch import metrics
from autoresearch.metrics import MetricError, parse_number
from autoresearch.runs.result_files import NotReported, number_in, take_away
from autoresearch.system.command_output import KeptStream
from autoresearch.system.process import Exit
from autoresearch.workspace.metric_source import Source
from autoresearch.workspace.task_file import TaskFile

SEARCH_S = 30.0
"""Seconds after which a pattern is given up: one that goes back and forth can take for ever."""

WORDS = {"stdout": "standard output", "stderr": "standard error"}

Reported = Mapping[str, float | MetricError]
"""Metric -> its number, or why there is none."""


def keeps_streams(task: TaskFile) -> bool:
    """Whether what a run prints is looked through for a pattern."""
    return any(source.pattern is not None for source in task.metric.places.values())


def make_room_for(task: TaskFile, root: Path) -> None:
    """Remove from a snapshot the files that the run is to write its numbers into."""
    for source in task.metric.places.values():
        if source.file is not None:
            take_away(root, source)


def reported(task: TaskFile, root: Path, ended: Exit) -> Reported:
    """Return what a run has reported in other ways than METRIC lines; `root` is the folder that it ran in."""
    places = task.metric.places
    patterns = {name: source for name, source in places.items() if source.pattern is not None}
    found: dict[str, float | MetricError] = {}
    try:
        texts = matches(ended.kept, [source.pattern or "" for source in patterns.values()]) if patterns else []
        found |= {name: _or_error(source, text) for (name, source), text in zip(patterns.items(), texts, strict=True)}
    except MetricError as error:
        found |= dict.fromkeys(patterns, error)
    finally:
        for stream in ended.kept.values():
            stream.close()
    for name, source in places.items():
        if source.file is not None:
            try:
                found[name] = number_in(root, source)
            except MetricError as error:
                found[name] = error
    return found


def matches(streams: Mapping[str, KeptStream], patterns: Sequence[str]) -> list[dict[str, str]]:
    """Return for each pattern the stream -> what it found there last, for the streams in which it found something.

    A process of its own looks, which is ended after `SEARCH_S`. Raises `MetricError` then.
    """
    files = {name: [file.fileno() for file in stream.files] for name, stream in streams.items()}
    request = {
        "patterns": list(patterns),
        "streams": {name: {"files": numbers, "cut": streams[name].cut} for name, numbers in files.items()},
    }
    command = [sys.executable, "-I", "-S", "-B", metrics.__file__, "--search", json.dumps(request)]
    passed = [number for numbers in files.values() for number in numbers]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, pass_fds=passed, timeout=SEARCH_S)
        answer: dict[str, list[str | None]] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise MetricError(f"looking for the pattern took more than {SEARCH_S:g} s; make it simpler") from None
    except (OSError, ValueError) as error:
        raise MetricError(f"the output could not be looked through: {error}") from None
    return [
        {name: text for name, texts in answer.items() if (text := texts[at]) is not None} for at in range(len(patterns))
    ]


def number_of(source: Source, texts: Mapping[str, str]) -> float:
    """Return the number that a pattern has found; `texts` is stream -> its last match. Raises `MetricError`."""
    here = {name: text for name, text in texts.items() if source.stream in (None, name)}
    if not here:
        other = next(iter(texts), None)
        only = f" there, but on {WORDS[other]}: say stream = {json.dumps(other)}" if other else " in the output"
        raise NotReported(f"the pattern matches nothing{only}")
    values = {}
    for name, text in here.items():
        try:
            values[name] = parse_number(text, source.unit, source.thousands)
        except MetricError as error:
            raise MetricError(f"the last match of the pattern: {error}") from None
    if len({*values.values()}) > 1:
        told = " and ".join(f"{value:g} on {WORDS[name]}" for name, value in values.items())
        raise MetricError(f"the pattern finds {told}; say with stream which counts")
    return next(iter(values.values()))


def _or_error(source: Source, texts: Mapping[str, str]) -> float | MetricError:
    try:
        return number_of(source, texts)
    except MetricError as error:
        return error
