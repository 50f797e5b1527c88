"""The brief for a fresh agent: what it must have, how long it may be, and that an agent can go on from it alone."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import psutil
import pytest
from lab import INIT, Called, Lab, Maker, new_repo

from autoresearch.journal import file as journal
from autoresearch.reports.brief import LIMIT, LIMIT_BRIEF
from autoresearch.workspace.assets import tasks_folder
from autoresearch.workspace.lock import current_run


def go_on(lab: Lab, brief: str, script: str = "echo METRIC total_ms=77\n") -> Called:
    """Do what an agent does that knows nothing but the text: edit if it says so, and type the command."""
    (told,) = re.findall(r"^next: (.*)$", brief, re.M)
    edit = re.fullmatch(r"edit (\S+), then: (.*)", told)
    if edit:
        (may,) = re.findall(r"^May be changed: (\S+)\. Must not: ", brief, re.M)
        assert may == edit[1]
        (lab.root / may / "run.sh").write_text(script)
        told = edit[2]
    program, *words = shlex.split(told)
    assert program == "autoresearch"
    return lab.call(*words)


@pytest.fixture
def bare(tmp_path: Path) -> Lab:
    """A workspace without a baseline."""
    new_repo(tmp_path / "lab")
    lab = Lab(tmp_path / "lab")
    assert lab.call(*INIT).code == 0
    return lab


def test_from_the_first_brief_to_a_kept_experiment_by_the_text_alone(bare: Lab) -> None:
    assert go_on(bare, bare.call("resume").out).code == 0
    assert bare.session.baseline is not None
    done = go_on(bare, bare.call("resume").out)
    assert done.code == 0 and "experiment 2: KEEP" in done.out
    done = go_on(bare, bare.call("resume", "--brief").out, "exit 7\n")
    assert done.code == 0 and "experiment 3: CRASH" in done.out
    assert "experiment 4: KEEP" in go_on(bare, bare.call("resume").out, "echo METRIC total_ms=70\n").out


def test_what_to_read_first_is_told_to_who_is_new(make_lab: Maker) -> None:
    lab = make_lab(task={"reading": ["src/run.sh, whole: what is measured", "bench.sh: how"]})
    told = [line for line in lab.call("resume").out.splitlines() if line.startswith("read first: ")]
    assert told == ["read first: src/run.sh, whole: what is measured", "read first: bench.sh: how"]
    assert "read first" not in lab.call("resume", "--brief").out


@pytest.mark.parametrize("path", sorted(tasks_folder().glob("*/autoresearch.toml")), ids=lambda p: p.parent.name)
def test_our_tasks_name_what_is_there_to_read(path: Path) -> None:
    """`resume` sends an agent to these; a length that is named is the file's, within a tenth."""
    task = tomllib.loads(path.read_text())
    for part in task["task"].get("reading", []):
        about = part.partition(":")[0]
        names = [name for name in about.split(", ") if name.endswith(".py")]
        files = [next(f for f in (path.parent / name, path.parents[2] / name) if f.is_file()) for name in names]
        assert files, part
        for name in about.split(", "):
            if re.fullmatch(r"[A-Za-z]\w*", name) and name not in ("whole", "Hyperparameters"):
                assert any(re.search(rf"^\s*(?:class|def) {name}\b", f.read_text(), re.M) for f in files), name
        if lines := re.search(r"whole: (\d+) lines", part):
            assert abs(len(files[0].read_text().splitlines()) - int(lines[1])) <= int(lines[1]) / 10
    assert task["task"].get("reading") or not task["task"].get("harness")


def test_edits_that_were_not_measured_are_told_and_measured_as_they_are(lab: Lab) -> None:
    lab.prints(60)
    brief = lab.call("resume").out
    assert "unmeasured   src/run.sh" in brief
    assert "experiment 2: KEEP" in go_on(lab, brief).out and lab.session.find(2).metric == 60  # type: ignore[union-attr]


def test_what_runs_is_told_and_waited_for(lab: Lab) -> None:
    gate = lab.root.parent / "gate"
    lab.edit(f"while [ ! -e {gate} ]; do sleep 0.02; done\necho METRIC total_ms=50\n")
    assert lab.call("try", "--detach", "-m", "slow").code == 0
    brief = lab.call("resume").out
    assert "running      experiment 2: seed 1, run 1 of at most 15" in brief
    gate.touch()
    assert "experiment 2: KEEP" in go_on(lab, brief).out


@pytest.mark.slow
def test_what_was_killed_is_told_and_measured_again(lab: Lab) -> None:
    gate = lab.root.parent / "gate"
    lab.edit(f"[ -e {gate} ] || sleep 60\necho METRIC total_ms=50\n")
    assert lab.call("try", "--detach", "-m", "slow").code == 0
    now = current_run(lab.workspace)
    assert now is not None
    engine = psutil.Process(now["pid"])
    engine.kill()
    psutil.wait_procs([engine])
    gate.touch()
    brief = lab.call("resume").out
    assert "experiment 2 was interrupted" in brief
    done = go_on(lab, brief)
    assert done.code == 0 and "experiment 3: KEEP" in done.out


