"""A kill at any instant leaves a state that the next command repairs: real processes, real git, a model of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import kill_lab
import psutil
import pytest
from drawn import EVERY, dice, drawn
from kill_hunts import hunt_import, hunt_try
from kill_lab import FILE, Lab, Maker
from waiting import PATIENCE_S, wait_for

from autoresearch.experiments.recovery import recover
from autoresearch.journal import file as journal
from autoresearch.journal.refs import mirror_ref
from autoresearch.system.git import Git
from autoresearch.workspace.journal_mirror import keep_up
from autoresearch.workspace.session_journal import append, load_session
from autoresearch.workspace.workspace import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.sampled(0.12)]

bytecode, make_lab = kill_lab.bytecode, kill_lab.make_lab

# --- random instants ---


@pytest.mark.parametrize("variant", drawn(["exact", "noisy", "evaluated"], 0.34, "kind of session"))
def test_kills_of_an_experiment_at_random_instants_lose_nothing(make_lab: Maker, variant: str) -> None:
    hunt_try(make_lab(variant), 24 if EVERY else 2, dice(f"kills of try, {variant}"))


def test_an_import_that_is_killed_again_and_again_is_whole_in_the_end(make_lab: Maker) -> None:
    hunt_import(make_lab(), 20 if EVERY else 2, dice("kills of import"))


# --- named instants ---


def all_steps(points: Sequence[str], begin: int = 0) -> list[int]:
    """Return where to kill, counted from 1: every step from `begin` on."""
    return [*range(begin + 1, len(points) + 1)]


def first_and_last(points: Sequence[str], begin: int = 0) -> list[int]:
    """Return the first and the last of each named step from `begin` on; all of them where everything is tried."""
    if EVERY:
        return all_steps(points)
    rest = [*enumerate(points[begin:], begin + 1)]
    return sorted({*{name: at for at, name in rest}.values(), *{name: at for at, name in reversed(rest)}.values()})


def kill_at(lab: Lab, where: Callable[[list[str]], list[int]], part: slice, name: str, *args: str) -> list[str]:
    """Kill a command at a sample of the steps of this part, each from where the session is now; return its steps.

    After the last kill the session goes on from what that has left.
    """
    restore = lab.saved()
    points = lab.drive(0, *args)
    lab.check()
    for at in drawn(where(points)[part], 0.03, f"{name} {part}"):
        restore()
        assert lab.drive(at, *args)[-1] == points[at - 1]
        lab.resume()
        try:
            lab.check()
        except AssertionError as error:
            raise AssertionError(f"killed {points[at - 1]}, step {at}: {error}") from error
    return points


def goes_on(lab: Lab) -> None:
    lab.gather()
    if lab.content == lab.version("HEAD"):
        lab.edit_better()
    assert lab.json("try", "-m", "the next one")["outcome"] == "ok"
    lab.check()


EVERY_STEP = {
    "before commit", "before git update-index", "after git update-index", "before git commit", "after git commit",
    "after commit",
    "before append start", "after append start", "before git update-ref", "after git update-ref",
    "before write running.json", "after write running.json", "before undoing what a run left",
    "after undoing what a run left", "before taking the record away", "after taking the record away",
    "before git read-tree", "after git read-tree", "before write train.record", "after write train.record",
    "before run_limited",
    "before the command, which runs", "after run_limited", "before write result.json", "after write result.json",
    "before append run", "after append run", "before mirroring", "before git unpack-objects",
    "after git unpack-objects", "after mirroring",
}  # fmt: skip


RESETS = ("file", "file and index", "index", "file removed", "file cut short", "file empty")
PARTS = [slice(n, None, 3) for n in range(3)] if EVERY else [slice(None)]
"""Of the steps of one command: where all are tried, in three parts, so that no test takes long."""


@pytest.mark.parametrize("part", PARTS, ids=str)
def test_a_kill_at_each_step_of_an_experiment_that_is_discarded_loses_nothing(make_lab: Maker, part: slice) -> None:
    lab = make_lab()
    lab.edit_worse()
    points = kill_at(lab, all_steps, part, "discard", "try", "-m", "worse")
    assert {*points} >= EVERY_STEP | {"before go_back", "before git reset", "after git reset", "after go_back"}
    goes_on(lab)


@pytest.mark.parametrize("part", PARTS, ids=str)
@pytest.mark.parametrize("variant", drawn(["evaluated", "noisy"], 0.5, "kept"))
def test_a_kill_at_each_step_of_an_experiment_that_is_kept_loses_nothing(
    make_lab: Maker, variant: str, part: slice
) -> None:
    lab = make_lab(variant)
    lab.edit_better()
    # What comes before the first run does not know yet how it will end: the test above has killed it there.
    points = kill_at(lab, lambda points: first_and_last(points, points.index("before run_limited")), part,
                     f"keep {variant}", "try", "-m", "better")  # fmt: skip
    assert {*points} >= EVERY_STEP
    assert points.count("before run_limited") > 1
    goes_on(lab)


@pytest.mark.parametrize("part", PARTS, ids=str)
def test_a_kill_at_each_step_of_the_baseline_loses_nothing(make_lab: Maker, part: slice) -> None:
    lab = make_lab(baseline=False)
    points = kill_at(lab, first_and_last, part, "baseline", "baseline")
    assert {*points} >= {"before append start", "before the command, which runs", "after append run"}
    if lab.incumbent is None:
        assert lab.json("baseline")["status"] == "keep"
    goes_on(lab)


def test_a_baseline_that_was_killed_is_measured_again_under_the_next_number(make_lab: Maker) -> None:
    lab = make_lab(baseline=False)
    points = lab.drive(0, "baseline")
    lab = _fresh(lab)
    lab.drive(points.index("after append run"), "baseline")
    (said,) = lab.resume()
    assert "experiment 1 was interrupted" in said and "autoresearch baseline" in said
    assert lab.json("baseline")["experiment"] == 2
    lab.check()
    assert lab.verdicts()[1]["outcome"] == "killed"
    assert (lab.verdicts()[2]["status"], lab.verdicts()[2]["seeds"]) == ("keep", [1, 2, 3])


def _fresh(lab: Lab) -> Lab:
    """Set a session back to where nothing was measured."""
    log = lab.folder / "autoresearch.jsonl"
    log.write_text(log.read_text().splitlines()[0] + "\n")
    shutil.rmtree(lab.folder / ".autoresearch")
    for ref in lab.git("for-each-ref", "--format=%(refname)", "refs/autoresearch").splitlines():
        lab.git("update-ref", "-d", ref)
    return lab


@pytest.mark.parametrize("instant", drawn(["before the command, which runs", "before go_back"], 0.5, "repair"))
def test_a_kill_at_each_step_of_the_repair_itself_is_repaired_too(make_lab: Maker, instant: str) -> None:
    lab = make_lab()
    points = lab.drive(0, "try", "-m", lab.edit_worse())
    lab.edit_worse()
    lab.drive(points.index(instant) + 1, "try", "-m", "worse")
    repair = kill_at(lab, first_and_last, slice(None), f"repair {instant}", "resume")
    assert "before git reset" in repair
    goes_on(lab)


def test_try_again_goes_on_where_a_kill_stopped_it(make_lab: Maker) -> None:
    lab = make_lab()
    points = lab.drive(0, "try", "-m", lab.edit_worse())
    content = lab.edit_better()
    lab.drive(points.index("before the command, which runs") + 1, "try", "-m", "better")
    lab.resume()
    assert lab.content == lab.version(lab.incumbent or "") != content
    again = lab.drive(0, "try", "--again", "2", "-m", "once more")
    lab.check()
    for at in drawn(all_steps(again[: again.index("after append start")]), 0.1, "again"):
        lab.drive(at, "try", "--again", "3")
        lab.resume()
        lab.check()
    view = lab.json("try", "--again", "3")
    assert (view["outcome"], view["status"]) == ("ok", "keep")
    assert lab.content == content
    lab.check()


# --- git stopped half-way ---


@pytest.fixture
def owed(make_lab: Maker) -> Lab:
    """A session whose last verdict is a discard that git does not know of yet."""
    lab = make_lab()
    points = lab.drive(0, "try", "-m", lab.edit_worse())
    lab.edit_worse()
    lab.drive(points.index("before git reset") + 1, "try", "-m", "worse")
    assert lab.window() == "between verdict and git"
    return lab


def settled(lab: Lab) -> None:
    lab.check()
    assert lab.head == lab.incumbent and lab.content == lab.version("HEAD")
    lab.edit_better()
    assert lab.json("try", "-m", "the next one")["status"] == "keep"
    lab.check()


@pytest.mark.parametrize("done", drawn(RESETS, 0.34, "resets that were stopped"))
def test_a_reset_that_was_stopped_half_way_is_completed(owed: Lab, done: str) -> None:
    before = owed.version("HEAD^")
    if done == "file and index":
        owed.git("read-tree", "-u", "-m", "HEAD^")
    elif done == "index":
        owed.git("read-tree", "HEAD^")
    elif done == "file removed":
        (owed.folder / FILE).unlink()
    else:
        (owed.folder / FILE).write_text(before[: {"file": None, "file cut short": 5, "file empty": 0}[done]])
    assert owed.resume() == []
    settled(owed)


@pytest.mark.parametrize("name", drawn(["index.lock", "HEAD.lock", "refs/heads/autoresearch/t.lock"], 0.34, "locks"))
def test_a_lock_that_our_git_left_is_removed(owed: Lab, name: str) -> None:
    (owed.folder / ".git" / name).write_bytes(b"")
    (said,) = owed.resume()
    assert name in said
    settled(owed)


def test_a_lock_of_an_experiments_ref_is_removed(make_lab: Maker) -> None:
    lab = make_lab()
    points = lab.drive(0, "try", "-m", lab.edit_worse())
    lab.edit_worse()
    lab.drive(points.index("before git update-ref") + 1, "try", "-m", "worse")
    (lab.folder / ".git/refs/autoresearch/t/3.lock").write_bytes(b"")
    said = lab.resume()
    assert any("refs/autoresearch/t/3.lock" in line for line in said)
    settled(lab)


def test_a_lock_that_is_not_ours_is_left_alone_and_reported(owed: Lab) -> None:
    (owed.folder / ".autoresearch/git-at-work").unlink()
    lock = owed.folder / ".git/index.lock"
    lock.write_bytes(b"")
    for command in (("resume",), ("try", "-m", "x")):
        done = owed.run(*command, "--json")
        assert done.returncode == 5 and json.loads(done.stdout)["error"]["kind"] == "precondition"
        assert "lock" in done.stderr
        assert lock.exists()
    lock.unlink()
    assert owed.resume() == []
    settled(owed)


def test_a_lock_that_was_there_before_ours_is_left_alone(owed: Lab) -> None:
    lock = owed.folder / ".git/index.lock"
    lock.write_bytes(b"")
    os.utime(lock, (time.time() - 3600,) * 2)
    assert owed.run("resume").returncode == 5
    assert lock.exists()


def test_a_lock_is_left_alone_while_a_git_is_at_work_here(owed: Lab, tmp_path: Path) -> None:
    program = tmp_path / "git"
    shutil.copy(shutil.which("sleep") or "", program)
    lock = owed.folder / ".git/index.lock"
    lock.write_bytes(b"")
    with subprocess.Popen([program, "60"], cwd=owed.folder) as working:
        wait_for(lambda: psutil.Process(working.pid).name() == "git", "the program that is called git")
        assert owed.run("resume").returncode == 5
        assert lock.exists()
        working.kill()
    owed.resume()
    settled(owed)


@pytest.mark.parametrize("instant", ["before git reset", "before the command, which runs"])
def test_an_edit_made_after_the_kill_stays_in_the_folder(make_lab: Maker, instant: str) -> None:
    lab = make_lab()
    points = lab.drive(0, "try", "-m", lab.edit_worse())
    lab.edit_worse()
    lab.drive(points.index(instant) + 1, "try", "-m", "worse")
    (lab.folder / "notes.txt").write_text("more of a person's\n")
    mine = lab.edit_better()
    said = lab.resume()
    assert FILE in said[-1]
    assert lab.content == mine and lab.head == lab.incumbent
    assert (lab.folder / "notes.txt").read_text() == "more of a person's\n"
    lab.git("checkout", "-q", "--", "notes.txt")
    lab.check(mine)
    assert lab.json("try", "-m", "mine")["status"] == "keep"


# --- a torn journal ---


def test_a_verdict_that_is_torn_at_any_byte_is_whole_or_was_never_written(owed: Lab) -> None:
    log = owed.folder / "autoresearch.jsonl"
    whole = log.read_bytes()
    begin = whole.rindex(b"\n", 0, -1) + 1
    workspace, commit, parent = Workspace(owed.folder), owed.head, owed.incumbent
    git, ref = Git(owed.folder), mirror_ref(load_session(workspace).segment.tag)
    log.write_bytes(whole[:begin])  # the mirror is written behind the verdict: while it was torn, that had none of it
    owed.git("update-ref", "-d", ref)
    assert keep_up(workspace, git, load_session(workspace)) == []
    mirrored = owed.git("rev-parse", ref)
    cuts = [*range(begin, len(whole), 9), len(whole) - 2, len(whole) - 1, len(whole)]
    for cut in cuts:
        log.write_bytes(whole[:cut])
        owed.git("update-ref", ref, mirrored)
        owed.git("reset", "-q", "--hard", commit)
        recovered = recover(workspace, git, 1_790_000_000)
        last = recovered.session.last
        assert last is not None and last.number == 3
        assert last.outcome == ("ok" if cut >= len(whole) - 1 else "killed"), cut
        assert owed.head == parent
        append(workspace, {"type": "note", "experiment": 3, "asi": {"after": cut}})
        verdicts = [e for e in owed.events() if e.get("run") == 3]
        assert len(verdicts) == 1


def test_any_line_torn_at_any_byte_is_dropped_by_the_next_line(tmp_path: Path) -> None:
    log = tmp_path / "autoresearch.jsonl"
    lines = [{"type": "start", "experiment": 1, "commit": "ä" * 3}, {"run": 1, "status": "keep", "description": '"}\\'}]
    for line in lines:
        journal.append(log, line)
    whole = log.read_bytes()
    begin = whole.index(b"\n") + 1
    for cut in range(begin, len(whole) + 1):
        log.write_bytes(whole[:cut])
        kept = lines if cut >= len(whole) - 1 else lines[:1]
        assert [event for _, event in journal.read(log)] == kept
        journal.append(log, {"type": "note"})
        assert [json.loads(line) for line in log.read_bytes().splitlines()] == [*kept, {"type": "note"}]


@pytest.mark.parametrize("left", drawn([0, 1, 40, -2, -1], 0.4, "torn start"))
def test_a_start_that_is_torn_is_taken_again_or_was_written(make_lab: Maker, left: int) -> None:
    lab = make_lab()
    points = lab.drive(0, "try", "-m", lab.edit_worse())
    content = lab.edit_worse()
    lab.drive(points.index("after append start") + 1, "try", "-m", "torn")
    log = lab.folder / "autoresearch.jsonl"
    whole = log.read_bytes()
    begin = whole.rindex(b"\n", 0, -1) + 1
    log.write_bytes(whole[: begin + left] if left >= 0 else whole[:left])
    if left == -1:
        assert "experiment 3 was interrupted" in lab.resume()[0]
        lab.check()
        assert lab.json("try", "--again", "3")["experiment"] == 4
    else:
        assert lab.json("try", "-m", "torn")["experiment"] == 3
        assert lab.version(lab.starts()[3]["commit"]) == content
    lab.check()


# --- asked to end ---


@pytest.mark.parametrize("number", drawn([signal.SIGTERM, signal.SIGINT, signal.SIGHUP], 0.34, "signal"))
def test_a_signal_ends_an_experiment_in_order(make_lab: Maker, tmp_path: Path, number: signal.Signals) -> None:
    lab = make_lab()
    content = lab.edit_better(pause=tmp_path / "released")
    process = subprocess.Popen(
        lab.command("try", "-m", "slow", "--json"),
        cwd=lab.folder, env=lab.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: len(lab.marked()) >= 3, "the command and its children")
    process.send_signal(number)
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    error = json.loads(out)["error"]
    assert error["kind"] == "machine" and "try --again 2" in error["fix"]
    verdict = lab.verdicts()[2]
    assert (verdict["status"], verdict["outcome"], verdict["metric"]) == ("crash", "killed", None)
    assert lab.head == lab.incumbent and lab.content == lab.version("HEAD") != content
    lab.check()
    assert lab.resume() == []
    (tmp_path / "released").touch()
    view = lab.json("try", "--again", "2")
    assert (view["experiment"], view["status"]) == (3, "keep") and lab.content == content
    lab.check()


def test_a_signal_ends_a_baseline_in_order(make_lab: Maker, tmp_path: Path) -> None:
    lab = make_lab(baseline=False)
    (lab.folder / FILE).write_text(f"100 {tmp_path / 'released'} word\n")
    lab.git("commit", "-qam", "waits")
    lab.edits.clear()  # a person's commit took the place of what was there
    process = lab.start("baseline")
    wait_for(lambda: len(lab.marked()) >= 3, "the command and its children")
    process.terminate()
    assert process.wait(PATIENCE_S) == 1
    lab.check()
    assert lab.verdicts()[1]["outcome"] == "killed"
    (tmp_path / "released").touch()
    assert lab.json("baseline")["experiment"] == 2


def test_a_second_try_is_refused_while_one_runs_and_changes_nothing(make_lab: Maker, tmp_path: Path) -> None:
    lab = make_lab()
    lab.edit_better(pause=tmp_path / "released")
    process = lab.start("try", "-m", "slow")
    wait_for(lab.marked, "the run")
    before = lab.events()
    done = lab.run("try", "-m", "another", "--json")
    assert done.returncode == 5 and "is running here" in done.stderr
    assert lab.events() == before
    assert lab.json("resume")["running"]["experiment"] == 2 and lab.marked()
    (tmp_path / "released").touch()
    assert process.wait(PATIENCE_S) == 0
    assert lab.verdicts()[2]["status"] == "keep"


def test_an_engine_that_is_dead_and_not_reaped_yet_is_not_taken_for_running(make_lab: Maker) -> None:
    lab = make_lab()
    lab.edit_better(pause=30)
    process = lab.start("try", "-m", "slow")
    wait_for(lab.marked, "the run")
    process.send_signal(signal.SIGKILL)
    wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE, "the end of the engine")
    view = lab.json("resume")
    assert view["running"] is None and "experiment 2 was interrupted" in " ".join(view["repaired"])
    process.wait()
    lab.check()
