"""SQLite and Parquet: every table, read back by the libraries that read them, with the numbers of the session."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from lab import Lab, Maker, call

from autoresearch.journal import events, import_events
from autoresearch.metrics import Metric

ODD = 'half \ud83d, a nul \0, "quoted", \u202e\n'


def written(folder: Path) -> Path:
    """Write a journal with two segments, an imported one, every kind of run, and texts that no file likes."""
    ms, env = Metric("total_ms", "lower", "ms"), {"cpu": "a cpu", "cores": 4}
    verdict: Any = {"values": [9.0, 8.0], "seeds": [1, 2], "screened": True, "env": env, "reason": ODD}
    lines = [
        import_events.import_line(0, "theirs", Metric("acc", "higher"), 1, "abc", "results.tsv"),
        import_events.imported_line(events.run_line(1, "aaaaaaa", 0.1 + 0.2, {}, "keep", "imported", 0, {}, None)),
        events.config_line(1, "first", ms, 10, {"tag": "t", "branch": "autoresearch/t"}),
        events.start_line(2, "c" * 40, None, 1, "baseline", {}, "f2", 11),
        events.run_line(2, "c" * 7, 10.0, {"heat": 1.5}, "keep", "baseline", 1, {}, 12,
                        details={"values": [9.5, 10.5], "seeds": [1, 2], "env": env}),
        events.start_line(3, "d" * 40, "c" * 40, 1, ODD, {"note": ODD, "deep": {"a": [1]}}, "f3", 13),
        events.run_line(3, "d" * 7, 8.0, {}, "keep", ODD, 1, {"note": ODD}, 14, details=verdict),
        events.repeat_line(3, 7, 8.5, env, 15, guards={"acc": 0.5}),
        events.run_line(4, "e" * 7, None, {}, "crash", "broke", 1, {}, 16, details={"outcome": "oom"}),
        events.study_line(1, "confirm", {"best": 3}, "locked", 17),
        events.study_run_line(1, "d" * 40, 90, 8.25, 18),
        events.study_end_line(1, "done", {"gain": 1.5}, 19),
        events.config_line(2, "second", ms, 20, {"tag": "t", "branch": "autoresearch/t"}),
        events.start_line(5, "f" * 40, None, 1, "running", {}, "f5", 21),
    ]  # fmt: skip
    folder.mkdir(exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "autoresearch.jsonl").write_text(text)
    place = folder / ".autoresearch" / "runs" / "3" / "2"
    place.mkdir(parents=True)
    (place / "curve.jsonl").write_text('{"step": 1, "loss": 2.5}\nno\n{"step": 2, "loss": 1.5}\n{"x": 1e999}\n')
    (place.parent / "3").symlink_to(place)
    return folder


def rows(path: Path, table: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(f"SELECT * FROM {table}")]


def test_the_database_has_every_table_and_what_is_absent_is_null(tmp_path: Path) -> None:
    root = written(tmp_path / "ws")
    done = call("export", "-f", "sqlite", "--json", cwd=root)
    path = root / "results.sqlite"
    counts = {"segments": 3, "experiments": 5, "runs": 6, "asi": 2, "studies": 1, "study_runs": 1, "curves": 4}
    assert done.code == 0 and done.json == {"file": str(path), "experiments": 5, "rows": counts}, done
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert [(s["segment"], s["imported"], s["direction"], s["began"]) for s in rows(path, "segments")] == [
        (0, 1, "higher", 1), (1, 0, "lower", 10), (2, 0, "lower", 20),
    ]  # fmt: skip
    theirs, first, second, crash, running = rows(path, "experiments")
    assert theirs["metric"] == 0.1 + 0.2 and theirs["gain"] is None and theirs["finished"] is None
    assert first["metrics"] == '{"heat":1.5}' and json.loads(first["env"]) == {"cpu": "a cpu", "cores": 4}
    clean = ODD.encode("utf-8", "backslashreplace").decode()
    assert second["description"] == second["reason"] == clean and (second["metric"], second["reference"]) == (8.0, 8.5)
    assert (second["screened"], second["started"], second["commit"]) == (1, 13, "d" * 40)
    assert [key for key in ("metric", "value", "gain", "gain_error", "reference", "asi") if crash[key]] == []
    assert crash["metric"] is None and crash["outcome"] == "oom" and running["status"] is None
    assert [(r["experiment"], r["place"], r["seed"], r["value"], r["purpose"]) for r in rows(path, "runs")] == [
        *((1, 1, None, 0.1 + 0.2, "verdict"), (2, 1, 1, 9.5, "verdict"), (2, 2, 2, 10.5, "verdict")),
        *((3, 1, 1, 9.0, "screening"), (3, 2, 2, 8.0, "verdict"), (3, 3, 7, 8.5, "repeat")),
    ]
    assert [r["guards"] for r in rows(path, "runs")] == [None] * 5 + ['{"acc":0.5}']
    assert rows(path, "asi") == [
        {"segment": 1, "experiment": 3, "key": "note", "value": clean},
        {"segment": 1, "experiment": 3, "key": "deep", "value": '{"a":[1]}'},
    ]
    (study,) = rows(path, "studies")
    assert (study["what"], study["result"], study["continues"]) == ("confirm", '{"gain":1.5}', None)
    assert rows(path, "curves") == [
        {"experiment": 3, "seed": 2, "line": line, "key": key, "value": value}
        for key, values in (("step", (1.0, 2.0)), ("loss", (2.5, 1.5)))
        for line, value in enumerate(values, 1)
    ]


def test_the_same_session_makes_the_same_bytes_and_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    root = written(tmp_path / "ws")
    for format in ("sqlite", "parquet"):
        path = root / f"results.{format}"
        assert call("export", "-f", format, cwd=root).code == 0
        before = path.read_bytes()
        assert call("export", "-f", format, cwd=root).code == 0
        assert path.read_bytes() == before and path.stat().st_mode & 0o777 == 0o644
        with (root / "autoresearch.jsonl").open("a") as file:
            file.write(json.dumps(events.repeat_line(2, 2**63, 1.0, {}, 1)) + "\n")
        refused = call("export", "-f", format, *(("--table", "runs") if format == "parquet" else ()), cwd=root)
        assert refused.code == 2 and f"the number {2**63} has more than 64 bits" in refused.err
        assert path.read_bytes() == before and [p.name for p in root.glob(".results*")] == []
        text = (root / "autoresearch.jsonl").read_text()
        (root / "autoresearch.jsonl").write_text(text[: text.rindex("\n", 0, -1) + 1])
        assert call("export", "-f", format, "-o", "-", cwd=root).code == 2


def test_a_number_of_a_strangers_journal_that_no_column_holds_is_told(tmp_path: Path) -> None:
    first = events.config_line(2**63, "s", Metric("m", "lower"), 10**300, {"tag": "t", "branch": "autoresearch/t"})
    line = events.run_line(1, "a" * 7, 1.0, {}, "keep", "it", 2**63, {"key": "note"}, 10**300)
    (tmp_path / "autoresearch.jsonl").write_text("".join(json.dumps(each) + "\n" for each in (first, line)))
    done = call("export", "-f", "sqlite", cwd=tmp_path)
    assert done.code == 2 and f"the number {2**63} has more than 64 bits" in done.err, done
    assert not (tmp_path / "results.sqlite").exists()
    done = call("export", "-f", "csv", "-o", "-", cwd=tmp_path)
    assert done.code == 0 and "," + "0" * 9 not in done.out, "a time that is no date is absent"


def test_parquet_has_one_table_with_its_types(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    root = written(tmp_path / "ws")
    assert call("export", "-f", "sqlite", cwd=root).code == 0
    for table in ("experiments", "runs", "asi", "segments", "studies", "study_runs", "curves"):
        path = tmp_path / f"{table}.parquet"
        done = call("export", "-f", "parquet", "--table", table, "-o", str(path), cwd=root)
        assert done.code == 0, done
        found = parquet.read_table(path).to_pylist()
        assert found == rows(root / "results.sqlite", table), table
    types = {field.name: str(field.type) for field in parquet.read_schema(tmp_path / "experiments.parquet")}
    assert (types["metric"], types["experiment"], types["screened"]) == ("double", "int64", "bool")
    assert types["gain_error"] == "double" and types["description"] == "string"


def test_an_export_is_no_part_of_an_experiment_where_an_older_session_does_not_know_its_name(lab: Lab) -> None:
    exclude = lab.root / ".git" / "info" / "exclude"
    exclude.write_text("".join(line for line in exclude.read_text().splitlines(True) if "results.sqlite" not in line))
    for _ in range(2):
        assert lab.call("export", "-f", "sqlite").code == 0
    assert lab.git("status", "--porcelain") == "" and exclude.read_text().count("results.sqlite") == 1
    assert lab.call("export", "-f", "sqlite", "-o", "mine.db").code == 0
    assert lab.git("status", "--porcelain") == "?? mine.db"


def test_metrics_that_differ_by_case_alone_or_are_named_twice_have_columns_of_their_own(make_lab: Maker) -> None:
    lab = make_lab(metric={"secondary": ["Value", "acc", "acc", "ACC"]})
    lab.attempt("echo METRIC total_ms=90; echo METRIC Value=1; echo METRIC acc=2; echo METRIC ACC=3\n")
    for kind in ("sqlite", "parquet"):
        assert lab.call("export", "--format", kind, "-o", f"../out.{kind}").code == 0
    with closing(sqlite3.connect(lab.root.parent / "out.sqlite")) as database:
        found = database.execute('select "metrics.Value", acc, "metrics.ACC" from experiments').fetchall()
    assert found[-1] == (1.0, 2.0, 3.0)
