"""What a person says to the loop while it runs: journalled, and in force with the next proposal."""

from __future__ import annotations

import os
import signal

import psutil
import pytest
from lab import Lab, Maker
from loop_lab import GREEDY, Clockwork, Scripted, loop, prints, proposals, writes

from autoresearch.errors import StopReached
from autoresearch.journal.loop_events import loop_begin_line, steer_line
from autoresearch.loop import guarded
from autoresearch.loop.agents.base import Brief, Edit
from autoresearch.loop.driver import Driver
from autoresearch.loop.options import Options
from autoresearch.system.process import run_limited
from autoresearch.workspace.session_journal import append

pytestmark = pytest.mark.slow


def steer(lab: Lab, clock: Clockwork, what: str, text: str = "") -> None:
    append(lab.workspace, steer_line(what, int(clock.now), text))


def test_while_it_is_paused_nothing_is_proposed_and_hours_stand_still(make_lab: Maker) -> None:
    lab, said = make_lab(keep=GREEDY, stop={"max_hours": 0.2}), list[str]()
    begun = lab.session.current[0].started
    assert begun is not None
    clock = Clockwork(begun)

    def pause(brief: Brief) -> Edit:
        steer(lab, clock, "pause")
        clock.at.append((1200, lambda: steer(lab, clock, "continue")))
        return prints(brief, 90)

    def later(brief: Brief) -> Edit:
        assert clock.passed >= 1200
        return prints(brief, 80)

    ended = loop(lab, Scripted(pause, later), clock=clock, said=said, max_experiments=2, max_hours=0.2)
    assert ended.measured == (2, 3) and "paused; it goes on after: autoresearch continue" in said
    assert [e["experiment"] for e in lab.events("reserve") if e.get("agent")] == [2, 3]


def test_the_file_stop_ends_a_paused_loop(lab: Lab) -> None:
    clock = Clockwork()
    steer(lab, clock, "pause")
    clock.at.append((60, lab.workspace.stop_file.touch))
    with pytest.raises(StopReached):
        loop(lab, Scripted(90), clock=clock)
    assert clock.passed < 70


def test_the_hours_between_a_kill_and_what_a_person_says_are_none_of_the_loop(lab: Lab) -> None:
    clock = Clockwork()
    limits = {"max_hours": 1, "max_experiments": 1}
    append(lab.workspace, loop_begin_line(["scripted"], limits, 2, int(clock.now)))
    clock.now += 8 * 3600
    steer(lab, clock, "ban", "cache")
    assert loop(lab, Scripted(90), clock=clock, max_hours=1, max_experiments=1).measured == (2,)


def test_what_is_being_proposed_is_skipped(lab: Lab) -> None:
    def unwanted(brief: Brief) -> Edit:
        steer(lab, Clockwork(), "skip")
        return prints(brief, 90)

    ended = loop(lab, Scripted(unwanted, 80), max_experiments=1)
    assert proposals(lab)[0] == ("skipped", "a person said: skip")
    assert [e.metric for e in ended.session.current] == [100, 80]


def test_an_agent_at_work_is_ended_by_skip_with_its_processes(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "LOOK_S", 0.02)
    began, others = lab.root.parent / "began", {each.pid for each in psutil.Process().children()}

    def works(brief: Brief) -> Edit:
        began.symlink_to(brief.folder)
        steer(lab, Clockwork(), "skip")
        command = f'exec sleep 600 > "{brief.folder}/said"'
        run_limited(command, cwd=brief.folder, log=lab.root.parent / "log", limit_s=600.0, env=os.environ)
        raise AssertionError("nobody has ended it")

    loop(lab, Scripted(works, 80, cost=0.25), max_experiments=1)
    assert proposals(lab)[0] == ("skipped", "a person said: skip") and proposals(lab)[1][0] == "made"
    assert [e.metric for e in lab.session.current] == [100, 80] and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    left = [each for each in psutil.Process().children() if each.pid not in others]
    assert [each for each in left if "sleep" in each.name()] == []
    assert lab.session.ledger.cost.open == 1, "what it has spent is not known"


def test_what_is_being_measured_is_ended_and_not_measured_again(lab: Lab) -> None:
    def tick(phase: str, seconds: float) -> None:
        if not lab.session.loop.steering.skips:
            steer(lab, Clockwork(), "skip")

    agent = Scripted(writes("sleep 600\n", "a slow one"), 80)
    ended = Driver(lab.workspace, [agent], Options(max_experiments=1), times=Clockwork().times, tick=tick).run()
    killed, kept = ended.session.current[1:]
    assert (killed.outcome, killed.reason, kept.metric) == ("killed", "a person said: skip", 80)
    assert proposals(lab)[1] == ("skipped", "a person said: skip")
    assert ended.measured == (3,) and lab.processes() == []
    lab.assert_clean()


