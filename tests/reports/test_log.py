"""The table of a session: what a task names beside its metric is in it, and nothing is said twice."""

from __future__ import annotations

from typing import Any

from lab import Maker

from autoresearch.journal.session import Session, replay
from autoresearch.reports.log_table import log_lines, log_view
from autoresearch.reports.views import show_lines, show_view


def test_secondary_metrics_are_columns_and_first_everywhere_in_the_same_order(make_lab: Maker) -> None:
    lab = make_lab(metric={"secondary": ["peak_vram_mb", "heat"]})
    lab.attempt("echo METRIC other=1; echo METRIC total_ms=50; echo METRIC peak_vram_mb=45060.5\n")
    baseline, kept = lab.call("log", "--json").json["experiments"]
    assert baseline["secondary"] == {"peak_vram_mb": None, "heat": None}
    assert kept["secondary"] == {"peak_vram_mb": 45060.5, "heat": None}
    head, first, second, *rest = lab.call("log").out.splitlines()
    assert head.split() == ["n", "status", "total_ms", "gain", "peak_vram_mb", "description"]
    assert first.split()[4] == "-" and second.split()[4] in ("45060", "45061")
    assert head.index("description") == second.index("a change")
    assert "the same in all: heat -" in rest

    view, text = lab.call("show", "2", "--json").json, lab.call("show", "2").out
    assert view["secondary"] == kept["secondary"] and [*view["metrics"]] == ["peak_vram_mb", "other"]
    assert "also      peak_vram_mb 45060.5, heat -, other 1" in text
    assert f"commit    {kept['commit']}" in text and len(view["commit"]) == 40
    assert "files     .autoresearch/runs/2\n" in text
    assert view["files"] == str(lab.root / ".autoresearch" / "runs" / "2")

    for form, tab in (("tsv", "\t"), ("csv", ",")):
        names, _, row = lab.call("export", "-f", form, "-o", "-").out.splitlines()[:3]
        assert names.split(tab)[-2:] == ["peak_vram_mb", "heat"] and row.split(tab)[-2:] == ["45060.5", ""]


def session_of(*runs: dict[str, Any]) -> Session:
    """A session whose experiments have these keys in their `run` lines; the first is its baseline."""
    events: list[dict[str, Any]] = [
        {"type": "config", "metricName": "ms", "bestDirection": "lower", "tag": "t", "segment": 0}
    ]
    for number, run in enumerate(runs, 1):
        status = "keep" if number == 1 else "discard"
        events.append({"run": number, "commit": f"c{number:06}", "status": status, "description": f"change {number}",
                       "timestamp": 1_000_000 + number, "segment": 0, "metric": None, **run})  # fmt: skip
    return replay(enumerate(events, 1))


def table(session: Session, *secondary: str) -> list[str]:
    return log_lines(session, [log_view(session, e, secondary) for e in session.experiments])


RAN = {"metric": 100.0, "values": [100.0], "seeds": [1]}


def test_an_experiment_without_a_value_has_no_mark_of_a_single_run() -> None:
    failed = {"status": "checks_failed", "values": [90.0], "seeds": [1], "metric": None}
    *_, last = (line for line in table(session_of(RAN, failed)) if "change 2" in line)
    assert last.split()[:3] == ["2", "checks_failed", "-"]


def test_what_is_the_same_in_all_runs_is_said_once_and_what_differs_is_a_column() -> None:
    named = ("params", "steps", "heat")
    runs = [{**RAN, "metrics": {"params": 12.5, "steps": steps}} for steps in (300, 310)]
    failed = {"status": "crash", "metrics": {}}
    lines = table(session_of(*runs, failed), *named)
    assert lines[0].split() == ["n", "status", "ms", "gain", "steps", "description"]
    assert [line.split()[4] for line in lines[1:4]] == ["300", "310", "-"]
    assert "the same in all: params 12.5, heat -" in lines, "a crash without a number is no other value"


def test_a_run_that_does_not_report_what_others_do_is_told() -> None:
    lines = table(session_of({**RAN, "metrics": {"heat": 3.0}}, {**RAN, "metrics": {}}), "heat")
    assert lines[0].split()[4] == "heat" and [line.split()[4] for line in lines[1:3]] == ["3", "-"]
    assert not any("the same in all" in line for line in lines)


def test_values_that_no_column_would_tell_apart_are_one_value() -> None:
    runs = [{**RAN, "metrics": {"gb": gb}} for gb in (45.0600001, 45.0600002)]
    assert "the same in all: gb 45.06" in table(session_of(*runs), "gb")
    assert table(session_of(*runs, {**RAN, "metrics": {"gb": 45.061}}), "gb")[0].split()[4] == "gb"


def test_a_value_of_one_run_is_marked_and_a_gain_is_of_the_seeds_that_both_ran() -> None:
    baseline = {"metric": 11.0, "values": [10.0, 11.0, 12.0], "seeds": [1, 2, 3]}
    easy = {"metric": 10.2, "values": [10.2], "seeds": [1]}  # below the baseline's mean, and worse on its own seed
    session = session_of(baseline, easy)
    _, first, second, *rest = table(session)
    assert first.split()[:4] == ["1", "keep", "11.0", "+0.0"]
    assert second.split()[:4] == ["2", "discard", "10.2*", "-0.2"]
    assert rest[0] == "* one run; its gain is over the baseline's run of that seed"
    assert rest[1].startswith("noise 1 per run")
    shown = show_lines(session, show_view(session, session.experiments[1], ()))
    assert any(line.startswith("metric    10.2  gain over baseline -0.2 ± ") for line in shown)
    assert "pairs     on 1 seed that both ran" in shown, "the gain itself is said once"


def test_columns_are_as_wide_as_what_is_in_them() -> None:
    long = session_of(RAN, *({**RAN, "metric": 1000.25, "values": [1000.25]} for _ in range(10)))
    head, *rows = table(long)
    assert len({line.index("change") for line in rows[:11]} | {head.index("description")}) == 1
    assert rows[0].startswith(" 1 keep ") and rows[10].startswith("11 discard ")
    assert "  " not in rows[10], "one space between columns"
    for none_named in (session_of(), session_of(RAN)):
        assert table(none_named)[0].split() == ["n", "status", "ms", "gain", "description"]
