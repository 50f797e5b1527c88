"""The journal is lost in each way that git and people know, and comes back from its mirror as each command says."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawn import drawn
from lab import INIT, TAG, Called, Lab, Maker, call, new_repo
from made_once import made_once

from autoresearch.experiments import attempt as attempting
from autoresearch.journal.refs import fetch_from
from autoresearch.system.git import Git
from autoresearch.workspace import journal_mirror
from autoresearch.workspace.workspace import Workspace

pytestmark = pytest.mark.slow

MIRROR = f"refs/autoresearch/{TAG}/0-journal"
EDITS = ("autoresearch.jsonl", "autoresearch.md", ".autoresearch", ".agents/skills/autoresearch/SKILL.md")


def _make(folder: Path) -> None:
    new_repo(folder / "lab")
    lab = Lab(folder / "lab")
    for words in (INIT, ("baseline",)):
        assert lab.call(*words).code == 0
    lab.attempt("echo METRIC total_ms=50\n")
    lab.write("autoresearch.md", "## What has been learned\n\n- forking costs 3 ms\n")
    lab.attempt("echo METRIC total_ms=70\n")
    assert lab.call("note", "3", "--asi", "result=slower, as expected").code == 0


@pytest.fixture
def noted(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A session with a keep, a discard, a note behind it, and something learned."""
    lab = Lab(tmp_path / "lab")
    shutil.copytree(made_once(tmp_path_factory, "noted", _make) / "lab", lab.root, symlinks=True)
    lab.git("status")
    return lab


def deleted(lab: Lab) -> Lab:
    (lab.root / "autoresearch.jsonl").unlink()
    shutil.rmtree(lab.root / ".autoresearch")
    return lab


def cleaned(lab: Lab) -> Lab:
    lab.git("clean", "-fdxq")
    return lab


def in_a_worktree(lab: Lab) -> Lab:
    """Move the session into a worktree of its own, as somebody has it who works in several."""
    other = Lab(lab.root.with_name("other"))
    lab.git("switch", "-q", "main")
    lab.git("worktree", "add", "-q", str(other.root), f"autoresearch/{TAG}")
    for name in ("autoresearch.jsonl", ".autoresearch"):
        shutil.move(lab.root / name, other.root / name)
    return other


def worktree_removed(lab: Lab) -> Lab:
    lab.git("worktree", "remove", str(in_a_worktree(lab).root))
    return lab


def worktree_deleted(lab: Lab) -> Lab:
    shutil.rmtree(in_a_worktree(lab).root)
    return lab


def another_worktree(lab: Lab) -> Lab:
    lab.git("worktree", "remove", str(in_a_worktree(lab).root))
    again = Lab(lab.root.with_name("again"))
    lab.git("worktree", "add", "-q", str(again.root), f"autoresearch/{TAG}")
    return again


def branch_deleted(lab: Lab) -> Lab:
    cleaned(lab).git("switch", "-q", "main")
    lab.git("branch", "-D", f"autoresearch/{TAG}")
    return lab


def cloned_and_fetched(lab: Lab) -> Lab:
    clone = cloned_here(lab)
    clone.git(*shlex.split(fetch_from("origin"))[1:])
    shutil.rmtree(lab.root)
    return clone


def cloned_here(lab: Lab) -> Lab:
    clone = Lab(lab.root.with_name("clone"))
    subprocess.run(["git", "clone", "-q", f"file://{lab.root}", str(clone.root)], check=True)
    clone.git("config", "user.name", "A Person")
    clone.git("config", "user.email", "person@example.org")
    return clone


QUICK = [cleaned, worktree_removed]
SLOW = [deleted, worktree_deleted, another_worktree, branch_deleted, cloned_and_fetched]
LOSSES = [*QUICK, *(pytest.param(lose, marks=pytest.mark.slow) for lose in SLOW)]


def follow(lab: Lab, said: str) -> Called:
    """Type what a message says, its commands one after another, and return what the last one said."""
    told = re.split(r": (?=git |cd |mv |autoresearch )", said.strip(), maxsplit=1)[1]
    done, folder = None, lab.root
    for command in told.split(" && "):
        program, *words = shlex.split(command)
        if program == "cd":
            folder = Path(words[0])
        elif program == "autoresearch":
            done = Lab(folder).call(*words)
        else:
            subprocess.run([program, *words], cwd=folder, check=True, capture_output=True)
    assert done is not None, told
    return done