def test_a_proposal_that_waits_is_skipped_by_the_next_run(lab: Lab) -> None:
    def stop(brief: Brief) -> Edit:
        lab.workspace.stop_file.touch()
        return prints(brief, 90)

    loop(lab, Scripted(stop))
    assert lab.session.proposed is not None
    lab.workspace.stop_file.unlink()
    assert lab.call("status", "--json").json["next"] == "autoresearch run"
    assert "the proposal that waits to be measured is given up" in lab.call("skip").out
    ended = loop(lab, Scripted(90, 80), max_experiments=1)
    assert [e.metric for e in ended.session.current] == [100, 80]
    assert ("refused", "this code was skipped (a person said: skip); change something else") in proposals(lab)


def test_families_are_banned_and_asked_for_in_the_next_brief(lab: Lab) -> None:
    def ban(brief: Brief) -> Edit:
        for what, text in (("ban", "cache"), ("ask", "memory"), ("goal", "below 50")):
            steer(lab, Clockwork(), what, text)
        return prints(brief, 90)

    agent = Scripted(ban, writes("echo METRIC total_ms=80 # x\n", "lookup tables", family="cache"), 70, 60)
    loop(lab, agent, max_experiments=2)
    assert "family cache, which a person has ruled out" in proposals(lab)[1][1]
    later = agent.briefs[1]
    assert (later.banned, later.families, later.goal) == (("cache",), ("memory",), "below 50")
    steer(lab, Clockwork(), "any")
    loop(lab, agent, max_experiments=1)
    assert agent.briefs[-1].banned == () and "memory" not in agent.briefs[-1].families


def test_what_was_refused_for_a_person_is_measured_when_the_person_allows_it(lab: Lab) -> None:
    def banned(brief: Brief) -> Edit:
        steer(lab, Clockwork(), "ban", "cache")
        return prints(brief, 90)

    tables = writes("echo METRIC total_ms=80 # x\n", "lookup tables", family="cache")
    loop(lab, Scripted(banned, tables, 70), max_experiments=2)
    assert "which a person has ruled out" in proposals(lab)[1][1]
    steer(lab, Clockwork(), "allow", "cache")
    ended = loop(lab, Scripted(tables), max_experiments=1)
    assert proposals(lab)[-1][0] == "made" and ended.session.current[-1].metric == 80


def test_the_commands_say_what_is_in_force_and_refuse_what_is_no_family(lab: Lab) -> None:
    assert lab.call("steer", "--ban", "Input  and output", "--goal", "be\nquick").code == 0
    view = lab.call("steer", "--ask", "cache", "--json").json
    assert view == {"paused": False, "banned": ["input and output"], "asked": "cache", "goal": "be quick"}
    assert lab.call("steer", "--allow", "input and output", "--json").json["banned"] == []
    refused = lab.call("steer", "--ban", "magic")
    assert refused.code == 2 and "there is no family 'magic'" in refused.err
    assert lab.call("pause", "--json").json["paused"] and lab.call("pause").code == 0
    assert not lab.call("continue", "--json").json["paused"]
    assert "banned" in lab.call("steer").out
    assert lab.call("steer", "--any", "--json").json["asked"] is None
    assert [e["what"] for e in lab.events("steer")] == [
        "ban", "goal", "ask", "allow", "pause", "pause", "continue", "any"]  # fmt: skip


def test_who_steers_where_no_loop_is_at_work_hears_that_nobody_heeds_it_yet(lab: Lab) -> None:
    hears, told = "a coding agent hears: autoresearch tell", list[str]()
    for words in (("skip",), ("pause",), ("continue",), ("steer", "--goal", "less")):
        done = lab.call(*words)
        assert done.code == 0 and hears in done.err, words
    assert "nothing is given up" in lab.call("skip").out and hears not in lab.call("steer").err

    def skips(brief: Brief) -> Edit:
        done = lab.call("skip")
        told.append(done.out + done.err)
        return prints(brief, 90)

    loop(lab, Scripted(skips, 80), max_experiments=1)
    assert told[0].startswith("what is being proposed or measured is given up") and hears not in told[0]


def test_steering_while_a_run_goes_on_is_no_tampering(lab: Lab) -> None:
    def tick(phase: str, seconds: float) -> None:
        if not lab.session.loop.steering.banned:
            steer(lab, Clockwork(), "ban", "cache")

    agent = Scripted(writes("sleep 1\necho METRIC total_ms=80\n"))
    ended = Driver(lab.workspace, [agent], Options(max_experiments=1), times=Clockwork().times, tick=tick).run()
    assert ended.session.current[1].outcome == "ok" and ended.session.loop.steering.banned == ("cache",)
