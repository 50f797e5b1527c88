"""Beginning beside what another tool has written: a journal alone is no session, and no message leads in a circle."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from lab import INIT, Called, Lab, Repo, call

pytestmark = pytest.mark.slow

FOREIGN = (
    {"type": "config", "name": "other", "metricName": "total_ms", "metricUnit": "ms", "bestDirection": "lower"},
    {"run": 1, "commit": "abc1234", "metric": 20, "metrics": {}, "status": "keep", "description": "theirs"},
    {"run": 2, "commit": "abc1235", "metric": 22, "metrics": {}, "status": "discard", "description": "worse"},
)
LOG = "".join(json.dumps(line) + "\n" for line in FOREIGN)
TSV = "commit\ttotal_ms\tmemory_gb\tstatus\tdescription\nabc1234\t20\t0\tkeep\ttheirs\n"


def tracked(repo: Repo) -> None:
    repo.write("autoresearch.jsonl", LOG)
    repo.commit("their log")


def untracked(repo: Repo) -> None:
    repo.write("autoresearch.jsonl", LOG)


def imported(repo: Repo) -> None:
    (repo.root.parent / "results.tsv").write_text(TSV)
    assert repo.call("import", "../results.tsv").code == 0


def empty(repo: Repo) -> None:
    repo.write("autoresearch.jsonl", "")


def command_in(line: str) -> list[str]:
    """Return the words of the command that a message ends with."""
    program, *words = shlex.split(line.strip().rsplit("autoresearch init", 1)[-1].join(("autoresearch init", "")))
    assert program == "autoresearch"
    return words


def assert_the_loop_works(lab: Lab, begin: Called) -> None:
    assert begin.code == 0, begin
    assert lab.call("baseline").code == 0
    done = lab.attempt("echo METRIC total_ms=50\n")
    assert done.code == 0 and "KEEP" in done.out, done
    assert lab.call("check").code == 0
    lab.git("stash", check=False)
    lab.git("reset", "-q", "--hard")
    session = lab.session
    assert session.best is not None and session.best.metric == 50


@pytest.mark.parametrize("theirs", [tracked, untracked, imported, empty])
def test_a_segment_begins_beside_a_journal_that_is_there(repo: Repo, theirs: object) -> None:
    theirs(repo)  # type: ignore[operator]
    lab = Lab(repo.root)
    before = lab.workspace.journal.read_text()
    assert_the_loop_works(lab, lab.call(*INIT))
    assert lab.workspace.journal.read_text().startswith(before)


@pytest.mark.parametrize("command", [("try", "-m", "x"), ("baseline",), ("check",), ("segment",)])
def test_whatever_is_refused_before_there_is_a_session_says_what_begins_one(repo: Repo, command: tuple[str]) -> None:
    untracked(repo)
    refused = repo.call(*command)
    assert refused.code == 5 and "another tool's" in refused.err
    assert_the_loop_works(Lab(repo.root), repo.call(*command_in(refused.err)))


@pytest.mark.parametrize("command", ["status", "resume"])
def test_what_comes_next_is_to_begin(repo: Repo, command: str) -> None:
    imported(repo)
    told = repo.call(command)
    assert told.code == 0
    assert_the_loop_works(Lab(repo.root), repo.call(*command_in(told.out)))


def test_a_journal_that_cannot_be_read_can_be_put_aside_as_it_says(repo: Repo) -> None:
    repo.write("autoresearch.jsonl", LOG + '{"run": 3, "status": "bogus"}\n')
    repo.commit("their log")
    refused = repo.call(*INIT)
    assert refused.code == 5 and "line 4" in refused.err
    for command in refused.err.strip().rsplit("import: ", 1)[1].split(" && "):
        repo.git(*shlex.split(command)[1:])
    assert_the_loop_works(Lab(repo.root), repo.call(*INIT))


def test_import_into_an_empty_folder_leaves_room_for_a_task_of_ours(tmp_path: Path) -> None:
    (tmp_path / "results.tsv").write_text(TSV.replace("total_ms", "val_bpb"))
    folder = tmp_path / "lab"
    folder.mkdir()
    assert call("import", "../results.tsv", cwd=folder).code == 0
    assert call("init", ".", "--profile", "tiny", "--no-setup", cwd=folder).code == 0
    assert Lab(folder).session.segment.branch is not None


def test_after_a_stop_condition_another_session_begins_as_it_says(lab: Lab) -> None:
    toml = lab.root / "autoresearch.toml"
    toml.write_text(toml.read_text() + "\n[stop]\nmax_experiments = 1\n" if "[stop]" not in toml.read_text()
                    else toml.read_text().replace("[stop]", "[stop]\nmax_experiments = 1"))  # fmt: skip
    lab.git("commit", "-qam", "one experiment")
    assert lab.call("segment").code == 0
    assert lab.call("baseline").code == 0
    lab.prints(1)
    refused = lab.call("try", "-m", "one more")
    assert refused.code == 6, refused
    lab.git("checkout", "-q", "src")
    move, begin = refused.err.strip().rsplit("session: ", 1)[1].split(" && ")
    _, old, new = move.split()
    (lab.root / old).rename(lab.root / new)
    assert lab.call(*begin.replace("NAME", "u").split()[1:]).code == 0
    assert lab.call("baseline").code == 0
