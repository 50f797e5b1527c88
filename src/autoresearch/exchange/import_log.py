"""`import`: the logs of other tools of the field, as a segment of their own in a session.

Every entry becomes one line of the journal that says from where it is. An entry that is there already is passed over,
so a second call, also after a kill, adds what is missing and nothing twice. The segment in force stays in force:
nothing that was imported becomes the incumbent.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import Any, cast

from autoresearch.errors import AutoresearchError, UsageError
from autoresearch.escaping import one_line
from autoresearch.exchange.foreign_columns import understood
from autoresearch.exchange.foreign_rows import Part, is_event, json_parts, table_part
from autoresearch.experiments.recovery import recover
from autoresearch.journal import file as journal
from autoresearch.journal.events import config_line, repeat_line, run_line
from autoresearch.journal.experiment import guards_of
from autoresearch.journal.fields import Event
from autoresearch.journal.import_events import entry_of, import_line, imported_line
from autoresearch.journal.session import Experiment, replay
from autoresearch.journal.statuses import Outcome
from autoresearch.metrics import Direction, Metric
from autoresearch.system.git import Git
from autoresearch.workspace.journal_mirror import keep_up
from autoresearch.workspace.lock import lock
from autoresearch.workspace.orphans import forget, owner_of
from autoresearch.workspace.session_journal import append, load_session
from autoresearch.workspace.workspace import Workspace

GZIP = b"\x1f\x8b"
"""What a packed file begins with."""

MOST = 500
"""Characters that are printed of what is said of a log."""


@dataclass(frozen=True, slots=True)
class Log:
    """The experiments of one metric in a foreign log."""

    origin: str
    """Tells this log from others, however much of it is there yet."""
    name: str
    metric: Metric
    experiments: tuple[Experiment, ...]
    """Numbered by their places in the log."""
    theirs: Mapping[int, object] = field(default_factory=dict)
    """Place -> the number that the other tool gave it: tools begin at 1 again when they are started again."""
    skipped: tuple[str, ...] = ()
    """What could not be read, each with its line."""
    remarks: tuple[str, ...] = ()
    """What the file does not say, and how it was read."""
    decided: bool = True
    """Whether any row says keep or discard."""
    ours: bool = False
    """Whether it is a segment of our own journal."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What one call has done."""

    segments: tuple[int, ...]
    added: int
    known: int
    skipped: tuple[str, ...] = ()
    """Rows that could not be read, each with its line."""
    remarks: tuple[str, ...] = ()
    """What the file does not say, and how it was read."""


def import_log(
    root: Path, path: Path, direction: Direction | None, now: int, *, metric: str | None = None, strict: bool = False
) -> Imported:
    """Add what `path` has to the session in `root`, or begin one there. Raises `UsageError` for what is no such log."""
    found = read_log(path, direction, metric, strict=strict)
    skipped = tuple(line for log in found for line in log.skipped)
    remarks = tuple(dict.fromkeys(remark for log in found for remark in log.remarks))
    logs = [log for log in found if log.experiments]
    workspace = Workspace(root)
    begun = workspace.journal.exists()
    if not begun:
        first = logs[0]
        workspace.state.mkdir(parents=True, exist_ok=True)
        forget(workspace, owner_of(None, now))
        line = config_line(0, first.name, first.metric, now, {"imported": first.origin})
        journal.append(workspace.journal, line)
    git: Git | None = None
    with lock(workspace):
        if begun and load_session(workspace).segment.branch is not None:
            git = Git(root)
            lost = recover(workspace, git, now).lost
            if lost is not None:
                raise lost
        done = replace(_add(workspace, path.name, logs, now), skipped=skipped, remarks=remarks)
        if git is not None:
            keep_up(workspace, git, load_session(workspace))
        return done


