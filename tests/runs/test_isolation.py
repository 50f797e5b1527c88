"""What every run is kept from, by one case each; the many ways around it are in tests/cheats."""

from __future__ import annotations

import pytest
from lab import Lab, Maker

from autoresearch.runs.isolation.sandbox import SWITCH


def test_what_looks_like_a_secret_reaches_a_run_only_where_the_task_names_it(
    make_lab: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab(run={"secrets": ["NAMED_TOKEN"]})
    for name in ("SOME_API_KEY", "NAMED_TOKEN", "PLAIN"):
        monkeypatch.setenv(name, "sesame")
    lab.attempt('env | grep sesame | cut -d= -f1 | sort > "$AUTORESEARCH_RUN_DIR/seen"; echo METRIC total_ms=1\n')
    assert (lab.workspace.run_dir(2, 1) / "seen").read_text().split() == ["NAMED_TOKEN", "PLAIN"]


def test_a_ref_that_a_run_moves_is_put_back_and_the_run_does_not_count(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, "off")
    before = lab.ref(1)
    other = lab.git("commit-tree", "HEAD^{tree}", "-m", "other")
    move = f"env -i PATH=$PATH git -C {lab.root} update-ref refs/autoresearch/t/1 {other}"
    lab.attempt(f"{move}\necho METRIC total_ms=1\n")
    run = lab.events("run")[-1]
    assert (run["outcome"], run["status"]) == ("tampered", "crash") and "refs/autoresearch/t/1" in run["reason"]
    assert lab.ref(1) == before
