"""What an agent needs between two commands: which run is made, an older file, a near miss, a quick check."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict

import pytest
from lab import Lab, Maker, cli
from waiting import wait_for

from autoresearch.runs.turn import Turn
from autoresearch.system.living import created
from autoresearch.workspace.lock import current_run, lock
from autoresearch.workspace.workspace import Workspace

NOISY = """noise=(0 30 -20 10 -30 20 5 -10 25 -15 10 -5 15)
hundredths=$(($(cat src/base) + ${noise[$AUTORESEARCH_SEED]}))
while [ -f src/wait ] && [ ! -e "$(cat src/wait)/$AUTORESEARCH_EXPERIMENT-$AUTORESEARCH_SEED" ]; do sleep 0.02; done
echo METRIC total_ms=${hundredths:0:-2}.${hundredths: -2}
"""
"""Prints the base value of this commit with the noise of its seed; with src/wait, once a file is there that says so."""


@pytest.fixture
def noisy(make_lab: Maker) -> Lab:
    return make_lab(run={"command": NOISY, "smoke": "bash src/run.sh && [ ! -f src/broken ]"})


def set_base(lab: Lab, value: float) -> None:
    lab.write("src/base", f"{round(value * 100)}\n")


def test_status_and_wait_say_whose_run_it_is_and_of_how_many(noisy: Lab) -> None:
    gates = noisy.root.parent / "gates"
    gates.mkdir()
    noisy.write("src/wait", f"{gates}\n")
    set_base(noisy, 99)
    assert cli("try", "--detach", "-m", "a gain", cwd=noisy.root).code == 0
    seen: list[str] = []
    before: tuple[int, int] | None = None
    while not decided(noisy):
        wait_for(lambda last=before: decided(noisy) or run_now(noisy) not in (None, last), "the next run")
        run = run_now(noisy)
        told = noisy.call("status", "--json").json["running"]
        if run is None or told is None or (told["experiment"], told["seed"]) != run:
            continue
        words = told["words"].partition(", at most")[0]
        if not seen:
            assert f"still running: {words}" in noisy.call("wait", "--timeout", "0").err
        seen.append(words)
        before = run
        (gates / f"{run[0]}-{run[1]}").touch()
    assert seen[0] == "experiment 2: seed 1, run 1 of at most 15"
    assert "experiment 2: the incumbent's seed 4, run 3 of at most 15" in seen, seen
    assert noisy.call("wait").out.startswith("experiment 2: KEEP")


def run_now(lab: Lab) -> tuple[int, int] | None:
    now = current_run(lab.workspace)
    return None if now is None else (now["experiment"], now["seed"])


def decided(lab: Lab) -> bool:
    return bool(lab.events("run")[-1]["run"] == 2)


def test_while_a_selftest_runs_wait_names_its_run_and_status_says_to_wait(lab: Lab) -> None:
    inner = Workspace(lab.workspace.state / "selftest")
    inner.state.mkdir(parents=True)
    shutil.copy(lab.workspace.journal, inner.journal)
    turn = Turn("experiment 4: seed 1", 1, 15, run_s=2.0)
    now = {"pid": os.getpid(), "created": created(os.getpid()), "experiment": 4, "seed": 1, "turn": asdict(turn)}
    inner.running.write_text(json.dumps(now))
    with lock(lab.workspace):
        told, view = lab.call("wait", "--timeout", "0"), lab.call("status", "--json").json
    assert told.code == 5 and "still running: selftest, experiment 4: seed 1, run 1 of at most 15" in told.err
    assert "left" not in told.err, "the end of one experiment is not the end"
    assert view["next"] == "autoresearch wait" and view["running"] is None
    assert lab.call("status", "--json").json["next"].startswith("autoresearch try")


def test_a_file_of_the_best_and_of_any_experiment_is_printed_to_the_last_byte(lab: Lab) -> None:
    lab.write("src/odd.txt", "no end\tof line \u2028 \x1b[1m")
    assert lab.attempt("echo METRIC total_ms=90\n").code == 0
    lab.attempt("echo METRIC total_ms=95\n")
    assert lab.call("show", "best", "--file", "src/run.sh").out == "echo METRIC total_ms=90\n"
    assert lab.call("show", "3", "--file", "src/run.sh").out == "echo METRIC total_ms=95\n"
    assert lab.call("show", "best", "--file", "src/odd.txt").out == "no end\tof line \u2028 \x1b[1m"
    assert lab.call("show", "1", "--file", "src/run.sh", "--json").json["content"] == "echo METRIC total_ms=100\n"
    assert lab.call("show", "best", "--json").json["experiment"] == 2
    for words in (("1", "--file", "src/odd.txt"), ("9", "--file", "src/run.sh"), ("worst",), ("best", "--file", "..")):
        refused = lab.call("show", *words)
        assert refused.code == 2 and not refused.out, words


def test_the_code_of_a_near_miss_is_one_command_away(noisy: Lab) -> None:
    set_base(noisy, 99.9)
    noisy.write("src/new.txt", "new\n")
    told = noisy.call("try", "-m", "nearly").out
    assert "DISCARD" in told and "autoresearch start 2 (a near miss)" in told
    assert not (noisy.root / "src/new.txt").exists()
    begun = noisy.call("start", "2")
    assert begun.code == 0 and "--asi parent=2" in begun.out
    assert (noisy.root / "src/base").read_text() == "9990\n" and (noisy.root / "src/new.txt").exists()
    assert noisy.call("start", "2").code == 0, "it is there already"
    noisy.write("src/base", "9000\n")
    mine = noisy.call("start", "1")
    assert mine.code == 5 and (noisy.root / "src/base").read_text() == "9000\n", "edits are not overwritten"
    assert noisy.call("start", "9").code == 5
    assert noisy.call("try", "-m", "from there", "--asi", "parent=2").code == 0


def test_a_slip_is_one_command_from_being_corrected(noisy: Lab) -> None:
    noisy.write("src/base", "no number\n")
    noisy.write("src/broken", "")
    told = noisy.call("try", "-m", "a slip").out
    assert "CRASH" in told and "next   autoresearch start 2 (to correct it), or autoresearch try" in told
    assert noisy.call("start", "2").code == 0 and (noisy.root / "src/base").read_text() == "no number\n"


def test_an_idea_that_is_added_or_tried_is_shown_alone(noisy: Lab) -> None:
    for text in ("read the file once", "sort it before"):
        assert noisy.call("ideas", "--add", text).out.strip().endswith(text)
    assert noisy.call("ideas", "--done", "1").out == "  1  done  read the file once\n"
    assert (
        noisy.call("ideas").out.count("\n") == 2
        and len(noisy.call("ideas", "--done", "2", "--json").json["ideas"]) == 2
    )


def test_after_five_discards_a_verdict_points_elsewhere(noisy: Lab) -> None:
    set_base(noisy, 99.95)
    noisy.call("try", "-m", "nearly")
    for number in range(4):
        set_base(noisy, 110 + number)
        told = noisy.call("try", "-m", f"worse {number}").out
    assert "next   autoresearch next (5 in a row were not kept), or autoresearch start 2 (a near miss), or" in told


def test_an_edit_is_checked_for_seconds_without_an_experiment(noisy: Lab) -> None:
    before = noisy.events()
    assert noisy.call("smoke").code == 5, "nothing has changed"
    noisy.write("src/more.txt", "more\n")
    passed = noisy.call("smoke", "--json")
    assert passed.code == 0 and passed.json["passed"] and passed.json["steps"] is None
    assert "METRIC" not in passed.out and "value" not in passed.json
    noisy.write("src/broken", "")
    failed = noisy.call("smoke")
    assert failed.code == 1 and "it does not run (crash)" in failed.out
    assert noisy.events() == before and noisy.git("status", "--porcelain").split() == [
        "??",
        "src/broken",
        "??",
        "src/more.txt",
    ]
    assert not noisy.git("for-each-ref", "--contains", "HEAD", "--format=%(refname)").count("smoke")
    set_base(noisy, 90)
    (noisy.root / "src/broken").unlink()
    assert noisy.call("try", "-m", "then measured").code == 0
    noisy.assert_clean()


def test_a_task_without_a_quick_check_says_so(lab: Lab) -> None:
    lab.prints(90)
    refused = lab.call("smoke")
    assert refused.code == 5 and "[run] smoke" in refused.err and "autoresearch try" in refused.err