def _add(workspace: Workspace, name: str, logs: list[Log], now: int) -> Imported:
    events = [entry_of(event) or event for _, event in journal.read(workspace.journal)]
    in_force = next((e.get("imported") for e in reversed(events) if e.get("type") == "config"), None)
    number = max((e["run"] for e in events if isinstance(e.get("run"), int)), default=0)
    number = max(number, load_session(workspace).next_number - 1)
    segments, added, known = [], 0, 0
    repeats = Counter(e.get("experiment") for e in events if e.get("type") == "repeat" and "study" not in e)
    for log in (_apart(_begun(log, events, name), events) for log in logs):
        segment = next((e["segment"] for e in events if e.get("imported") == log.origin), None)
        if segment is None:
            segment = 1 + max((e["segment"] for e in events if isinstance(e.get("segment"), int)), default=-1)
            line = import_line(segment, log.name, log.metric, now, log.origin, name)
            append(workspace, line)
            events.append(line)
        segments.append(segment)
        there = {entry: e["run"] for entry, e in _there(events, log.origin).items()}
        for experiment in log.experiments:
            entry = experiment.number
            if entry in there:
                known += 1
                if more := _repeats(experiment, there[entry], now)[repeats[there[entry]] :]:
                    append(workspace, more)  # a kill has cut them off, or the log has got them since
                continue
            number += 1
            about = {"origin": log.origin, "entry": entry, "from": name}
            about |= {"number": log.theirs[entry]} if entry in log.theirs else {}
            line = _run(experiment, number, segment, about)
            # Only where the log has begun the journal are plain lines of runs those of its own `config` line.
            line = line if in_force == log.origin else imported_line(line)
            append(workspace, [line, *_repeats(experiment, number, now)])
            added += 1
    return Imported(tuple(segments), added, known)


def _there(events: list[Event], origin: str) -> dict[object, Event]:
    """Return place in the log -> the line of the journal that it has become."""
    imported = ((e.get("imported"), e) for e in events)
    return {of.get("entry"): e for of, e in imported if isinstance(of, dict) and of.get("origin") == origin}


def _begun(log: Log, events: list[Event], name: str) -> Log:
    """Return the log with the origin under which it is here, where its first row could not be read then and was
    corrected since: an origin is known by that row. All that came from a file of this name has its row in the log."""
    origins = {e["imported"]: e.get("metricName") for e in events if isinstance(e.get("imported"), str)}
    if log.origin in origins:
        return log
    for origin, metric in origins.items():
        there = _there(events, origin)
        moved = _moved(log, there) if metric == log.metric.name else None
        if moved is None or not {*there} <= {e.number for e in moved.experiments}:
            continue
        about = [(line["imported"].get("from"), line.get("commit"), line.get("description")) for line in there.values()]
        if all(file == name and (commit or description) for file, commit, description in about):
            return replace(log, origin=origin)
    return log


def _apart(log: Log, events: list[Event]) -> Log:
    """Return the log with its rows at the places that they have here, or with an origin of its own where one that began
    alike is there already: two sessions that were started from one commit begin with the same row.

    A row has another place when one before it was deleted since, or a line that could not be read was corrected: then
    what is here comes in the same order.
    """
    there = _there(events, log.origin)
    moved = _moved(log, there)
    if moved is not None and _agreeing(moved, there) > _agreeing(log, there):
        return moved
    for e in log.experiments:
        known, own = there.get(e.number, {}).get("commit"), (e.commit or "")[:7]
        if known and own and known != own:
            return _apart(replace(log, origin=_hash([log.origin, e.number, own])), events)
    return log


def _agreeing(log: Log, there: Mapping[Any, Event]) -> int:
    return sum(e.number in there and _same(e, there[e.number]) for e in log.experiments)


def _same(e: Experiment, line: Event) -> bool:
    """Whether a row is the one that a line was made of: a commit says too little, discards of some tools share one."""
    return _told(line.get("commit"), line.get("description")) == _told(e.commit, e.description)


def _told(commit: str | None, description: str | None) -> tuple[str, str]:
    return (commit or "")[:7], description or ""