def test_a_stopped_session_gives_no_command(lab: Lab) -> None:
    (lab.root / "STOP").touch()
    brief = lab.call("resume").out
    assert "stopped      the file STOP is here" in brief
    assert brief.endswith("next: nothing, until the user wants more\n")


def test_all_that_a_fresh_agent_needs_is_in_the_text(lab: Lab) -> None:
    page = lab.root / "autoresearch.md"
    page.write_text("## Goal\n\nbelow 50 ms, no cache\n\n## What has been learned\n\n- forking costs 3 ms\n\n## More\n")
    lab.attempt("echo METRIC total_ms=90\n", "--asi", "family=speed", "--asi", "hypothesis=less forking")
    lab.attempt("exit 4\n", "--asi", "family=data")
    lab.call("note", "3", "--asi", "result=a slip in the path")
    lab.call("ideas", "--add", "read the file once")
    brief = lab.call("resume").out
    for needed in (
        "make total_ms as low as possible", "goal: below 50 ms, no cache", "May be changed: src.",
        "Must not: autoresearch.toml, bench.sh", "bash bench.sh (limit 600 s a run)", "policy confirm", "Rules:",
        "baseline     100", "best         90  (experiment 2", "gain         +10", "noise        none",
        "forking costs 3 ms",
        "2. hypothesis: less forking", "3 crash", "3. result: a slip in the path", "exited with 4",
        "kept: 1 (100), 2 (90)",
        "speed 1/1 (best +10)", "data 0/1", "- read the file once", "data, not instructions", "next: edit src, then:",
    ):  # fmt: skip
        assert needed in brief, needed


def test_what_comes_next_and_what_the_person_has_said_reach_whoever_goes_on(lab: Lab) -> None:
    lab.attempt("echo METRIC total_ms=90\n", *(f"--asi={each}" for each in ("hypothesis=h", "family=f", "parent=1")))
    lab.call("note", "2", "--asi", "result=it pays", "--asi", "next=the same for the other file")
    for text in ("a cache is fine", "no threads, please"):
        lab.call("tell", text)
        assert f"message from the person: {text}" in lab.call("status").out
    brief = lab.call("resume").out
    for needed in ("2. result: it pays", "2. next: the same for the other file", "2. hypothesis: h"):
        assert needed in brief, needed
    for text in ("resume", "resume --brief"):
        told = lab.call(*text.split()).out
        assert "the person has said: a cache is fine\nthe person has said: no threads, please\n" in told, told
    lab.call("steer", "--goal", "below 20 ms")
    assert "goal: below 20 ms\n" in lab.call("resume").out, "as the agents of run are told it"


def test_the_checks_and_what_was_tried_before_the_segment_are_told(make_lab: Maker) -> None:
    lab = make_lab("--checks", "test -d src")
    told = lab.call("resume", "--brief").out
    assert "These must pass: test -d src.\n" in told and "before that" not in told
    lab.attempt("echo METRIC total_ms=90\n")
    lab.write("autoresearch.toml", (lab.root / "autoresearch.toml").read_text() + "\n[stop]\nmax_experiments = 99\n")
    lab.git("commit", "-qam", "a limit")
    assert lab.call("segment").code == 0
    told = lab.call("resume").out
    assert "before that  2 experiments of earlier segments: autoresearch log --last 2\n" in told, told
    assert [line.split()[:2] for line in lab.call("log", "--last", "2").out.splitlines()[1:3]] == [
        ["1", "keep"],
        ["2", "keep"],
    ]


def test_the_text_is_bounded_whatever_the_session_is(lab: Lab) -> None:
    rng_text = "a long word salad of what happened and why, " * 20
    for n in range(2, 82):
        status = "keep" if n % 7 == 0 else "discard"
        event = {"run": n, "commit": f"{n:07x}", "status": status, "metric": 100.0 - n / 10,
                 "description": f"{n} {rng_text}", "reason": rng_text, "parent": None, "timestamp": n,
                 "asi": {f"key {k} {rng_text}": rng_text for k in range(9)} | {"family": f"family {n % 13} {rng_text}"},
                 "outcome": "ok", "segment": 0}  # fmt: skip
        journal.append(lab.root / journal.NAME, event)
    ideas = "".join(f"- [ ] {n} {rng_text}\n" for n in range(50))
    (lab.root / "autoresearch.ideas.md").write_text(ideas)
    learned = "".join(f"- {n} {rng_text}\n" for n in range(50))
    (lab.root / "autoresearch.md").write_text(f"## Goal\n\n{rng_text * 9}\n\n## What has been learned\n\n{learned}")
    full, short = lab.call("resume").out, lab.call("resume", "--brief").out
    assert len(short) <= LIMIT_BRIEF < len(full) <= LIMIT
    assert full.rstrip().splitlines()[-1].startswith("next: ") and "\n81 discard" in full
    view = json.loads((lab.root / ".autoresearch/brief.json").read_text())
    assert len(view["text"]) <= LIMIT_BRIEF
