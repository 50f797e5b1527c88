"""The lines of the journal: for each type one builder, which every writer uses, and beside it one reader.

The keys of a line are spelled in this module alone. The builders need nothing but the standard library and
Python 3.8, because `scripts/log-experiment.sh` uses them with a bare python3; so the readers of the rare lines import
what they fill (whose `slots` need 3.10) when they are called. A reader raises `ValueError`, `TypeError` or `KeyError`
for a line that it cannot understand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict, cast

from autoresearch.journal.experiment import Experiment, Run, Speed, decided_runs, hardware_of
from autoresearch.journal.fields import (
    TEXT,
    Event,
    NewerSchema,
    finite,
    finite_all,
    list_at,
    mapping_at,
    number_at,
    numbers,
    of_types,
    rows_at,
    seconds_at,
    strings_at,
    text_at,
    texts_at,
    whole,
    whole_all,
    whole_at,
)
from autoresearch.journal.statuses import OUTCOMES, STATUSES, Outcome, Status
from autoresearch.metrics import Metric

if TYPE_CHECKING:
    from autoresearch.journal.segment import Segment
    from autoresearch.journal.study import Study

SCHEMA = 1
"""Version of the journal that this package writes."""


def type_of(event: Event) -> object:
    """Return the type of a line. A run has none: other tools of the field know it by its key `run`."""
    return event.get("type", "run" if "run" in event else None)


def experiment_of(event: Event) -> int | None:
    """Return the number of the experiment that a line is about; None where it is about none."""
    return whole_at(event, "run" if "run" in event else "experiment") if {"run", "experiment"} & {*event} else None


# --- config: a segment begins ---


class SegmentDetails(TypedDict, total=False):
    """What a `config` line says of a session that this package measures, beyond what every tool of the field writes."""

    task: Mapping[str, Any]
    sha256: Mapping[str, str]
    branch: str | None
    tag: str | None
    keep_untracked: Sequence[str]
    python: Mapping[str, str]
    imported: str


def config_line(
    segment: int, name: str, metric: Metric, now: int | None, details: SegmentDetails | None = None
) -> Event:
    """Return the line that begins a segment; `now` is in seconds."""
    about = {"type": "config", "schema": SCHEMA, "segment": segment, "name": name, **_metric(metric)}
    return {**about, **(details or {}), "timestamp": now}


def foreign_config_line(name: str, metric: Metric) -> Event:
    """Return the line that begins a segment with no more keys than other tools of the field read."""
    return {"type": "config", "name": name, **_metric(metric)}


def _metric(metric: Metric) -> Event:
    return {"metricName": metric.name, "metricUnit": metric.unit, "bestDirection": metric.direction}


def read_config(event: Event, index: int) -> Segment:
    """Return the segment that a `config` line begins; `index` is its number when the line gives none."""
    from autoresearch.journal.segment import Segment

    if event.get("schema", SCHEMA) > SCHEMA:
        raise NewerSchema(f"schema {event['schema']} is newer than {SCHEMA}, which this program knows")
    direction = event.get("bestDirection", "lower")
    if direction not in ("lower", "higher"):
        raise ValueError(f"bestDirection is {direction!r}; it must be lower or higher")
    return Segment(
        number=segment_of(event, index),
        name=text_at(event, "name") or "",
        metric=Metric(str(event["metricName"]), direction, str(event.get("metricUnit") or "")),
        branch=text_at(event, "branch"),
        tag=text_at(event, "tag"),
        sha256=mapping_at(event, "sha256", {}),
        keep_untracked=tuple(event.get("keep_untracked") or ()),
        python=mapping_at(event, "python", {}),
        timestamp=seconds_at(event),
    )


def segment_of(event: Event, default: int) -> int:
    """Return the number of the segment that a line belongs to."""
    segment = event.get("segment")
    return segment if type(segment) is int else default if segment is None else whole("segment", segment)


# --- start: an experiment begins ---


def start_line(
    experiment: int,
    commit: str,
    parent: str | None,
    seed: int,
    description: str,
    asi: Mapping[str, Any],
    fingerprint: str,
    now: int,
    *,
    simpler: bool | None = None,
    warnings: Iterable[str] | None = None,
    pairs: int | None = None,
) -> Event:
    """Return the line before an experiment's first run; `pairs` is how many were asked for, if that was done."""
    line = {"type": "start", "experiment": experiment, "commit": commit, "parent": parent, "seed": seed,
            "description": description, "asi": dict(asi), "fingerprint": fingerprint}  # fmt: skip
    more = {"simpler": simpler, "warnings": None if warnings is None else list(warnings), "pairs": pairs}
    return {**line, **{key: value for key, value in more.items() if value is not None}, "timestamp": now}


