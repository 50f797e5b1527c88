from __future__ import annotations

import csv
import io
import json
from random import Random
from typing import Any

import pytest

from autoresearch.exchange.tables import COLUMNS, to_csv, to_tsv
from autoresearch.journal.session import Session, replay

CONFIG = {"type": "config", "metricName": "val_bpb", "bestDirection": "lower"}


def session(*events: dict[str, Any]) -> Session:
    return replay(enumerate([CONFIG, *events], 1))


def run(number: int, metric: float | None, status: str = "keep", **more: Any) -> dict[str, Any]:
    return {"run": number, "commit": f"{number:07x}", "metric": metric, "status": status, **more}


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_tsv_is_the_one_that_readers_of_results_tsv_expect() -> None:
    text = to_tsv(
        session(
            {"type": "start", "experiment": 1, "commit": "0123456789abcdef0123"},
            run(1, 0.9979, metrics={"peak_vram_mb": 45060.2}, description="baseline"),
            run(2, 1.00512345678, "discard", metrics={"peak_vram_mb": 45260}, description="GeLU"),
            run(3, None, "crash", description="double the width (OOM)"),
            {"type": "start", "experiment": 4, "commit": "fff"},
        )
    )
    assert text == (
        "commit\tval_bpb\tmemory_gb\tstatus\tdescription\n"
        "0123456\t0.997900\t44.0\tkeep\tbaseline\n"
        "0000002\t1.005123\t44.2\tdiscard\tGeLU\n"
        "0000003\t0.000000\t0.0\tcrash\tdouble the width (OOM)\n"
    )


def test_the_metrics_that_a_task_names_are_columns_behind_those_that_every_reader_knows() -> None:
    hot = {"heat": 0.1 + 0.2, "x": 1}
    s = session(run(1, 1.0, metrics=hot, description="a"), run(2, None, "crash", description="b"))
    plain, more = to_tsv(s).splitlines(), to_tsv(s, ("heat", "steps")).splitlines()
    assert more == [f"{plain[0]}\theat\tsteps", f"{plain[1]}\t0.30000000000000004\t", f"{plain[2]}\t\t"]
    first, second = rows(to_csv(s, ("heat", "seeds", "=x")))
    assert [*first] == [*COLUMNS, "heat", "metrics.seeds", "'=x"]
    assert (first["heat"], first["metrics.seeds"], second["heat"]) == ("0.30000000000000004", "", "")


def test_the_tsv_has_the_metric_and_the_experiments_of_the_last_segment() -> None:
    second = {"type": "config", "metricName": "ms", "bestDirection": "lower"}
    lines = to_tsv(session(run(1, 1.0), second, run(1, 2.0), run(2, 3.0, "discard"))).splitlines()
    assert lines[0].split("\t")[1] == "ms" and len(lines) == 3


def test_no_description_breaks_a_row_of_the_tsv() -> None:
    rng = Random(7)
    alphabet = ["\t", "\n", "\r", "\x0b", "\x1c", "\x85", "\u2028", "\x00", "\ud800", "a", " ", '"', "é", "🙂"]
    texts = ["".join(rng.choices(alphabet, k=rng.randrange(12))) for _ in range(300)]
    text = to_tsv(session(*[run(n, 1.0, description=t) for n, t in enumerate(texts, 1)]))
    text.encode("utf-8")
    lines = text.splitlines()
    assert len(lines) == 301 and all(line.count("\t") == 4 for line in lines)


def test_the_csv_has_every_field_and_leaves_what_is_absent_empty() -> None:
    text = to_csv(
        session(
            {"type": "start", "experiment": 1, "commit": "c0", "parent": "p0", "fingerprint": "f", "timestamp": 10},
            run(1, 0.1 + 0.2, values=[9.0, 0.3], seeds=[1, 2], screened=True, metrics={"mfu": 39.8}, outcome="ok",
                asi={"learned": "a, \"b\"\n日"}, reason="r", manifest="m", env={"gpu": "H200"}, timestamp=20),
            {"type": "repeat", "experiment": 1, "seed": 7, "value": 0.5},
            run(2, None, "crash"),
        )
    )  # fmt: skip
    first, second = rows(text)
    assert tuple(first) == COLUMNS
    assert float(first["metric"]) == 0.1 + 0.2
    assert json.loads(first["asi"]) == {"learned": 'a, "b"\n日'}
    assert {k: first[k] for k in ("values", "seeds", "repeats", "metrics", "env", "screened")} == {
        "values": "[9.0,0.3]",
        "seeds": "[1,2]",
        "repeats": '{"7":0.5}',
        "metrics": '{"mfu":39.8}',
        "env": '{"gpu":"H200"}',
        "screened": "true",
    }
    assert (first["commit"], first["parent"], first["fingerprint"], first["manifest"]) == ("c0", "p0", "f", "m")
    assert (first["started"], first["finished"], float(first["reference"])) == ("10", "20", 0.5)
    assert [key for key, value in second.items() if value] == [
        *("experiment", "segment", "status", "outcome", "screened", "commit")
    ]


def test_the_csv_has_all_segments_and_unfinished_experiments() -> None:
    text = to_csv(session(run(1, 1.0), CONFIG, run(1, 2.0), {"type": "start", "experiment": 2, "commit": "c"}))
    assert [(row["segment"], row["experiment"], row["status"]) for row in rows(text)] == [
        *(("0", "1", "keep"), ("1", "1", "keep"), ("1", "2", ""))
    ]


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n=cmd|' /C calc'!A0", "=", "＝1"]
)
def test_free_text_never_becomes_a_formula(text: str) -> None:
    (row,) = rows(to_csv(session(run(1, -1.0, description=text, reason=text, commit=text, manifest=text))))
    for column in ("description", "reason", "commit", "manifest"):
        assert row[column] == "'" + text
    assert row["metric"] == "-1.0"


def test_any_text_survives_the_csv() -> None:
    rng = Random(8)
    alphabet = ["\t", "\n", "\r", '"', "'", ",", ";", "a", "=", " ", "é", "🙂", "\u2028", "\\"]
    texts = ["a" + "".join(rng.choices(alphabet, k=rng.randrange(12))) for _ in range(300)]
    text = to_csv(session(*[run(n, 1.0, description=t) for n, t in enumerate(texts, 1)]))
    assert [row["description"] for row in rows(text)] == texts
    to_csv(session(run(1, 1.0, description="\x00\ud800"))).encode("utf-8")
