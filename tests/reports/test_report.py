"""The report: one file that needs nothing else, in which hostile text stays text, with the numbers of `--json`."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import random
import re
import sqlite3
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from lab import call
from night import EVIL, TRACE
from test_house import ROOT

from autoresearch.journal import events
from autoresearch.journal.session import replay
from autoresearch.reports import report
from autoresearch.reports.claims import claim_view, weigh
from autoresearch.reports.overview import harmless, overview
from autoresearch.reports.run_files import Curve
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace

NOW = 1_790_010_000


class Page(HTMLParser):
    """The elements of a page as a browser sees them, and the text of each script by its id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements:
            tag, about = self.elements[-1]
            self.texts.append((about.get("id") or tag, data))

    def text(self, name: str) -> str:
        return "".join(text for at, text in self.texts if at == name).strip("\n")


@pytest.mark.slow
def test_what_the_claim_is_worth_is_what_audit_says_of_the_experiments(finished_night: Workspace, written: str) -> None:
    session = load_session(finished_night)
    said = harmless(claim_view(weigh(session.current, session.metric)))
    shown = json.loads(Page(written).text("data"))["claim"]
    assert (shown["result"] is None) == bool(shown["reason"])
    assert shown["remarks"] and json.loads(json.dumps(said)) == {**json.loads(json.dumps(said)), **shown}


@pytest.fixture(scope="module")
def written(finished_night: Workspace, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "r.html"
    done = call("report", "-o", str(path), "--json", cwd=finished_night.root)
    assert done.code == 0 and done.json == {"file": str(path), "bytes": path.stat().st_size, "experiments": 10}
    return path.read_text("utf-8")


def unpacked(page: Page) -> list[dict[str, Any]]:
    names, *columns = json.loads(zlib.decompress(base64.b64decode(page.text("rows"))))
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def test_it_asks_for_nothing_and_its_policy_allows_only_what_is_in_it(written: str) -> None:
    page = Page(written)
    policy = next(about["content"] or "" for tag, about in page.elements if about.get("http-equiv"))
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    for tag, name in (("style", "style-src"), ("script", "script-src")):
        inside = next(text for at, text in page.texts if at == tag)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}'" in policy
    # No address of anything else, in markup or style; a script may only make nodes.
    assert not [about for _, about in page.elements if {"src", "srcset", "action", "style"} & set(about)]
    assert all((about.get("href") or "#").startswith("#") for _, about in page.elements)
    assert not re.search(r"https?://|url\(|@import|innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", written)


def test_hostile_text_stays_text(written: str) -> None:
    page = Page(written)
    assert [tag for tag, _ in page.elements if tag in ("img", "iframe", "object")] == []
    assert len([tag for tag, _ in page.elements if tag == "script"]) == 3
    assert not set(written.encode()) & (set(TRACE) - set(b"\n\t")) and "\u202e" not in written
    data = json.loads(page.text("data"))
    four = next(row for row in data["top"] if row["experiment"] == 4)
    assert four["description"].startswith("</script><img src=x onerror=alert(1)><!-- red \\u202egnp.exe")
    assert "</script><img" in four["diff"] and "\\x1b" not in four["diff"] and "\\u202e" in four["diff"]
    assert EVIL not in written and "</script><img" not in page.text("data").replace("\\u003c", "")


def test_each_section_tells_what_happened(written: str) -> None:
    page = Page(written)
    data = json.loads(page.text("data"))
    assert data["state"]["text"] == "Stopped: 10 experiments are done, max_experiments is 10."
    assert page.text("headline") == data["headline"]
    assert "claimed +1.5000 ± 0.0108 nats" in data["headline"] and "confirmed +1.40" in data["headline"]
    assert "the locked split, used once" in data["headline"]
    assert [row["experiment"] for row in data["top"]] == [4, 9]
    assert data["top"][0]["step"] == pytest.approx(0.985) and data["top"][0]["step_error"] > 0
    assert [change["without"] for change in data["ablation"]["changes"]] == [[4], [9]]
    outcomes = {row["outcome"]: row["count"] for row in data["failures"]["rows"]}
    assert outcomes == {"oom": 1, "checks_failed": 1, "tampered": 1}
    assert [row["experiment"] for row in data["near_misses"]] == [10]
    assert {row["family"]: (row["tried"], row["kept"]) for row in data["families"]}["size"] == (6, 1)
    notes = [note for group in data["insights"] for e in group["experiments"] for note in e["notes"]]
    assert "result" in notes and "hypothesis" in notes
    loop = dict(data["loop"])
    assert loop["failed"] == "3 of 9" and loop["runs for each experiment"] == "2.00"
    assert loop["duplicates that were refused"] == "1"
    # The baseline alone says it: three runs of 10 s in the 60 s from its start to its verdict.
    assert loop["share of an experiment in its own runs"] == "50 %"
    assert loop["changes of nothing that were kept (selftest)"] == "1 of 3 (95 % interval 1 to 91 %)"
    assert dict(data["time"]["rows"])["measuring, from start to verdict"] == "9 min"
    methods = " ".join(data["methods"])
    for said in ("loss in nats", "bash bench.sh", "policy confirm", "locked split", "memory at most 1000", "landlock"):
        assert said in methods, said
    assert [leaf["leaves"] for leaf in data["lineage"]] == [
        {}, {"discard": 1, "crash": 2, "checks_failed": 1}, {"discard": 2},
    ]  # fmt: skip