def read_start(event: Event, segment: int) -> Experiment:
    """Return the experiment that a `start` line begins; `segment` is the one in force."""
    found = _start_fields(event)
    if found is None:
        event["commit"]  # it may be null, and must be there
        found = (whole_at(event, "experiment"), *texts_at(event, "commit", "parent", "description", "fingerprint"),
                 mapping_at(event, "asi", {}))  # fmt: skip
    number, commit, parent, description, fingerprint, asi = found
    warnings = strings_at(event, "warnings") if "warnings" in event else ()
    pairs = whole_at(event, "pairs") if "pairs" in event else None
    simpler, started = event.get("simpler") is True, seconds_at(event)
    return Experiment(  # all by their place, as in `read_run`
        number, segment_of(event, segment), commit, parent, description or "", None, None, None, {}, (), "", simpler,
        "", asi, warnings, fingerprint, None, {}, started, None, 0.0, None, pairs,
    )  # fmt: skip


_start_fields = of_types(experiment=(int,), commit=TEXT, parent=TEXT, description=TEXT, fingerprint=TEXT, asi=(dict,))


# --- run: the verdict on an experiment ---


class RunDetails(TypedDict, total=False):
    """What a `run` line says beyond what every tool of the field writes."""

    outcome: Outcome
    reason: str
    values: Sequence[float]
    seeds: Sequence[int]
    screened: bool
    speeds: Sequence[Speed]
    guards: Mapping[str, Sequence[float | None]]
    parent: str | None
    manifest: str | None
    warnings: Sequence[str]
    alpha: float
    seconds: float | None
    env: Mapping[str, Any]
    imported: Mapping[str, Any]


def run_line(
    number: int,
    commit: str,
    metric: float | None,
    metrics: Mapping[str, Any],
    status: Status | str,
    description: str,
    segment: int,
    asi: Mapping[str, Any],
    now: int | None,
    *,
    confidence: float | None = None,
    details: RunDetails | None = None,
) -> Event:
    """Return the verdict on an experiment; `now` is in seconds, and None where another tool's log had no time."""
    line = {"run": number, "commit": commit, "metric": metric, "metrics": metrics, "status": status,
            "description": description, "timestamp": now, "segment": segment, "confidence": confidence,
            "asi": asi, **(details or {})}  # fmt: skip
    if now is None:
        del line["timestamp"]
    return line


def read_run(event: Event, started: Experiment | None, key: tuple[int, int]) -> Experiment:
    """Return the experiment with the verdict that a `run` line gives on it.

    `started` is the one that the line's number began; without it, it is made from `key`: segment and number.
    """
    if started is not None and started.status is not None:
        raise ValueError(f"experiment {key[1]} has two verdicts")
    parent, description, outcome, reason, manifest, status, metric, values, seeds, env, asi, metrics = _run_fields(
        event
    ) or _run_fields_each(event)
    if status not in STATUSES:
        raise ValueError(f"unknown status {status!r}; it must be one of {', '.join(STATUSES)}")
    if outcome is None:
        outcome = "ok" if status in ("keep", "discard") else status
    elif outcome not in OUTCOMES:
        raise ValueError(f"unknown outcome {outcome!r}; it must be one of {', '.join(OUTCOMES)}")
    metric = None if metric is None else finite("metric", metric)
    values = finite_all("values", values) or ([] if metric is None else [metric])
    seeds = whole_all("seeds", seeds)
    screened = bool(event.get("screened", False))
    speeds = [Speed.of(pair) for pair in list_at(event, "speeds")] if "speeds" in event else ()
    guarded = rows_at(event, "guards") if "guards" in event else ()
    before = started or Experiment(number=key[1], segment=key[0], commit=text_at(event, "commit"))
    hardware = hardware_of(env)
    # All by their place, in a third of the time that their names would take: this is what a long session consists of.
    return Experiment(
        before.number,
        before.segment,
        before.commit,
        parent or before.parent,
        description or before.description,
        status,
        cast("Outcome", outcome),
        metric,
        numbers(metrics),
        decided_runs(values, seeds, before.number, screened=screened, hardware=hardware, speeds=speeds, guarded=guarded)
        + before.runs,
        hardware,
        before.simpler,
        reason or "",
        before.asi if asi == before.asi else {**before.asi, **asi},
        (strings_at(event, "warnings") if "warnings" in event else ()) or before.warnings,
        before.fingerprint,
        manifest,
        env,
        before.started,
        seconds_at(event),
        number_at(event, "alpha") if "alpha" in event else 0.0,
        None if event.get("seconds") is None else number_at(event, "seconds"),
    )


_run_fields = of_types(
    parent=TEXT, description=TEXT, outcome=TEXT, reason=TEXT, manifest=TEXT, status=(str,),
    metric=(float, int, type(None)), values=(list,), seeds=(list,), env=(dict,), asi=(dict,), metrics=(dict,),
)  # fmt: skip


def _run_fields_each(event: Event) -> tuple[Any, ...]:
    texts = texts_at(event, "parent", "description", "outcome", "reason", "manifest")
    return (*texts, event["status"], event.get("metric"), list_at(event, "values"), list_at(event, "seeds"),
            *(mapping_at(event, key, {}) for key in ("env", "asi", "metrics")))  # fmt: skip


# --- repeat: a run made after the verdict ---


