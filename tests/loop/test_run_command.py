"""The command `run`, what it prints, and what `status`, `log` and `show` say of its costs."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from lab import Lab, call
from loop_lab import SCRIPT, Clockwork, Scripted, loop, prints
from waiting import PATIENCE_S, wait_for

from autoresearch.loop import registry
from autoresearch.loop.agents.base import Brief, Edit, ProposalFailed
from autoresearch.loop.awake import kept_awake

BETTER = "loop_lab:Better"

pytestmark = pytest.mark.slow


def replay(path: Path, *edits: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(edit) + "\n" for edit in edits))
    return f"replay:{path}"


def edit(value: int, old: int = 100, **more: object) -> dict[str, object]:
    change = {"file": SCRIPT, "old": f"={old}", "new": f"={value}"}
    return {"description": f"print {value}", "edits": [change], **more}


def test_run_prints_one_object_and_its_costs_are_in_every_view(lab: Lab) -> None:
    done = lab.call("run", "--agent", BETTER, "--max-experiments", "2", "--max-usd", "5", "--json")
    assert done.code == 0, done
    view = done.json
    assert [row["metric"] for row in view["experiments"]] == [99, 98] and view["kept"] == [2, 3]
    assert view["best"]["value"] == 98 and "--max-experiments is 2" in view["reason"]
    spent = lab.call("status", "--json").json["spent"]
    assert (spent["usd"], spent["experiments"], spent["gains"]) == (0.25, 2, 2) and spent["device_s"] > 0
    assert spent["per_experiment"]["usd"] == spent["per_gain"]["usd"] == 0.125
    assert "0.2500 USD" in lab.call("status").out and "0.1250 USD" in lab.call("status").out
    rows = lab.call("log", "--json").json["experiments"]
    assert [row["cost"] and row["cost"]["usd"] for row in rows] == [None, 0.125, 0.125]
    assert " usd " in lab.call("log").out
    assert lab.call("show", "3", "--json").json["cost"]["usd"] == 0.125 and "0.1250 USD" in lab.call("show", "3").out
    text = lab.call("run", "--agent", BETTER, "--max-experiments", "1")
    assert "done   1 experiment, 1 kept" in text.out and "4. prints 97: 97" in text.err


def test_a_session_without_a_loop_says_nothing_of_one(lab: Lab) -> None:
    view = lab.call("status", "--json").json
    assert view["spent"] is None and view["loop"] is None
    assert "spent" not in lab.call("status").out and "usd" not in lab.call("log").out
    assert "cost" not in lab.call("show", "1").out


def test_what_was_refused_is_in_the_log(lab: Lab) -> None:
    agent = replay(lab.root.parent / "edits", edit(90, old=5), edit(90))
    done = lab.call("run", "--agent", agent, "--max-experiments", "1")
    assert done.code == 0, done
    dropped = lab.call("log", "--json").json["dropped"]
    assert [(row["outcome"], row["turn"]) for row in dropped] == [("failed", 1)]
    assert "the old text is 0 times" in dropped[0]["reason"] and "the old text is 0 times" in lab.call("log").out


def test_a_list_of_edits_is_replayed_once_each_and_goes_on(lab: Lab) -> None:
    agent = replay(lab.root.parent / "edits", edit(90, asi={"family": "cache"}, usage={"usd": 0.5}), edit(80, old=90),
                   {"description": "whole", "files": {"src/new/part.txt": "x"}})  # fmt: skip
    words = ("run", "--agent", agent, "--strategy", "best")
    assert lab.call(*words, "--max-experiments", "1").code == 0
    done = lab.call(*words)
    assert done.code == 1 and "all edits of edits were proposed" in done.err
    told = [(e.description, e.metric, e.asi.get("family")) for e in lab.session.current[1:]]
    assert told == [("print 90", 90, "cache"), ("print 80", 80, None), ("whole", 80, None)]
    assert lab.session.ledger.cost.usd == 0.5


def test_two_lists_of_one_name_are_two_and_what_does_not_fit_had_its_turn(lab: Lab) -> None:
    ours, theirs = lab.root.parent / "ours", lab.root.parent / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
    broken = {"description": "no old text", "edits": [{"file": SCRIPT}]}
    first = replay(ours / "edits", edit(95, old=5), broken, edit(90), edit(90))
    second = replay(theirs / "edits", edit(80, old=90))
    done = lab.call("run", "--agent", first, "--strategy", "best")
    assert done.code == 1 and "all edits of edits were proposed" in done.err
    assert lab.call("run", "--agent", second, "--strategy", "best", "--max-experiments", "1").code == 0
    told = [(e["description"], e["outcome"]) for e in lab.events("proposal")]
    assert told == [("", "failed"), ("", "failed"), ("print 90", "made"), ("", "failed"), ("print 80", "made")]
    assert "no old text: the edit has no 'old'" in lab.events("proposal")[1]["reason"]
    assert [e.metric for e in lab.session.current] == [100, 90, 80]


def test_a_list_is_found_from_where_it_was_named_also_when_that_is_done_on_its_own(lab: Lab) -> None:
    replay(lab.write("notes/edits.jsonl", ""), edit(90))
    words = ("run", "--agent", "replay:edits.jsonl", "--max-experiments", "1", "--detach", "--json")
    begun = call(*words, cwd=lab.root / "notes")
    assert begun.code == 0, begun
    if begun.json.get("running"):
        begun = lab.call("wait", "--timeout", "200", "--json")
    assert begun.code == 0 and begun.json["kept"] == [2], begun


@pytest.mark.parametrize(
    ("line", "says"),
    [("{", "cannot be replayed"), ('{"description": "x"}', "line 1 has no description, or neither edits nor files")],
)
def test_a_list_that_cannot_be_replayed_is_refused_before_anything_begins(lab: Lab, line: str, says: str) -> None:
    (lab.root.parent / "edits").write_text(line)
    done = lab.call("run", "--agent", f"replay:{lab.root.parent / 'edits'}")
    assert done.code == 5 and done.err.count(says) == 1 and not lab.events("loop_run")


def test_a_list_that_was_changed_meanwhile_is_read_anew(lab: Lab) -> None:
    agent = registry.agent_of(replay(lab.root.parent / "edits", edit(90)))
    assert agent.ready() is None
    replay(lab.root.parent / "edits", edit(80))
    brief = Brief(lab.root, lab.session, None, 1, "improve", "")  # type: ignore[arg-type]
    assert agent.propose(brief).description == "print 80"


@pytest.mark.parametrize("file", ["../outside.txt", "/tmp/outside.txt", "src/link"])
def test_a_replayed_edit_stays_in_its_folder(lab: Lab, file: str) -> None:
    outside = lab.root.parent / "outside"
    outside.write_text("mine\n")
    (lab.root / "src/link").symlink_to(outside)
    lab.commit("a link that is the person's")
    agent = registry.agent_of(replay(lab.root.parent / "edits", {"description": "x", "files": {file: "theirs\n"}}))
    brief = Brief(lab.root, lab.session, None, 1, "improve", "")  # type: ignore[arg-type]
    with pytest.raises(ProposalFailed, match=r"inside the workspace|out of the workspace"):
        agent.propose(brief)
    assert outside.read_text() == "mine\n"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--agent", "nobody"), 2, "there is no agent 'nobody'; choose from: sampler, claude"),
        (("--agent", "no.such.module:Agent"), 2, "there is no agent"),
        (("--agent", ","), 2, "no agent is named"),
        (("--agent", f"{BETTER},{BETTER}"), 2, "named twice"),
        (("--agent", "replay"), 2, "needs a file of edits"),
        (("--agent", "loop_lab:NotReady"), 5, "has failed (ZeroDivisionError: of the agent: in it); correct that"),
        (("--agent", BETTER, "--strategy", "none"), 2, "there is no strategy 'none'"),
        (("--max-experiments", "0"), 2, "max-experiments"),
    ],
)
def test_what_is_no_agent_or_strategy_is_refused(lab: Lab, words: tuple[str, ...], code: int, says: str) -> None:
    done = lab.call("run", *words)
    assert done.code == code and says in done.err and not lab.events("loop_run")


@pytest.mark.parametrize(("strategy", "says"), [("Breaks", "KeyError: 'no such key'"), ("Says", "no Proposal but str")])
def test_a_strategy_that_fails_ends_run_and_next_with_a_sentence(lab: Lab, strategy: str, says: str) -> None:
    path = f"loop_strategies:{strategy}"
    for words in (("run", "--agent", BETTER), ("next",)):
        done = lab.call(*words, "--strategy", path)
        assert done.code == 2 and f"the strategy {path!r} has failed" in done.err and says in done.err
    assert lab.events("loop_run")[-1]["event"] == "end" and not lab.events("proposal")


def test_next_says_so_where_a_strategy_asks_for_an_experiment_that_there_is_not(lab: Lab) -> None:
    done = lab.call("next", "--strategy", "loop_strategies:FromTheSecond")
    assert done.code == 5 and "asks for experiment 2, which has no commit to start from" in done.err


def test_every_agent_that_has_a_name_is_at_its_path() -> None:
    from importlib.util import find_spec

    assert "sampler" in registry.AGENTS and "replay" in registry.AGENTS
    for name, path in registry.AGENTS.items():
        module, _, cls = path.partition(":")
        if find_spec(module) is not None:
            source = Path(find_spec(module).origin or "").read_text()  # type: ignore[union-attr]
            assert f"class {cls}:" in source or f"class {cls}(" in source, name


def test_a_signal_ends_the_loop_in_order_and_the_next_run_goes_on(lab: Lab) -> None:
    flag = lab.root.parent / "go"
    agent = replay(lab.root.parent / "edits", {"description": "slow", "files": {
        SCRIPT: f"until [ -e {flag} ]; do sleep 0.02; done; echo METRIC total_ms=90\n"}})  # fmt: skip
    command = [sys.executable, "-m", "autoresearch", "run", "--agent", agent, "--max-experiments", "1", "--json"]
    process = subprocess.Popen(command, cwd=lab.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: lab.processes() or process.poll() is not None, "the run")
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=PATIENCE_S)
    error = json.loads(out)["error"]
    again = f"autoresearch run --agent {agent} --max-experiments 1"
    assert process.returncode == 1 and error["fix"] == f"go on with: {again}", error
    assert lab.call("status", "--json").json["next"] == again
    assert [e["event"] for e in lab.events("loop_run")] == ["begin", "end"] and lab.processes() == []
    assert lab.events("loop_run")[-1]["reason"] == "interrupted"
    assert lab.session.find(2).outcome == "killed"  # type: ignore[union-attr]
    lab.assert_clean()
    flag.touch()
    assert lab.call(*shlex.split(again)[1:]).code == 0
    assert lab.session.find(3).metric == 90 and len(lab.events("proposal")) == 2  # type: ignore[union-attr]


def test_a_detached_loop_is_waited_for(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent) + os.pathsep + str(Path(__file__).parents[1]))
    begun = lab.call("run", "--agent", BETTER, "--max-experiments", "1", "--detach", "--json")
    assert begun.code == 0 and begun.json["running"], begun
    done = lab.call("wait", "--timeout", "200", "--json")
    assert done.code == 0 and done.json["kept"] == [2], done


def test_sleep_is_held_off_as_long_as_the_loop_runs_and_where_it_is_not_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    program, held = tmp_path / "systemd-inhibit", tmp_path / "held"
    program.write_text(f'#!/bin/sh\nwhile [ "$1" != sh ]; do shift; done\necho $$ > {held}\nexec "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(sys, "platform", "linux")
    with kept_awake(said.append):
        pid = int(held.read_text())
        os.kill(pid, 0)
    assert said == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    program.write_text("#!/bin/sh\nexit 1\n")
    with kept_awake(said.append):
        pass
    assert said == ["the machine may go to sleep meanwhile: systemd-inhibit is not permitted here"]
    program.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with kept_awake(said.append):
        pass
    assert said[-1].endswith("there is no systemd-inhibit here")


def test_an_answer_that_does_not_come_is_a_failed_proposal(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from autoresearch.loop import guarded, turn

    monkeypatch.setattr(guarded, "GRACE_S", 0.05)
    real = turn.brief_of
    monkeypatch.setattr(turn, "brief_of", lambda *a, **k: replace(real(*a, **k), limit_s=0.05))
    never = lab.root.parent / "pipe"
    os.mkfifo(never)

    def hangs(brief: Brief) -> Edit:
        never.read_text()
        return Edit("never")

    agent = Scripted(hangs, lambda brief: prints(brief, 90, 0.125), cost=0.5)
    loop(lab, agent, clock=Clockwork(), max_experiments=1)
    first = lab.events("proposal")[0]
    assert (first["outcome"], first["reason"]) == ("failed", "no answer came in 0.05 s")
    assert lab.session.ledger.cost.usd == 0.625, "what it has spent is not known, and counts as reserved"
