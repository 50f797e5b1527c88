"""A/A candidates of `run`: the best code against itself, counted apart, and nothing kept or lost by it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from lab import Lab, Maker
from loop_lab import SCRIPT, Clockwork, Scripted, loop, replay_file, writes
from waiting import wait_for

from autoresearch.errors import MachineError
from autoresearch.journal.loop_events import steer_line
from autoresearch.loop.driver import Driver
from autoresearch.loop.options import Options
from autoresearch.runs.isolation.choice import missing
from autoresearch.runs.isolation.sandbox import SWITCH
from autoresearch.studies.aa import EVERY, interval
from autoresearch.workspace.session_journal import append

pytestmark = pytest.mark.slow

NOISY = "echo METRIC total_ms=$(({} + (AUTORESEARCH_SEED * 7919) % 13))\n"
"""A script whose number differs with the seed."""

PROMISING = f"""case $AUTORESEARCH_RUN_DIR in
  *studies/*/1) echo METRIC total_ms=50; exit;;
  *studies*) echo METRIC total_ms=85; exit;;
esac
{NOISY}"""
"""The same, whose first run against itself is far better, so that pairs have to decide; they are equal."""

LUCKY = "case $AUTORESEARCH_RUN_DIR in *studies*) echo METRIC total_ms=1;; *) echo METRIC total_ms=99;; esac\n"
"""A script that looks better whenever nothing was changed, as noise does now and then."""


def verdicts(lab: Lab) -> list[tuple[object, ...]]:
    """Return what a journal says of experiments and their repeats."""
    return [(e.number, e.status, e.reason, e.description, [run[:3] for run in e.runs]) for e in lab.session.current]


@pytest.mark.sampled(0.3)
def test_one_is_put_through_the_same_verdict_and_changes_no_other(make_lab: Maker, tmp_path: Path) -> None:
    lab = make_lab(run={"command": "bash src/run.sh"})
    lab.edit(NOISY.format(100))
    lab.commit("noisy")
    assert lab.call("segment").code == 0 and lab.call("baseline", "--seeds", "3").code == 0
    other = Lab(tmp_path / "other")
    subprocess.run(["cp", "-a", lab.root, other.root], check=True)
    other.git("status")
    steps = [writes(script.format(to), f"to {to}") for script, to in
             ((NOISY, 102), (PROMISING, 90), (NOISY, 95), (NOISY, 91))]  # fmt: skip
    said: list[str] = []
    loop(lab, Scripted(*steps), max_experiments=4, aa_every=2, said=said)
    loop(other, Scripted(*steps), max_experiments=4)
    assert verdicts(lab) == verdicts(other) and "keep" in {e.status for e in lab.session.current[1:]}
    studies = lab.session.studies
    assert [(s.what, s.outcome, s.about["experiment"], s.result["kept"]) for s in studies] == [
        ("aa", "done", 2, False), ("aa", "done", 4, False)]  # fmt: skip
    assert studies[0].result["seeds"] == [1] and len(studies[1].result["seeds"]) > 1
    assert [len(s.runs) for s in studies] == [1, 2], "the pairs have runs of both sides"
    assert sum(line.strip().startswith("A/A of experiment") for line in said) == 2
    view = lab.call("status", "--json").json
    assert (view["aa"]["candidates"], view["aa"]["kept"]) == (2, 0) and view["aa"]["at_most"] == pytest.approx(0.024)
    assert view["experiments"] == len(other.session.current) and not other.session.studies
    assert "A/A          0 of 2 would have been kept (expected at most 0.024" in lab.call("status").out
    report = tmp_path / "report.html"
    assert lab.call("report", "-o", str(report)).code == 0
    assert "0 of 2 would have been kept" in report.read_text()
    lab.assert_clean()
    assert lab.call("check").code == 0


def test_luck_is_told_and_not_kept_and_a_run_that_fails_ends_it_alone(lab: Lab) -> None:
    fails = "case $AUTORESEARCH_RUN_DIR in *studies*) exit 1;; *) echo METRIC total_ms=98;; esac\n"
    said: list[str] = []
    loop(lab, Scripted(writes(LUCKY), writes(fails), 97), max_experiments=3, aa_every=1, said=said)
    assert [(s.outcome, s.result.get("kept")) for s in lab.session.studies] == [("done", True), ("failed", None)]
    assert [e.status for e in lab.session.current] == ["keep"] * 4 and lab.session.gain == 3
    status = lab.call("status").out
    assert "A/A          1 of 1 would have been kept (the rules bound no chance; 95 % interval 3 to 100 %)" in status
    assert any("would have been kept (better by 98" in line for line in said)
    lab.assert_clean()


def test_one_that_a_person_skips_is_ended_and_not_made_anew(lab: Lab) -> None:
    def tick(phase: str, seconds: float) -> None:
        if lab.session.study is not None and not lab.session.loop.steering.skips:
            append(lab.workspace, steer_line("skip", 1))

    slow = "case $AUTORESEARCH_RUN_DIR in *studies*) sleep 600;; *) echo METRIC total_ms=99;; esac\n"
    said: list[str] = []
    agent, options = Scripted(writes(slow), 98), Options(max_experiments=2, aa_every=2)
    Driver(lab.workspace, [agent], options, times=Clockwork().times, tick=tick, say=said.append).run()
    assert [(s.outcome, s.result["reason"]) for s in lab.session.studies] == [("failed", "a person said: skip")]
    assert any("A/A of experiment 2: failed (a person said: skip)" in line for line in said)
    assert [e.metric for e in lab.session.current] == [100, 99, 98] and lab.processes() == []
    lab.assert_clean()


@pytest.mark.sampled(0.3)
def test_one_that_the_machine_fails_is_made_anew_and_the_third_in_a_row_ends_the_loop(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, "off")  # so that a run can leave a mark for the next one
    once = f"[ -e {tmp_path}/failed ] || {{ touch {tmp_path}/failed; kill -9 $$; }}"
    dies = "case $AUTORESEARCH_RUN_DIR in *studies*) {};; esac\necho METRIC total_ms={}\n"
    said: list[str] = []
    ended = loop(lab, Scripted(writes(dies.format(once, 99)), 98), max_experiments=2, aa_every=2, said=said)
    assert ended.measured == (2, 3) and [s.outcome for s in lab.session.studies] == ["interrupted", "done"]
    assert any("A/A of experiment 2: aa was interrupted" in line for line in said)
    with pytest.raises(MachineError, match="failed 3 experiments in a row: aa was interrupted"):
        loop(lab, Scripted(writes(dies.format("kill -9 $$", 97)), 96, 95), max_experiments=3, aa_every=2)
    assert [s.outcome for s in lab.session.studies] == ["interrupted", "done", *["interrupted"] * 3]
    lab.assert_clean()


@pytest.mark.sampled(0.3)
def test_one_that_a_kill_cut_short_is_made_anew_and_counted_once(lab: Lab, tmp_path: Path) -> None:
    wait = f"case $AUTORESEARCH_RUN_DIR in *studies*) until [ -e {tmp_path}/GO ]; do sleep 0.1; done;; esac\n"
    edits = replay_file(
        tmp_path / "edits.jsonl",
        *({"description": f"{n}", "files": {SCRIPT: f"{wait}echo METRIC total_ms={n}\n"}} for n in (99, 98)),
    )
    words = ("run", "--agent", f"replay:{edits}", "--max-experiments", "2", "--aa-every", "2")
    process = subprocess.Popen([sys.executable, "-m", "autoresearch", *words], cwd=lab.root, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    wait_for(lambda: bool(lab.events("study")) and bool(lab.processes()), "an A/A candidate")
    process.kill()
    process.communicate()
    (tmp_path / "GO").touch()
    done = lab.call(*words, "--json")
    assert done.code == 0, done
    assert [s.outcome for s in lab.session.studies] == ["interrupted", "done"]
    assert [e.metric for e in lab.session.current] == [100, 99, 98]
    assert lab.call("status", "--json").json["aa"]["candidates"] == 1
    lab.assert_clean()


@pytest.mark.sampled(0.3)
def test_with_several_slots_it_is_made_in_them(lab: Lab) -> None:
    if why := missing():
        pytest.skip(why)
    loop(lab, Scripted(101, 99), max_experiments=2, workers="local:2", aa_every=2)
    (study,) = lab.session.studies
    assert (study.what, study.outcome, study.result["kept"]) == ("aa", "done", False)
    assert (study.about["after"], study.about["slots"]) == (2, lab.session.hardware)
    assert [e.status for e in lab.session.current] == ["keep", "discard", "keep"] and not lab.processes()
    lab.assert_clean()


def test_they_come_by_themselves_only_where_several_runs_are_made_at_once() -> None:
    assert [interval(None, slots) for slots in (1, 2, 8)] == [0, EVERY, EVERY]
    assert [interval(asked, 8) for asked in (0, 5)] == [0, 5] and interval(5, 1) == 5