@pytest.mark.slow
def test_the_report_is_the_same_from_the_same_session(finished_night: Workspace) -> None:
    session = load_session(finished_night)
    pages = [report.html_report(finished_night, session, NOW) for _ in range(2)]
    assert pages[0] == pages[1]


def test_a_session_without_an_experiment_or_a_task_has_a_report(tmp_path: Path) -> None:
    (tmp_path / "autoresearch.jsonl").write_text('{"type":"config","metricName":"ms","bestDirection":"lower"}\n')
    workspace = Workspace(tmp_path)
    page = Page(report.html_report(workspace, load_session(workspace), NOW))
    assert page.text("headline") == "ms has no value yet after 0 experiments. Nothing is running."
    assert unpacked(page) == []


@pytest.mark.slow
def test_twenty_thousand_experiments_are_less_than_a_megabyte_and_a_half(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from engine import synthetic
    finally:
        sys.path.pop(0)
    config = {"type": "config", "metricName": "loss", "bestDirection": "lower", "segment": 0}
    session = replay(enumerate([config, *synthetic(20_000, "f" * 40, random.Random(1))], 1))
    html = report.html_report(Workspace(tmp_path), session, NOW)
    assert len(html.encode()) < 1_500_000
    rows = unpacked(Page(html))
    assert [row["experiment"] for row in rows] == [e.number for e in session.current]
    assert rows[-1]["description"] == session.current[-1].description


# --- the same numbers everywhere ---


def test_page_report_status_log_show_and_exports_have_the_same_numbers(
    finished_night: Workspace, written: str, tmp_path: Path
) -> None:
    pytest.importorskip("fastapi")
    parquet = pytest.importorskip("pyarrow.parquet")
    from autoresearch.reports.dashboard.source import Source

    root, source = finished_night.root, Source(finished_night)
    status, log = call("status", "--json", cwd=root).json, call("log", "--json", "--last", "99", cwd=root).json
    page = Page(written)
    told, table = json.loads(page.text("data")), {row["experiment"]: row for row in unpacked(page)}
    live, rows = source.overview(), source.experiments("", "", "", 0, 1000)["rows"]
    for view in (told, live):
        same = {key: value for key, value in status.items() if key in view["status"]}
        assert len(same) > 15 and harmless(view["status"]) == harmless(same)
    text = call("status", cwd=root).out
    assert f"gain         {told['top'] and re.search(r'claimed (.*?) over', told['headline'])[1]}" in text  # type: ignore[index]
    logged = {row["experiment"]: row for row in log["experiments"] if row["segment"] == 2}
    assert {row["experiment"] for row in rows} == set(logged)
    csv = call("export", "-f", "csv", "-o", "-", cwd=root).out
    for format in ("sqlite", "parquet"):
        assert call("export", "-f", format, "-o", str(tmp_path / format), cwd=root).code == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "sqlite")) as database:
        database.row_factory = sqlite3.Row
        stored = {row["experiment"]: dict(row) for row in database.execute("SELECT * FROM experiments")}
    assert stored == {row["experiment"]: row for row in parquet.read_table(tmp_path / "parquet").to_pylist()}
    assert {*stored} == {row["experiment"] for row in log["experiments"]}
    for row in log["experiments"]:
        mine = stored[row["experiment"]]
        same = [key for key in row if key in mine and key not in ("commit", "description")]
        assert len(same) == 8 and {key: mine[key] for key in same} == {key: row[key] for key in same}
        assert mine["memory"] == row["secondary"]["memory"] and (mine["commit"] or "")[:7] == row["commit"]
    printed = {
        line.split()[0]: line.replace("*", " ").split()
        for line in call("log", "--last", "99", cwd=root).out.splitlines()
    }
    for row in rows:
        n = row["experiment"]
        assert {key: row[key] for key in ("metric", "value", "gain", "status", "outcome", "secondary")} == {
            key: logged[n][key] for key in ("metric", "value", "gain", "status", "outcome", "secondary")
        }
        shown = call("show", str(n), "--json", cwd=root).json
        detail = source.experiment(n)
        for key in ("value", "gain", "gain_error", "runs", "beside", "metrics"):
            assert shown[key] == detail[key], (n, key)
        assert (stored[n]["gain_error"], stored[n]["family"]) == (shown["gain_error"], row["family"])
        assert row["value_text"] in printed[str(n)] and row["gain_text"] in printed[str(n)]
        assert f"gain over baseline {detail['gain_words']}\n" in call("show", str(n), cwd=root).out
        if row["status"] is not None:
            assert {key: table[n][key] for key in ("value_text", "gain_text")} == {
                key: row[key] for key in ("value_text", "gain_text")
            }
        if row["metric"] is not None:
            assert repr(row["metric"]) in csv
    best = status["best"]
    assert told["progress"]["best"][-1] == [best["experiment"], pytest.approx(best["value"], rel=1e-6)]
    assert json.loads(json.dumps(live["progress"])) == told["progress"]


