"""A session that begins where a killed engine of an earlier one has left its running file."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from lab import INIT, Lab

from autoresearch.cli.job_folders import new_job
from autoresearch.reports import run_files
from autoresearch.runs.isolation import journal_backup
from autoresearch.system.git import Git
from autoresearch.workspace.lock import only_loop


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


def test_runs_and_jobs_of_the_earlier_one_are_put_aside_whole(lab: Lab) -> None:
    def leave(text: str) -> None:
        log = lab.workspace.run_dir(1, 9) / "run.log"
        log.parent.mkdir(parents=True)
        log.write_text(text)
        answer = lab.workspace.state / "proposal/edit.json"  # paid for by r1, which the next session has, too
        answer.parent.mkdir()
        answer.write_text(json.dumps({"reservation": "r1", "description": text}))
        job = new_job(lab.workspace)
        job.begin(1, "confirm", detached=True)
        job.keep({"view": {}, "sections": {"report": [text]}})

    for tag in ("second", "third"):
        leave(f"before {tag}")
        lab.workspace.journal.unlink()
        lab.git("switch", "-q", "main")
        assert lab.call(*INIT[:-1], tag).code == 0
        waited = lab.call("wait")
        assert waited.code == 5 and "no experiment yet" in waited.err, waited
        assert run_files.seeds_of(lab.workspace, 1) == [] and not (lab.workspace.state / "proposal").exists()
    for name, tag in (("earlier", "second"), ("earlier-2", "third")):
        aside = lab.workspace.state / name
        assert (aside / "runs/1/9/run.log").read_text() == f"before {tag}"
        assert f"before {tag}" in (aside / "proposal/edit.json").read_text()
        outputs = [path.read_text() for path in aside.glob("jobs/*/output.json")]
        assert any(f"before {tag}" in text for text in outputs)


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
