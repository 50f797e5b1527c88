"""Where a workspace can be, and what can lie in it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from drawn import drawn
from lab import INIT, Lab, Repo, call, cli, new_repo

pytestmark = [pytest.mark.slow, pytest.mark.sampled(0.24)]


def whole_session(root: Path, mutable: Path) -> Lab:
    """Run a session of a keep, a discard and a crash in `root`, whose mutable script is `mutable`."""
    lab = Lab(root)
    assert call("baseline", cwd=root).code == 0
    for script, status in (("echo METRIC total_ms=50\n", "keep"), ("echo METRIC total_ms=70\n", "discard"),
                           ("exit 1\n", "crash")):  # fmt: skip
        mutable.write_text(script)
        done = call("try", "-m", "x", "--json", cwd=root)
        assert done.code == 0 and done.json["status"] == status, done
        lab.assert_clean()
        assert mutable.read_text() == "echo METRIC total_ms=50\n"
    assert call("check", cwd=root).code == 0
    return lab


@pytest.mark.parametrize("name", drawn(["with a space", "-dash", "ünï-日本", "a'b\"c", "[x]*?", "a;b$(c)&", "#hash",
                                        "!bang", "back\\slash", "a:b", "trailing "], 0.25, "names"))  # fmt: skip
def test_a_workspace_may_have_any_name(tmp_path: Path, name: str) -> None:
    repo = new_repo(tmp_path / name)
    assert call(*INIT, cwd=repo.root).code == 0
    whole_session(repo.root, repo.root / "src/run.sh")


@pytest.mark.slow
@pytest.mark.parametrize("name", drawn(["sub", "-dash", "with a space", "[x]*?", "#hash", "back\\slash", "trailing "],
                                       0.3, "names of folders"))  # fmt: skip
def test_a_workspace_may_be_a_folder_of_a_larger_repository(tmp_path: Path, name: str) -> None:
    big = new_repo(tmp_path / "big")
    sub = big.root / name
    shutil.copytree(big.root / "src", sub / "src")
    shutil.copy(big.root / "bench.sh", sub)
    big.commit()
    assert call(*INIT, cwd=sub).code == 0
    assert big.git("status", "--porcelain") == ""
    lab = whole_session(sub, sub / "src/run.sh")
    changed = big.git("diff", "--name-only", "-z", "main", "HEAD").strip("\0").split("\0")
    assert sorted(changed) == sorted([f"{name}/autoresearch.toml", f"{name}/src/run.sh"])
    lab.write("../README.md", "mine\n")
    (sub / "src/run.sh").write_text("echo METRIC total_ms=1\n")
    done = call("try", "-m", "x", cwd=sub / "src")
    assert done.code == 5 and "README.md" in done.err


def test_a_workspace_may_be_named_from_outside(tmp_path: Path) -> None:
    new_repo(tmp_path / "-dash")
    words = ["--", "-dash"]
    done = call("init", *INIT[2:], *words, cwd=tmp_path)
    assert done.code == 0, done
    assert call("-C", "-dash", "baseline", cwd=tmp_path).code == 0


def test_a_workspace_may_be_another_work_tree(tmp_path: Path) -> None:
    main = new_repo(tmp_path / "main")
    main.git("worktree", "add", "-q", "-b", "second", str(tmp_path / "tree"))
    assert call(*INIT, cwd=tmp_path / "tree").code == 0
    whole_session(tmp_path / "tree", tmp_path / "tree/src/run.sh")
    assert main.git("status", "--porcelain") == "" and main.git("branch", "--show-current") == "main"


def test_a_workspace_may_be_reached_through_a_link(tmp_path: Path) -> None:
    repo = new_repo(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    assert call(*INIT, cwd=tmp_path / "link").code == 0
    whole_session(tmp_path / "link", repo.root / "src/run.sh")


def test_a_mutable_folder_whose_name_git_would_read_as_a_pattern_is_just_that_folder(tmp_path: Path) -> None:
    """`:s` would be a word of git's own for paths, and `[1]` a choice of names: the folder beside it stays as it is."""
    repo = new_repo(tmp_path / "repo")
    (repo.root / "src").rename(repo.root / ":s[1]")
    repo.write("bench.sh", "bash ':s[1]/run.sh'\n")
    repo.write(":s1/run.sh", "theirs\n")
    repo.commit()
    words = [":s[1]" if word == "src" else word for word in INIT]
    assert call(*words, cwd=repo.root).code == 0
    whole_session(repo.root, repo.root / ":s[1]/run.sh")
    assert (repo.root / ":s1/run.sh").read_text() == "theirs\n"


