"""What every run is kept from, by one case each; the many ways around it are in tests/cheats."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from lab import Lab, Maker

from autoresearch.runs.isolation import policy
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


def test_an_immutable_program_is_put_back_as_one_and_a_link_as_a_link(
    make_lab: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, "off")
    lab = make_lab()
    lab.write("tool.sh", "true\n", 0o755)
    (lab.root / "link.sh").symlink_to("tool.sh")
    toml = (lab.root / "autoresearch.toml").read_text().replace('"bench.sh"', '"bench.sh", "tool.sh", "link.sh"', 1)
    lab.write("autoresearch.toml", toml)
    lab.commit("more is fixed")
    for words in (("segment",), ("baseline",)):
        assert lab.call(*words).code == 0
    here = lab.root
    lab.attempt(f"rm {here}/link.sh; echo >> {here}/tool.sh; echo x > {here}/link.sh; echo METRIC total_ms=1\n")
    run = lab.events("run")[-1]
    assert run["outcome"] == "tampered" and "tool.sh was changed" in run["reason"], run
    assert os.access(here / "tool.sh", os.X_OK) and (here / "link.sh").is_symlink()
    lab.assert_clean()
    assert lab.attempt("echo METRIC total_ms=99\n").code == 0


def test_a_short_name_of_a_temporary_folder_is_no_other_containers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which may have the same /tmp and user, a folder of the same name, and a process of the same number."""
    tmp, short = tmp_path / ("a long name" * 4), tmp_path / "short"
    for folder in (tmp, short):
        folder.mkdir()
    monkeypatch.setattr(policy, "users_tmp", lambda: short)
    with policy._short_name(tmp) as ours:
        with policy._short_name(tmp) as theirs:
            assert ours is not None and theirs is not None and ours != theirs
        assert ours.readlink() == tmp
    assert [*short.iterdir()] == []
