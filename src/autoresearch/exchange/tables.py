"""The session as tables for other programs: TSV in the field's habit, and CSV with everything."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence

from autoresearch.escaping import one_line
from autoresearch.journal.events import RunDetails, foreign_config_line, repeat_line, run_line
from autoresearch.journal.experiment import guards_of
from autoresearch.journal.session import Experiment, Session

COLUMNS = (
    *("experiment", "segment", "status", "outcome", "metric", "reference", "values", "seeds", "screened", "repeats"),
    *("commit", "parent", "description", "reason", "metrics", "asi", "fingerprint", "manifest", "env"),
    *("started", "finished"),
)
"""The columns of `to_csv`; started and finished are seconds since 1970."""

FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the beginning of a formula, after blanks; some take the wide forms too."""


def to_tsv(session: Session, secondary: Sequence[str] = ()) -> str:
    """Return the experiments of the segment in force as the `results.tsv` that the field's first systems write.

    Commits have 7 characters, the metric 6 decimals, memory is in GiB with 1. What has no value is 0 here and only
    here, because readers of this table expect a number. Experiments without a verdict are left out. Behind the columns
    that these systems know are the `secondary` metrics, exact, and empty where there is none.
    """
    name = one_line(session.metric.name) or "metric"
    lines = ["\t".join(["commit", name, "memory_gb", "status", "description", *map(one_line, secondary)])]
    for e in session.current:
        if e.status is None:
            continue
        memory = e.metrics.get("peak_vram_mb", 0.0) / 1024
        cells = [
            one_line(e.commit or "")[:7],
            f"{e.metric or 0.0:.6f}",
            f"{memory:.1f}",
            e.status,
            one_line(e.description, 10_000),
            *(_number(e.metrics.get(name)) for name in secondary),
        ]
        lines.append("\t".join(cells))
    return "\n".join(lines) + "\n"


def to_jsonl(session: Session, secondary: Sequence[str] = ()) -> str:
    """Return all segments, imported ones too, as the `config` and `run` lines that other tools of the field read.

    These expect a number for every experiment, so what has none is 0 (its status says crash), and milliseconds. They
    have all metrics already: `secondary` chooses none. What only `import` reads is in further keys, and in the lines of
    runs that were made after a verdict: nothing that was measured is lost on the way there and back.
    """
    lines: list[dict[str, object]] = []
    for _, segment in sorted({s.number: s for s in (*session.imported, *session.segments)}.items()):
        mine = [e for e in session.experiments if e.segment == segment.number and e.status is not None]
        lines.append(foreign_config_line(segment.name, segment.metric))
        for e in mine:
            commit, status, ended_ms = (e.commit or "")[:7], e.status or "", 1000 * (e.finished or 0)
            decided = [run for run in e.runs if run.purpose in ("screening", "verdict")]
            details: RunDetails = {
                "values": [run.value for run in decided],
                "seeds": [run.seed for run in decided if run.seed is not None],
                "screened": any(run.purpose == "screening" for run in decided),
                "reason": e.reason,
                "manifest": e.manifest,
                "warnings": list(e.warnings),
                "env": e.env,
            }
            if e.outcome is not None:
                details["outcome"] = e.outcome
            if guards := guards_of(decided):
                details["guards"] = guards
            line = run_line(
                e.number, commit, e.metric or 0, e.metrics, status, e.description, segment.number, e.asi, ended_ms,
                details=details,
            )  # fmt: skip
            lines.append(line)
            for run in e.runs:
                if run.purpose in ("repeat", "replica") and run.seed is not None:
                    env = e.env if run.hardware == e.hardware else {"gpu": run.hardware}
                    lines.append(repeat_line(e.number, run.seed, run.value, env, e.finished or 0, guards=run.guarded))
    return "".join(json.dumps(line, allow_nan=False, separators=(",", ":")) + "\n" for line in lines)


def to_csv(session: Session, secondary: Sequence[str] = ()) -> str:
    """Return every field of every experiment of all segments: `COLUMNS`, and behind them the `secondary` metrics.

    A metric that is named like another column has `metrics.` before its name. What is absent is empty, lists and
    objects are JSON, numbers are exact. Free text that a spreadsheet would run as a formula begins with an
    apostrophe.
    """
    out = io.StringIO()
    # The writer quotes only what occurs in its line end, and a lone CR must be quoted too.
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([*COLUMNS, *(f"metrics.{name}" if name in COLUMNS else _free(name) for name in secondary)])
    for e in session.experiments:
        cells = _cells(e)
        writer.writerow([*(cells[column] for column in COLUMNS), *(_number(e.metrics.get(n)) for n in secondary)])
    return out.getvalue()


def _cells(e: Experiment) -> dict[str, str]:
    return {
        "experiment": str(e.number),
        "segment": str(e.segment),
        "status": e.status or "",
        "outcome": e.outcome or "",
        "metric": _number(e.metric),
        "reference": _number(e.reference),
        "values": _json(e.values),
        "seeds": _json(e.seeds),
        "screened": "true" if e.screened else "false",
        "repeats": _json(e.repeats),
        "commit": _free(e.commit),
        "parent": _free(e.parent),
        "description": _free(e.description),
        "reason": _free(e.reason),
        "metrics": _json(e.metrics),
        "asi": _json(e.asi),
        "fingerprint": _free(e.fingerprint),
        "manifest": _free(e.manifest),
        "env": _json(e.env),
        "started": "" if e.started is None else str(e.started),
        "finished": "" if e.finished is None else str(e.finished),
    }


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)


def _json(value: Mapping[str, object] | Mapping[int, float] | Sequence[float]) -> str:
    """Return compact JSON; empty for nothing. ASCII, so that no character can break the row or the encoding."""
    return json.dumps(value, separators=(",", ":")) if value else ""


def _free(text: str | None) -> str:
    # NUL ends a cell in some readers; a lone surrogate cannot be written as UTF-8 at all.
    clean = (text or "").replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
    formula = clean.lstrip()[:1] in FORMULA or clean[:1] in ("\t", "\r")
    return "'" + clean if formula else clean