NAMES = ["with space", "quo\"te'", "new\nline", "tab\tbed", "ünï", "-dash", "[glob]*", "back\\slash", ":colon", "#x",
         os.fsdecode(b"bytes-\xff\xfe")]  # fmt: skip


def test_mutable_files_may_have_any_name(lab: Lab) -> None:
    for name in NAMES:
        lab.write(f"src/{name}", "kept\n")
    assert lab.attempt("echo METRIC total_ms=90\n").code == 0
    lab.assert_clean()
    for name in NAMES:
        lab.write(f"src/{name}", "worse\n")
        lab.write(f"src/dir {name}/{name}", "worse\n")
    assert lab.attempt("echo METRIC total_ms=95\n").code == 0
    lab.assert_clean()
    assert {path.name for path in (lab.root / "src").iterdir()} == {*NAMES, "run.sh", "other.txt", "judge.sh", "base"}
    assert all((lab.root / "src" / name).read_text() == "kept\n" for name in NAMES)
    lab.write(f"{NAMES[-1]}.py", "def")
    lab.git("add", "-A")
    done = lab.call("try", "-m", "x", "--json")
    assert done.code == 5 and "bytes" in done.json["error"]["message"]
    real = cli("try", "-m", "x", "--json", cwd=lab.root)
    assert real.code == 5 and "bytes" in real.json["error"]["message"], real


def test_new_and_deleted_files_links_and_modes_come_and_go_with_the_experiment(lab: Lab) -> None:
    lab.write("src/tool", "#!/bin/sh\nexit 0\n")
    (lab.root / "src/link").symlink_to("run.sh")
    lab.attempt("echo METRIC total_ms=90\n")
    lab.assert_clean()
    (lab.root / "src/other.txt").unlink()
    (lab.root / "src/tool").chmod(0o755)
    (lab.root / "src/link").unlink()
    (lab.root / "src/link").symlink_to("../README.md")
    (lab.root / "src/outside").symlink_to("/etc/passwd")
    lab.write("src/deep/er/new", "new\n")
    assert lab.attempt("test -x src/tool && test -f src/deep/er/new && echo METRIC total_ms=95\n").code == 0
    assert lab.events("run")[-1]["outcome"] == "ok"
    lab.assert_clean()
    assert (lab.root / "src/link").readlink() == Path("run.sh")
    assert not (lab.root / "src/deep").exists() and not os.access(lab.root / "src/tool", os.X_OK)
    assert Path("/etc/passwd").exists() and not (lab.root / "src/outside").exists()
    shutil.rmtree(lab.root / "src")
    assert lab.call("try", "-m", "all gone").code == 0
    lab.assert_clean()


def test_a_mutable_folder_that_becomes_a_link_is_measured_and_taken_back(lab: Lab) -> None:
    shutil.move(lab.root / "src", lab.root / "moved")
    (lab.root / "src").symlink_to("moved")
    done = lab.call("try", "-m", "x")
    assert done.code == 0 and "CRASH" in done.out, done
    assert (lab.root / "moved/run.sh").is_file() and not (lab.root / "src").is_symlink()
    shutil.rmtree(lab.root / "moved")
    lab.assert_clean()


def test_caches_of_python_in_a_mutable_folder_are_never_part_of_an_experiment(lab: Lab) -> None:
    lab.write("src/__pycache__/a.cpython-311.pyc", "bytes")
    done = lab.call("try", "-m", "x")
    assert done.code == 5 and "nothing has changed" in done.err
    lab.attempt("echo METRIC total_ms=90\n")
    assert "__pycache__" not in lab.git("ls-tree", "-r", "--name-only", "HEAD")
    assert (lab.root / "src/__pycache__/a.cpython-311.pyc").read_text() == "bytes"


