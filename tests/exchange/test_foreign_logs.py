"""What the columns of foreign logs mean: read from names and from what was kept; where neither is sure, asked.

The logs here are made up, in shapes that were found in public repositories.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from textwrap import dedent

import pytest
from lab import call

from autoresearch.errors import UsageError
from autoresearch.exchange.foreign_rows import number_of
from autoresearch.exchange.foreign_words import decided, surely_better
from autoresearch.exchange.import_log import Log, read_log
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace


def read(folder: Path, text: str, **options: object) -> list[Log]:
    path = folder / "log"
    path.write_text(dedent(text).lstrip("\n"))
    return read_log(path, options.pop("direction", None), **options)  # type: ignore[arg-type]


def rows(log: Log) -> list[tuple[str | None, float | None]]:
    return [(e.status, e.metric) for e in log.experiments]


SHAPES: dict[str, tuple[str, tuple[str, str, list[tuple[str, float]], int], str | None]] = {
    "a score of which less is better, as the kept rows say": (
        """
        commit	score	improvement	status	description
        aaaaaaa	900.5	0.00%	keep	baseline
        bbbbbbb	450.0	50.03%	keep	cache
        ccccccc	480.0	-6.67%	discard	other cache
        """,
        ("score", "lower", [("keep", 900.5), ("keep", 450.0), ("discard", 480.0)], 0),
        "lower score is taken as better (2 of 2 decisions say so); else: --direction higher",
    ),
    "several columns, of which one moved as was decided": (
        """
        session	commit	tokens_per_sec	bpb	status	description
        s1	aaaaaaa	100.0	1.01	keep	baseline
        s1	bbbbbbb	90.0	1.02	discard	b
        s1	ccccccc	120.0	1.01	keep	c
        s1	ddddddd	0.0	inf	crash	d
        s1	eeeeeee	110.0	1.00	discard	e
        s1	fffffff	130.0	1.02	keep	f
        s1	0000000	125.0	1.01	discard	g
        """,
        ("tokens_per_sec", "higher", [("keep", 100), ("discard", 90), ("keep", 120), ("crash", 0), ("discard", 110),
                                      ("keep", 130), ("discard", 125)], 0),
        "tokens_per_sec is taken as the metric (beside it: bpb); another one with: --metric NAME",
    ),
    "a commit that looks like a number, and 1 and 0 for kept": (
        """
        id	parent_commit	eval_acc	delta	kept	note
        a_1	525e040	0.5	+0.0	1	start
        a_2	1234567	0.4	-0.1	0	less
        """,
        ("eval_acc", "higher", [("keep", 0.5), ("discard", 0.4)], 0),
        None,
    ),
    "before and after": (
        """
        {"iteration": 1, "accepted": true, "fitness_before": -2.0, "fitness_after": -1.0, "rationale": "a"}
        {"iteration": 2, "accepted": true, "fitness_before": -1.0, "fitness_after": 0.5, "rationale": "b"}
        {"iteration": 3, "accepted": false, "fitness_before": 0.5, "fitness_after": 0.25, "rationale": "c"}
        """,
        ("fitness_after", "higher", [("keep", -1.0), ("keep", 0.5), ("discard", 0.25)], 0),
        "higher fitness_after is taken as better (2 of 2 decisions say so); else: --direction lower",
    ),
    "a direction in a comment above the header": (
        """
        # metric_direction: higher_is_better
        iteration	commit	metric	delta	guard	status	description
        0	aaaaaaa	10.5	0.0	-	baseline	start
        1	-	11.0	0.5	-	discard	within the noise
        """,
        ("metric", "higher", [("keep", 10.5), ("discard", 11.0)], 0),
        None,
    ),
    "rows of another shape between those of the header": (
        """
        commit	items_per_s	status	description
        2026-01-02 03:04:05	2027	11.5	18.0	true	null
        aaaaaaa	11.5	keep	start
        2026-01-02 03:14:05	2500	12.5	18.0	true	null
        bbbbbbb	12.5	keep	packed
        """,
        ("items_per_s", "higher", [("keep", 11.5), ("keep", 12.5)], 2),
        None,
    ),
    "two characters for a tab": (
        "commit\tval_bpb\tmemory_gb\tstatus\tdescription\naaaaaaa\t1.5\t4\tkeep\ta\nbbbbbbb\\t1.6\\t-\\tdiscard\\tb\n",
        ("val_bpb", "lower", [("keep", 1.5), ("discard", 1.6)], 0),
        None,
    ),
    "a cell too many, before the decision": (
        """
        commit	val_loss	vram_mb	status	description
        aaaaaaa	4.5	19000	keep	start
        bbbbbbb	1.5	22000	1800s	keep	longer
        """,
        ("val_loss", "lower", [("keep", 4.5)], 1),
        None,
    ),
    "cells without a name, behind the decision": (
        """
        timestamp	hypothesis	val_loss	status
        2026-01-02T03:04:05	a	2.5	KEEP
        2026-01-02T03:14:05	b	2.0	KEEP	100	21
        """,
        ("val_loss", "lower", [("keep", 2.5), ("keep", 2.0)], 0),
        "val_loss is taken as the metric (beside it: column 5, column 6); another one with: --metric NAME",
    ),
    "events that point to each other, under a line that opens": (
        """
        {"id": "i", "kind": "init", "config": {"name": "size", "metric": "points", "unit": "KiB", "direction": "lower"}}
        {"id": "r0", "kind": "run", "idea": "start", "commit_before": "aaaaaaa"}
        {"id": "r1", "kind": "run", "idea": "strip", "commit_before": "aaaaaaa"}
        {"id": "s1", "kind": "result", "run_id": "r1", "metric_value": 84.5, "kept": false, "commit_after": "aaaaaaa"}
        {"id": "r2", "kind": "run", "idea": "smaller", "commit_before": "aaaaaaa"}
        {"id": "s2", "kind": "result", "run_id": "r2", "metric_value": 67.5, "kept": true, "commit_after": "bbbbbbb"}
        """,
        ("points", "lower", [("discard", 84.5), ("keep", 67.5)], 1),
        None,
    ),
    "a metric that each line names": (
        """
        {"run": 0, "status": "keep", "metric": 0.5, "metricName": "points", "direction": "higher", "description": "a"}
        {"run": 1, "status": "discard", "metric": 0.75, "metricName": "points", "direction": "higher"}
        """,
        ("points", "higher", [("keep", 0.5), ("discard", 0.75)], 0),
        None,
    ),
    "lines of a tool whose opening line is missing": (
        """
        {"run": 2, "commit": "aaaaaaa", "metric": 1300, "metrics": {"ms": 5}, "status": "keep", "description": "a"}
        {"run": 3, "commit": "bbbbbbb", "metric": 1500, "metrics": {"ms": 4}, "status": "keep", "asi": {"score": 2}}
        """,
        ("metric", "higher", [("keep", 1300), ("keep", 1500)], 0),
        "higher metric is taken as better (1 of 1 decisions say so); else: --direction lower",
    ),
    "a quoted text of two lines": (
        'commit,val_loss,status,description\naaaaaaa,2.5,keep,"one\ntwo, three"\nbbbbbbb,3.5,discard,more\n',
        ("val_loss", "lower", [("keep", 2.5), ("discard", 3.5)], 0),
        None,
    ),
    "no column that decides": (
        """
        val_bpb	artifact_bytes	memory_mb	notes
        1.36	12265	10255	start
        1.35	15102	11552	more
        """,
        ("val_bpb", "lower", [("discard", 1.36), ("discard", 1.35)], 0),
        "no column says keep or discard: every row is read as not kept",
    ),
    "a whole among its parts": (
        """
        commit	composite_score	brain	system	status	description
        aaaaaaa	73.5	76.0	88.0	keep	start
        bbbbbbb	79.0	70.0	88.0	keep	more
        """,
        ("composite_score", "higher", [("keep", 73.5), ("keep", 79.0)], 0),
        "composite_score is taken as the metric (beside it: brain, system); another one with: --metric NAME",
    ),
    "a carriage return in a text, and a text without end": (
        f"commit,val_loss,status,description\naaaaaaa,2.5,keep,one\rtwo\nbbbbbbb,3.5,discard,{'x' * 200_000}\n",
        ("val_loss", "lower", [("keep", 2.5), ("discard", 3.5)], 0),
        None,
    ),
    "the first of several that moved alike": (
        "commit\tmae\trmse\tdecision\tnotes\n"
        + "".join(f"aaaaaa{n}\t{mae}\t{mae + 1}\t{word}\tx\n" for n, (mae, word) in enumerate(
            [(4.5, "BASELINE"), (5.0, "REVERT"), (4.0, "KEEP"), (4.25, "REVERT"), (3.5, "KEEP"), (3.75, "REVERT")])),
        ("mae", "lower", [("keep", 4.5), ("discard", 5.0), ("keep", 4.0), ("discard", 4.25), ("keep", 3.5),
                          ("discard", 3.75)], 0),
        "mae is taken as the metric (beside it: rmse); another one with: --metric NAME",
    ),
    "a list of objects": (
        '[{"run": 1, "val_loss": 2.5, "status": "keep", "description": "a"},\n'
        ' {"run": 2, "val_loss": 2.25, "status": "NEW_BEST", "description": "b"}]\n',
        ("val_loss", "lower", [("keep", 2.5), ("keep", 2.25)], 0),
        None,
    ),
    "the values before each change, in rows about different things": (
        """
        timestamp	commit	part	old_score	new_score	status	note
        2026-01-02T03:04	aaaaaaa	left	81.5	83.5	keep	a
        2026-01-02T03:14	bbbbbbb	right	40.0	45.0	keep	b
        2026-01-02T03:24	ccccccc	top	90.0	90.0	keep	c
        """,
        ("new_score", "higher", [("keep", 83.5), ("keep", 45.0), ("keep", 90.0)], 0),
        "higher new_score is taken as better (2 of 2 decisions say so); else: --direction lower",
    ),
    "the values of a parameter, which are no metric": (
        """
        iter	param	old	new	composite	delta	status	description
        0	base	-	-	0.50	0	keep	start
        1	width	10	20	0.75	0.25	keep	a
        2	width	20	40	0.70	-0.05	discard	b
        3	width	20	5	0.60	-0.15	discard	c
        """,
        ("composite", "higher", [("keep", 0.5), ("keep", 0.75), ("discard", 0.7), ("discard", 0.6)], 0),
        "higher composite is taken as better (3 of 3 decisions say so); else: --direction lower",
    ),
    "the best value so far, in a column of its own": (
        """
        id	alpha	beta	best_so_far	status	hypothesis
        1	0.50	0.90	0.50	KEPT	start
        2	0.45	0.95	0.50	DISCARD	b
        3	0.55	0.85	0.55	KEPT	c
        """,
        ("alpha", "higher", [("keep", 0.5), ("discard", 0.45), ("keep", 0.55)], 0),
        "alpha is taken as the metric (beside it: beta); another one with: --metric NAME",
    ),
    "a first column that is the metric by its name, and one row": (
        "commit\tsharpe_ratio\ttotal_return_pct\twin_rate\tstatus\tdescription\naaaaaaa\t1.5\t45\t44\tkeep\tx\n",
        ("sharpe_ratio", "higher", [("keep", 1.5)], 0),
        "sharpe_ratio is taken as the metric (beside it: total_return_pct, win_rate); another one with: --metric NAME",
    ),
    "a first column against which the decisions went": (
        "commit\tformat_acc\tmatch_acc\tstatus\tdescription\n"
        + "".join(f"aaaaaa{n}\t{a}\t{b}\t{word}\tx\n" for n, (a, b, word) in enumerate(
            [(99.5, 65, "keep"), (99.25, 76, "keep"), (99.5, 66, "discard"), (99.25, 74, "discard"),
             (99.75, 70, "discard"), (99.0, 75, "discard")])),
        ("match_acc", "higher", [("keep", 65), ("keep", 76), ("discard", 66), ("discard", 74), ("discard", 70),
                                 ("discard", 75)], 0),
        "match_acc is taken as the metric (beside it: format_acc); another one with: --metric NAME",
    ),
    "a score that moves with an error": (
        "id\tscore\tfreq_error\tstatus\tnote\n"
        + "".join(f"c{n}\t{v + 0.5}\t{v}\tok\tx\n" for n, v in enumerate((40, 7, 12, 82, 30))),
        ("score", "lower", [("discard", v + 0.5) for v in (40, 7, 12, 82, 30)], 0),
        "lower score is taken as better (it moves with freq_error); else: --direction higher",
    ),
    "decisions under a name of their own": (
        """
        experiment_id	change_description	sharpe_net	ic	kept_or_reverted
        1	a	0.75	0.5	kept
        2	b	0.50	0.6	reverted
        """,
        ("sharpe_net", "higher", [("keep", 0.75), ("discard", 0.5)], 0),
        "sharpe_net is taken as the metric (beside it: ic); another one with: --metric NAME",
    ),
    "a spread beside its mean": (
        """
        run_id	cv_mae	cv_mae_std	status	description
        a	57.5	5.5	keep	start
        b	55.5	6.5	keep	less
        """,
        ("cv_mae", "lower", [("keep", 57.5), ("keep", 55.5)], 0),
        None,
    ),
    "a capital S, which is no unit": (
        "timestamp\tstatus\tS\tfit\tdescription\n"
        + "".join(f"2026-01-02T03:0{n}\t{word}\t{v}\t{v}\tx\n" for n, (v, word) in enumerate(
            [(0.5, "KEEP"), (0.4, "DISCARD"), (0.6, "KEEP"), (0.55, "DISCARD"), (0.7, "KEEP"), (0.65, "DISCARD")])),
        ("S", "higher", [("keep", 0.5), ("discard", 0.4), ("keep", 0.6), ("discard", 0.55), ("keep", 0.7),
                         ("discard", 0.65)], 0),
        "S is taken as the metric (beside it: fit); another one with: --metric NAME",
    ),
    "a loss and its parts, and decisions in Chinese": (
        "round\tloss\tvalue_loss\tval_score\tstatus\tnote\n0\t2.5\t1\t0.5\t基线（一）\tx\n1\t2.0\t1\t0.75\t保留\ty\n"
        "2\t2.25\t1\t0.25\t回滚\tz\n",
        ("val_score", "higher", [("keep", 0.5), ("keep", 0.75), ("discard", 0.25)], 0),
        "higher val_score is taken as better (2 of 2 decisions say so); else: --direction lower",
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_that_was_found_is_read_rightly(tmp_path: Path, shape: str) -> None:
    text, (metric, direction, expected, skipped), remark = SHAPES[shape]
    (log,) = read(tmp_path, text)
    assert (log.metric.name, log.metric.direction) == (metric, direction)
    assert rows(log) == expected and len(log.skipped) == skipped
    assert log.remarks == () if remark is None else remark in log.remarks


def test_numbers_in_tables_are_columns_and_those_of_the_incumbent_are_no_metric(tmp_path: Path) -> None:
    text = """
        {"hypothesis": "a", "verdict": "PROMOTE", "validation": {"sharpe": 0.5, "net": {"cagr": 7}}, "champion": null}
        {"hypothesis": "b", "verdict": "REJECT", "validation": {"sharpe": 0.25, "net": {"cagr": 9}}, "champion": 0.5}
        {"hypothesis": "c", "verdict": "GATE_FAIL", "validation": {"sharpe": 0.75}, "config": {"lr": 1}}
    """
    with pytest.raises(UsageError, match=r"validation\.sharpe, validation\.net\.cagr could each be the metric"):
        read(tmp_path, text)
    (log,) = read(tmp_path, text, metric="validation.sharpe")
    assert rows(log) == [("keep", 0.5), ("discard", 0.25), ("checks_failed", 0.75)]
    assert log.metric.direction == "higher" and log.experiments[1].metrics == {
        "validation.net.cagr": 9,
        "champion": 0.5,
    }
    assert log.experiments[2].asi == {"config": '{"lr": 1}'}


ASKED: dict[str, tuple[str, list[str], str]] = {
    "two numbers, and nothing says which": (
        "commit\ta_points\tb_points\tstatus\tdescription\naaaaaaa\t1\t2\tkeep\tx\n",
        ["--metric", "b_points", "--direction", "higher"], "--metric NAME"),
    "a name that says nothing, and one row": (
        "exp_id\tscore\tloc\tstatus\tdescription\ne0\t58.5\t3300\tbaseline\tstart\n", ["--direction", "lower"],
        "--direction lower, or --direction higher"),
    "only a discard speaks": (
        "commit\tscore\tstatus\tdescription\naaaaaaa\t5\tkeep\tx\nbbbbbbb\t6\tdiscard\ty\n",
        ["--direction", "higher"], "--direction lower, or --direction higher"),
    "the name says one, what was kept the other": (
        "commit\tval_loss\tstatus\tdescription\n"
        + "".join(f"aaaaaa{n}\t{n}\tkeep\tx\n" for n in range(7)),
        ["--direction", "higher"], "--direction lower, or --direction higher"),
    "only what is noted beside a metric": (
        "commit\tduration_sec\tstatus\tdescription\naaaaaaa\t60\tcompleted\tx\nbbbbbbb\t30\tcompleted\ty\n",
        ["--metric", "duration_sec"], "--metric duration_sec"),
    "a metric with words in it": (
        "commit\tprimary_metric\tms_per_tok\tstatus\tdescription\naaaaaaa\t12.5 tok/s\t3.5\tkeep\tx\n",
        ["--metric", "ms_per_tok", "--direction", "lower"], "--metric ms_per_tok"),
    "crashes only": (
        "iteration\tstatus\toutput_chars\tverdict\n1\tcrash\t67153\tx\n2\tcrash\t127\ty\n",
        ["--direction", "lower"], "--direction lower, or --direction higher"),
    "columns without names, one of yes and no": (
        "aaaaaaa\t22890\ttrue\t64.5\tdiscard\tx\nbbbbbbb\t22815\ttrue\t65.5\tkeep\ty\n",
        ["--metric", "column 4", "--direction", "higher"], "--metric NAME"),
    "two of one kind, and no decision": (
        "commit\thf_wer\tint8_wer\tstatus\tdescription\naaaaaaa\t14\t15\tok\tx\nbbbbbbb\t14\t12\tok\ty\n",
        ["--metric", "int8_wer"], "--metric NAME"),
    "a score that is faster when it is higher": (
        "id\tscore\tlatency_ms\tstatus\tnote\n" + "".join(f"c{n}\t{n}\t{9 - n}\tok\tx\n" for n in range(6)),
        ["--direction", "lower"], "--direction lower, or --direction higher"),
    "columns without names, of which few decisions speak": (
        "aaaaaaa\t228\ttrue\t64\tkeep\tx\nbbbbbbb\t217\ttrue\t69\tkeep\ty\nccccccc\t216\ttrue\t68\tkeep\tz\n"
        "ddddddd\t215\ttrue\t70\tkeep\tz\n",
        ["--metric", "column 4", "--direction", "higher"], "--metric NAME"),
    "columns without names": (
        "HEAD\tmodel\t397.0\t3.5\t24\tkeep\tx\nHEAD\tmodel\t397.0\t4.5\t24\tkeep\ty\n",
        ["--metric", "column 4", "--direction", "higher"], "--metric NAME"),
}  # fmt: skip


@pytest.mark.parametrize("case", ASKED)
def test_what_is_not_sure_is_asked_and_the_answer_reads_the_log(tmp_path: Path, case: str) -> None:
    text, answer, option = ASKED[case]
    with pytest.raises(UsageError) as refused:
        read(tmp_path, text)
    assert option in refused.value.fix
    options = {name[2:]: value for name, value in zip(answer[::2], answer[1::2], strict=True)}
    (log,) = read(tmp_path, text, **options)
    assert len(log.experiments) == text.count("\n") - (not text.startswith(("HEAD", "aaaaaaa")))
    assert log.metric.direction == options.get("direction", log.metric.direction)


LONG = """
    timestamp	commit	metric	value	status	description
    2026-01-02T03:04	aaaaaaa	tests	10→12	keep	a
    2026-01-02T04:04	bbbbbbb	tests	12→15	keep	b
    2026-01-02T05:04	ccccccc	readiness	70→80	keep	c
    2026-01-02T06:04	ddddddd	tests	15→14/15 pass	keep	d
    2026-01-02T07:04	eeeeeee	pass_rate	0.5	keep	e