def assert_goes_on(lab: Lab) -> None:
    """All that reads works, and an experiment is made and kept on top of what was best."""
    before = lab.session.best
    for words in (("status",), ("log",), ("check",), ("show", "3", "--diff")):
        assert lab.call(*words).code == 0, words
    assert before is not None and before.metric == 50
    done = lab.attempt("echo METRIC total_ms=40\n", "--json")
    assert (done.code, done.json["status"]) == (0, "keep"), done
    lab.assert_clean()


@pytest.mark.parametrize("lose", drawn(LOSSES, 0.4, "losses"))
def test_a_lost_session_comes_back_as_the_message_says_and_goes_on(noted: Lab, lose: Callable[[Lab], Lab]) -> None:
    before = noted.workspace.journal.read_bytes()
    lab = lose(noted)
    refused = lab.call("status")
    assert refused.code == 3 and f"resume --restore {TAG}" in refused.err
    done = follow(lab, refused.err)
    assert done.code == 0 and "4 experiments" not in done.out and "3 experiments" in done.out, done
    assert lab.workspace.journal.read_bytes() == before
    assert lab.session.experiments[-1].asi == {"result": "slower, as expected"}
    assert "forking costs 3 ms" in (lab.root / "autoresearch.md").read_text()
    assert all((lab.root / name).exists() for name in EDITS) and lab.git("status", "--porcelain") == ""
    assert_goes_on(lab)


@pytest.mark.slow
def test_a_clone_alone_says_how_to_fetch_the_sessions(noted: Lab) -> None:
    clone = cloned_here(noted)
    refused = clone.call("status").err
    fetch = re.search(r"with: (git fetch .*?);", refused)
    assert fetch is not None, refused
    clone.git(*shlex.split(fetch[1])[1:])
    assert follow(clone, clone.call("resume").err).code == 0
    assert clone.workspace.journal.read_bytes() == noted.workspace.journal.read_bytes()
    noted.attempt("echo METRIC total_ms=45\n")  # the first one goes on: what is fetched later is newer
    clone.git(*shlex.split(fetch[1])[1:])
    refused = clone.call("try", "-m", "x").err
    assert "has lost" in refused
    assert follow(clone, refused).code == 0
    assert clone.workspace.journal.read_bytes() == noted.workspace.journal.read_bytes()


@pytest.mark.parametrize(
    "words", [("resume",), ("try", "-m", "x"), ("note", "1", "--asi", "a=b"), ("wait",), ("export",), ("segment",)]
)  # fmt: skip
def test_whatever_needs_a_session_names_what_restores_it(noted: Lab, words: tuple[str, ...]) -> None:
    deleted(noted)
    refused = noted.call(*words)
    assert (refused.code, refused.err.endswith(f"bring it back: autoresearch resume --restore {TAG}\n")) == (3, True)


@pytest.mark.slow
def test_beginning_beside_a_lost_session_says_so_and_takes_none_of_its_names(noted: Lab) -> None:
    deleted(noted)
    assert f"resume --restore {TAG}" in noted.call("doctor").out
    refused = noted.call(*INIT)
    way = f"choose another name with --tag NAME, or bring it back: autoresearch resume --restore {TAG}"
    assert refused.code == 5 and way in refused.err
    begun = noted.call(*INIT[:-1], "other")
    assert begun.code == 0 and f"the session {TAG} of this repository is in no folder" in begun.err


def test_a_journal_that_is_there_and_differs_is_never_overwritten(noted: Lab) -> None:
    journal = noted.workspace.journal
    journal.write_bytes(theirs := journal.read_bytes().replace(b'"metric":50', b'"metric":51'))
    wrong = noted.call("check")
    assert wrong.code == 4 and "line " in wrong.err
    refused = noted.call("resume", "--restore", TAG)
    assert refused.code == 5 and journal.read_bytes() == theirs
    assert follow(noted, refused.err).code == 0
    assert (noted.root / "other.jsonl").read_bytes() == theirs and journal.read_bytes() != theirs
    (noted.root / "other.jsonl").unlink()
    assert_goes_on(noted)
    again = noted.call("resume", "--restore", TAG)
    assert again.code == 5 and "has all that its mirror has" in again.err


