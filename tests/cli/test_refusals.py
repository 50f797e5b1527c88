"""Whatever a person gets wrong is one line that says what to type next, with the exit code of the contract."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import pkgutil
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab import INIT, Called, Lab, Maker, Repo, call, cli, task_file

import autoresearch

USAGE, NO_SESSION, INTEGRITY, PRECONDITION = 2, 3, 4, 5
KIND = {1: {"failed", "machine"}, 2: {"usage"}, 3: {"no_session"}, 4: {"integrity"}, 5: {"precondition"}, 6: {"stop"}}
TRY = ("try", "-m", "a change")


def refused(cwd: Path, code: int, said: str, *args: str, by: Callable[..., Called] = call) -> str:
    """Assert that a command is refused the same way as text and as JSON, and return the line."""
    text = by(*args, cwd=cwd)
    assert text.code == code, text
    line = text.err.splitlines()[-1]
    assert line.startswith("autoresearch: ") and said in line, text
    assert "Traceback" not in text.err + text.out and text.out == ""
    twin = by(*args, "--json", cwd=cwd)
    assert twin.code == code, twin
    error = twin.json["error"]
    assert set(error) == {"kind", "message", "fix"} and error["kind"] in KIND[code] and error["message"], twin
    assert error["fix"] and "\n" not in error["message"] + error["fix"], twin
    assert twin.err.splitlines()[-1] == line
    return line


def refused_try(lab: Lab, code: int, said: str, *args: str) -> str:
    """Assert that `try` is refused and that neither journal nor branch changed."""
    before, head = lab.events(), lab.git("rev-parse", "HEAD", check=False)
    line = refused(lab.root, code, said, *(args or TRY))
    assert lab.events() == before and lab.git("rev-parse", "HEAD", check=False) == head
    return line


class TestWords:
    def test_an_unknown_command_or_option_is_a_usage_error(self, lab: Lab) -> None:
        assert "--help" in refused(lab.root, USAGE, "fly", "fly")
        assert "try --help" in refused(lab.root, USAGE, "--flap", *TRY, "--flap")
        assert "Value error" not in refused(lab.root, USAGE, "'gredy' is not one of", "log", "--policy", "gredy")
        refused(lab.root, USAGE, "N", "show", "many")
        refused(lab.root, USAGE, "seeds", "baseline", "--seeds", "0")

    def test_an_experiment_that_is_not_there_is_named(self, lab: Lab) -> None:
        refused(lab.root, USAGE, "experiment 99", "show", "99")
        refused(lab.root, USAGE, "experiment 99", "note", "99", "--asi", "a=b")
        refused(lab.root, PRECONDITION, "experiment 99", "try", "--again", "99")
        refused(lab.root, USAGE, "status", "log", "--status", "kept")

    @pytest.mark.parametrize("asi", ["hypothesis", "=x", " =x", ""])
    def test_side_information_needs_a_key_and_a_value(self, lab: Lab, asi: str) -> None:
        refused(lab.root, USAGE, "KEY=VALUE", *TRY, "--asi", asi)
        refused(lab.root, USAGE, "KEY=VALUE", "note", "1", "--asi", asi)

    @pytest.mark.parametrize("number", ["inf", "-inf", "nan", "1e999"])
    def test_a_number_that_is_not_finite_is_none(self, lab: Lab, number: str) -> None:
        for words in (("run", "--max-hours"), ("run", "--max-usd"), ("wait", "--timeout"), ("audit", "x", "--noise"),
                      ("init", "../new", "--minutes"), ("init", "../new", "--seconds"),
                      ("init", "../new", "--limit")):  # fmt: skip
            assert words[-1] in refused(lab.root, USAGE, words[-1], *words, number)
        assert not (lab.root.parent / "new").exists()

    @pytest.mark.parametrize(
        "words",
        [("init", ".", "--command", "caf\udce9"), ("init", ".", "--tag", "\udcff"), ("try", "-m", "caf\udce9"),
         ("tell", "\udcff"), ("note", "1", "--asi", "a=\udcff"), ("\udcff",)],
    )  # fmt: skip
    def test_a_word_that_is_not_utf_8_is_refused_before_anything_is_done(
        self, tmp_path: Path, words: tuple[str, ...]
    ) -> None:
        assert r"\udc" in refused(tmp_path, USAGE, "is not UTF-8", *words)
        assert [*tmp_path.iterdir()] == []

    @pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
    def test_a_folder_may_have_any_name(self, tmp_path: Path) -> None:
        folder = tmp_path / "caf\udce9"
        folder.mkdir()
        assert call("-C", str(folder), "tasks", cwd=tmp_path).code == 0

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("export", "--to", "tensorboard", "-f", "tsv"), "--format has no effect with --to"),
            (("export", "--to", "tensorboard", "--table", "runs"), "--table has no effect with --to"),
            (("export", "--table", "runs"), "--table has no effect without --format parquet"),
            (("audit", "x", "--html", "--replay"), "--html has no effect with --replay"),
            (("audit", "x", "-o", "audit.html"), "--output has no effect without --html"),
            (("audit", "x", "--max-hours", "2"), "--max-hours has no effect without --replay"),
            (("show", "1", "--file", "train.py", "--diff"), "--diff has no effect with --file"),
            (("next", "--knobs", "--strategy", "balanced"), "--strategy has no effect with --knobs"),
            (("ideas", "--claim", "1", "--family", "size"), "--family has no effect without --add"),
            (("ideas", "--by", "ada"), "--by has no effect without --claim"),
            (("doctor", "--gpu", "--workers", "ray://x:1"), "--workers has no effect with --gpu"),
        ],
    )
    def test_an_option_that_another_one_leaves_unheeded_is_refused(
        self, tmp_path: Path, words: tuple[str, ...], said: str
    ) -> None:
        assert f"autoresearch {words[0]} --help" in refused(tmp_path, USAGE, said, *words)

    def test_a_folder_that_is_not_there_is_named(self, lab: Lab) -> None:
        refused(lab.root, PRECONDITION, "nowhere", "-C", "nowhere", "status")
        refused(lab.root, PRECONDITION, "README.md", "-C", "README.md", "status")

    def test_a_change_needs_a_description(self, lab: Lab) -> None:
        lab.prints(1)
        refused_try(lab, PRECONDITION, "description", "try")
        refused_try(lab, PRECONDITION, "description", "try", "-m", "  ")

    @pytest.mark.parametrize("command", ["status", "log", "baseline", "resume", "check", "ideas", "export", "plot"])
    def test_without_a_session_every_command_says_how_to_start_one(self, tmp_path: Path, command: str) -> None:
        assert "autoresearch init" in refused(tmp_path, NO_SESSION, "autoresearch.jsonl", command)


@pytest.mark.parametrize("value", ["1e999", "-1e999", "[1, 1e999]", '{"a": 1e999}', "NaN", "[" * 5000, "1" * 5000,
                                   r'"\ud800"', "\x1b[2J", "ü €"])  # fmt: skip
def test_any_value_of_side_information_is_recorded(lab: Lab, value: str) -> None:
    lab.prints(200)
    done = lab.call(*TRY, "--asi", f"k={value}", "--json")
    assert done.code == 0, done.err
    assert "k" in done.json["asi"] and "k" in lab.session.experiments[-1].asi
    lab.assert_clean()


@pytest.mark.parametrize("parent", ["[1, 2]", '{"a": 1}', "true", "one"])
def test_a_parent_that_is_no_number_is_a_note(lab: Lab, parent: str) -> None:
    lab.prints(200)
    assert lab.call(*TRY, "--asi", f"parent={parent}").code == 0
    for command in ("next", "status", "resume"):
        assert lab.call(command).code == 0


class TestTheState:
    def test_a_change_outside_the_mutable_files_is_named(self, lab: Lab) -> None:
        lab.prints(1)
        lab.write("README.md", "mine\n")
        assert "git stash" in refused_try(lab, PRECONDITION, "README.md has changes")
        assert (lab.root / "README.md").read_text() == "mine\n"

    def test_a_change_that_is_staged_elsewhere_is_named_and_stays_staged(self, lab: Lab) -> None:
        lab.prints(1)
        lab.write("README.md", "mine\n")
        lab.git("add", "README.md")
        refused_try(lab, PRECONDITION, "README.md is staged")
        lab.git("reset", "-q", "--hard")
        lab.prints(1)
        lab.write("new.txt", "mine\n")
        lab.git("add", "new.txt")
        refused_try(lab, PRECONDITION, "new.txt is staged")
        assert lab.git("status", "--porcelain", "new.txt") == "A  new.txt"

    def test_another_branch_or_none_is_named(self, lab: Lab) -> None:
        lab.git("switch", "-q", "-c", "other")
        lab.prints(1)
        assert "git switch autoresearch/t" in refused_try(lab, PRECONDITION, "other")
        lab.git("switch", "-q", "--detach")
        assert "git switch autoresearch/t" in refused_try(lab, PRECONDITION, "detached")

    def test_a_branch_that_is_gone_can_be_brought_back(self, lab: Lab) -> None:
        lab.git("switch", "-q", "main")
        lab.git("branch", "-q", "-D", "autoresearch/t")
        line = refused_try(lab, INTEGRITY, "is gone")
        lab.git(*line.rsplit("git ", 1)[1].split())
        assert lab.attempt("echo METRIC total_ms=1\n").code == 0

    @pytest.mark.parametrize("operation", ["merge", "rebase", "cherry-pick", "revert"])
    def test_a_git_operation_that_is_half_way_is_named(self, lab: Lab, operation: str) -> None:
        lab.git("switch", "-q", "-c", "side", "main")
        lab.write("README.md", "side\n")
        lab.commit("side")
        lab.git("switch", "-q", "autoresearch/t")
        lab.write("README.md", "here\n")
        lab.commit("here")
        if operation == "revert":
            lab.write("README.md", "later\n")
            lab.commit("later")
        lab.git(operation, {"revert": "HEAD~1"}.get(operation, "side"), check=False)
        assert f"git {operation} --" in refused_try(lab, PRECONDITION, f"a git {operation} is not finished")
        assert lab.git("status", "--porcelain") != ""

    def test_an_edited_immutable_file_stops_everything_until_it_is_back(self, lab: Lab) -> None:
        before = (lab.root / "bench.sh").read_text()
        lab.prints(1)
        lab.write("bench.sh", "echo METRIC total_ms=0\n")
        line = refused_try(lab, INTEGRITY, "bench.sh has changed")
        refused(lab.root, INTEGRITY, "bench.sh has changed", "check")
        lab.git(*line.rsplit("git ", 1)[1].split())
        assert (lab.root / "bench.sh").read_text() == before
        assert lab.call("check").code == 0
        assert lab.attempt().code == 0

    def test_an_immutable_file_that_was_deleted_or_committed_over_is_named(self, lab: Lab) -> None:
        (lab.root / "bench.sh").unlink()
        refused_try(lab, INTEGRITY, "bench.sh is missing")
        lab.write("bench.sh", "echo METRIC total_ms=0\n")
        lab.commit("a better benchmark")
        refused_try(lab, INTEGRITY, "bench.sh has changed")

    def test_what_git_does_not_track_in_an_immutable_folder_is_no_tampering(self, make_lab: Maker) -> None:
        lab = make_lab(files={"mutable": ["src"], "immutable": ["bench.sh", "autoresearch.toml", "tests"]})
        assert lab.call("check").code == 0
        lab.write("tests/.DS_Store", "x")
        assert lab.call("check").code == 0
        assert lab.attempt("echo METRIC total_ms=1\n").code == 0
        lab.git("add", "-f", "tests/.DS_Store")
        refused_try(lab, INTEGRITY, "tests/.DS_Store is new")

    def test_a_running_experiment_is_waited_for(self, lab: Lab) -> None:
        lab.prints(1)
        with (lab.workspace.state / "lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            refused_try(lab, PRECONDITION, "running here")
        assert lab.attempt().code == 0

    def test_a_lock_of_another_git_is_waited_for(self, lab: Lab) -> None:
        lab.prints(1)
        lock = lab.write(".git/index.lock", "")
        refused_try(lab, PRECONDITION, "lock")
        assert lock.exists()
        lock.unlink()
        assert lab.attempt().code == 0


class TestTheTask:
    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            ("[metric]", "[metric", "is not TOML"),
            ("limit_s = 600", "limits = 600", "[run] limits: unknown key; known are budget, checks"),
            ("limit_s = 600", 'limit_s = "long"', "[run] limit_s"),
            ("limit_s = 600", "limit_s = -1", "[run] limit_s"),
            ('direction = "lower"', 'direction = "down"', "[metric] direction"),
            ('name = "total_ms"', 'name = "total ms"', "[metric] name"),
            ('name = "total_ms"', "", "[metric] name is missing"),
            ('mutable = ["src"]', 'mutable = ["src", "bench.sh"]', "bench.sh is immutable"),
            ('mutable = ["src"]', 'mutable = ["."]', "immutable"),
            ('mutable = ["src"]', 'mutable = ["../x"]', "inside the workspace"),
            ('mutable = ["src"]', "mutable = []", "[files] mutable"),
            ("[keep]", "[kept]", "kept"),
            ("seeds = 7", "seeds = 0", "[keep] seeds"),
        ],
    )
    def test_a_task_file_that_is_wrong_names_the_key(self, lab: Lab, old: str, new: str, said: str) -> None:
        path = lab.root / "autoresearch.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        refused_try(lab, PRECONDITION, said)

    def test_a_task_file_that_is_gone_or_no_text(self, lab: Lab) -> None:
        path = lab.root / "autoresearch.toml"
        path.write_bytes(b"\xff\xfe\x00")
        refused_try(lab, PRECONDITION, "autoresearch.toml")
        path.unlink()
        assert "git restore" in refused_try(lab, PRECONDITION, "no autoresearch.toml")

    def test_a_task_that_was_changed_and_still_reads_is_an_edited_immutable_file(self, lab: Lab) -> None:
        path = lab.root / "autoresearch.toml"
        path.write_text(path.read_text().replace("limit_s = 600", "limit_s = 6000"))
        lab.prints(1)
        refused_try(lab, INTEGRITY, "autoresearch.toml has changed")


class TestTheJournal:
    def test_an_unknown_status_names_the_line_and_is_no_keep(self, lab: Lab) -> None:
        with lab.workspace.journal.open("a") as file:
            file.write('{"run":2,"commit":"abc","metric":1,"status":"kept","description":"x"}\n')
        refused_try(lab, INTEGRITY, "line 4: unknown status 'kept'")
        refused(lab.root, INTEGRITY, "line 4", "status")

    def test_garbage_in_the_middle_names_the_line(self, lab: Lab) -> None:
        first, *rest = lab.workspace.journal.read_text().splitlines(keepends=True)
        lab.workspace.journal.write_text(first + "garbage\n" + "".join(rest))
        lab.prints(1)
        for words in (TRY, ("status",), ("resume",), ("check",), ("log",)):
            refused(lab.root, INTEGRITY, "line 2", *words)

    def test_a_torn_last_line_is_tolerated_and_cleaned_by_the_next_experiment(self, lab: Lab) -> None:
        with lab.workspace.journal.open("a") as file:
            file.write('{"type":"start","experi')
        assert lab.call("status").code == 0
        assert lab.attempt("echo METRIC total_ms=1\n").code == 0
        assert [e["run"] for e in lab.events("run")] == [1, 2]

    def test_a_keep_without_a_number_is_not_compared_with(self, lab: Lab) -> None:
        head = lab.git("rev-parse", "HEAD")
        with lab.workspace.journal.open("a") as file:
            file.write(json.dumps({"run": 2, "commit": head, "metric": None, "status": "keep"}) + "\n")
        lab.prints(1)
        done = lab.attempt()
        assert "Traceback" not in done.err and done.code in (0, 4, 5), done

    def test_an_empty_journal_is_no_traceback(self, lab: Lab) -> None:
        lab.workspace.journal.write_text("")
        for words in (TRY, ("status",), ("resume",), ("check",), ("log",), ("baseline",), ("export",)):
            assert lab.call(*words).code in (0, 4, 5), words


class TestTheChange:
    def test_nothing_changed(self, lab: Lab) -> None:
        refused_try(lab, PRECONDITION, "nothing has changed in src")

    def test_nothing_but_a_file_that_git_ignores(self, lab: Lab) -> None:
        lab.write("src/.gitignore", "made\n")
        assert lab.attempt("echo METRIC total_ms=90\n").code == 0
        lab.write("src/made", "1\n")
        line = refused_try(lab, PRECONDITION, "nothing has changed in src that git does not ignore")
        lab.git(*line.rsplit("git ", 1)[1].split())
        assert "DISCARD" in lab.attempt().out

    def test_python_that_does_not_parse_costs_nothing(self, lab: Lab) -> None:
        lab.write("src/model.py", "def f(:\n")
        refused_try(lab, PRECONDITION, "src/model.py line 1")

    def test_the_same_change_names_the_experiment_it_was(self, lab: Lab) -> None:
        lab.attempt("echo METRIC total_ms=200\n")
        lab.edit("echo METRIC total_ms=200\n")
        before, head = lab.events(), lab.git("rev-parse", "HEAD")
        assert "--again 2" in refused(lab.root, PRECONDITION, "experiment 2 was the same code", *TRY)
        # No experiment: a line that it was tried again, for each time that it was.
        *lines, one, two = lab.events()
        assert lines == before and lab.git("rev-parse", "HEAD") == head
        assert [one["type"], two["type"], *lab.session.refused] == ["refused", "refused", 2, 2]

    def test_two_commits_on_top_can_be_gathered_as_it_says(self, lab: Lab) -> None:
        for value in (90, 80):
            lab.prints(value)
            lab.commit()
        line = refused_try(lab, PRECONDITION, "one commit on top")
        lab.git(*line.rsplit("git ", 1)[1].split())
        assert lab.attempt().code == 0
        assert lab.events("run")[-1]["metric"] == 80

    def test_one_commit_of_the_agent_is_taken_with_its_message(self, lab: Lab) -> None:
        lab.prints(80)
        lab.git("commit", "-qam", "my own words")
        assert lab.call("try").code == 0
        assert lab.events("run")[-1]["description"] == "my own words"
        lab.prints(300)
        lab.git("commit", "-qam", "worse")
        assert lab.call("try").code == 0
        assert lab.events("run")[-1]["status"] == "discard"
        lab.assert_clean()

    def test_a_commit_of_other_files_an_empty_one_or_a_merge_is_refused(self, lab: Lab) -> None:
        lab.prints(80)
        lab.write("README.md", "x")
        lab.commit()
        refused_try(lab, PRECONDITION, "README.md, which is not mutable")
        lab.git("reset", "-q", "--hard", "HEAD~1")
        lab.git("commit", "-q", "--allow-empty", "-m", "nothing")
        refused_try(lab, PRECONDITION, "changes nothing")
        lab.git("reset", "-q", "--hard", "HEAD~1")
        lab.git("switch", "-q", "-c", "side")
        lab.prints(70)
        lab.commit()
        lab.git("switch", "-q", "autoresearch/t")
        lab.git("merge", "-q", "--no-ff", "-m", "merge", "side")
        refused_try(lab, PRECONDITION, "one commit on top")

    def test_edits_on_top_of_a_commit_are_refused(self, lab: Lab) -> None:
        lab.prints(80)
        lab.commit()
        lab.prints(70)
        refused_try(lab, PRECONDITION, "edits on top")

    def test_again_does_not_overwrite_edits_or_a_commit(self, lab: Lab) -> None:
        lab.attempt("echo METRIC total_ms=200\n")
        lab.prints(5)
        refused_try(lab, PRECONDITION, "not measured", "try", "--again", "2")
        assert "=5\n" in (lab.root / "src/run.sh").read_text()
        lab.commit()
        refused_try(lab, PRECONDITION, "", "try", "--again", "2")
        assert "=5\n" in (lab.root / "src/run.sh").read_text()
        assert lab.git("status", "--porcelain") == ""


def init(repo: Repo, code: int, said: str, *more: str, words: tuple[str, ...] = INIT) -> str:
    """Assert that `init` is refused and that nothing was written."""
    before, refs = repo.git("status", "--porcelain", "--ignored", check=False), repo.git("for-each-ref", check=False)
    line = refused(repo.root, code, said, *words, *more)
    assert repo.git("status", "--porcelain", "--ignored", check=False) == before
    assert repo.git("for-each-ref", check=False) == refs
    return line


class TestInit:
    def test_an_amount_of_nothing_is_named_by_its_option_before_there_is_a_folder(self, tmp_path: Path) -> None:
        line = refused(tmp_path, PRECONDITION, "seconds", "init", "new", "--task", "mazes", "--seconds", "0")
        assert line.endswith("; correct --seconds") and not (tmp_path / "new").exists()

    def test_a_source_that_set_up_cannot_use_is_said_once_with_where_another_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        words = ("init", "new", "--task", "pretrain", "--profile", "tiny", "--source", "empty")
        done = call(*words, cwd=tmp_path)
        assert done.code == 1 and done.err.count("has no text") == 1, done
        assert done.err.endswith("or name another in its autoresearch.toml; then: cd new && autoresearch baseline\n")

    def test_changes_and_half_way_states_are_named(self, repo: Repo) -> None:
        repo.write("README.md", "mine\n")
        init(repo, PRECONDITION, "README.md has changes")
        repo.git("checkout", "-q", "README.md")
        repo.git("switch", "-q", "--detach")
        init(repo, PRECONDITION, "detached")

    def test_names_that_are_taken_or_cannot_be(self, repo: Repo) -> None:
        repo.git("branch", "autoresearch/t")
        init(repo, PRECONDITION, "autoresearch/t exists")
        repo.git("branch", "-D", "autoresearch/t")
        for tag in ("a b", "a..b", "x~1", "a\nb", ".a", "a.lock"):
            init(repo, USAGE, "branch name", "--tag", tag)
        repo.git("branch", "autoresearch")
        init(repo, PRECONDITION, "autoresearch")
        repo.git("branch", "-D", "autoresearch")
        repo.git("branch", "autoresearch/t/x")
        init(repo, PRECONDITION, "autoresearch/t")

    def test_the_experiments_of_an_earlier_session_are_not_overwritten(self, lab: Lab) -> None:
        kept = lab.ref(1)
        lab.git("switch", "-q", "main")
        lab.git("branch", "-q", "-D", "autoresearch/t")
        lab.workspace.journal.unlink()
        line = init(lab, PRECONDITION, "choose another name with --tag NAME, or bring it back: ")
        assert line.endswith("autoresearch resume --restore t")
        lab.git("update-ref", "-d", "refs/autoresearch/t/0-journal")
        init(lab, PRECONDITION, "refs/autoresearch/t")
        assert lab.ref(1) == kept

    def test_words_that_are_missing_or_wrong(self, repo: Repo) -> None:
        base = ("init", ".", "--task", "command", "--tag", "t")
        init(repo, USAGE, "mutable", words=base)
        init(repo, USAGE, "--command, --metric are missing", "--mutable", "src", words=base)
        init(repo, USAGE, "nope", words=("init", ".", "--task", "nope"))
        init(repo, USAGE, "direction", "--direction", "sideways")
        init(repo, PRECONDITION, "gone does not exist", "--mutable", "gone")
        init(repo, USAGE, "outside", "--mutable", "../x")
        init(repo, USAGE, "outside", "--mutable", "/etc/passwd")
        init(repo, PRECONDITION, "command not found: no-such-program", "--command", "no-such-program --now")
        init(repo, PRECONDITION, "quotes", "--command", "bash 'bench.sh")
        assert "correct --metric" in init(repo, PRECONDITION, "metric", "--metric", "total ms")
        assert "correct --limit" in init(repo, PRECONDITION, "limit_s", "--limit", "-1")
        line = init(repo, PRECONDITION, "lies in the mutable path .", "--mutable", ".")
        words = line.rsplit("change: ", 1)[1].split()
        assert words[:2] == ["--mutable", "src"] and "bench.sh" not in words
        assert repo.call(*INIT[:-4], "--tag", "named", *words).code == 0
        repo.git("switch", "-q", "main")
        (repo.root / "autoresearch.jsonl").unlink()
        repo.write("mine/x", "x")
        init(repo, PRECONDITION, "mine is not tracked", "--mutable", "mine")

    def test_options_beside_a_committed_task_file_name_the_key_to_write(self, repo: Repo) -> None:
        repo.write("autoresearch.toml", task_file())
        repo.commit()
        for task in ((), ("--task", "command")):
            line = init(repo, USAGE, "so --seeds, --minutes cannot", "--minutes", "90", "--seeds", "2",
                        words=("init", ".", *task, "--tag", "t"))  # fmt: skip
            assert "([keep] seeds, [stop] max_hours)" in line
            assert line.endswith("leave it out: autoresearch init . --task command --tag t")

    def test_a_benchmark_that_git_does_not_track_is_named(self, repo: Repo) -> None:
        repo.write("new.sh", "echo METRIC total_ms=1\n")
        assert "git add -- new.sh" in init(repo, PRECONDITION, "new.sh is not tracked", "--command", "bash new.sh")

    def test_a_program_of_a_linked_environment_need_not_be_tracked(self, repo: Repo) -> None:
        repo.write(".gitignore", "node_modules\n")
        repo.commit()
        repo.write("node_modules/.bin/tool", "#!/bin/sh\necho METRIC total_ms=1\n", mode=0o755)
        assert repo.call(*INIT, "--command", "node_modules/.bin/tool").code == 0
        assert repo.call("baseline").code == 0

    def test_no_repository_no_commit_or_a_bare_one(self, tmp_path: Path) -> None:
        folder = tmp_path / "plain"
        folder.mkdir()
        (folder / "bench.sh").write_text("x")
        assert "git init" in refused(folder, PRECONDITION, "not in a git repository", *INIT)
        subprocess.run(["git", "init", "-q", folder], check=True)
        assert "git commit" in refused(folder, PRECONDITION, "no commit", *INIT)
        bare = tmp_path / "bare"
        subprocess.run(["git", "init", "-q", "--bare", bare], check=True)
        refused(bare, PRECONDITION, "bare", *INIT)

    def test_a_session_that_is_there_is_not_begun_again(self, lab: Lab) -> None:
        init(lab, PRECONDITION, "has a session already")

    def test_a_file_of_our_name_is_not_overwritten(self, repo: Repo) -> None:
        repo.write("autoresearch.toml", "mine = 1\n")
        repo.commit()
        init(repo, PRECONDITION, "autoresearch.toml is there already")
        init(repo, PRECONDITION, "[task] is missing", words=("init", ".", "--task", "command", "--tag", "t"))

    def test_a_task_file_that_waits_for_its_commit_is_told_so(self, repo: Repo) -> None:
        repo.write("autoresearch.toml", task_file())
        fix = refused(repo.root, PRECONDITION, "autoresearch.toml is there already", "init", ".", "--tag", "t")
        assert "commit it to use it as it is, or rename it: mv" in fix
        assert "commit it and leave out the options to use it" in refused(repo.root, PRECONDITION, "differs", *INIT)
        repo.commit()
        assert repo.call("init", ".", "--tag", "t").code == 0


class TestTheMachine:
    def test_without_git(self, lab: Lab, repo: Repo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        lab.prints(1)
        monkeypatch.setenv("PATH", str(tmp_path))
        refused(lab.root, PRECONDITION, "git is not installed", *TRY)
        refused(repo.root, PRECONDITION, "git is not installed", *INIT)
        refused(
            tmp_path, PRECONDITION, "git is not installed", "init", "new", "--task", "pretrain", "--profile", "tiny"
        )
        assert lab.call("status").code == 0

    def test_a_file_where_our_folder_should_be(self, lab: Lab) -> None:
        shutil.rmtree(lab.root / ".autoresearch")
        lab.write(".autoresearch", "a file\n")
        lab.prints(1)
        before = lab.events()
        line = refused(lab.root, PRECONDITION, ".autoresearch", *TRY)
        assert "Traceback" not in line and lab.events() == before

    @pytest.mark.parametrize("what", ["folder", "journal", "git"])
    def test_without_permission(self, lab: Lab, what: str) -> None:
        if os.getuid() != 0:
            pytest.skip("needs root to become another user")
        lab.prints(1)
        for folder in (lab.root, *lab.root.parents):
            with contextlib.suppress(PermissionError):
                folder.chmod(0o755)
        subprocess.run(["chown", "-R", "65534", lab.root], check=True)
        locked = {"folder": lab.root / ".autoresearch", "journal": lab.workspace.journal, "git": lab.root / ".git"}
        subprocess.run(["chown", "-R", "0", locked[what]], check=True)
        before = lab.workspace.journal.read_bytes()
        with another_user(lab) as done:
            code, out, err = done
        assert code == PRECONDITION, (code, out, err)
        assert "permission" in err and "Traceback" not in err
        assert lab.workspace.journal.read_bytes() == before

    def test_a_full_disk_decides_nothing_and_the_next_command_goes_on(self, lab: Lab) -> None:
        lab.edit("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo METRIC total_ms=50\n")
        full = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))}
        done = cli(*TRY, "--json", cwd=lab.root, **full)
        assert done.code == 1 and done.json["error"]["kind"] == "machine", done
        assert "nothing was decided" in done.json["error"]["message"]
        assert "try --again 2" in done.json["error"]["fix"]
        assert lab.events("run")[-1]["outcome"] == "killed"
        lab.assert_clean()
        assert lab.call("try", "--again", "2").code == 0
        assert lab.events("run")[-1]["metric"] == 50


@contextlib.contextmanager
def another_user(lab: Lab) -> Iterator[tuple[int, str, str]]:
    """Run `try` as nobody in a forked child, since the interpreter itself may not be readable for others.

    Nor may the checkout be, so every module of the package is there before the child is nobody.
    """
    for module in pkgutil.walk_packages(autoresearch.__path__, "autoresearch."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    out, err = lab.root.parent / "out", lab.root.parent / "err"
    child = os.fork()
    if child == 0:
        try:
            os.environ.update(HOME="/nonexistent", GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_SYSTEM="/dev/null")
            sides = (out.open("w"), err.open("w"))
            os.chdir(lab.root)
            os.setgid(65534)
            os.setuid(65534)
            done = call(*TRY, cwd=lab.root)
            for file, text in zip(sides, (done.out, done.err), strict=True):
                file.write(text)
                file.flush()
            os._exit(done.code)
        except BaseException:
            import traceback

            traceback.print_exc(file=sys.__stderr__)
            os._exit(99)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    yield code, out.read_text(), err.read_text()


@pytest.mark.slow
def test_the_real_program_keeps_the_contract_of_exit_codes_and_json(lab: Lab, tmp_path: Path) -> None:
    refused(tmp_path, NO_SESSION, "autoresearch init", "status", by=cli)
    refused(lab.root, USAGE, "experiment 99", "show", "99", by=cli)
    lab.prints(50)
    done = cli("try", "-m", "quicker", "--asi", "why=less", "--json", cwd=lab.root)
    assert done.code == 0 and done.json["status"] == "keep" and done.json["metric"] == 50
    text = cli("log", cwd=lab.root, env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert text.code == 0 and "quicker" in text.out