"""


def test_rows_that_name_their_metric_become_a_log_for_each_and_one_of_them_can_be_asked_for(tmp_path: Path) -> None:
    tests, readiness, rate = read(tmp_path, LONG)
    assert (tests.metric.name, tests.metric.direction, rows(tests)) == ("tests", "higher", [("keep", 12), ("keep", 15)])
    assert (rate.metric.direction, rows(rate)) == ("higher", [("keep", 0.5)])
    assert not readiness.experiments and "--metric readiness" in readiness.skipped[0]
    with pytest.raises(UsageError, match="several metrics"):
        read(tmp_path, LONG, direction="higher")  # which may be right for one of them only
    (alone,) = read(tmp_path, LONG, metric="readiness", direction="higher")
    assert rows(alone) == [("keep", 80)] and alone.origin not in (tests.origin, rate.origin)
    again = read(tmp_path, LONG, metric="tests")
    assert [log.origin for log in again] == [tests.origin], "asked for by name, it is the same log"


def test_rows_that_name_no_metric_stand_beside_those_that_do(tmp_path: Path) -> None:
    text = """
        {"iter": 0, "change": "start", "bleu": 2.5, "keep": true}
        {"iter": 1, "change": "beams", "bleu": 2.25, "keep": false}
        {"iter": 2, "change": "clean", "metric": "overall_bleu", "value": 21.5, "keep": true}
        {"iter": 3, "change": "tuned", "metric": "overall_bleu", "value": 22.5, "keep": true}
        {"iter": 4, "change": "lost", "metric": "overall_bleu", "value": null, "keep": false, "status": "no_result"}
    """
    plain, overall = read(tmp_path, text)
    assert (plain.metric.name, rows(plain)) == ("bleu", [("keep", 2.5), ("discard", 2.25)])
    assert (overall.metric.name, rows(overall)) == ("overall_bleu", [("keep", 21.5), ("keep", 22.5)])
    assert overall.skipped == ("line 5: overall_bleu is None, which is no number",)


def test_a_remark_is_printed_and_in_the_json(tmp_path: Path) -> None:
    (tmp_path / "log.tsv").write_text(
        dedent(str(SHAPES["a score of which less is better, as the kept rows say"][0])).lstrip()
    )
    done = call("import", "log.tsv", cwd=tmp_path)
    assert done.code == 0 and "remark  lower score is taken as better" in done.out
    assert load_session(Workspace(tmp_path)).metric.direction == "lower"
    assert "--direction higher" in call("import", "log.tsv", "--json", cwd=tmp_path).json["remarks"][0]


def test_a_log_in_another_encoding_is_read(tmp_path: Path) -> None:
    text = "commit\tval_loss\tstatus\tdescription\naaaaaaa\t2.5\tkeep\tcafé\n"
    for encoding, description, remarked in [
        ("utf-16", "café", 0),
        ("utf-8-sig", "café", 0),
        ("latin-1", "caf\ufffd", 1),
    ]:
        path = tmp_path / f"{encoding}.tsv"
        path.write_bytes(text.encode(encoding))
        (log,) = read_log(path, None)
        assert [e.description for e in log.experiments] == [description] and len(log.remarks) == remarked


def test_a_table_that_is_no_log_is_refused(tmp_path: Path) -> None:
    for text in (
        "starttime\tseconds\tctime\twait\nTue Mar 13\t1520\t86\t4940\nTue Mar 13\t1521\t83\t4958\n",  # a load test
        "node,tflops,depth,cost,vram_status\nA100,312.0,12,1.23,OK\nT4,65.5,24,1.5,OOM\n",  # an estimate
        '{"seq":1,"receipt_hash":"sha256-cb","kid":"x"}\n{"seq":2,"receipt_hash":"sha256-0a","kid":"y"}\n',
        '{"event":"patch","status":"applied","note":"x"}\n{"event":"run_attempt","status":"failed","exit_code":1}\n',
        "# prio : what first\nprio\tplan\tbatch\tnote\n1\tP1\trun.bat\tx\n2\tP2\trun.bat\ty\n",  # a queue
        "id\texperiment\tmetric\tvalue\tstatus\n"
        + "".join(f"E{n}\tx\tname_{n}\t{n}\tKEEP\n" for n in range(4)),  # each row measures something else
        "date\ttest_name\tmetric\tvalue\tnotes\n"
        + "".join(
            f"2026-03-2{n}\tqueue_{n}\tthroughput\t{n}\tx\n2026-03-2{n}\tslab\tlatency_p50\t{n}\ty\n" for n in range(3)
        ),  # benchmarks of different things, and nothing decided
    ):
        with pytest.raises(UsageError):
            read(tmp_path, text)


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("val_loss", "lower"), ("val_acc", "higher"), ("tok_s", "higher"), ("tokens_per_sec", "higher"),
        ("tok/s", "higher"), ("req_s", "higher"), ("images_s", "higher"), ("train_s", "lower"), ("total_s", "lower"),
        ("step_s", "lower"), ("queries_s", "higher"),
        ("total_ms", "lower"), ("render_µs", "lower"), ("valLoss", "lower"), ("win_rate", "higher"),
        ("error_rate", "lower"), ("errors_per_line", None), ("loss_reduction", None), ("time_saved", None),
        ("score", None), ("metric", None), ("draw_rate", None), ("ms_per_token", None), ("bpb", "lower"),
        ("ndcg10", "higher"), ("pass@1", "higher"), ("val_loglik", "higher"), ("accuracy_loss", None), ("tests", None),
    ],
)  # fmt: skip
def test_a_name_says_which_way_is_better_only_where_it_is_sure(name: str, way: str | None) -> None:
    assert surely_better(name) == way


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("KEEP", "keep"), ("kept (new best)", "keep"), ("compile_clean_accept", "keep"), ("NEW_BEST", "keep"),
        ("discard - worse", "discard"), ("no_improvement", "discard"), ("rolled back", "discard"), ("OOM", "crash"),
        ("crash (timeout)", "crash"), ("not kept", None), ("contender", None), ("success", None), ("ok", None),
        ("keep or discard", None), ("partial keep", None), ("keep-candidate", None),
        ("1", None), ("best effort", None), ("", None),
        ("no", "discard"), ("false", "discard"), ("kept: no", None), ("improved: false", None),
        ("accepted=false", None), ("no_keep", None), ("don't keep", None), ("didn't improve, kept", None),
        ("keep old", None), ("keep previous", None), ("no error", None), ("kept without it", None),
        ("discarded: no", None),
    ],
)  # fmt: skip
def test_a_word_decides_only_what_all_of_its_parts_agree_on(word: str, status: str | None) -> None:
    assert decided(word) == status


def test_a_number_in_a_cell_is_read_as_a_person_reads_it() -> None:
    assert [number_of(cell) for cell in ("53.2%", "1,234.5", "815→826", "+0.5", " 7 ", "1e3", 4)] == [
        53.2, 1234.5, 826, 0.5, 7, 1000, 4]  # fmt: skip
    for cell in (
        "",
        "-",
        "1,2",
        "12.5 tok/s",
        "0x10",
        "1_000",
        "inf",
        "nan",
        "1034→1066/1087",
        True,
        None,
        "12abc",
        "→5",
    ):
        assert number_of(cell) is None, cell


def test_one_number_below_one_with_a_comma_says_that_commas_are_no_thousands(tmp_path: Path) -> None:
    text = "commit\tval_loss\tstatus\tdescription\na\t1,234\tkeep\tbaseline\nb\t0,987\tkeep\tx\n"
    for options in ({}, {"metric": "val_loss"}):
        with pytest.raises(UsageError, match="the numbers of val_loss have decimal commas"):
            read(tmp_path, text, **options)
    with pytest.raises(UsageError, match="the numbers of val_loss have decimal commas"):
        read(tmp_path, text.replace("0,987", "1,02"))
    (log,) = read(tmp_path, text.replace("0,987", "9,870"))
    assert rows(log) == [("keep", 1234.0), ("keep", 9870.0)]
    assert "commas in val_loss are read as thousands (1,234)" in log.remarks


def test_between_semicolons_a_comma_is_no_thousands(tmp_path: Path) -> None:
    text = "commit;val_bpb;steps;status;description\na;1,102;9;keep;w\nb;1,087;9;keep;x\nc;1,054;9;keep;y\n"
    for options in ({}, {"metric": "val_bpb"}):
        with pytest.raises(UsageError, match="the numbers of val_bpb have decimal commas"):
            read(tmp_path, text, **options)
    (log,) = read(tmp_path, text.replace(",", "."))
    assert rows(log) == [("keep", 1.102), ("keep", 1.087), ("keep", 1.054)]


def test_percentages_and_parts_of_one_are_not_mixed(tmp_path: Path) -> None:
    text = "commit\tval_acc\tstatus\tdescription\na\t51.5%\tkeep\tw\nb\t0\tdiscard\tx\nc\t53.2 %\tkeep\ty\n"
    (log,) = read(tmp_path, text)
    assert rows(log) == [("keep", 51.5), ("discard", 0), ("keep", 53.2)] and log.remarks == ()
    with pytest.raises(UsageError, match="some numbers of val_acc have a % and others none"):
        read(tmp_path, text.replace("53.2 %", "0.532"))


def test_decisions_that_contradict_a_name_are_told(tmp_path: Path) -> None:
    text = "commit\ttrain_s\tstatus\tdescription\na\t10\tkeep\tx\nb\t12\tkeep\ty\nc\t9\tdiscard\tz\n"
    (log,) = read(tmp_path, text)
    assert log.metric.direction == "lower"
    assert any("though 2 of 2 decisions say higher; else: --direction higher" in remark for remark in log.remarks)


def test_a_metric_without_a_name_in_a_line_of_json_is_no_metric(tmp_path: Path) -> None:
    lines = ['{"run": 1, "commit": "a", "metric": 3, "status": "keep", "description": "x", "val_loss": 3}',
             '{"run": 2, "metricName": null, "metric": null, "status": "crash", "description": "y"}']  # fmt: skip
    (log,) = read(tmp_path, "\n".join(lines), direction="lower")
    assert rows(log) == [("keep", 3.0), ("crash", None)]


BOLD = "loss\n\x1b[1mall is well; type: rm -rf ~"


def test_words_of_a_strangers_log_begin_no_line_and_no_command(tmp_path: Path) -> None:
    rows = [{"status": "keep", "description": "x", "metric_name": name, "metric_value": n}
            for n, name in enumerate(("a'; touch here; '", "b\n", "c", "d"))]  # fmt: skip
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = call("import", "log.jsonl", cwd=tmp_path)
    assert done.code == 2 and done.err.count("\n") == 1, done
    assert shlex.split(done.err.partition("one at a time: ")[2])[1] == "a'; touch here; '"
    rows = [{"status": word, "description": "x", BOLD: n} for n, word in enumerate(("keep", "so\nso", "keep"), 1)]
    deep = '{"status": "keep", "metrics": ' + '{"a": ' * 5000 + "1" + "}" * 5000 + "}"
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + deep + "\n")
    done = call("import", "log.jsonl", "--metric", BOLD, "--direction", "lower", cwd=tmp_path)
    assert done.code == 0 and done.out.count("\n") == 3 and "so so (1)" in done.out, done
    assert "skipped line 4 is no JSON object" in done.out
    assert load_session(Workspace(tmp_path)).metric.name == "loss all is well; type: rm -rf ~"
    inside = "1" * 100_000
    (tmp_path / "long.tsv").write_text(f"commit\tstatus\tdescription\nabc1234\tkeep\t{inside}\n")
    assert "no column of numbers" in call("import", "long.tsv", cwd=tmp_path).err


def test_a_line_that_is_corrected_later_is_the_one_that_is_new(tmp_path: Path) -> None:
    def line(n: int) -> str:
        return f'{{"run": {n}, "commit": "c{n}", "metric": {n}, "status": "keep", "description": "change {n}"}}'

    folder = tmp_path / "here"
    folder.mkdir()
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join([line(1), '{"run": 2, "met', line(3)]))
    first = call("import", str(path), "--direction", "lower", "--json", cwd=folder).json
    assert first["added"] == 2 and "line 2 is no JSON object" in first["skipped"][0]
    path.write_text("\n".join(map(line, (1, 2, 3))))
    assert call("import", str(path), "--direction", "lower", "--json", cwd=folder).json["added"] == 1
    session = load_session(Workspace(folder))
    assert sorted(e.description for e in session.experiments) == ["change 1", "change 2", "change 3"]


@pytest.mark.parametrize("shape", ["table", "lines"])
@pytest.mark.parametrize("bad", [0, 1])
def test_a_line_that_was_corrected_brings_nothing_twice_also_where_it_is_the_first(
    tmp_path: Path, shape: str, bad: int
) -> None:
    def line(n: int, cut: bool) -> str:
        if shape == "table":
            return f"c{n}\t0.9{n}{'x' if cut else ''}\t44.0\tkeep\tchange {n}"
        whole = f'{{"run": {n}, "commit": "c{n}", "metric": {n}, "status": "keep", "description": "change {n}"}}'
        return whole[:12] if cut else whole

    def text(*cut: int) -> str:
        head = ["commit\tval_bpb\tmemory_gb\tstatus\tdescription"] if shape == "table" else []
        return "\n".join([*head, *(line(n, n - 1 in cut) for n in (1, 2, 3, 4))]) + "\n"

    folder, path = tmp_path / "here", tmp_path / "log.tsv"
    folder.mkdir()
    for content, added in ((text(bad), 3), (text(), 1), (text(), 0)):
        path.write_text(content)
        assert call("import", str(path), "--direction", "lower", "--json", cwd=folder).json["added"] == added
    session = load_session(Workspace(folder))
    assert sorted(e.description for e in session.experiments) == [f"change {n}" for n in (1, 2, 3, 4)]
    assert len({e.segment for e in session.experiments}) == 1
    path.write_text(text().replace("c1", "d1").replace("change 1", "another beginning"))
    again = call("import", str(path), "--direction", "lower", "--json", cwd=folder).json
    assert again["added"] == 4, "where a row of the earlier one is missing it is a log of its own"


@pytest.mark.parametrize("commits", ["each", "one", "none"])
def test_a_line_that_is_deleted_later_brings_nothing_twice(tmp_path: Path, commits: str) -> None:
    def line(n: int) -> str:
        about = {"each": {"commit": f"c{n}"}, "one": {"commit": "c1"}, "none": {}}[commits]
        return json.dumps({"run": n, "metric": n, "status": "keep", "description": f"change {n}", **about})

    folder, path = tmp_path / "here", tmp_path / "log.jsonl"
    folder.mkdir()
    path.write_text("\n".join([line(1), '{"run": 2, "met', line(3), line(4)]))
    assert call("import", str(path), "--direction", "lower", "--json", cwd=folder).json["added"] == 3
    path.write_text("\n".join(map(line, (1, 3, 4))))
    assert call("import", str(path), "--direction", "lower", "--json", cwd=folder).json["added"] == 0
    path.write_text("\n".join(map(line, (1, 3, 4, 5))))
    assert call("import", str(path), "--direction", "lower", "--json", cwd=folder).json["added"] == 1
    path.write_text("\n".join(map(line, (1, 4, 5, 6))))  # one that was read is gone
    assert call("import", str(path), "--direction", "lower", "--json", cwd=folder).json["added"] == 1
    session = load_session(Workspace(folder))
    assert [e.description for e in session.experiments] == [f"change {n}" for n in (1, 3, 4, 5, 6)]
