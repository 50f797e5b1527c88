"""`audit`: logs of any tool and what they do not say, where the noise is known from, and what would settle doubts."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lab import call

from autoresearch.cli.audit import lines_of
from autoresearch.errors import UsageError
from autoresearch.exchange.audit import audit_files, audit_view
from autoresearch.journal.experiment import Experiment
from autoresearch.metrics import Metric
from autoresearch.reports.claims import WeighedLog, amount, claim_view, rounding
from autoresearch.statistics.claim import Claim

HEAD = "commit\tval_bpb\tmemory_gb\tstatus\tdescription\n"
Rows = list[tuple[str, float, str, str]]


def night(seed: int = 3, count: int = 40, sigma: float = 0.004) -> Rows:
    """Rows of a greedy night: commit, value, status, description."""
    rng, best, true, rows = random.Random(seed), 9.0, 1.0, Rows()
    for n in range(count):
        gain = 0.0 if not n else abs(rng.gauss(0, 0.03)) if rng.random() < 0.1 else -abs(rng.gauss(0, 0.01))
        value = true - gain + rng.gauss(0, sigma)
        kept = value < best
        best, true = (value, true - gain) if kept else (best, true)
        rows.append((f"{n:07x}", value, "keep" if kept else "discard", f"change {n}" if n else "baseline"))
    return rows


def table(rows: Rows) -> str:
    return HEAD + "".join(f"{c}\t{v:.6f}\t44.0\t{s}\t{d}\n" for c, v, s, d in rows)


def audited(path: Path, content: str | bytes, noise: float | None = 0.004) -> list[dict[str, Any]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [audit_view(log) for log in audit_files(path, noise, None, None)[0]]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    (view,) = audited(tmp_path_factory.mktemp("audit") / "results.tsv", table(night()))
    return view


def test_a_table_is_weighed_and_each_kept_change_has_what_is_left_of_it(plain: dict[str, Any]) -> None:
    result = plain["result"]
    assert plain["experiments"] == 40 and plain["kept"] == len(plain["steps"]) + 1 and plain["remarks"] == []
    assert 0 < result["share"] < 1 and result["low"] < result["mean"] < result["high"]
    assert plain["noise_from"] == "given" and result["noise"] == pytest.approx(0.004, rel=1e-4)
    assert [row["experiment"] for row in plain["steps"]] == [
        at for at, row in enumerate(night(), 1) if row[2] == "keep" and at > 1
    ]
    doubtful = {row["experiment"] for row in plain["steps"] if 0.05 < row["real"] < 0.95}
    assert {r["experiment"] for r in plain["reruns"]} == doubtful != set()
    pairs = [r["pairs"] for r in plain["reruns"] if r["enough"]]
    assert pairs == sorted(pairs) and all(2 <= p <= 64 for p in pairs)
    assert all(plain["rerun_runs"][str(r["against"])] >= r["pairs"] for r in plain["reruns"] if r["enough"])


@pytest.mark.parametrize(
    "content",
    [
        table(night()).replace("\n", "\r\n"),
        b"\xef\xbb\xbf" + table(night()).encode(),
        table(night()).encode("utf-16"),
        table(night()).replace("\t", ";"),
    ],
    ids=["windows", "mark", "utf-16", "semicolons"],
)
def test_line_ends_marks_and_delimiters_change_nothing(
    content: str | bytes, plain: dict[str, Any], tmp_path: Path
) -> None:
    (view,) = audited(tmp_path / "results.tsv", content)
    assert view == plain


def test_higher_is_better_is_the_same_turned_round(plain: dict[str, Any], tmp_path: Path) -> None:
    turned = [(c, 2 - v, s, d) for c, v, s, d in night()]
    (view,) = audited(tmp_path / "results.tsv", table(turned).replace("val_bpb", "accuracy"))
    assert view["direction"] == "higher" and view["result"]["mean"] == pytest.approx(plain["result"]["mean"], rel=0.02)


def rows_with(at: int, **changes: str) -> str:
    lines = table(night()).splitlines()
    cells = dict(zip(("commit", "value", "memory", "status", "description"), lines[at].split("\t"), strict=True))
    lines[at] = "\t".join((cells | changes).values())
    return "\n".join(lines) + "\n"


def undecided(content: str) -> str:
    """Return a table without its decisions."""
    return content.replace("\tkeep", "").replace("\tdiscard", "").replace("\tstatus", "")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (rows_with(9, value="nan"), "not read: line 10: val_bpb is 'nan', which is no number"),
        (rows_with(9, value="0.000000", status="keep"), "left out: experiment 9 with a value of exactly 0"),
        (rows_with(9, value="1e308"), "left out: experiment 9 with a value beyond 1e+100"),
        (rows_with(9, value="1e-310"), "left out: experiment 9 with a value nearer to 0 than 1e-280"),
        (rows_with(9, value="1.2", status="keep"), "experiment 9 was kept though worse than the one kept before"),
        (table(night()) + table(night()).splitlines()[9] + "\n", "experiment 41, which stand in the log a second time"),
        (table([row for row in night(8, 120) if row[2] == "keep"]), "no discarded experiments"),
        (
            undecided(table(night())),
            "no row says keep or discard: each that is better than all before it is taken as kept",
        ),
    ],
    ids=["nan", "zero", "exploded", "vanished", "worse", "twice", "keeps", "undecided"],
)  # fmt: skip
def test_what_a_log_does_not_say_is_a_sentence(content: str, says: str, tmp_path: Path) -> None:
    (view,) = audited(tmp_path / "results.tsv", content)
    assert any(says in remark for remark in view["remarks"]), view["remarks"]
    assert view["result"] is not None


def test_two_sessions_in_one_file_are_two_logs(plain: dict[str, Any], tmp_path: Path) -> None:
    first, second = audited(tmp_path / "results.tsv", table(night()) + table(night(4)))
    assert first["result"] == plain["result"] and second["experiments"] == 40
    assert "session 2 of 2" in second["remarks"][0]


def test_a_crash_without_a_word_takes_nothing_from_a_log_without_decisions(
    plain: dict[str, Any], tmp_path: Path
) -> None:
    lines = undecided(table(night())).splitlines()
    lines.insert(10, "fffffff\t0.000000\t0.0\ttoo wide")  # better than all, if it were a value
    lines.append(lines[5])
    (view,) = audited(tmp_path / "results.tsv", "\n".join(lines) + "\n")
    assert view["result"] == plain["result"] and view["experiments"] == 42 and view["kept"] == plain["kept"]
    kept = [step["experiment"] for step in plain["steps"]]
    assert [step["experiment"] for step in view["steps"]] == [n + (n >= 10) for n in kept]
    assert any("experiment 10 with a value of exactly 0" in remark for remark in view["remarks"])
    assert any("experiment 42, which stand in the log a second time" in remark for remark in view["remarks"])


@pytest.mark.slow
def test_two_sessions_without_decisions_are_parted_at_the_second_baseline(
    plain: dict[str, Any], tmp_path: Path
) -> None:
    worse = [(c, v + 1, s, d) for c, v, s, d in night(4)]
    again = table(night(4)).splitlines()[1].replace("baseline", "baseline again")
    content = undecided(f"{table(night())}{again}\n{table(worse)}")
    first, second = audited(tmp_path / "results.tsv", content)
    assert [s["experiment"] for s in first["steps"]] == [s["experiment"] for s in plain["steps"]]
    assert (first["experiments"], second["experiments"]) == (41, 40)
    assert "session 2 of 2" in second["remarks"][0] and second["kept"] > 1


def test_rows_of_the_same_value_are_no_repeats_where_nothing_else_is_told(tmp_path: Path) -> None:
    values = (10, 11, 11, 9, 10, 10, 10, 8, 9, 9)
    kept = (10, 9, 8)
    rows = [{"run": n, "val_loss": v, "status": "keep" if v in kept and v not in values[: n - 1] else "discard"}
            for n, v in enumerate(values, 1)]  # fmt: skip
    (view,) = audited(tmp_path / "log.jsonl", "".join(json.dumps(row) + "\n" for row in rows), 0.5)
    assert view["kept"] == 3 and view["result"] is not None and view["remarks"] == []
    dated = [{**row, "description": "tuned"} for row in rows]
    (view,) = audited(tmp_path / "log.jsonl", "".join(json.dumps(row) + "\n" for row in dated), 0.5)
    assert any("which stand in the log a second time" in remark for remark in view["remarks"])


def test_numbers_of_json_lines_are_shown_and_doubled_ones_are_not(tmp_path: Path) -> None:
    def lines(numbers: list[int]) -> str:
        head = {"type": "config", "name": "x", "metricName": "val_bpb", "bestDirection": "lower"}
        runs = [{"run": n, "commit": c, "metric": v, "status": s, "description": d}
                for n, (c, v, s, d) in zip(numbers, night(), strict=True)]  # fmt: skip
        return "".join(json.dumps(line) + "\n" for line in [head, *runs])

    (view,) = audited(tmp_path / "log.jsonl", lines([*range(11, 51)]))
    assert view["steps"][0]["experiment"] > 10 and view["remarks"] == []
    (view,) = audited(tmp_path / "log.jsonl", lines([*range(1, 31), *range(1, 11)]))
    assert "10 numbers stand more than once" in view["remarks"][0] and view["steps"][-1]["experiment"] <= 40


def test_an_export_of_runs_is_read_by_its_columns_the_oldest_first(tmp_path: Path) -> None:
    rows = [
        f'"{d}","{"crashed" if n == 7 else "finished"}","2026-10-01T00:{n:02d}:00.000Z","{v:.6f}","0.01"'
        for n, (_, v, _, d) in enumerate(night())
    ]
    content = "\n".join(['"Name","State","Created","val_loss","lr"', *reversed(rows)]) + "\n"
    (view,) = audited(tmp_path / "export.csv", content)
    assert view["failed"] == 1 and view["metric"] == "val_loss" and view["result"]["claimed"] > 0
    assert any("newest first" in remark for remark in view["remarks"])
    assert view["steps"][-1]["description"] == [row[3] for row in night() if row[2] == "keep"][-1]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (table(night()).replace("\t", ";").replace(".", ","), "the numbers of val_bpb have decimal commas"),
        ("".join(f"{c}\t{s}\t{d} val_bpb={v}\n" for c, v, s, d in [("commit", "", "status", "description"), *night()]),
         "no column of numbers that could be a metric: val_bpb stands inside description"),
        (table(night()).replace("\t44.0", " bpb\tnone"), "the numbers of val_bpb have words behind them"),
        ("", "results.tsv is empty"),
        (gzip.compress(table(night()).encode()), "results.tsv is packed with gzip"),
        (table(night()).encode("utf-16-le"), "results.tsv is no text"),
        (bytes(range(256)) * 9, "results.tsv is no text"),
    ],
    ids=["commas", "in words", "with words", "empty", "gzip", "utf-16 without its mark", "binary"],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_what_to_do(content: str | bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says) as refused:
        audited(tmp_path / "results.tsv", content)
    assert refused.value.fix


def test_the_command_prints_what_will_be_left_and_reads_a_folder(tmp_path: Path) -> None:
    (tmp_path / "results.tsv").write_text(table(night()) + "c999999\t0.000000\t0.0\tcrash\tdiverged\n")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    told = call("audit", "results.tsv", "--noise", "0.004", cwd=tmp_path)
    assert told.code == 0, told.err
    for words in ("41 experiments", "1 failed", "claimed", "expected", "90 %", "a gain", "(given)", "to settle"):
        assert words in told.out, words
    both = call("audit", ".", "--noise", "0.004", cwd=tmp_path)
    assert both.code == 0 and told.out.strip() in both.out and "no log      " in both.out and "other.csv" in both.out
    refused = call("audit", "nothing.tsv", cwd=tmp_path)
    assert refused.code == 2 and "there is no" in refused.err


def test_lines_of_an_old_mac_are_lines_and_a_log_of_kept_rows_says_what_is_missing(
    plain: dict[str, Any], tmp_path: Path
) -> None:
    (view,) = audited(tmp_path / "mac.tsv", table(night()).replace("\n", "\r"))
    assert view["steps"] == plain["steps"]
    (view,) = audited(tmp_path / "kept.tsv", table([row for row in night() if row[2] == "keep"][:4]))
    assert any("no discarded experiments" in remark for remark in view["remarks"])


@pytest.mark.slow
def test_repeats_of_one_commit_tell_the_noise_and_few_rows_do_not(tmp_path: Path) -> None:
    few = HEAD + "a\t1.0\t1\tkeep\tbaseline\nb\t0.9\t1\tkeep\tx\nc\t0.95\t1\tdiscard\ty\n"
    (view,) = audited(tmp_path / "few.tsv", few, None)
    assert view["result"] is None and view["noise_from"] == "not identifiable"
    again = "".join(f"b\t{v}\t1\tdiscard\trepeat of x\n" for v in (0.901, 0.899, 0.902, 0.9005, 0.8985, 0.9012))
    (view,) = audited(tmp_path / "again.tsv", few + again, None)
    assert view["noise_from"].startswith("from 6 repeats") and view["result"]["share"] == pytest.approx(1, abs=0.1)
    (view,) = audited(tmp_path / "again.tsv", few + again.replace("repeat of x", "y"), None)
    assert view["noise_from"] == "not identifiable", "a commit that is not the row's own tells no noise"
    assert any("6 rows have the commit of another row and other words" in remark for remark in view["remarks"])
    equal = "".join("b\t0.9\t1\tdiscard\trepeat of x\n" for _ in range(6))
    (view,) = audited(tmp_path / "equal.tsv", few + equal, None)
    assert view["noise_from"] == "not identifiable" and any("--noise 0" in remark for remark in view["remarks"])


def test_large_relative_gains_are_parts_of_the_value(tmp_path: Path) -> None:
    rng, rows, value = random.Random(1), Rows(), 100.0
    for n in range(24):
        value *= 0.8 if n % 3 == 2 else 1.0
        rows.append(
            (f"{n:07x}", value * (1 + rng.gauss(0, 0.01)), "keep" if n % 3 == 2 or not n else "discard", f"c {n}")
        )
    (view,) = audited(tmp_path / "ms.tsv", table(rows).replace("val_bpb", "total_ms"), 0.3)
    assert (
        view["logarithmic"]
        and view["steps"][0]["claimed_text"].startswith("+2")
        and " %" in view["steps"][0]["mean_text"]
    )
    assert view["result"]["mean"] == pytest.approx(8 * 0.223, rel=0.1)


@pytest.mark.slow
def test_values_whose_product_is_no_number_any_more_are_weighed(tmp_path: Path) -> None:
    rng, lines, value = random.Random(1), list[str](), 1e-165
    for n in range(24):
        value *= 0.8 if n % 3 == 2 else 1.0
        status = "keep" if n % 3 == 2 or not n else "discard"
        lines.append(f"{n:07x}\t{value * (1 + rng.gauss(0, 0.01))!r}\t1\t{status}\tc {n}\n")
    (view,) = audited(tmp_path / "p.tsv", HEAD + "".join(lines), 3e-168)
    assert view["logarithmic"] and view["result"]["mean"] == pytest.approx(8 * 0.223, rel=0.1)


def test_counts_without_noise_are_as_they_are_written(tmp_path: Path) -> None:
    rows = [(f"{n:07x}", 50.0 - n + 2 * (n % 2), "discard" if n % 2 else "keep", f"c {n}") for n in range(12)]
    (view,) = audited(tmp_path / "bytes.tsv", table(rows).replace("val_bpb", "bytes"), 0.0)
    assert view["result"]["noise"] == pytest.approx(0.01) and view["result"]["share"] == pytest.approx(1, rel=0.01)
    assert [step["real"] for step in view["steps"]] == [1.0] * 5


@pytest.mark.parametrize("value", ["-1e99", "-1e17"])
def test_a_kept_value_that_no_noise_explains_is_named_and_no_traceback(value: str, tmp_path: Path) -> None:
    for noise in (0.004, None):
        (view,) = audited(tmp_path / "results.tsv", rows_with(9, value=value, status="keep"), noise)
        assert view["result"] is None and view["noise_from"] is None
        assert view["reason"].startswith("experiment 9 was kept with a value that no noise explains"), view["reason"]


def test_a_noise_that_is_taken_for_another_says_so_and_one_that_is_none_is_refused(tmp_path: Path) -> None:
    (view,) = audited(tmp_path / "results.tsv", table(night()), 0.0)
    assert view["noise_from"] == "given as 0; the digits of the values tell no less"
    with pytest.raises(UsageError, match=r"from 0 on, below 1e\+100"):
        audited(tmp_path / "results.tsv", table(night()), 1e308)


def test_what_is_rounded_to_nothing_has_no_sign_and_what_is_large_has_no_hundred_digits() -> None:
    claim = Claim(0.003, 0.003, 0.003, 0.01, -1e-9, -0.002, 0.002, 0.5, (), 0.5)
    log = WeighedLog(Metric("loss", "lower"), (Experiment(1, 0, None),), (), "given", False, claim)
    ((_, text),) = [fact for fact in claim_view(log)["facts"] if fact[0] == "expected"]
    assert text.startswith("+0.00000 (90 %: -0.00200 to +0.00200)") and "(0 % of the claim" in text
    assert amount(replace(log, claim=replace(claim, noise=1e90)), -1.5e91) == "-1.5e+91"


def test_a_log_without_decisions_is_not_said_to_have_been_read_as_not_kept_too(tmp_path: Path) -> None:
    (view,) = audited(tmp_path / "results.tsv", undecided(table(night())))
    assert [remark for remark in view["remarks"] if "keep or discard" in remark] == [
        "no row says keep or discard: each that is better than all before it is taken as kept"]  # fmt: skip


def test_one_experiment_is_one(tmp_path: Path) -> None:
    (view,) = audited(tmp_path / "results.tsv", table(night()[:1]))
    assert lines_of(view)[0].endswith("; 1 experiment, 1 kept, 0 failed")


def test_the_page_has_all_logs_as_data_that_ends_no_script(tmp_path: Path) -> None:
    rows = [(c, v, s, d + "</script><img src=x>") for c, v, s, d in night()]
    (tmp_path / "results.tsv").write_text(table(rows))
    made = call("audit", "results.tsv", "--noise", "0.004", "--html", "-o", "a.html", "--json", cwd=tmp_path)
    page = (tmp_path / "a.html").read_text()
    assert made.code == 0 and "<img" not in page and "default-src 'none'" in page
    data = page.split('id="data">')[1].split("</script>")[0]
    assert json.loads(data)["logs"] == json.loads(json.dumps(made.json["logs"]))


def test_a_number_of_a_row_that_no_script_can_read_is_left_out_of_the_page(tmp_path: Path) -> None:
    rows = [{"run": 2**70 + n, "val_loss": 10 - n, "status": "keep", "description": "x"} for n in range(4)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = call("audit", "log.jsonl", "--html", cwd=tmp_path)
    assert done.code == 0 and str(2**70 + 1) not in (tmp_path / "audit.html").read_text(), done


def test_how_small_values_are_rounded_is_read_from_their_digits() -> None:
    assert rounding([0.5, 0.25]) == pytest.approx(0.01) and rounding([15200, 900]) == 1
    assert rounding([1.3e-8, 2.65e-8]) == pytest.approx(1e-10) and rounding([3e-10]) == pytest.approx(1e-10)
    assert rounding([0.1 + 0.2, 1.0]) == pytest.approx(0.1) and rounding([]) == 1