def test_an_overview_is_made_of_plain_data(finished_night: Workspace) -> None:
    json.dumps(overview(finished_night, load_session(finished_night), NOW))


def test_a_curve_is_read_line_by_line_and_goes_on_where_it_was() -> None:
    curve = Curve()
    curve.take(b'{"step": 1, "loss": 2.0}\nno\n[]\n{"step": 2, "other": 1}\n{"step": 3, "lo')
    assert curve.columns == {"step": [1.0, 2.0], "loss": [2.0, None], "other": [None, 1.0]} and curve.lines == 2
    assert curve.over("loss") == ("step", [1.0, 2.0], [2.0, None])
    curve.take(b'{"step": 3, "loss": true, "x": "y"}\n{"loss": 1.0}\n')
    assert curve.columns["loss"] == [2.0, None, None, 1.0] and curve.over("loss")[1] == [1.0, 2.0, 3.0]
    curve.take(b"".join(b'{"k%d": 1}\n' % n for n in range(100)))
    assert len(curve.columns) == 16


@pytest.mark.slow
def test_a_study_whose_result_is_not_what_it_should_be_does_not_stop_the_report(a_night: Workspace) -> None:
    deep: Any = "end"
    for _ in range(200):
        deep = [deep]
    first = load_session(a_night).baseline
    assert first is not None
    for number, (about, result) in enumerate([
        ({"baseline": first.number, "best": "x"}, {"interval": 3, "gain": "much", "holds": None}),
        ({"baseline": first.number}, {"interval": ["a", "b"], "gain": [1]}),
        ({"incumbent": 9}, {"changes": 3, "stack": {"without": "all"}}),
        ({"incumbent": 9}, {"changes": [3, {"without": ["x", 4], "worth": "a lot"}], "stack": []}),
        ({"incumbent": [9]}, {"changes": deep}),
    ], 3):  # fmt: skip
        what = "confirm" if "baseline" in about else "ablate"
        with a_night.journal.open("a") as file:
            for line in (
                events.study_line(number, what, about, "search", 1),
                events.study_end_line(number, "done", result, 2),
            ):
                file.write(json.dumps(line) + "\n")
            file.write(json.dumps(events.note_line(5, {"deep": deep}, 1)) + "\n")
        page = Page(report.html_report(a_night, load_session(a_night), NOW))
        assert json.loads(page.text("data"))["status"]["experiments"] == 10


def test_a_running_file_that_a_run_has_written_itself_is_not_believed(a_night: Workspace) -> None:
    me = __import__("psutil").Process()
    a_night.state.mkdir(exist_ok=True)
    for more in ({}, {"experiment": "../../x", "seed": 1}, {"experiment": 1, "seed": EVIL}):
        a_night.running.write_text(json.dumps({"pid": me.pid, "created": me.create_time(), **more}))
        assert overview(a_night, load_session(a_night), NOW)["state"]["what"] == "stopped"
    a_night.running.unlink()
    os.mkfifo(a_night.running)
    assert overview(a_night, load_session(a_night), NOW)["state"]["what"] == "stopped"
