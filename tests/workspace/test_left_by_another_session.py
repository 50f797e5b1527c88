"""A session that begins, or is restored, where another one was: its running file, and what was left by its numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from lab import INIT, TAG, Lab

from autoresearch.cli.job_folders import new_job
from autoresearch.reports import run_files
from autoresearch.runs.isolation import journal_backup
from autoresearch.system.git import Git
from autoresearch.workspace.lock import only_loop
from autoresearch.workspace.orphans import OWNER


@pytest.fixture
def killed(lab: Lab) -> Lab:
    """A lab whose engine was killed during experiment 2, so that its file says what the journal was then."""
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    about = {"pid": gone.pid, "created": 1.0, "run_id": "0" * 32, "experiment": 2, "seed": 1, "since": 0,
             "turn": None, "journal": journal_backup.hold(lab.workspace, Git(lab.root))}  # fmt: skip
    lab.workspace.running.write_text(json.dumps(about))
    return lab


def test_the_journal_of_the_earlier_one_is_not_put_over_the_new_one(killed: Lab) -> None:
    killed.workspace.journal.unlink()
    killed.git("switch", "-q", "main")
    begun = killed.call(*INIT[:-1], "other")
    assert begun.code == 0, begun
    assert not killed.workspace.running.exists()
    done = killed.call("baseline", "--json")
    assert done.code == 0 and "put back" not in done.err, done
    assert killed.events("config")[0]["tag"] == "other"


def leave(lab: Lab, text: str) -> None:
    """Leave a run, an answer and a job of the present session."""
    log = lab.workspace.run_dir(1, 9) / "run.log"
    log.parent.mkdir(parents=True)
    log.write_text(text)
    answer = lab.workspace.state / "proposal/edit.json"  # paid for by r1, which the next session has, too
    answer.parent.mkdir()
    answer.write_text(json.dumps({"reservation": "r1", "description": text}))
    job = new_job(lab.workspace)
    job.begin(1, "confirm", detached=True)
    job.keep({"view": {}, "sections": {"report": [text]}})


def assert_left(folder: Path, text: str) -> None:
    assert (folder / "runs/1/9/run.log").read_text() == text
    assert text in (folder / "proposal/edit.json").read_text()
    assert any(text in path.read_text() for path in folder.glob("jobs/*/output.json"))


def begin(lab: Lab, tag: str) -> None:
    """Begin another session in the same folder, after the journal of the present one is lost."""
    lab.workspace.journal.unlink()
    lab.git("switch", "-q", "main")
    assert lab.call(*INIT[:-1], tag).code == 0


def go_back(lab: Lab, tag: str) -> None:
    """Restore a session in the same folder."""
    lab.workspace.journal.unlink()
    lab.git("switch", "-q", f"autoresearch/{tag}")
    done = lab.call("resume", "--restore", tag)
    assert done.code == 0 and lab.session.segment.tag == tag, done


def test_runs_and_jobs_of_the_earlier_one_are_put_aside_whole(lab: Lab) -> None:
    for tag in ("second", "third"):
        leave(lab, f"before {tag}")
        begin(lab, tag)
        waited = lab.call("wait")
        assert waited.code == 5 and "no experiment yet" in waited.err, waited
        assert run_files.seeds_of(lab.workspace, 1) == [] and not (lab.workspace.state / "proposal").exists()
    for name, tag in (("earlier", "second"), ("earlier-2", "third")):
        assert_left(lab.workspace.state / name, f"before {tag}")


def test_a_session_that_is_restored_has_its_own_runs_and_jobs_and_not_those_of_another(lab: Lab) -> None:
    state = lab.workspace.state
    leave(lab, "of t")
    go_back(lab, TAG)  # nobody else was here: what is there is its own
    assert_left(state, "of t")
    begin(lab, "other")
    leave(lab, "of the other")
    go_back(lab, TAG)
    assert_left(state, "of t")
    (aside,) = state.glob("earlier*")
    assert_left(aside, "of the other")
    go_back(lab, "other")
    assert_left(state, "of the other")
    (aside,) = state.glob("earlier*")
    assert_left(aside, "of t")


def test_what_an_earlier_version_left_stays_when_its_session_is_restored(lab: Lab) -> None:
    leave(lab, "of t")
    (lab.workspace.state / OWNER).unlink()
    go_back(lab, TAG)
    assert_left(lab.workspace.state, "of t")


@pytest.mark.parametrize("absolute", [False, True])
def test_runs_that_a_person_has_linked_to_another_disk_stay_on_it(lab: Lab, absolute: bool) -> None:
    runs, disk = lab.workspace.state / "runs", lab.root.with_name("disk")
    runs.rename(disk)
    (disk / "of a person").mkdir()
    runs.symlink_to(disk if absolute else Path("../..", disk.name))
    leave(lab, "of t")
    begin(lab, "other")
    assert runs.is_symlink() and runs.resolve() == disk and run_files.seeds_of(lab.workspace, 1) == []
    assert_left(lab.workspace.state / "earlier", "of t")
    assert {path.name for path in disk.iterdir()} == {"of a person", "earlier"}
    leave(lab, "of the other")
    assert (disk / "1/9/run.log").read_text() == "of the other"
    go_back(lab, TAG)
    assert runs.is_symlink() and runs.resolve() == disk
    assert_left(lab.workspace.state, "of t")
    (aside,) = lab.workspace.state.glob("earlier*")
    assert_left(aside, "of the other")
    assert (disk / "1/9/run.log").read_text() == "of t" and (disk / "of a person").is_dir()


def test_an_init_that_is_refused_leaves_what_the_running_file_says(killed: Lab) -> None:
    assert killed.call(*INIT[:-1], "other").code == 5
    assert killed.workspace.running.exists()
    before = killed.workspace.journal.read_bytes()
    killed.workspace.journal.write_bytes(before.replace(b"100", b"200"))
    done = killed.call("resume")
    assert "it is put back" in done.out + done.err, done
    assert killed.workspace.journal.read_bytes() == before


def test_what_a_loop_that_lives_works_with_is_not_taken_from_under_it(lab: Lab) -> None:
    answer = lab.workspace.state / "proposal/edit.json"
    answer.parent.mkdir()
    answer.write_text("{}")
    lab.workspace.journal.unlink()
    lab.git("switch", "-q", "main")
    with only_loop(lab.workspace):
        assert lab.call(*INIT[:-1], "other").code == 0
    assert answer.exists() and not (lab.workspace.state / "earlier").exists()
