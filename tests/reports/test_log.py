"""The table of a session: what a task names beside its metric is in it."""

from __future__ import annotations

from lab import Lab, Maker


def test_secondary_metrics_are_columns_of_the_log_and_of_its_json(make_lab: Maker) -> None:
    lab = make_lab(metric={"secondary": ["peak_vram_mb", "heat"]})
    lab.attempt("echo METRIC total_ms=50; echo METRIC peak_vram_mb=45060.5; echo METRIC other=1\n")
    baseline, kept = lab.call("log", "--json").json["experiments"]
    assert baseline["secondary"] == {"peak_vram_mb": None, "heat": None}
    assert kept["secondary"] == {"peak_vram_mb": 45060.5, "heat": None}
    head, first, second, *_ = lab.call("log").out.splitlines()
    assert head.split() == ["n", "status", "total_ms", "gain", "commit", "peak_vram_mb", "heat", "description"]
    assert second.split()[5:7] == ["45060", "-"] or second.split()[5:7] == ["45061", "-"]
    assert first.split()[5:7] == ["-", "-"]
    assert head.index("description") == second.index("a change")


def test_show_and_the_tables_have_the_same_metrics_in_the_same_order(make_lab: Maker) -> None:
    lab = make_lab(metric={"secondary": ["peak_vram_mb", "heat"]})
    lab.attempt("echo METRIC other=1; echo METRIC total_ms=50; echo METRIC peak_vram_mb=45060.5\n")
    shown = lab.call("show", "2", "--json").json
    assert shown["secondary"] == {"peak_vram_mb": 45060.5, "heat": None}
    assert [*shown["metrics"]] == ["peak_vram_mb", "other"]
    assert "also      peak_vram_mb 45060.5, heat -, other 1" in lab.call("show", "2").out
    for form, tab in (("tsv", "\t"), ("csv", ",")):
        head, _, row = lab.call("export", "-f", form, "-o", "-").out.splitlines()[:3]
        assert head.split(tab)[-2:] == ["peak_vram_mb", "heat"] and row.split(tab)[-2:] == ["45060.5", ""]


def test_a_task_that_names_none_has_the_table_as_it_was(lab: Lab) -> None:
    head = lab.call("log").out.splitlines()[0]
    assert head.split() == ["n", "status", "total_ms", "gain", "commit", "description"]