def _moved(log: Log, there: Mapping[Any, Event]) -> Log | None:
    """Return the log with each row at the place of its line, and the new ones behind the last; None unless most of the
    lines have a row, in the same order: the rows of the others were deleted, or came behind the last since they were
    corrected later."""
    places, begin, known = dict[int, int](), 0, defaultdict[tuple[str, str], list[int]](list)
    for at, e in enumerate(log.experiments):
        known[_told(e.commit, e.description)].append(at)
    lines = sorted(((place, line) for place, line in there.items() if isinstance(place, int)), key=itemgetter(0))
    for place, line in lines:
        rows = known.get(_told(line.get("commit"), line.get("description")), [])
        if (first := bisect_left(rows, begin)) < len(rows):
            places[log.experiments[rows[first]].number], begin = place, rows[first] + 1
    if 2 * len(places) <= len(lines):
        return None
    found = {*places.values()}
    for place, line in lines:
        told = _told(line.get("commit"), line.get("description"))
        left = [e.number for e in map(log.experiments.__getitem__, known.get(told, [])) if e.number not in places]
        if place not in found and left and any(told):
            places[left[0]] = place
    free = itertools.count(1 + max(place for place, _ in lines))
    for e in log.experiments:
        if e.number not in places:
            places[e.number] = next(free)
    experiments = tuple(e._replace(number=places[e.number]) for e in log.experiments)
    theirs = {places[at]: number for at, number in log.theirs.items() if at in places}
    return replace(log, experiments=experiments, theirs=theirs)


def read_log(path: Path, direction: Direction | None, metric: str | None = None, *, strict: bool = False) -> list[Log]:
    """Return the logs in a file: one of a table, one for each segment of JSON lines.

    A row that cannot be read is skipped and listed; with `strict` it refuses the file.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"there is no {path}", "name a results.tsv or a .jsonl file") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error}", "name a results.tsv or a .jsonl file") from None
    if not content.strip():
        raise UsageError(f"{path} is empty", "name a results.tsv or a .jsonl file that has rows")
    if content.startswith(GZIP):
        raise UsageError(f"{path} is packed with gzip", "unpack it (gunzip -k), and name the file that comes of it")
    text, remarks = _text(content)
    try:
        logs = _ours(path, direction) if metric is None else []
        logs = logs or _theirs(path, text, direction, metric)
    except UsageError as error:
        if "\0" in text:
            raise UsageError(f"{path} is no text", "save it as text in UTF-8: a table, or JSON lines") from None
        error.message, error.fix = f"{path}: {one_line(error.message, MOST)}", one_line(error.fix, MOST)
        raise
    logs = [_in_lines(log) for log in logs]
    skipped = [line for log in logs for line in log.skipped]
    if strict and skipped:
        raise UsageError(f"{path.name} {skipped[0]}", "correct that line, or leave out --strict")
    if not any(log.experiments for log in logs):
        what = f"; {skipped[0]}" if skipped else ""
        raise UsageError(f"{path} has no experiments{what}", "name a results.tsv or a .jsonl file")
    return [replace(log, remarks=(*remarks, *log.remarks)) for log in logs]


def _in_lines(log: Log) -> Log:
    """Return a log in which all that commands print is one line: its words are those of anybody's file."""
    name, unit = one_line(log.metric.name, MOST) or "metric", one_line(log.metric.unit, MOST)
    remarks, skipped = (tuple(one_line(text, MOST) for text in texts) for texts in (log.remarks, log.skipped))
    return replace(log, metric=replace(log.metric, name=name, unit=unit), remarks=remarks, skipped=skipped)


