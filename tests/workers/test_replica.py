"""What travels to a worker on another machine, and what becomes of it there: with real git, and without a cluster."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
from lab import INIT, Lab, Repo, task_file

from autoresearch.errors import MachineError, PreconditionError
from autoresearch.runs.spec import RunSpec
from autoresearch.system.git import Git
from autoresearch.workers.cluster import node, replica
from autoresearch.workers.cluster import task as rays_task
from autoresearch.workers.cluster.manifest import check_whole, manifest
from autoresearch.workers.cluster.replica import KEPT_S, LEFT_S, Parcel, bring, packed, parcel_of, places, remove_old
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


def test_a_replica_keeps_the_commits_of_late_and_one_that_was_dropped_comes_again(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "MOST_COMMITS", 3)
    git, there, told, made = Git(lab.root), tmp_path / "there", parcel(lab), [lab.git("rev-parse", "HEAD")]
    for value in range(3):
        lab.prints(value)
        made.append(lab.commit("another"))
    first, second, third, fourth = made

    def measured(commit: str) -> set[str]:
        """Bring a commit, and return which of them are there after that."""
        root = bring(there, told, commit, packed(git, commit)).root
        assert Git(root).entries_of(commit, ["inner"]) == git.entries_of(commit, ["inner"])
        folder = there / "tree/.git/objects/pack"
        assert len([*folder.glob("*.pack")]) == len([*folder.glob("*.idx")]) <= 3
        assert not subprocess.run(["git", "fsck", "--connectivity-only"], cwd=root, capture_output=True).returncode
        return {commit for commit in made if Git(root).resolve(commit)}

    assert [*map(measured, made)][-1] == {first, third, fourth}, "its own commit and the last two"
    assert measured(third) == {first, third, fourth}, "nothing comes that is there"
    assert measured(second) == {first, second, third}, "which was used later than the fourth"


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
    for folder in ("elsewhere", "there"):  # a machine that never had it, and one that has lost it since
        with pytest.raises(MachineError, match=r"data that .* names is not at") as refused:
            bring(tmp_path / folder, told, commit, packed(git, commit))
        assert str(repo.root / "data") in refused.value.fix
    (repo.root / "gone").rename(repo.root / "data")
    assert (bring(tmp_path / "there", told, commit, b"").root / "data/rows.txt").read_text() == "1\n"


def test_replicas_of_long_ago_are_removed(tmp_path: Path) -> None:
    for name, age in (("old", KEPT_S + 1), ("new", KEPT_S - 1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ready").write_text("key")
        os.utime(tmp_path / name / "ready", (1e9 - age, 1e9 - age))
    remove_old(tmp_path, 1e9)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_what_a_job_has_left_is_removed_when_nobody_holds_it_and_no_replica_in_use_is(tmp_path: Path) -> None:
    for name in ("job-works", "job-given-up", "job-new", "measures"):
        (tmp_path / name).mkdir()
    for name in ("job-works", "job-given-up", "job-new"):
        (tmp_path / name / rays_task.IN_USE).touch()
    for name, age in (("job-works", KEPT_S + 1), ("job-given-up", LEFT_S + 1), ("measures", KEPT_S + 1)):
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    os.utime(tmp_path / "job-new", (1e9, 1e9))
    with (tmp_path / "job-works" / rays_task.IN_USE).open() as job, (tmp_path / "measures.lock").open("w") as slot:
        for held in (job, slot):
            fcntl.flock(held, fcntl.LOCK_EX)
        remove_old(tmp_path, 1e9)
        assert sorted(path.name for path in tmp_path.glob("*/")) == ["job-new", "job-works", "measures"]
    remove_old(tmp_path, 1e9)
    assert [path.name for path in tmp_path.glob("*/")] == ["job-new"]


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node's folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_job_holds_its_folder_which_nobody_else_may_read(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places().chmod(0o755)

    def program(words: list[str], pass_fds: list[int], **_: object) -> SimpleNamespace:
        remove_old(places(), 1e11)
        folder = Path(words[3])
        assert (folder / "pack").read_bytes() == b"pack" and os.fstat(pass_fds[0]).st_ino
        assert [path.stat().st_mode & 0o777 for path in (folder, folder.parent)] == [0o700, 0o700]
        (folder / "answer").write_bytes(b"said")
        return SimpleNamespace(returncode=0, stderr=b"")

    monkeypatch.setattr(rays_task.subprocess, "run", program)
    assert rays_task.carry_out(b"job", b"parcel", b"pack") == (0, b"said", b"", "")
    assert [*places().iterdir()] == []


def test_a_nodes_folder_that_is_a_link_is_told_and_nothing_is_written_there(disk: Path) -> None:
    (disk / "theirs").mkdir()
    (disk / f"autoresearch-node-{os.getuid()}").symlink_to(disk / "theirs")
    code, answer, _, told = rays_task.carry_out(b"job", b"parcel", b"pack")
    assert (code, answer) == (1, b"") and "belongs to somebody else: let TMPDIR name another folder" in told
    assert [*(disk / "theirs").iterdir()] == []


PREPARE = """import glob, os, sys
if sys.argv[1:] == ["info"]:
    print(open(glob.glob(os.environ["AUTORESEARCH_CACHE"] + "/*/*/manifest.json")[0]).read())
"""


def test_data_that_was_cut_short_is_told_with_the_file(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTORESEARCH_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "cache/t/data-1"
    data.mkdir(parents=True)
    (data / "manifest.json").write_text('{"sha256": {"rows.bin": "a", "vocab.json": "b"}}')
    (data / "rows.bin").write_bytes(b"12345678")
    (data / "vocab.json").write_bytes(b"{}")
    repo.write("prepare.py", PREPARE)
    immutable = {"immutable": ["harness", "prepare.py", "autoresearch.toml"]}
    run = {"evaluate": "python prepare.py evaluate"}
    repo.write("autoresearch.toml", task_file(task={"harness": True}, run=run, files=immutable))
    workspace, task = Workspace(repo.root), load(repo.root)
    whole = manifest(workspace, task)
    check_whole(manifest(workspace, task), asdict(whole))
    (data / "rows.bin").write_bytes(b"1234")
    with pytest.raises(PreconditionError, match=r"rows\.bin of the prepared data has 4 bytes there, and 8 bytes here"):
        check_whole(manifest(workspace, task), asdict(whole))
    check_whole(manifest(workspace, task), {**asdict(whole), "sha256": "other data, which is told as such"})


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