def test_what_is_left_of_a_journal_is_completed_and_nothing_is_measured_before(noted: Lab) -> None:
    journal = noted.workspace.journal
    before = journal.read_bytes()
    lines = before.splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-3]))
    noted.prints(40)
    head = noted.git("rev-parse", "HEAD")
    assert "has lost 3 lines" in noted.call("status").out
    for words in (("try", "-m", "x"), ("note", "1", "--asi", "a=b"), ("check",)):
        refused = noted.call(*words)
        assert refused.code == 4 and "has lost 3 lines" in refused.err, refused
    assert journal.read_bytes() == b"".join(lines[:-3]) and noted.git("rev-parse", "HEAD") == head
    assert follow(noted, refused.err).code == 0
    assert journal.read_bytes() == before
    noted.git("checkout", "-q", "src")
    assert_goes_on(noted)


@pytest.mark.slow
def test_a_journal_that_was_edited_is_followed_and_what_it_was_is_kept(noted: Lab) -> None:
    journal = noted.workspace.journal
    before = journal.read_bytes()
    journal.write_bytes(before.replace(b"as expected", b"as feared"))
    (said,) = noted.call("resume", "--json").json["repaired"]
    (kept,) = re.findall(r"kept under (\S+)", said)
    pieces = noted.git("ls-tree", "--name-only", kept).split()
    assert noted.git("show", f"{kept}:{pieces[0]}") + "\n" == before.decode()
    assert noted.call("resume", "--json").json["repaired"] == [] and noted.call("check").code == 0


@pytest.mark.slow
def test_each_session_of_a_repository_comes_back_in_its_own_folder(make_lab: Maker) -> None:
    lab = make_lab()
    lab.git("switch", "-q", "main")
    inner = Lab(lab.root.with_name("inner") / "deep" / "it")
    lab.git("worktree", "add", "-q", "-b", "work", str(inner.root.parents[1]))
    inner.root.mkdir(parents=True)
    shutil.copytree(lab.root / "src", inner.root / "src")
    shutil.copy(lab.root / "bench.sh", inner.root)
    inner.commit("a task in a folder")
    assert inner.call(*INIT[:-1], "deep/second").code == 0
    kept = {each.root: each.workspace.journal.read_bytes() for each in (lab, inner)}
    for each in (lab, inner):
        each.workspace.journal.unlink()
    refused = inner.call("log").err
    assert "sessions deep/second, t;" in refused and refused.endswith("autoresearch resume --restore deep/second\n")
    assert follow(inner, refused).code == 0
    elsewhere = Lab(inner.root.parents[1]).call("status").err  # `deep/it` is below this folder, t is still lost
    assert "session t;" in elsewhere
    assert follow(lab, lab.call("log").err).code == 0
    assert {each.root: each.workspace.journal.read_bytes() for each in (lab, inner)} == kept
    assert f"cd {inner.root}" in lab.call("resume", "--restore", "deep/second").err
    unknown = lab.call("resume", "--restore", "nobody")
    assert unknown.code == 2 and "choose one of: t, deep/second" in unknown.err
    outside = call("resume", "--restore", "deep/second", cwd=lab.root.parent)
    assert outside.code == 5 and "go to the repository" in outside.err and "git init" not in outside.err


@pytest.mark.slow
def test_an_experiment_that_was_lost_with_the_journal_keeps_its_number_and_its_commit(noted: Lab) -> None:
    mirrored = noted.git("rev-parse", MIRROR)
    noted.attempt("echo METRIC total_ms=30\n")
    commit = noted.ref(4)
    noted.git("update-ref", MIRROR, mirrored)  # as a kill leaves it between verdict and mirror
    cleaned(noted)
    done = follow(noted, noted.call("status").err)
    assert "experiment 4 was begun after the mirror was made" in done.out
    verdict = noted.events("run")[-1]
    assert (verdict["run"], verdict["outcome"], verdict["status"]) == (4, "killed", "crash")
    assert noted.ref(4) == commit and noted.git("rev-parse", "HEAD") == noted.ref(2)
    again = noted.call("try", "--again", "4", "--json").json
    assert (again["experiment"], again["status"]) == (5, "keep") and noted.ref(4) == commit
    noted.assert_clean()


