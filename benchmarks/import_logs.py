"""Reads a folder of logs of other tools with `import`, and counts by kind what became of them.

    uv run python benchmarks/import_logs.py FOLDER [--truth FILE] [--list] [--json]

Every file is imported into a session of its own, and a second time, which must add nothing. `--truth` names a table
with the columns file (its path in FOLDER), holds (`log`, or why it is none), metric and direction, one line for each
metric of a file, written by a person who looked at the file; `*` stands for any, `?` for what the file does not say.
With it the table tells files that were read rightly from those that were not, and a file that was refused with an
option is tried again with that option, answered from the truth. `--list` prints a line for each file.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoresearch.errors import AutoresearchError
from autoresearch.exchange.import_log import import_log, read_log

READ, REMARK, OPTION = "read", "read, with a remark", "read with the option that was named"
REFUSED, RIGHTLY, WRONG = "refused, though it holds some", "refused: it holds none", "read wrongly"
OUTCOMES = (READ, REMARK, OPTION, REFUSED, RIGHTLY, WRONG)

Truth = dict[str, list[tuple[str, str, str]]]


@dataclass(frozen=True)
class Looked:
    """What became of one file."""

    file: str
    kind: str
    outcome: str
    detail: str


def kind_of(text: str) -> str:
    """Return the kind of a log, by its looks alone."""
    lines = [line for line in text.splitlines() if line.strip()]
    if text.lstrip()[:1] in ("{", "["):
        if any(re.search(r'"type": ?"config"', line) for line in lines[:3]):
            return "JSON lines under a config line"
        return "other JSON lines"
    head = next((line for line in lines if not line.startswith("#")), "").lower()
    if re.match(r"commit\t[^\t]+\tmemory_gb\tstatus\tdescription", head):
        return "commit, a metric, memory_gb, status, description"
    if not re.search(r"status|decision|result|kept|accepted|verdict|description|notes?\b|commit", head):
        return "a table without a header, or no log"
    return "a table with other columns"


def look(folder: Path, path: Path, truth: Truth | None) -> Looked:
    """Import one file as a person would who answers what is asked, and judge what came of it."""
    name = path.relative_to(folder).as_posix()
    kind = kind_of(path.read_bytes().decode("utf-8", "replace"))
    known = None if truth is None else truth.get(name, [])
    options: dict[str, Any] = {}
    for _ in range(3):
        try:
            remarks = _import_twice(path, options)
        except AutoresearchError as error:
            told = f"{error.message}; {error.fix}"
            answer = _answer(error, known or [])
            if not answer or answer.keys() <= options.keys():
                holds = any(line[0] == "log" for line in known or [])
                return Looked(name, kind, REFUSED if holds or known is None else RIGHTLY, told)
            options |= answer
            continue
        logs = [log for log in read_log(path, options.get("direction"), options.get("metric")) if log.experiments]
        found = [(log.metric.name, log.metric.direction) for log in logs]
        wrong = [pair for pair in found if known is not None and not _is_true(pair, known)]
        outcome = WRONG if wrong else OPTION if options else REMARK if remarks else READ
        return Looked(name, kind, outcome, "; ".join([f"{m} {d}" for m, d in wrong or found[:3]] + [*remarks[:2]]))
    raise AssertionError("asked three times")


def _import_twice(path: Path, options: dict[str, Any]) -> tuple[str, ...]:
    with tempfile.TemporaryDirectory() as place:
        direction, metric = options.get("direction"), options.get("metric")
        first = import_log(Path(place), path, direction, 1, metric=metric)
        again = import_log(Path(place), path, direction, 2, metric=metric)
        if again.added or again.known != first.added:
            raise RuntimeError(f"{path}: a second import added {again.added}")
        return first.remarks


def _answer(error: AutoresearchError, known: list[tuple[str, str, str]]) -> dict[str, str]:
    """Return what a person who knows the file answers to a refusal that names an option."""
    answers = {}
    for _, metric, direction in known:
        if "--metric" in error.fix and metric not in ("?", "*", ""):
            answers["metric"] = metric
        if "--direction" in error.fix and direction not in ("?", "*", ""):
            answers["direction"] = direction
    return answers


def _is_true(pair: tuple[str, str], known: list[tuple[str, str, str]]) -> bool:
    return any(metric in (pair[0], "*") and direction in (pair[1], "*") for _, metric, direction in known)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    truth: Truth | None = None
    if asked.truth:
        truth = {}
        for row in csv.DictReader(asked.truth.read_text("utf-8").splitlines(), delimiter="\t"):
            truth.setdefault(row["file"], []).append((row["holds"], row["metric"], row["direction"]))
    files = sorted(path for path in asked.folder.rglob("*") if path.is_file())
    files = [path for path in files if truth is None or path.relative_to(asked.folder).as_posix() in truth]
    looked = [look(asked.folder, path, truth) for path in files]
    if asked.json:
        json.dump([vars(one) for one in looked], sys.stdout, indent=1)
        return
    if asked.list:
        for one in looked:
            print(f"{one.outcome}\t{one.file}\t{one.detail}")
        return
    counts = Counter((one.kind, one.outcome) for one in looked)
    print(f"| kind | files | {' | '.join(OUTCOMES)} |")
    print("|---|" + "--:|" * (len(OUTCOMES) + 1))
    for kind in [*sorted({one.kind for one in looked}), "all"]:
        row = [sum(n for (k, o), n in counts.items() if kind in (k, "all") and o == outcome) for outcome in OUTCOMES]
        print(f"| {kind} | {sum(row)} | {' | '.join(map(str, row))} |")


if __name__ == "__main__":
    main()
