"""The program of log-experiment.sh: one `run` or `config` line for the journal, from flags.

Runs with a bare python3 of 3.8 or newer: of the package it imports only what needs nothing but the standard library.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from autoresearch.journal import file as journal
from autoresearch.journal.events import config_line, run_line, type_of
from autoresearch.journal.import_events import entry_of
from autoresearch.journal.statuses import STATUSES
from autoresearch.metrics import Metric, MetricError, parse_metric_line

if TYPE_CHECKING:
    from autoresearch.journal.fields import Event
    from autoresearch.metrics import Direction

RUN = ("run", "commit", "metric", "status", "description", "metrics", "segment", "confidence", "asi", "file")
CONFIG = ("name", "metric-name", "metric-unit", "direction", "file")


class Taken(Exception):
    """The journal has this run already."""


class Usage(Exception):
    """An argument is wrong; the message says what to write instead."""


def flags(arguments: Iterable[str]) -> dict[str, str]:
    """Return flag -> text. Every flag but --config takes the next word, whatever it looks like."""
    given: dict[str, str] = {}
    words = list(arguments)
    while words:
        word = words.pop(0)
        flag, joined, value = word[2:].partition("=")
        if not word.startswith("--") or flag not in (*RUN, *CONFIG, "config"):
            raise Usage(f"unknown argument {text(word)!r}; see --help")
        if flag in given:
            raise Usage(f"--{flag} is given twice; give it once")
        if flag == "config":
            if joined:
                raise Usage("--config takes no value; write --config alone")
            value = ""
        elif not joined:
            if not words:
                raise Usage(f"--{flag} needs a value; write --{flag} VALUE")
            value = words.pop(0)
        given[flag] = value
    return given


def text(word: str) -> str:
    """Return an argument as text that JSON can hold: bytes that are not UTF-8 are spelled out."""
    return os.fsencode(word).decode("utf-8", "backslashreplace")


def required(given: Mapping[str, str], flag: str, example: str) -> str:
    if not given.get(flag):
        raise Usage(f"--{flag} is missing; write --{flag} {example}")
    return text(given[flag])


def number(given: Mapping[str, str], flag: str) -> float | None:
    word = given.get(flag, "")
    if word in ("", "null"):
        return None
    try:
        return parse_metric_line(f"METRIC x={word}")[1]
    except MetricError:
        raise Usage(f"--{flag} {text(word)!r} is not a finite number; write one such as 0.9931, or null") from None


def whole(given: Mapping[str, str], flag: str, least: int) -> int:
    word = given[flag]
    if not (word.isascii() and word.isdigit() and len(word) < 10 and int(word) >= least):
        raise Usage(f"--{flag} {text(word)!r} is not a whole number from {least}; write --{flag} {least}")
    return int(word)


def finite(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(f"{word} is not a finite number")
    return value


def mapping(given: Mapping[str, str], flag: str, example: str) -> Event:
    word = text(given.get(flag, "")).strip()
    if word in ("", "null"):
        return {}
    try:
        value = json.loads(word, parse_constant=finite, parse_float=finite)
    except (ValueError, RecursionError) as error:
        raise Usage(f"--{flag} is not JSON ({error}); write --{flag} {example}") from None
    if not isinstance(value, dict):
        raise Usage(f"--{flag} is not a JSON object; write --{flag} {example}")
    return value


def inner(event: Event) -> Event:
    """Return the line of the experiment that an imported line has; any other line as it is."""
    try:
        return entry_of(event) or event
    except (KeyError, TypeError, ValueError):  # which the engine names
        return event


def config(given: Mapping[str, str], events: Sequence[Event]) -> Event:
    """Return the line that begins a segment."""
    direction = required(given, "direction", "lower")
    if direction not in ("lower", "higher"):
        raise Usage(f"--direction {direction!r} is unknown; write --direction lower or --direction higher")
    # Imported segments have numbers, too, and lines of a journal of before have none.
    used = [event["segment"] for event in map(inner, events) if isinstance(event.get("segment"), int)]
    number = max([sum(1 for event in events if type_of(event) == "config"), *(1 + segment for segment in used)])
    metric = Metric(
        required(given, "metric-name", "val_bpb"), cast("Direction", direction), text(given.get("metric-unit", ""))
    )
    return config_line(number, text(given.get("name", "")), metric, int(time.time()))


def run(given: Mapping[str, str], events: Sequence[Event]) -> Event:
    """Return the line of an experiment; raise `Taken` when the journal has one of its number."""
    required(given, "run", "5")
    experiment = whole(given, "run", 1)
    commit = required(given, "commit", "abc1234")
    status = required(given, "status", "keep")
    if status not in STATUSES:
        raise Usage(f"--status {status!r} is unknown; write one of " + ", ".join(STATUSES))
    if "description" not in given:
        required(given, "description", "TEXT")
    metric = number(given, "metric")
    if status == "crash" and metric == 0:
        metric = None
    if metric is None and status in ("keep", "discard"):
        raise Usage(f"--metric is missing and {status} needs one; write --metric NUMBER, or --status crash")
    metrics = mapping(given, "metrics", "'{\"peak_vram_mb\": 45060}'")
    for name, value in metrics.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise Usage(f"--metrics: {name} is not a number; write a number or null")
    confidence = number(given, "confidence")
    asi = mapping(given, "asi", '\'{"hypothesis": "..."}\'')
    configs = [event for event in events if event.get("type") == "config"]
    segment = configs[-1].get("segment", len(configs) - 1) if configs else 0
    if given.get("segment"):
        segment = whole(given, "segment", 0)
    current, seen = 0, 0
    for event in map(inner, events):
        if event.get("type") == "config":
            current, seen = event.get("segment", seen), seen + 1
        elif (
            event.get("type", "run") == "run"
            and event.get("run") == experiment
            and event.get("segment", current) == segment
        ):
            raise Taken(
                f"run {experiment} of segment {segment} is in the journal already; write --run with the next number"
            )
    description, now = text(given["description"]), int(time.time())
    return run_line(experiment, commit, metric, metrics, status, description, segment, asi, now, confidence=confidence)


def main(words: Sequence[str]) -> int:
    """Append the line and return the exit code."""
    try:
        given = flags(words)
        begins = "config" in given
        for flag in given:
            if flag not in ((*CONFIG, "config") if begins else RUN):
                raise Usage(f"--{flag} belongs to a " + ("run" if begins else "config") + " line; see --help")
        file = Path(given.get("file") or journal.NAME)
        make = config if begins else run

        def line() -> Event:
            return make(given, [event for _, event in journal.read(file)] if file.exists() else [])

        line()  # what is wrong is found before anything is touched
        journal.append(file, line)  # once more under the lock: others may have written meanwhile
    except Usage as error:
        return say(error, 2)
    except (Taken, journal.JournalError) as error:
        return say(error, 1)
    except OSError as error:
        return say(f"{file}: {error.strerror or error}; write --file with a path that can be written", 1)
    except (ValueError, RecursionError) as error:
        return say(f"{error}; give numbers and text that JSON knows", 2)
    return 0


def say(message: object, code: int) -> int:
    """Print why nothing was written, in one line, and return the exit code."""
    line = " ".join(str(message).split())
    print(f"log-experiment: {line}".encode("utf-8", "backslashreplace").decode(), file=sys.stderr)
    return code


if __name__ == "__main__":
    for _stream in (0, 1, 2):
        try:
            os.fstat(_stream)
        except OSError:  # closed: else the journal would be opened in its place
            os.open(os.devnull, os.O_RDWR)
    sys.exit(main(sys.argv[1:]))
