"""A kill while the baseline takes an edited task, while a guard is judged, and when the target is reached."""

from __future__ import annotations

import json

import kill_lab
import pytest
from drawn import EVERY, drawn
from kill_lab import Lab, Maker

pytestmark = [pytest.mark.slow, pytest.mark.sampled(0.24)]

bytecode, make_lab = kill_lab.bytecode, kill_lab.make_lab


def head_has(lab: Lab, toml: str) -> bool:
    return lab.git("show", "HEAD:autoresearch.toml") == toml.strip()


def test_a_kill_while_the_baseline_takes_an_edited_task_loses_neither(make_lab: Maker) -> None:
    lab = make_lab(baseline=False)
    edited = lab.add_to_task("\n[stop]\nmax_experiments = 7\n")
    restore = lab.saved()
    points = lab.drive(0, "baseline")
    assert lab.git("log", "-1", "--format=%s", "HEAD") == "autoresearch: autoresearch.toml edited before the baseline"
    steps = points[: points.index("before append start")]
    named = ["before git commit", "after git commit", "before append config", "after append config"]
    assert {*steps} >= {*named}, steps
    every = [*range(1, len(steps) + 1)]
    for at in every if EVERY else sorted({*drawn(every, 0.04, "edited task"), steps.index("after git commit") + 1}):
        restore()
        assert lab.drive(at, "baseline")[-1] == points[at - 1]
        # The edit is in the folder or committed, and whoever asks is told what takes it.
        assert (lab.folder / "autoresearch.toml").read_text() == edited
        checked = lab.run("check")
        assert checked.returncode == 0 or "autoresearch baseline" in checked.stderr, (points[at - 1], checked.stderr)
        assert lab.json("baseline")["status"] == "keep", points[at - 1]
        assert head_has(lab, edited) and len([e for e in lab.events() if e.get("type") == "config"]) == 2
        assert lab.events()[-1]["segment"] == 1
        lab.check()


def test_a_kill_while_a_guard_is_judged_loses_no_run_and_changes_no_verdict(make_lab: Maker) -> None:
    lab = make_lab("guarded", baseline=False)
    lab.least = 99
    lab.add_to_task("\n[guard]\nacc = { worse_by = 0.01 }\n")
    lab.json("baseline")
    costly = lab.edit(95)
    lab.drive("after append repeat", "try", "-m", "better, and less accurate")
    assert [e["guards"] for e in lab.events() if e.get("type") == "repeat"] == [{"acc": 0.905}]
    assert lab.window() in ("during a later run", "between runs")
    lab.resume()
    lab.check()
    restore = lab.saved()
    lab.drive("before append run", "try", "--again", "2")
    lab.resume()
    lab.check()
    restore()
    lab.drive("after append run", "try", "--again", "2")
    lab.resume()
    lab.check()
    verdict = lab.verdicts()[3]
    assert verdict["status"] == "discard" and verdict["reason"].startswith("acc is worse by 0.0"), verdict
    assert lab.version(lab.starts()[3]["commit"]) == costly and lab.content == lab.version("HEAD") != costly
    lab.edit(99)
    assert lab.json("try", "-m", "as accurate")["status"] == "keep"
    lab.check()


def test_a_kill_when_the_target_is_reached_ends_the_session_as_it_would_have(make_lab: Maker) -> None:
    lab = make_lab(baseline=False)
    lab.add_to_task("\n[stop]\ntarget = 99\n")
    lab.json("baseline")
    lab.edit(99)
    restore = lab.saved()
    lab.drive("before append run", "try", "-m", "enough")
    assert lab.json("resume")["stop"] is None, "nothing was decided"
    assert lab.json("try", "--again", "2")["status"] == "keep"
    restore()
    lab.drive("after append run", "try", "-m", "enough")
    stopped = lab.json("resume")
    assert stopped["stop"] == "experiment 2 has 99, and the target is 99"
    assert lab.verdicts()[2]["status"] == "keep" and lab.head == lab.starts()[2]["commit"]
    lab.check()
    lab.edit(98)
    refused = lab.run("try", "-m", "more", "--json")
    assert refused.returncode == 6 and "the target is 99" in json.loads(refused.stdout)["error"]["message"]
    assert 3 not in lab.starts()
