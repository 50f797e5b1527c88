"""`import` and `export`: the logs of other tools come in, once, and go out as those tools read them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lab import Lab, call

from autoresearch.exchange import import_log as importing
from autoresearch.exchange.import_log import import_log
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace

TSV = """commit\tval_bpb\tmemory_gb\tstatus\tdescription
a1b2c3d\t0.997900\t44.0\tkeep\tbaseline
b2c3d4e\t0.993200\t44.2\tkeep\tincrease LR to 0.04
c3d4e5f\t1.005000\t44.0\tdiscard\tswitch to\ta tab
d4e5f6g\t0.000000\t0.0\tcrash\tdouble model width (OOM)
"""

JSONL = [
    {"type": "config", "name": "tests", "metricName": "total_µs", "metricUnit": "µs", "bestDirection": "lower"},
    {"run": 1, "commit": "abc1234", "metric": 15200, "metrics": {"compile_µs": 4200, "render_µs": None},
     "status": "keep", "description": "baseline", "timestamp": 1770000000123, "segment": 0, "confidence": None},
    {"run": 2, "commit": "def5678", "metric": 0, "metrics": {}, "status": "crash", "description": "cache",
     "timestamp": 1770000300000, "segment": 0, "confidence": None, "asi": {"hypothesis": "fewer parses"}},
    {"type": "config", "name": "size", "metricName": "bytes", "metricUnit": "", "bestDirection": "lower"},
    {"run": 1, "commit": "0123456", "metric": 900, "metrics": {}, "status": "keep", "description": "baseline",
     "timestamp": 1770000400000, "segment": 1, "confidence": 2.1},
]  # fmt: skip


@pytest.fixture
def tsv(tmp_path: Path) -> Path:
    path = tmp_path / "results.tsv"
    path.write_text(TSV)
    return path


@pytest.fixture
def jsonl(tmp_path: Path) -> Path:
    path = tmp_path / "other.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in JSONL))
    return path


def test_a_results_tsv_with_more_metrics_brings_them_and_is_the_same_log(tsv: Path, tmp_path: Path) -> None:
    assert call("import", str(tsv), cwd=tmp_path).code == 0
    more = tmp_path / "more.tsv"
    rows = [line.replace("to\ta", "to a").split("\t") for line in TSV.splitlines()]
    cells = [["heat", "peak_vram_mb"], ["3.5", "45000.5"], ["", ""], ["4", ""], ["", ""]]
    more.write_text("".join("\t".join([*row, *extra]) + "\n" for row, extra in zip(rows, cells, strict=True)))
    (log,) = importing.read_log(more, None)
    assert [e.metrics for e in log.experiments] == [
        {"heat": 3.5, "peak_vram_mb": 45000.5}, {"peak_vram_mb": 44.2 * 1024},
        {"heat": 4.0, "peak_vram_mb": 44.0 * 1024}, {},
    ]  # fmt: skip
    assert call("import", str(more), "--json", cwd=tmp_path).json["added"] == 0
    more.write_text(more.read_text().replace("3.5", "hot"))
    (log,) = importing.read_log(more, None)
    assert log.experiments[0].asi == {"heat": "hot"}, "what is no number is a note"


def test_a_results_tsv_begins_a_session_where_there_is_none(tsv: Path, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    assert call("import", str(tsv), cwd=folder).code == 0
    session = load_session(Workspace(folder))
    assert [(e.status, e.metric) for e in session.current] == [
        ("keep", 0.9979), ("keep", 0.9932), ("discard", 1.005), ("crash", None)]  # fmt: skip
    assert session.metric.name == "val_bpb" and session.metric.direction == "lower"
    assert session.experiments[0].metrics == {"peak_vram_mb": 44.0 * 1024} and session.experiments[3].metrics == {}
    assert session.experiments[2].description == "switch to\ta tab"
    assert "0.9932" in call("log", cwd=folder).out
    assert call("status", cwd=folder).code == 0


def test_a_log_beside_a_session_changes_neither_incumbent_nor_metric(lab: Lab, tsv: Path) -> None:
    lab.prints(50)
    assert lab.call("try", "-m", "quicker").code == 0
    before = lab.session
    done = lab.call("import", str(tsv), "--json")
    assert done.json["added"] == 4 and done.json["segments"] == [1]
    after = lab.session
    assert after.segment == before.segment and after.current == before.current and after.best == before.best
    assert [e.number for e in after.experiments] == [1, 2, 3, 4, 5, 6]
    assert lab.call("show", "4").code == 0
    lab.prints(40)
    assert lab.call("try", "-m", "quicker still").code == 0
    assert lab.events("run")[-1]["run"] == 7 and lab.events("run")[-1]["status"] == "keep"
    lab.assert_clean()


def test_a_second_import_adds_nothing_and_a_longer_file_what_is_new(lab: Lab, tsv: Path) -> None:
    lab.call("import", str(tsv))
    before = lab.events()
    assert lab.call("import", str(tsv), "--json").json == {
        "file": str(tsv), "segments": [1], "added": 0, "known": 4, "skipped": [], "remarks": []}  # fmt: skip
    assert lab.events() == before
    tsv.write_text(TSV + "e5f6a7b\t0.991000\t44.0\tkeep\tnew\n")
    assert lab.call("import", str(tsv), "--json").json["added"] == 1
    assert lab.session.experiments[-1].metric == 0.991


def test_lines_of_another_tool_keep_segments_times_and_asi_and_a_crash_has_no_number(lab: Lab, jsonl: Path) -> None:
    assert lab.call("import", str(jsonl), "--json").json["segments"] == [1, 2]
    found = lab.session.experiments[1:]
    assert [(e.segment, e.metric, e.status) for e in found] == [
        (1, 15200, "keep"),
        (1, None, "crash"),
        (2, 900, "keep"),
    ]
    assert found[0].finished == 1770000000 and found[0].metrics == {"compile_µs": 4200}
    assert found[1].asi == {"hypothesis": "fewer parses"}


def test_what_goes_out_as_json_lines_comes_in_again(lab: Lab, tmp_path: Path) -> None:
    lab.prints(50)
    lab.call("try", "-m", "quicker", "--asi", "a=b")
    lab.attempt("exit 1\n")
    assert lab.call("export", "--format", "jsonl", "-o", str(tmp_path / "out.jsonl")).code == 0
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line.get("metric") for line in lines if line.get("type", "config") == "config"] == [None, 100, 50, 0]
    assert all(line["timestamp"] > 10**12 for line in lines if "run" in line and "type" not in line)
    other = tmp_path / "other"
    other.mkdir()
    assert call("import", str(tmp_path / "out.jsonl"), cwd=other).code == 0
    told = [(e.status, e.metric, e.description, e.asi) for e in load_session(Workspace(other)).experiments]
    assert told == [(e.status, e.metric, e.description, e.asi) for e in lab.session.experiments]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("a\tb\n1\t2\n", "give it a header line"),
        (TSV.splitlines()[0] + "\n", "has no experiments"),
        ('{"run": 1, "status": "great"}\n', "no column of numbers that could be a metric"),
        ('{"run": 1,\n{"run": 2}\n', "give it a header line"),
        ("not a log at all\n", "give it a header line"),
    ],
)
def test_what_is_no_log_is_refused_and_nothing_is_written(lab: Lab, tsv: Path, content: str, says: str) -> None:
    tsv.write_text(content)
    before = lab.events()
    done = lab.call("import", str(tsv))
    assert done.code == 2 and says in done.err, done
    assert lab.events() == before


DATA = Path(__file__).parent / "data"
"""Synthetic logs in the shapes that other tools write: the numbers and words are made up."""

SHAPES = {
    # file -> the metric, its direction, (status, metric) of each row, how many rows are skipped
    "restarted.tsv": ("val_bpb", "lower", [("keep", 0.99), ("discard", 1.0), ("keep", 0.98), ("keep", 0.97)], 0),
    "further_columns.tsv": ("val_bpb", "lower", [("keep", 0.99), ("crash", None), ("discard", 1.01)], 0),
    "time_first.csv": ("score", "higher", [("keep", 0.5), ("keep", 0.6), ("discard", 0.4)], 0),
    "throughput.csv": ("tok_per_sec", "higher", [("keep", 1000), ("discard", 900), ("crash", None)], 1),
    "no_header.tsv": ("metric", "lower", [("keep", 0.99), ("discard", 1.0), ("crash", None), ("keep", 0.98)], 0),
    "markdown.md": ("val_fid", "lower", [("keep", 12.5), ("discard", 13.0)], 0),
    "own_words.tsv": ("val_loss", "lower", [("keep", 3.0), ("discard", 2.9), ("discard", 2.8)], 0),
    "keep_true.jsonl": ("score", "higher", [("keep", 1.0), ("discard", 0.5), ("keep", 1.5)], 1),
    "pairs.jsonl": ("ms", "lower", [("keep", 20), ("discard", 22)], 0),
    "repeated_numbers.jsonl": ("ms", "lower", [("keep", 20), ("keep", 19), ("keep", 18)], 0),
    "line_separators.jsonl": ("ms", "lower", [("keep", 20)], 0),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_log_of_another_shape_is_read_and_read_rightly(tmp_path: Path, name: str) -> None:
    metric, direction, rows, skipped = SHAPES[name]
    done = call("import", str(DATA / name), "--json", cwd=tmp_path)
    assert done.code == 0 and len(done.json["skipped"]) == skipped, done
    session = load_session(Workspace(tmp_path))
    assert (session.metric.name, session.metric.direction) == (metric, direction)
    assert [(e.status, e.metric) for e in session.experiments] == rows
    assert [e.number for e in session.experiments] == [*range(1, len(rows) + 1)]
    assert all(e.description for e in session.experiments)
    if skipped:
        assert done.json["skipped"][0].startswith("line ")
        strict = call("import", str(DATA / name), "--strict", cwd=tmp_path)
        assert strict.code == 2 and "line " in strict.err
    assert call("import", str(DATA / name), "--json", cwd=tmp_path).json["added"] == 0


def test_what_could_mean_two_things_is_asked_and_can_be_said(tmp_path: Path) -> None:
    done = call("import", str(DATA / "two_metrics.csv"), cwd=tmp_path)
    assert done.code == 2 and "--metric" in done.err and not (tmp_path / "autoresearch.jsonl").exists()
    assert call("import", str(DATA / "two_metrics.csv"), "--metric", "p99_ms", cwd=tmp_path).code == 0
    (first, _) = load_session(Workspace(tmp_path)).experiments
    assert first.metric == 9 and first.metrics == {"mean_ms": 5}


def test_their_numbers_words_and_times_are_kept_beside_ours(tmp_path: Path) -> None:
    assert call("import", str(DATA / "own_words.tsv"), cwd=tmp_path).code == 0
    experiments = load_session(Workspace(tmp_path)).experiments
    assert [e.asi.get("status") for e in experiments] == [None, "contender", "done"]
    assert call("import", str(DATA / "restarted.tsv"), cwd=tmp_path).code == 0
    lines = [json.loads(line) for line in (tmp_path / "autoresearch.jsonl").read_text().splitlines()]
    runs = [e.get("entry", e) for e in lines]
    numbers = [e["imported"].get("number") for e in runs if "run" in e]
    assert numbers[-4:] == ["1", "2", "1", "2"]
    text = (DATA / "line_separators.jsonl").read_text()
    assert "\u2028" in text and "\x0c" in text


def test_an_import_that_stops_at_any_line_is_completed_by_the_next(
    lab: Lab, jsonl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = importing.append
    for stop in range(3):
        left = [stop]

        def some(workspace: Workspace, event: dict[str, object], left: list[int] = left) -> None:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            append(workspace, event)

        monkeypatch.setattr(importing, "append", some)
        with pytest.raises(KeyboardInterrupt):
            import_log(lab.root, jsonl, None, 1)
    monkeypatch.setattr(importing, "append", append)
    assert lab.call("import", str(jsonl)).code == 0
    about = [e["entry"]["imported"] for e in lab.events("imported")]
    entries = [(one["origin"], one["entry"]) for one in about]
    assert len(entries) == len({*entries}) == 3
    assert [e.number for e in lab.session.experiments] == [1, 2, 3, 4]


def test_a_reader_that_knows_config_and_run_lines_alone_sees_no_imported_run_in_the_session(
    lab: Lab, jsonl: Path, tmp_path: Path
) -> None:
    def segments(path: Path) -> list[list[str]]:
        """What such a reader has: the descriptions of the runs behind each `config` line."""
        found: list[list[str]] = []
        for line in map(json.loads, path.read_text().splitlines()):
            if line.get("type") == "config":
                found.append([])
            elif isinstance(line.get("run"), int):
                found[-1].append(line["description"])
        return found

    assert lab.call("import", str(jsonl)).code == 0
    lab.prints(90)
    assert lab.attempt().code == 0
    assert segments(lab.workspace.journal) == [["baseline", "a change"]]
    assert lab.session.hardware == lab.session.current[0].hardware
    assert [len([e for e in lab.session.experiments if e.segment == n]) for n in (0, 1, 2)] == [2, 2, 1]
    # Where there is no session the log begins one, with a `config` line of its own; the next one is beside it.
    (tmp_path / "new").mkdir()
    for _ in range(2):
        assert call("import", str(jsonl), cwd=tmp_path / "new").code == 0
    assert call("import", str(DATA / "restarted.tsv"), cwd=tmp_path / "new").code == 0
    assert [len(runs) for runs in segments(tmp_path / "new" / "autoresearch.jsonl")] == [2]


def test_another_log_that_begins_with_the_same_row_is_a_log_of_its_own(tsv: Path, tmp_path: Path) -> None:
    assert call("import", str(tsv), cwd=tmp_path).code == 0
    other = tmp_path / "other.tsv"
    rows = TSV.splitlines(keepends=True)
    other.write_text("".join([*rows[:2], "9999999\t0.99\t44.0\tkeep\tof another agent\n", rows[3]]))
    for added in (3, 0):
        assert call("import", str(other), "--json", cwd=tmp_path).json["added"] == added
    other.write_text(other.read_text() + "8888888\t0.98\t44.0\tkeep\tgoes on\n")
    assert call("import", str(other), "--json", cwd=tmp_path).json["added"] == 1
    assert call("import", str(tsv), "--json", cwd=tmp_path).json["added"] == 0
    lines = [json.loads(line) for line in (tmp_path / "autoresearch.jsonl").read_text().splitlines()]
    assert sum("of another agent" in json.dumps(line) for line in lines) == 1