def test_a_mirror_that_a_kill_left_behind_is_brought_up(noted: Lab) -> None:
    noted.git("update-ref", "-d", MIRROR)
    assert noted.call("resume").code == 0
    deleted(noted)
    assert follow(noted, noted.call("log").err).code == 0
    assert [e.number for e in noted.session.experiments] == [1, 2, 3]


@pytest.mark.slow
def test_a_journal_that_cannot_be_mirrored_is_told_and_the_verdict_holds(noted: Lab) -> None:
    lock = noted.root / ".git" / f"{MIRROR}.lock"
    lock.write_bytes(b"")
    done = noted.attempt("echo METRIC total_ms=30\n")
    assert done.code == 0 and "KEEP" in done.out and "the journal is not mirrored: " in done.out, done
    lock.unlink()
    assert noted.call("resume").code == 0 and noted.call("check").code == 0
    deleted(noted)
    assert follow(noted, noted.call("log").err).code == 0
    assert noted.session.best is not None and noted.session.best.metric == 30


@pytest.mark.slow
@pytest.mark.parametrize("size", [1024, journal_mirror.PIECE])
def test_a_damaged_mirror_is_found_by_check_and_written_anew(
    noted: Lab, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_mirror, "PIECE", size)
    noted.git("update-ref", "-d", MIRROR)
    assert noted.call("resume").code == 0 and noted.call("check").code == 0
    piece = noted.git("rev-parse", f"{MIRROR}:00000")
    other = noted.git("rev-parse", f"{MIRROR}:autoresearch.sh")
    objects = noted.root / ".git/objects"
    broken, source = (objects / name[:2] / name[2:] for name in (piece, other))
    broken.chmod(0o644)
    broken.write_bytes(source.read_bytes())
    refused = noted.call("check")
    assert refused.code == 4 and "damaged" in refused.err
    assert follow(noted, refused.err).code == 0
    assert noted.call("check").code == 0
    deleted(noted)
    assert follow(noted, noted.call("log").err).code == 0 and noted.call("check").code == 0


@pytest.mark.slow
def test_a_session_begun_beside_a_tracked_journal_comes_back_in_a_clone(tmp_path: Path) -> None:
    theirs = {"type": "config", "name": "other", "metricName": "ms", "metricUnit": "", "bestDirection": "lower"}
    repo = new_repo(tmp_path / "lab")
    repo.write("autoresearch.jsonl", json.dumps(theirs) + "\n")
    repo.commit("their log")
    lab = Lab(repo.root)
    assert lab.call(*INIT).code == 0
    clone = cloned_here(lab)
    clone.git(*shlex.split(fetch_from("origin"))[1:])
    assert f"resume --restore {TAG}" in clone.call("status").out
    refused = clone.call("baseline")
    assert refused.code == 5 and "only the beginning" in refused.err
    assert follow(clone, refused.err).code == 0
    assert clone.workspace.journal.read_bytes() == lab.workspace.journal.read_bytes()
    assert clone.git("status", "--porcelain") == "" and clone.call("baseline").code == 0