def _text(content: bytes) -> tuple[str, tuple[str, ...]]:
    """Return the text of a file, and a remark on what is not text in it."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):  # as the redirection of PowerShell writes it
        return content.decode("utf-16", "replace"), ()
    text = content.decode("utf-8-sig", "replace")
    if "\n" not in text:  # as old Macs end lines
        text = text.replace("\r", "\n")
    odd = text.count("\N{REPLACEMENT CHARACTER}")
    return text, (f"{odd} bytes are no UTF-8; they became \N{REPLACEMENT CHARACTER}",) if odd else ()


def _ours(path: Path, direction: Direction | None) -> list[Log]:
    """Return the logs of a file in the words of our own journal; none when it is not wholly that."""
    try:
        lines = [event for _, event in journal.read(path)]
        session = replay(journal.read(path))
    except (journal.JournalError, AutoresearchError):
        return []
    if not lines or lines[0].get("type") != "config" or not all(map(is_event, lines)):
        return []  # it does not say which way of its metric is better, or cannot be written again
    logs = []
    for segment in session.segments:
        mine = tuple(e for e in session.experiments if e.segment == segment.number and e.status is not None)
        metric = replace(segment.metric, direction=direction or segment.metric.direction)
        if mine:
            about = [segment.number, segment.name, metric.name, mine[0].commit, mine[0].description]
            numbers: dict[int, object] = {entry: e.number for entry, e in enumerate(mine, 1)}
            entries = tuple(e._replace(number=entry) for entry, e in enumerate(mine, 1))
            logs.append(Log(_hash(about), segment.name or path.stem, metric, entries, numbers, ours=True))
    return logs


def _theirs(path: Path, text: str, direction: Direction | None, metric: str | None) -> list[Log]:
    if text.lstrip()[:1] in ("{", "["):
        parts = [*json_parts(text)]
    else:
        part = table_part(text)
        if not part.rows:
            header = [name.strip().lower() for name in text.strip().split("\t")]
            if "status" in header:
                return []
            part = Part([(1, {})])  # which `understood` refuses, saying what is missing
        parts = [part]
    logs = []
    for at, part in enumerate(parts):
        if not part.rows:
            logs.append(Log("", path.stem, Metric("metric", "lower"), (), {}, part.bad))
            continue
        found = understood(part, metric, direction)
        for rows_of in found:
            unit = str(part.config.get("metricUnit") or "")
            about: list[Any] = [at, rows_of.first]
            about = (None if part.config else _beginning(text)) or about
            about = [*about, rows_of.metric] if rows_of.named else about
            name = str(part.config.get("name") or path.stem)
            bad = part.bad if rows_of is found[0] else ()
            logs.append(
                Log(_hash(about), name, Metric(rows_of.metric, rows_of.direction, unit), rows_of.experiments,
                    rows_of.theirs, (*bad, *rows_of.skipped), rows_of.remarks, rows_of.decided)
            )  # fmt: skip
    return logs


def _beginning(text: str) -> list[Any] | None:
    """Return what tells a results.tsv from others: its header and first row, up to the description.

    What is behind it does not count: the same log may be written with another choice of metrics.
    """
    lines = [line.rstrip("\r") for line in text.split("\n") if line.strip()][:2]
    columns = [name.strip() for name in lines[0].split("\t")]
    if len(lines) < 2 or "description" not in columns or "status" not in columns:
        return None
    last = columns.index("description")
    return ["\t".join(line.split("\t", len(columns) - 1)[: last + 1]) for line in lines]


def _repeats(e: Experiment, number: int, now: int) -> list[Event]:
    """Return the lines of the runs that an experiment had after its verdict."""
    return [
        repeat_line(number, run.seed, run.value, e.env if run.hardware == e.hardware else {"gpu": run.hardware},
                    e.finished or now, guards=run.guarded)
        for run in e.runs
        if run.purpose in ("repeat", "replica") and run.seed is not None
    ]  # fmt: skip


def _run(e: Experiment, number: int, segment: int, imported: dict[str, Any]) -> Event:
    """Return an experiment as a line; a crash has no number, whatever the other tool wrote for it.

    Values that were measured stay, whatever became of the experiment: those that have a seed, which only our own export
    names, and the number of a run whose checks failed, where it is none of the zeros that stand for no number.
    """
    scored = e.status in ("keep", "discard")
    checked = e.status == "checks_failed" and bool(e.metric)
    runs = [run for run in e.runs if run.purpose in ("screening", "verdict")]
    measured = scored or checked or any(run.seed is not None for run in runs)
    assert e.status is not None
    return run_line(
        number,
        (e.commit or "")[:7],
        e.metric if scored or checked else None,
        e.metrics,
        e.status,
        e.description,
        segment,
        e.asi,
        e.finished,
        details={
            "outcome": e.outcome or ("ok" if scored else cast("Outcome", e.status)),
            "reason": e.reason,
            "values": [run.value for run in runs] if measured else [],
            "seeds": [run.seed for run in runs if run.seed is not None],
            "screened": any(run.purpose == "screening" for run in runs),
            "manifest": e.manifest,
            "warnings": list(e.warnings),
            "imported": {**imported, "env": e.env},
            **({"env": e.env} if e.env else {}),
            **({"guards": guards_of(runs)} if measured and any(run.guarded for run in runs) else {}),
        },
    )


def _hash(about: list[Any]) -> str:
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]
