"""What travels to a worker on another machine, and what becomes of it there: with real git, and without a cluster."""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest
from lab import INIT, Lab, Repo

from autoresearch.errors import PreconditionError
from autoresearch.runs.spec import RunSpec
from autoresearch.system.git import Git
from autoresearch.workers.cluster import node
from autoresearch.workers.cluster.replica import KEPT_S, Parcel, bring, packed, parcel_of, remove_old
from autoresearch.workers.cluster.task import carry_out
from autoresearch.workspace.editable import check_immutable
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.task_file import load
from autoresearch.workspace.workspace import Workspace

pytestmark = pytest.mark.slow


@pytest.fixture
def lab(repo: Repo) -> Lab:
    """A workspace in a folder of its repository, whose checks are a file that git does not have."""
    inner = Repo(repo.root / "inner")
    for name in ("bench.sh", "src", "judge.sh"):
        shutil.copytree(repo.root / name, inner.root / name) if name == "src" else inner.write(
            name, "source src/run.sh\n"
        )
    repo.commit("a folder of its own")
    done = inner.call(*INIT)
    assert done.code == 0, done
    inner.write("autoresearch.checks.sh", "true\n")
    return Lab(inner.root)


def parcel(lab: Lab) -> Parcel:
    return parcel_of(Parcel.of(lab.workspace, Git(lab.root), load(lab.root)).as_bytes())


def test_a_replica_has_the_files_of_the_commit_under_its_name_and_no_history(lab: Lab, tmp_path: Path) -> None:
    lab.prints(7)
    commit = lab.commit("another")
    git = Git(lab.root)
    made = bring(tmp_path / "there", parcel(lab), commit, packed(git, commit))
    there = Git(made.root)
    assert made.root == tmp_path / "there/tree/inner" and there.prefix == "inner/"
    assert (made.root / "src/run.sh").read_text() == "echo METRIC total_ms=7\n"
    assert there.entries_of(commit, ["inner", "bench.sh"]) == git.entries_of(commit, ["inner", "bench.sh"]) != {}
    assert there.resolve(f"{commit}~1") is None and len(there.text("log", "--format=%H").split()) == 1
    assert (made.root / "autoresearch.checks.sh").read_text() == "true\n"
    check_immutable(made, load_session(made), load(made.root))
    assert load_session(made).segment == lab.session.segment and not load_session(made).experiments


def test_another_commit_comes_into_the_same_replica_and_nothing_comes_twice(lab: Lab, tmp_path: Path) -> None:
    git, there = Git(lab.root), tmp_path / "there"
    first, told = git.head() or "", parcel(lab)
    bring(there, told, first, packed(git, first))
    lab.prints(8)
    second = lab.commit("another")
    made = bring(there, told, second, packed(git, second))
    again = bring(there, told, second, b"nothing that could be read")
    assert again == made and Git(made.root).resolve(first) == first
    Git(made.root).export(second, tmp_path / "out")
    assert (tmp_path / "out/inner/src/run.sh").read_text() == "echo METRIC total_ms=8\n"


def test_what_a_kill_has_left_half_made_is_made_anew(lab: Lab, tmp_path: Path) -> None:
    git, there = Git(lab.root), tmp_path / "there"
    commit, told = git.head() or "", parcel(lab)
    bring(there, told, commit, packed(git, commit))
    (there / "ready").unlink()
    (there / "tree/.git/HEAD").write_text("")
    (there / "tree/left").write_text("")
    made = bring(there, told, commit, packed(git, commit))
    assert Git(made.root).resolve("HEAD") == commit and not (there / "tree/left").exists()


def test_data_that_is_linked_must_be_there_and_is_named(repo: Repo, tmp_path: Path) -> None:
    repo.write("data/rows.txt", "1\n")
    repo.write(".gitignore", "data/\n")
    repo.commit("no data")
    assert repo.call(*INIT, "--link", "data").code == 0
    workspace, git = Workspace(repo.root), Git(repo.root)
    told, commit = Parcel.of(workspace, git, load(repo.root)), git.head() or ""
    assert told.links == {"data": str(repo.root / "data")}
    made = bring(tmp_path / "there", told, commit, packed(git, commit))
    assert (made.root / "data/rows.txt").read_text() == "1\n"
    (repo.root / "data").rename(repo.root / "gone")
    with pytest.raises(PreconditionError, match=r"data that .* names is not at") as refused:
        bring(tmp_path / "elsewhere", told, commit, packed(git, commit))
    assert str(repo.root / "data") in refused.value.fix


def test_replicas_of_long_ago_are_removed(tmp_path: Path) -> None:
    for name, age in (("old", KEPT_S + 1), ("new", KEPT_S - 1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ready").write_text("key")
        os.utime(tmp_path / name / "ready", (1e9 - age, 1e9 - age))
    remove_old(tmp_path, 1e9)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_submodules_are_refused(lab: Lab, tmp_path: Path) -> None:
    lab.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(lab.root.parent), "src/module")
    with pytest.raises(PreconditionError, match="inner/src/module is a submodule"):
        packed(Git(lab.root), lab.commit("a submodule"))


def test_of_a_run_what_is_small_comes_back_and_what_does_not_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "MOST_SENT", 100)
    spec = RunSpec("c" * 40, 1, 1, tmp_path / "run")
    (spec.folder / "inner").mkdir(parents=True)
    (spec.folder / "inner/curve.jsonl").write_text("1" * 60)
    (spec.folder / "weights.bin").write_text("2" * 90)
    (spec.folder / "run.log").write_text("3" * 40)
    (spec.folder / "password").symlink_to("/etc/passwd")
    node.pack_files(spec, tmp_path / "tar")
    with tarfile.open(tmp_path / "tar") as tar:
        tar.extractall(tmp_path / "home", filter="data")
    came = {path.relative_to(tmp_path / "home").as_posix() for path in (tmp_path / "home").rglob("*") if path.is_file()}
    assert came == {"inner/curve.jsonl", "run.log", node.NOT_SENT}
    assert "weights.bin 90\n" in (tmp_path / "home" / node.NOT_SENT).read_text()


@pytest.mark.parametrize("whose", ["ours", "open", "a link"])
def test_a_job_lies_in_no_folder_that_others_may_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    base, program = tmp_path / f"autoresearch-{os.getuid()}", tmp_path / "program"
    if whose == "open":
        base.mkdir()
        base.chmod(0o777)
    elif whose == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        base.symlink_to(tmp_path / "elsewhere")
    program.write_text('#!/bin/sh\ncat "$3/job" > "$3/answer"; printf " in %s" "$3" >> "$3/answer"\n')
    program.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(program))
    code, answer, _, _ = carry_out(b"a job", b"", b"")
    job, _, place = answer.decode().partition(" in ")
    assert (code, job, Path(place).parent) == (0, "a job", base if whose == "ours" else tmp_path)
    assert not Path(place).exists()