def test_a_journal_of_any_length_comes_back_byte_by_byte(noted: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_mirror, "PIECE", 64)
    workspace, git = Workspace(noted.root), Git(noted.root)
    whole = b"".join(b'{"type":"x","n":%d}\n' % n for n in range(30))
    for size in (1, 19, 63, 64, 65, 127, 128, 129, 192, len(whole)):
        content = whole[:size]
        (noted.root / "autoresearch.jsonl").write_bytes(content + b"\n")
        noted.git("update-ref", "-d", MIRROR)
        journal_mirror._keep_up(workspace, git, TAG)
        mirror = journal_mirror.read_mirror(git, MIRROR)
        assert mirror is not None and mirror.journal(git) == content + b"\n" and mirror.size == size + 1
        assert max(len(git.reader.read(name).content) for name in mirror.pieces) <= 64  # type: ignore[union-attr]
        for other in {0, 1, 64, 128, size - 1} & {*range(size)}:
            assert mirror.relation(git, content[:other]) == "shorter"
        assert mirror.relation(git, content + b"\n") == "same"
        assert mirror.relation(git, content + b"\nmore\n") == "goes on"
        for at in {0, size // 2, size} & {*range(size + 1)}:
            changed = bytearray(content + b"\n")
            changed[at] ^= 1
            assert mirror.relation(git, bytes(changed)) == mirror.relation(git, bytes(changed) + b"x") == "differs"


@pytest.mark.slow
def test_a_restore_that_was_killed_goes_on(noted: Lab) -> None:
    before = noted.workspace.journal.read_bytes()
    cleaned(noted)
    (noted.root / "autoresearch.jsonl").write_bytes(b"")  # as it is made before the whole takes its place
    assert f"resume --restore {TAG}" in noted.call("status").out
    refused = noted.call("try", "-m", "x")
    assert refused.code == 5 and follow(noted, refused.err).code == 0
    assert noted.workspace.journal.read_bytes() == before
    assert_goes_on(noted)


@pytest.mark.slow
def test_a_mirror_from_elsewhere_writes_nothing_but_the_pages_of_a_session(noted: Lab) -> None:
    def forge(name: str, content: str) -> None:
        blob = noted.write("forged", content)
        sha = noted.git("hash-object", "-w", "forged")
        blob.unlink()
        lines = [line for line in noted.git("ls-tree", MIRROR).splitlines() if not line.endswith(f"\t{name}")]
        done = subprocess.run(["git", "mktree"], cwd=noted.root, capture_output=True, text=True,
                              input="\n".join([*lines, f"100755 blob {sha}\t{name}", ""]))  # fmt: skip
        noted.git("update-ref", MIRROR, done.stdout.strip())

    deleted(noted)
    forge("program.sh", "echo evil\n")
    assert follow(noted, noted.call("log").err).code == 0
    assert not (noted.root / "program.sh").exists()
    deleted(noted)
    for folder in ("../outside/", "/tmp/", ".git/", "src", "a//b/"):
        forge("folder", folder)
        for words in (("resume", "--restore", TAG), ("status",)):
            refused = noted.call(*words)
            assert refused.code in (3, 4) and not noted.workspace.journal.exists(), folder


@pytest.mark.slow
def test_what_was_learned_stays_in_the_mirror_when_its_page_is_gone_and_a_script_does_not(noted: Lab) -> None:
    noted.write("autoresearch.hooks/before.sh", "#!/bin/sh\necho hello\n", 0o755)
    noted.call("note", "1", "--asi", "a=b")
    assert "autoresearch.hooks/before.sh" in noted.git("ls-tree", "-r", "--name-only", MIRROR)
    (noted.root / "autoresearch.md").unlink()
    (noted.root / "autoresearch.hooks/before.sh").unlink()
    noted.call("note", "1", "--asi", "a=c")
    cleaned(noted)
    assert follow(noted, noted.call("log").err).code == 0
    assert "forking costs 3 ms" in (noted.root / "autoresearch.md").read_text()
    assert not (noted.root / "autoresearch.hooks").exists()


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "while it runs"])
def test_a_journal_that_is_deleted_during_an_experiment_is_not_begun_anew(
    noted: Lab, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    before, journal = noted.workspace.journal.read_bytes(), noted.workspace.journal
    if when == "before":
        noted.write("autoresearch.hooks/before.sh", f"#!/bin/sh\nrm -f {journal}\n", 0o755)
    else:
        real = attempting.measure_undisturbed

        def measured(*args: Any, **more: Any) -> Any:
            done = real(*args, **more)
            journal.unlink()
            return done

        monkeypatch.setattr(attempting, "measure_undisturbed", measured)
    refused = noted.attempt("echo METRIC total_ms=40\n")
    monkeypatch.undo()
    assert refused.code in (1, 3) and not journal.exists(), refused
    shutil.rmtree(noted.root / "autoresearch.hooks", ignore_errors=True)
    said = follow(noted, noted.call("resume").err)
    assert said.code == 0 and journal.read_bytes().startswith(before)
    words = ("--again", "4") if "experiment 4" in said.out else ()
    done = noted.call("try", *words, "-m", "once more", "--json")
    assert (done.code, done.json["status"]) == (0, "keep"), done
    noted.assert_clean()
