#!/usr/bin/env bash
# Append one line to the journal. bash and python3 are all it needs.
set -eu

usage='usage: log-experiment.sh --run N --commit HASH --status STATUS --description TEXT [--metric NUMBER] [...]
       log-experiment.sh --config --metric-name NAME --direction lower|higher [--name TEXT] [--metric-unit TEXT]

Appends one run line, or with --config one config line (a new segment), to the journal. All or nothing: a line is
whole or it is not there, and any number of these may write one journal at the same time.

  --run N              number of the experiment, from 1
  --commit HASH        its commit
  --status STATUS      keep, discard, crash or checks_failed
  --description TEXT   what was tried
  --metric NUMBER      the value; leave it out (or write null) when there is none. A crash has none: 0 becomes null
  --metrics JSON       other values, such as {"peak_vram_mb": 45060}
  --segment N          default: the segment of the last config line
  --confidence NUMBER  for other readers of the journal; may be null
  --asi JSON           what was learned, such as {"hypothesis": "..."}
  --file PATH          the journal; default ./autoresearch.jsonl

exit 0 written; 1 the journal cannot take it; 2 usage. With 1 and 2 nothing is written and stderr says why.

example:  scripts/log-experiment.sh --run 5 --commit abc1234 --metric 0.9931 --status keep --description "wider MLP"'

if [ "${1-}" = --help ] || [ "${1-}" = -h ]; then
  printf '%s\n' "$usage"
  exit 0
fi
if ! command -v python3 >/dev/null 2>&1; then
  printf 'log-experiment: python3 is not on the PATH; install it\n' >&2
  exit 1
fi

# In single quotes, so the program below has no apostrophe.
# shellcheck disable=SC2016
program='
import json
import math
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(sys.argv[1])), "..", "src"))
from autoresearch.journal import file as journal
from autoresearch.journal.statuses import STATUSES
from autoresearch.metrics import MetricError, parse_metric_line

RUN = ("run", "commit", "metric", "status", "description", "metrics", "segment", "confidence", "asi", "file")
CONFIG = ("name", "metric-name", "metric-unit", "direction", "file")


class Usage(Exception):
    pass


def flags(words):
    """Return flag -> text. Every flag but --config takes the next word, whatever it looks like."""
    given, words = {}, list(words)
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


def text(word):
    """Return an argument as text that JSON can hold: bytes that are not UTF-8 are spelled out."""
    return os.fsencode(word).decode("utf-8", "backslashreplace")


def required(given, flag, example):
    if not given.get(flag):
        raise Usage(f"--{flag} is missing; write --{flag} {example}")
    return text(given[flag])


def number(given, flag):
    word = given.get(flag, "")
    if word in ("", "null"):
        return None
    try:
        return parse_metric_line(f"METRIC x={word}")[1]
    except MetricError:
        raise Usage(f"--{flag} {text(word)!r} is not a finite number; write one such as 0.9931, or null") from None


def whole(given, flag, least):
    word = given[flag]
    if not (word.isascii() and word.isdigit() and len(word) < 10 and int(word) >= least):
        raise Usage(f"--{flag} {text(word)!r} is not a whole number from {least}; write --{flag} {least}")
    return int(word)


def finite(word):
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(f"{word} is not a finite number")
    return value


def mapping(given, flag, example):
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


def config_line(given, events):
    direction = required(given, "direction", "lower")
    if direction not in ("lower", "higher"):
        raise Usage(f"--direction {direction!r} is unknown; write --direction lower or --direction higher")
    return {
        "type": "config",
        "schema": 1,
        "segment": sum(1 for event in events if event.get("type") == "config"),
        "name": text(given.get("name", "")),
        "metricName": required(given, "metric-name", "val_bpb"),
        "metricUnit": text(given.get("metric-unit", "")),
        "bestDirection": direction,
        "timestamp": int(time.time()),
    }


def run_line(given, events):
    required(given, "run", "5")
    run = whole(given, "run", 1)
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
    metrics = mapping(given, "metrics", """\x27{"peak_vram_mb": 45060}\x27""")
    for name, value in metrics.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise Usage(f"--metrics: {name} is not a number; write a number or null")
    confidence = number(given, "confidence")
    asi = mapping(given, "asi", """\x27{"hypothesis": "..."}\x27""")
    configs = [event for event in events if event.get("type") == "config"]
    segment = configs[-1].get("segment", len(configs) - 1) if configs else 0
    if given.get("segment"):
        segment = whole(given, "segment", 0)
    current, seen = 0, 0
    for event in events:
        if event.get("type") == "config":
            current, seen = event.get("segment", seen), seen + 1
        elif event.get("type", "run") == "run" and event.get("run") == run and event.get("segment", current) == segment:
            raise Taken(f"run {run} of segment {segment} is in the journal already; write --run with the next number")
    return {
        "run": run,
        "commit": commit,
        "metric": metric,
        "metrics": metrics,
        "status": status,
        "description": text(given["description"]),
        "timestamp": int(time.time()),
        "segment": segment,
        "confidence": confidence,
        "asi": asi,
    }


class Taken(Exception):
    pass


def main(words):
    try:
        given = flags(words)
        config = "config" in given
        for flag in given:
            if flag not in ((*CONFIG, "config") if config else RUN):
                raise Usage(f"--{flag} belongs to a " + ("run" if config else "config") + " line; see --help")
        file = Path(given.get("file") or journal.NAME)
        make = config_line if config else run_line

        def line():
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


def say(message, code):
    line = " ".join(str(message).split())
    print(f"log-experiment: {line}".encode("utf-8", "backslashreplace").decode(), file=sys.stderr)
    return code


sys.exit(main(sys.argv[2:]))
'

# -I: neither the environment nor the folder of the run may change what is imported.
exec python3 -I -B -X utf8 -c "$program" "${BASH_SOURCE[0]}" "$@"
