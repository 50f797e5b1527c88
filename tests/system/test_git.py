"""Going back from a commit: what a person staged meanwhile stays staged, whether git is asked for it or not."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab import Repo, new_repo

from autoresearch.errors import PreconditionError
from autoresearch.journal.refs import fetch_from
from autoresearch.reports import doctor
from autoresearch.system.git import Git
from autoresearch.system.git_command import INSTALL, require_git


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return new_repo(tmp_path / "repo")


def committed(repo: Repo, git: Git) -> tuple[str, str]:
    """Commit a change of one file; return the commit and its parent."""
    parent = git.head() or ""
    repo.write("src/run.sh", "echo changed\n")
    return git.commit(["src/run.sh"], "a change"), parent


def asked(git: Git, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of commits whose index git is asked for from now on."""
    commits: list[str] = []
    real = git._staged

    def counted(commit: str) -> set[str]:
        commits.append(commit)
        return real(commit)

    monkeypatch.setattr(git, "_staged", counted)
    return commits


def test_an_index_that_is_what_our_commit_left_needs_no_question(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    git = Git(repo.root)
    commit, parent = committed(repo, git)
    questions = asked(git, monkeypatch)
    assert git.go_back("main", commit, parent) == []
    assert questions == [] and git.head() == parent and repo.git("status", "--porcelain") == ""


def test_what_was_staged_since_stays_staged(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    git = Git(repo.root)
    commit, parent = committed(repo, git)
    repo.write("README.md", "mine\n")
    repo.git("add", "README.md")
    questions = asked(git, monkeypatch)
    assert git.go_back("main", commit, parent) == []
    assert questions == [commit] and git.head() == parent
    assert repo.git("status", "--porcelain") == "M  README.md"


def test_the_way_back_from_where_we_moved_needs_no_question_unless_something_was_staged(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = Git(repo.root)
    commit, parent = committed(repo, git)
    repo.git("reset", "-q", "--hard", parent)
    questions = asked(git, monkeypatch)
    for mine in ("", "mine\n"):
        git.move_to(commit)
        assert git.head() == commit and repo.git("status", "--porcelain") == ""
        if mine:
            repo.write("README.md", mine)
            repo.git("add", "README.md")
        assert git.go_back("main", commit, parent) == [] and git.head() == parent
    assert questions == [commit] and repo.git("status", "--porcelain") == "M  README.md"


def test_a_commit_is_an_ancestor_of_those_on_top_of_it_and_of_itself_alone(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = Git(repo.root)
    first, parent = committed(repo, git)
    repo.write("src/run.sh", "echo changed again\n")
    second = git.commit(["src/run.sh"], "another")
    told = [git.is_ancestor(old, second) for old in (parent, first, second)]
    assert told == [True] * 3 and not git.is_ancestor(second, first) and not git.is_ancestor(first, "nowhere")
    monkeypatch.setattr(git, "process", lambda *_: pytest.fail("its parent is written in a commit"))
    assert git.is_ancestor(first, second)


def test_another_process_that_knows_of_no_commit_of_its_own_asks(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    commit, parent = committed(repo, Git(repo.root))
    git = Git(repo.root)
    questions = asked(git, monkeypatch)
    assert git.go_back("main", commit, parent) == [] and questions == [commit] and git.head() == parent


def test_a_commit_has_its_own_paths_and_what_else_is_staged_stays_so(repo: Repo) -> None:
    repo.write("README.md", "mine\n")
    repo.git("add", "README.md")
    repo.git("rm", "-q", "tests/test_it.sh")
    repo.write("mine.txt", "mine\n")
    repo.git("add", "--intent-to-add", "mine.txt")
    repo.write("src/run.sh", "echo changed\n")
    repo.write("src/new", "new\n")
    (repo.root / "src/base").unlink()
    git, before = Git(repo.root), repo.git("rev-parse", "HEAD")
    commit = git.commit(["src/run.sh", "src/new", "src/base"], "a change\n\nwhy: less\n")
    assert repo.git("rev-parse", "main", "HEAD", "main~1").split() == [commit, commit, before]
    assert repo.git("show", "-s", "--format=%an %B", commit) == "A Person a change\n\nwhy: less"
    assert repo.git("diff", "--name-status", before, commit).split() == ["D", "src/base", "A", "src/new", "M",
                                                                         "src/run.sh"]  # fmt: skip
    assert repo.git("reflog", "-1", "--format=%gs") == "commit: a change"
    staged = repo.git("status", "--porcelain")
    assert staged.splitlines() == ["M  README.md", " A mine.txt", "D  tests/test_it.sh"]
    assert git.go_back("main", commit, before) == []
    assert repo.git("status", "--porcelain") == staged and (repo.root / "mine.txt").read_text() == "mine\n"


def test_without_git_lfs_it_says_so_and_not_that_a_remote_hung_up(repo: Repo, tmp_path: Path) -> None:
    repo.write(".gitattributes", "*.bin filter=lfs\n")
    repo.write("w.bin", "weights\n")
    commit = repo.commit("weights")
    repo.git("config", "filter.lfs.process", "no-such-git-lfs filter-process")
    repo.git("config", "filter.lfs.smudge", "no-such-git-lfs smudge")
    repo.git("config", "filter.lfs.required", "true")
    with pytest.raises(PreconditionError, match="kept with git-lfs, which cannot be run here") as refused:
        Git(repo.root).export(commit, tmp_path / "out")
    assert refused.value.fix == "install git-lfs, then: git lfs install"
    assert "hung up" not in refused.value.message


def test_a_git_without_an_option_that_is_told_to_be_typed_is_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PreconditionError) as refused:
        require_git()
    assert "--atomic" in fetch_from("there"), "which git fetch has from 2.31 on"
    assert refused.value.fix.startswith(INSTALL) and doctor._git().fix == INSTALL == "install git 2.31 or newer"
    program = tmp_path / "git"
    for version, new in (("2.30.9", False), ("2.31.0", True), ("3.0.1 (Apple Git-200)", True)):
        program.write_text(f"#!/bin/sh\necho 'git version {version}'\n")
        program.chmod(0o755)
        found = doctor._git()
        assert found.ok is new and found.fix == ("" if new else INSTALL) and found.found == version.split()[0]
    program.write_text("#!/bin/sh\nexit 1\n")
    assert not doctor._git().ok and doctor._git().fix == INSTALL