@pytest.mark.parametrize("autocrlf", ["true", "input"])
def test_line_ends_that_git_converts_are_no_edits(repo: Repo, autocrlf: str) -> None:
    repo.git("config", "core.autocrlf", autocrlf)
    repo.write("src/data.txt", "one\r\ntwo\r\n")
    repo.write(".gitattributes", "*.sh text eol=lf\n")
    repo.commit()
    assert call(*INIT, cwd=repo.root).code == 0
    lab = whole_session(repo.root, repo.root / "src/run.sh")
    lab.write("src/data.txt", "ONE\r\ntwo\r\n")
    assert lab.attempt().code == 0
    lab.assert_clean()


def test_hooks_and_signing_of_the_user_are_left_out(repo: Repo) -> None:
    marks = repo.root.parent / "marks"
    for hook in ("pre-commit", "commit-msg", "post-commit", "post-checkout", "post-rewrite", "reference-transaction",
                 "prepare-commit-msg", "post-index-change"):  # fmt: skip
        repo.write(f".git/hooks/{hook}", f"#!/bin/sh\necho {hook} >> {marks}\nexit 1\n", mode=0o755)
    repo.git("config", "commit.gpgsign", "true")
    repo.git("config", "gpg.program", "/bin/false")
    repo.git("config", "commit.template", "/nonexistent")
    repo.git("config", "branch.autoSetupMerge", "always")
    repo.git("config", "status.showUntrackedFiles", "no")
    before = (repo.root / ".git/config").read_text()
    marks.unlink(missing_ok=True)
    assert call(*INIT, cwd=repo.root).code == 0
    lab = Lab(repo.root)
    assert lab.call("baseline").code == 0
    for value in (50, 70):
        lab.write("src/new", f"{value}")
        lab.prints(value)
        done = lab.call("try", "-m", "x")
        assert done.code == 0, done
    assert not marks.exists(), marks.read_text()
    assert (repo.root / ".git/config").read_text() == before


@pytest.mark.parametrize("known", [(), ("user.email",), ("user.name",)])
def test_a_user_without_an_identity_can_work(repo: Repo, known: tuple[str, ...]) -> None:
    for name in {"user.name", "user.email"} - {*known}:
        repo.git("config", "--unset", name)
    repo.git("config", "user.useConfigOnly", "true")
    assert call(*INIT, cwd=repo.root).code == 0
    whole_session(repo.root, repo.root / "src/run.sh")
    assert repo.git("config", "--get-regexp", "user", check=False).count("\n") == len(known)


def test_variables_that_git_gives_its_hooks_do_not_mislead(lab: Lab, tmp_path: Path) -> None:
    other = new_repo(tmp_path / "other")
    lab.prints(50)
    env = {"GIT_DIR": str(other.root / ".git"), "GIT_WORK_TREE": str(other.root), "GIT_INDEX_FILE": "/nonexistent",
           "GIT_COMMON_DIR": str(other.root / ".git"), "GIT_NAMESPACE": "x", "GIT_LITERAL_PATHSPECS": "0",
           "GIT_GLOB_PATHSPECS": "1"}  # fmt: skip
    done = cli("try", "-m", "x", cwd=lab.root, env=env)
    assert done.code == 0, done
    lab.assert_clean()
    assert other.git("log", "--format=%s") == "start" and other.git("status", "--porcelain") == ""


def test_a_submodule_is_there_in_a_run(tmp_path: Path) -> None:
    library = new_repo(tmp_path / "library")
    repo = new_repo(tmp_path / "repo")
    repo.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library.root), "lib")
    repo.commit()
    (repo.root / "lib/untracked").write_text("mine\n")
    assert call(*INIT, "--command", "test -f lib/README.md && bash bench.sh", cwd=repo.root).code == 0
    whole_session(repo.root, repo.root / "src/run.sh")
    assert (repo.root / "lib/untracked").read_text() == "mine\n"


def test_a_second_session_begins_where_the_first_ended(lab: Lab) -> None:
    lab.attempt("echo METRIC total_ms=50\n")
    lab.workspace.journal.rename(lab.root.parent / "first.jsonl")
    done = lab.call("init", ".", "--task", "command", "--tag", "next")
    assert done.code == 0, done
    assert lab.call("baseline").code == 0
    assert lab.session.baseline is not None and lab.session.baseline.metric == 50
    assert subprocess.run(["git", "rev-parse", "refs/autoresearch/t/2"], cwd=lab.root).returncode == 0
