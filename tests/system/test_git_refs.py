"""Refs read from their files are what git says they are, or git is asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from lab import Repo, new_repo

from autoresearch.system import git_refs
from autoresearch.system.git import Git
from autoresearch.system.git_refs import targets_in_files

FOLDER = "refs/autoresearch/t"
BRANCH = "refs/heads/autoresearch/t"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """A repository with refs in files and packed ones, of which some have moved or gone since."""
    repo = new_repo(tmp_path_factory.mktemp("refs") / "repo")
    first = repo.git("rev-parse", "HEAD")
    for ref in (f"{FOLDER}/1", f"{FOLDER}/2", f"{FOLDER}/0-ablate/3", "refs/autoresearch/other/1", f"{FOLDER}x/1"):
        repo.git("update-ref", ref, first)
    repo.git("branch", "autoresearch/t")
    repo.git("tag", "-a", "-m", "a tag", "v1")
    repo.git("pack-refs", "--all")
    repo.write("README.md", "more\n")
    second = repo.commit("more")
    repo.git("update-ref", f"{FOLDER}/2", second)
    repo.git("update-ref", f"{FOLDER}/4", f"{second}^{{tree}}")
    repo.git("update-ref", "-d", "refs/autoresearch/other/1")
    return repo


def as_git_says(repo: Repo, *folders: str) -> list[tuple[str, str]]:
    lines = repo.git("for-each-ref", "--format=%(refname) %(objectname)", *folders).splitlines()
    return [(ref, target) for ref, target in map(str.split, lines)]


@pytest.mark.parametrize("folders", [
    (FOLDER,), (FOLDER, BRANCH), ("refs/autoresearch/other",), ("refs/autoresearch",), (f"{FOLDER}/2",),
    ("refs/tags", "refs/heads"), (f"{FOLDER}/1/below",),
])  # fmt: skip
def test_the_files_say_what_git_says(made: Repo, folders: tuple[str, ...]) -> None:
    found = targets_in_files(made.root / ".git", folders)
    assert found is not None and [*found.items()] == as_git_says(made, *folders)


def test_a_linked_work_tree_has_the_refs_of_all(made: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made.git("worktree", "add", "-q", "--detach", str(tmp_path / "tree"))
    git = Git(tmp_path / "tree")
    expected = as_git_says(made, FOLDER, BRANCH)
    monkeypatch.setattr(git, "text", lambda *_: pytest.fail("git was asked"))
    assert [*git.targets(FOLDER, BRANCH).items()] == expected and len(expected) == 5


def test_a_lock_is_no_ref(made: Repo) -> None:
    lock = made.root / ".git" / FOLDER / "9.lock"
    lock.write_text("")
    try:
        found = targets_in_files(made.root / ".git", (FOLDER,))
        assert found is not None and [*found.items()] == as_git_says(made, FOLDER)
    finally:
        lock.unlink()


def odd(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


@pytest.mark.parametrize("oddity", [
    odd("5", "ref: refs/heads/main\n"),
    odd("5", "not a hash\n"),
    odd("5", "0" * 40 + "\n"),
    odd("a name", "1" * 40 + "\n"),
    odd("a..b", "1" * 40 + "\n"),
    lambda folder: (folder / "5").symlink_to("2"),
    lambda folder: os.mkfifo(folder / "5"),
], ids=["another ref", "no hash", "nothing", "no name", "no name either", "a link", "a pipe"])  # fmt: skip
def test_what_is_no_plain_ref_is_asked_of_git(made: Repo, oddity: Callable[[Path], object]) -> None:
    folder = made.root / ".git" / FOLDER
    before = {*folder.iterdir()}
    oddity(folder)
    try:
        assert targets_in_files(made.root / ".git", (FOLDER,)) is None
        assert targets_in_files(made.root / ".git", (BRANCH,)) is not None
    finally:
        for path in {*folder.iterdir()} - before:
            path.unlink()


def test_many_refs_patterns_and_other_ways_to_keep_refs_are_asked_of_git(
    made: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = made.root / ".git"
    for folder in ("refs/autoresearch/**/0-journal", "refs/../x", "refs", "HEAD"):
        assert targets_in_files(git, (folder,)) is None, folder
    monkeypatch.setattr(git_refs, "MOST", 1)
    assert targets_in_files(git, (FOLDER,)) is None
    monkeypatch.undo()
    (tmp_path / "reftable").mkdir()
    assert targets_in_files(tmp_path, (FOLDER,)) is None
    (tmp_path / "reftable").rmdir()
    for packed in (f"{'1' * 40} {FOLDER}/1\nbroken {FOLDER}/2\n", f"{'1' * 40} {FOLDER}/1"):
        (tmp_path / "packed-refs").write_text(packed)
        assert targets_in_files(tmp_path, (FOLDER,)) is None, packed
