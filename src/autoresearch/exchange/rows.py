"""The session as tables of plain values, for databases and data frames, with the numbers of `log` and `show`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from autoresearch.errors import UsageError
from autoresearch.journal.session import Session
from autoresearch.reports import views
from autoresearch.reports.run_files import curve_of, seeds_of
from autoresearch.search.families import Families, family_of
from autoresearch.workspace.workspace import Workspace

Kind = Literal["int", "real", "text", "bool"]
Row = Sequence[Any]

BITS = 63
"""Of a whole number, beside its sign: no column holds more."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its columns with their kinds, and what makes its rows anew each time. What is absent is None."""

    columns: Mapping[str, Kind]
    rows: Callable[[], Iterator[Row]]


def tables(workspace: Workspace, session: Session, families: Families, secondary: Sequence[str]) -> dict[str, Table]:
    """Return every table of a session by its name. Lists and objects are JSON, times are seconds since 1970.

    The `secondary` metrics are columns of `experiments`, the last ones; one that is named like another column, in
    capitals or not, has `metrics.` before its name. `gain` and `gain_error` are over the baseline of the segment in
    force, and absent in others.
    """
    experiments: dict[str, Kind] = {
        **_named("int", "experiment segment"),
        **_named("text", "status outcome"),
        **_named("real", "metric value gain gain_error reference"),
        "run_count": "int",
        **_named("text", "family commit parent description reason"),
        **_named("bool", "screened simpler"),
        **_named("text", "metrics asi warnings fingerprint manifest env hardware"),
        **_named("real", "alpha seconds"),
        **_named("int", "started finished"),
    }
    secondary = [*dict.fromkeys(secondary)]
    for name in secondary:
        column = name
        while column.lower() in {each.lower() for each in experiments}:
            column = f"metrics.{column}"
        experiments[column] = "real"
    return {
        "segments": Table(
            {"segment": "int", **_named("text", "name metric direction unit branch tag"), "imported": "bool",
             "began": "int"},
            lambda: _segments(session),
        ),
        "experiments": Table(experiments, lambda: _experiments(session, families, secondary)),
        "runs": Table(
            {**_named("int", "segment experiment place seed"), "value": "real", **_named("text", "purpose hardware"),
             "after": "int", **_named("real", "pace share seconds"), "guards": "text"},
            lambda: _runs(session),
        ),
        "asi": Table({**_named("int", "segment experiment"), **_named("text", "key value")}, lambda: _asi(session)),
        "studies": Table(
            {"study": "int", **_named("text", "what split outcome"), "continues": "int",
             **_named("text", "about result"), "began": "int"},
            lambda: _studies(session),
        ),
        "study_runs": Table(
            {"study": "int", "commit": "text", "seed": "int", "value": "real"}, lambda: _study_runs(session)
        ),
        "curves": Table(
            {**_named("int", "experiment seed line"), "key": "text", "value": "real"},
            lambda: _curves(workspace, session),
        ),
    }  # fmt: skip


def _named(kind: Kind, names: str) -> dict[str, Kind]:
    return dict.fromkeys(names.split(), kind)


def _segments(session: Session) -> Iterator[Row]:
    imported = {segment.number for segment in session.imported}
    for number, s in sorted({s.number: s for s in (*session.imported, *session.segments)}.items()):
        metric = s.metric
        yield (whole(number), text(s.name), text(metric.name), metric.direction, text(metric.unit), text(s.branch),
               text(s.tag), number in imported, whole(s.timestamp))  # fmt: skip


def _experiments(session: Session, families: Families, secondary: Sequence[str]) -> Iterator[Row]:
    for e in session.experiments:
        view = views.brief_view(session, e)
        yield (
            *(whole(e.number), whole(e.segment), e.status, e.outcome),
            *(view["metric"], view["value"], view["gain"], views.gain_error(session, e), e.reference),
            *(view["run_count"], text(family_of(e.description, e.asi, families)), text(e.commit), text(e.parent)),
            *(text(e.description), text(e.reason), e.screened, e.simpler, packed(e.metrics), packed(e.asi)),
            *(packed(e.warnings), text(e.fingerprint), text(e.manifest), packed(e.env), text(e.hardware)),
            *(e.alpha, e.command_seconds, whole(e.started), whole(e.finished)),
            *(e.metrics.get(name) for name in secondary),
        )


def _runs(session: Session) -> Iterator[Row]:
    for e in session.experiments:
        for place, run in enumerate(e.runs, 1):
            yield (whole(e.segment), whole(e.number), place, whole(run.seed), run.value, run.purpose,
                   text(run.hardware), whole(run.after), *run.speed, packed(run.guarded))  # fmt: skip


def _asi(session: Session) -> Iterator[Row]:
    for e in session.experiments:
        for key, value in e.asi.items():
            told = text(value if isinstance(value, str) else packed(value))
            yield whole(e.segment), whole(e.number), text(str(key)), told


def _studies(session: Session) -> Iterator[Row]:
    for s in session.studies:
        yield (whole(s.number), text(s.what), text(s.split), text(s.outcome), whole(s.continues), packed(s.about),
               packed(s.result), whole(s.timestamp))  # fmt: skip


def _study_runs(session: Session) -> Iterator[Row]:
    for study in session.studies:
        for commit, values in study.runs.items():
            for seed, value in values.items():
                yield whole(study.number), text(commit), whole(seed), value


def _curves(workspace: Workspace, session: Session) -> Iterator[Row]:
    """Yield a row for each number that a run has written into its curve."""
    for number in dict.fromkeys(e.number for e in session.experiments):
        for seed in seeds_of(workspace, number):
            curve = curve_of(workspace, number, seed)
            for key, column in (curve.columns if curve is not None else {}).items():
                for line, value in enumerate(column, 1):
                    if value is not None and math.isfinite(value):
                        yield whole(number), whole(seed), line, text(key), value


def text(value: str | None) -> str | None:
    """Return what UTF-8 can carry of a text: half of a surrogate pair cannot be written at all."""
    return None if value is None else value.encode("utf-8", "backslashreplace").decode()


def packed(value: object) -> str | None:
    """Return a list or an object as JSON; None for nothing."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True) if value or value == 0 else None


def whole(value: int | None) -> int | None:
    """Return a whole number that a column can hold; raise `UsageError` for any other."""
    if value is not None and not -(2**BITS) <= value < 2**BITS:
        raise UsageError(f"the number {value} has more than 64 bits", "csv has it: autoresearch export --format csv")
    return value
