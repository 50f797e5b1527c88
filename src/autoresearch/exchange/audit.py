"""Logs of any tool for `audit`: read as `import` reads them, and made ready where they do not say everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from autoresearch.errors import AutoresearchError, UsageError
from autoresearch.escaping import one_line
from autoresearch.exchange.foreign_columns import NO_DECISIONS
from autoresearch.exchange.import_log import Log, read_log
from autoresearch.journal.experiment import Experiment
from autoresearch.metrics import Direction, Metric
from autoresearch.reports.claims import AGAIN, HUGE, WeighedLog, claim_view, counted, weigh

SUFFIXES = (".tsv", ".csv", ".jsonl", ".json")
"""Files of a folder that may be logs."""


@dataclass(frozen=True, slots=True)
class AuditedLog:
    """One session in a file, and what its claim is worth."""

    path: Path
    name: str
    experiments: tuple[Experiment, ...]
    remarks: tuple[str, ...]
    """How the file was read."""
    weighed: WeighedLog


def audit_files(
    path: Path, noise: float | None, metric: str | None, direction: Direction | None
) -> tuple[list[AuditedLog], list[str]]:
    """Return the sessions in a file, or in the files of a folder, and a sentence on each file that is no log.

    `noise` is the standard deviation of one run, where it is known. Raises `UsageError` where there is no log at all.
    """
    if noise is not None and not 0 <= noise < HUGE:
        raise UsageError(
            f"the noise must be a number from 0 on, below {HUGE:g}",
            "give the standard deviation of a run: --noise SIGMA",
        )
    if not path.is_dir():
        return audit_file(path, noise, metric, direction), []
    found, unread = list[AuditedLog](), list[str]()
    for each in sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and p.is_file()):
        try:
            found += audit_file(each, noise, metric, direction)
        except AutoresearchError as error:
            unread.append(f"{error.message}; {error.fix}")
    if not found:
        why = f": {unread[0]}" if unread else f", of which the names end in {', '.join(SUFFIXES)}"
        raise UsageError(f"{path} has no log{why}", "name a results.tsv, a .csv or a .jsonl file")
    return found, unread


def audit_file(path: Path, noise: float | None, metric: str | None, direction: Direction | None) -> list[AuditedLog]:
    """Return the sessions in one file. Raises `UsageError` for what is no log."""
    found = []
    for log in read_log(path, direction, metric):
        experiments, remarks = ready(log)
        parts = [experiments] if log.ours else sessions(experiments, decided=log.decided)
        for at, part in enumerate(parts, 1):
            more = [f"session {at} of {len(parts)} in this file: it begins with another baseline"] if parts[1:] else []
            name = f"{log.name} {at}" if parts[1:] else log.name
            rows, left_out = part, list[str]()
            if not log.decided:
                rows, left_out = counted(part)  # first: a crash that is written as 0 would be better than all after it
                rows = better_ones_kept(rows, log.metric)
            told = [remark for remark in log.remarks if remark != NO_DECISIONS]  # `ready` says what is done instead
            about = (*more, *(f"not read: {line}" for line in log.skipped), *told, *remarks, *left_out)
            if part:
                whole = {e.number: e for e in (*part, *rows)}  # those that were decided in the places of their rows
                found.append(AuditedLog(path, name, tuple(whole.values()), about, weigh(rows, log.metric, noise)))
    return found


def ready(log: Log) -> tuple[list[Experiment], list[str]]:
    """Return the experiments of a log in the order of their times, and what was done, or is where no row is decided."""
    experiments, remarks = [*log.experiments], list[str]()
    times = [e.finished for e in experiments if e.finished is not None]
    by_time = not log.ours and len(times) == len(experiments)
    if by_time and any(a > b for a, b in pairwise(times)):
        if all(a >= b for a, b in pairwise(times)):
            experiments.reverse()
            remarks.append("its rows are the newest first, by their times, and were turned round")
        else:
            experiments.sort(key=lambda e: e.finished or 0)
            remarks.append("its rows are not in the order of their times, and were sorted")
    if not log.decided:
        remarks.append("no row says keep or discard: each that is better than all before it is taken as kept")
    numbers = Counter(str(number) for number in log.theirs.values())
    double = [number for number, times in numbers.items() if times > 1]
    if double:
        some = ", ".join(double[:4])
        remarks.append(
            f"{len(double)} numbers stand more than once ({one_line(some, 60)}), so rows are counted by places"
        )
    elif all(type(log.theirs.get(e.number)) is int for e in experiments):
        experiments = [e._replace(number=int(str(log.theirs[e.number]))) for e in experiments]
    return experiments, remarks


def better_ones_kept(experiments: Sequence[Experiment], metric: Metric) -> list[Experiment]:
    """Return the experiments, of which each is kept that is better than all before it."""
    best, found = None, []
    for e in experiments:
        if e.status in ("keep", "discard") and e.metric is not None:
            kept = best is None or metric.better(e.metric, best)
            best = e.metric if kept else best
            e = e._replace(status="keep" if kept else "discard")
        found.append(e)
    return found


def sessions(experiments: Sequence[Experiment], *, decided: bool = True) -> list[list[Experiment]]:
    """Return the sessions of one log: another begins with a kept row that says it is a baseline, after other kept ones.

    Where no row is decided it need not be kept, but must not be a baseline once more, by its words or its place.
    """
    parts: list[list[Experiment]] = [[]]
    for e in experiments:
        if decided:
            begins = e.status == "keep" and _is_baseline(e) and any(x.status == "keep" for x in parts[-1])
        else:
            begins = _is_baseline(e) and not AGAIN.search(e.description) and not all(map(_is_baseline, parts[-1]))
        if begins:
            parts.append([])
        parts[-1].append(e)
    return parts


def _is_baseline(e: Experiment) -> bool:
    return "baseline" in e.description.lower().split()[:2]


def audit_view(log: AuditedLog) -> dict[str, Any]:
    """Return one audited session as data."""
    statuses = Counter(str(e.status) for e in log.experiments)
    failed = len(log.experiments) - statuses["keep"] - statuses["discard"]
    view = claim_view(log.weighed)
    remarks = [one_line(text, 300) for text in (*log.remarks, *view["remarks"])]
    return {
        "file": log.path.name, "name": one_line(log.name, 80), "experiments": len(log.experiments),
        "kept": statuses["keep"], "discarded": statuses["discard"], "failed": failed, **view, "remarks": remarks,
    }  # fmt: skip