def repeat_line(
    experiment: int,
    seed: int,
    value: float,
    env: Mapping[str, Any],
    now: int,
    *,
    study: int | None = None,
    speed: Speed | None = None,
    guards: Mapping[str, float] | None = None,
) -> Event:
    """Return a run made after the verdict, with the machine that it was made on and the study that asked for it."""
    line = {"type": "repeat", "experiment": experiment, "seed": seed, "value": value, "env": dict(env),
            "timestamp": now}  # fmt: skip
    if speed is not None and speed != Speed():
        line["speed"] = list(speed)
    return {**line, **({"guards": dict(guards)} if guards else {}), **({} if study is None else {"study": study})}


def read_repeat(event: Event, e: Experiment, newest: int) -> tuple[Experiment, Mapping[str, Any]]:
    """Return an experiment with a repeat, and what the line says of the machine.

    `newest` is the number of the newest experiment when it was made.
    """
    seed, value, env = whole_at(event, "seed"), number_at(event, "value"), mapping_at(event, "env", {})
    hardware = hardware_of(env) or e.hardware
    again = seed in e.on(hardware).by_seed
    made, guarded = Speed.of(event.get("speed")), numbers(mapping_at(event, "guards", {}))
    return e.with_run(Run(seed, value, "replica" if again else "repeat", hardware, newest, made, guarded)), env


# --- disturbed: a run that the machine disturbed, and that was made again ---


def disturbed_line(
    experiment: int, seed: int, value: float, why: str, speed: Speed, now: int, *, study: int | None = None
) -> Event:
    """Return a run that does not count, what was seen of the machine, and the study that it was made for."""
    return {"type": "disturbed", "experiment": experiment, "seed": seed, "value": value, "why": why,
            "speed": list(speed), **({} if study is None else {"study": study}), "timestamp": now}  # fmt: skip


def read_disturbed(event: Event, e: Experiment, newest: int) -> Experiment:
    """Return an experiment with a run that does not count; one of a study is no run of the experiment."""
    if "study" in event:
        return e
    made = Speed.of(event.get("speed"))
    return e.with_run(Run(whole_at(event, "seed"), number_at(event, "value"), "disturbed", e.hardware, newest, made))


# --- note: what was learned later ---


def note_line(experiment: int, asi: Mapping[str, Any], now: int) -> Event:
    """Return what is to be added to an experiment's side information."""
    return {"type": "note", "experiment": experiment, "asi": asi, "timestamp": now}


def read_note(event: Event, e: Experiment) -> Experiment:
    """Return an experiment with a note."""
    return e._replace(asi={**e.asi, **mapping_at(event, "asi")})


# --- study, study_run, study_end: runs that decide nothing on the branch ---


def study_line(
    number: int, what: str, about: Mapping[str, Any], split: str, now: int, *, continues: int | None = None,
    again: str = "",
) -> Event:  # fmt: skip
    """Return the line before a study: from it on, a use of the locked split counts."""
    line = {"type": "study", "study": number, "what": what, "about": dict(about), "split": split, "timestamp": now}
    line |= {"again": again} if again else {}
    return line if continues is None else {**line, "continues": continues}


def study_run_line(number: int, commit: str, seed: int, value: float, now: int) -> Event:
    """Return the line of one run of a study."""
    return {"type": "study_run", "study": number, "commit": commit, "seed": seed, "value": value, "timestamp": now}


def study_end_line(number: int, outcome: str, result: Mapping[str, Any], now: int) -> Event:
    """Return the line after a study; the outcome is `done`, `failed` or `interrupted`."""
    return {"type": "study_end", "study": number, "outcome": outcome, "result": dict(result), "timestamp": now}


def read_study(event: Event, studies: Mapping[int, Study]) -> Study:
    """Return the study of a line as it is after it: its beginning, a run, a repeat that it has made, or its end.

    `studies` are those before the line, by their numbers.
    """
    from autoresearch.journal.study import Study

    number, kind = whole_at(event, "study"), event["type"]
    if kind == "study":
        if number in studies:
            raise ValueError(f"study {number} begins twice")
        continues = None if event.get("continues") is None else whole_at(event, "continues")
        return Study(
            number,
            text_at(event, "what") or "",
            mapping_at(event, "about", {}),
            text_at(event, "again") or "",
            text_at(event, "split") or "search",
            runs={} if continues is None else studies[continues].runs,
            continues=continues,
            timestamp=int(number_at(event, "timestamp")) if event.get("timestamp") is not None else None,
        )
    if number not in studies:
        raise ValueError(f"there is no study {number}")
    study = studies[number]
    if kind in ("study_run", "repeat"):
        commit = text_at(event, "commit") or ""
        values = {**study.runs.get(commit, {}), whole_at(event, "seed"): finite("value", event.get("value"))}
        return replace(study, runs={**study.runs, commit: values})
    if study.outcome is not None:
        raise ValueError(f"study {number} ends twice")
    outcome, result = text_at(event, "outcome") or "done", mapping_at(event, "result", {})
    return replace(study, outcome=outcome, result=result)
