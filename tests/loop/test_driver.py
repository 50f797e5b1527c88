"""The loop in a real workspace: real git, real runs, agents that do what a list says."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from lab import INIT, Lab, Maker, Repo
from loop_lab import GREEDY, Clockwork, Scripted, loop, prints, proposals, writes

from autoresearch.errors import AutoresearchError, IntegrityError, MachineError, PreconditionError, StopReached
from autoresearch.journal.ledger import Usage
from autoresearch.journal.loop_events import proposal_line
from autoresearch.journal.message_events import message_line
from autoresearch.loop import driver
from autoresearch.loop.agents.base import AgentGone, AgentResting, Brief, Edit, ProposalFailed
from autoresearch.loop.place import put_on_branch
from autoresearch.runs.isolation.sandbox import SWITCH
from autoresearch.system.git_command import GitCommand
from autoresearch.workspace.lock import lock
from autoresearch.workspace.session_journal import append

# --- proposals, and what they become ---

pytestmark = pytest.mark.slow


def test_proposals_are_measured_and_decided_on_as_by_try(lab: Lab) -> None:
    agent = Scripted(90, 95, lambda brief: prints(brief, 80, 0.5, hypothesis="less"))
    ended = loop(lab, agent, max_experiments=3)
    told = [(e.number, e.status, e.metric) for e in ended.session.current]
    assert told == [(1, "keep", 100.0), (2, "keep", 90.0), (3, "discard", 95.0), (4, "keep", 80.0)]
    assert ended.measured == (2, 3, 4) and "--max-experiments is 3" in ended.reason
    last = lab.session.find(4)
    assert last is not None and last.description == "prints 80"
    assert (last.asi["agent"], last.asi["parent"], last.asi["hypothesis"]) == ("scripted", 2, "less")
    assert "hypothesis: less" in lab.git("log", "-1", "--format=%B", last.commit or "")
    assert agent.briefs[1].parent == 2 and agent.briefs[0].mode == "improve"
    assert not agent.briefs[0].folder.exists(), "the folder is thrown away"
    lab.assert_clean()


def test_a_candidate_starts_no_more_git_processes_than_it_needs(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    real = GitCommand.process

    def counted(git: GitCommand, args: Sequence[str], **more: Any) -> subprocess.CompletedProcess[bytes]:
        begun.append(next(word for word in args if not word.startswith("-") and "=" not in word))
        return real(git, args, **more)

    monkeypatch.setattr(GitCommand, "process", counted)
    monkeypatch.setenv(SWITCH, "off")
    loop(lab, Scripted(95), max_experiments=1)
    begun.clear()
    loop(lab, Scripted(105), max_experiments=1)
    # A look at the beginning of the loop, before the agent is asked, before the run, before git moves, and by `try`;
    # the edit taken and committed; the branch moved and back; the run's snapshot and patch, and a look at what it did;
    # the experiment's ref; the mirror.
    assert Counter(begun) == {
        "status": 5, "ls-files": 1, "update-index": 1, "write-tree": 1, "commit-tree": 1, "reset": 2, "read-tree": 2,
        "diff": 1, "cat-file": 1, "update-ref": 2, "unpack-objects": 1,
    }  # fmt: skip
    lab.assert_clean()


def test_what_an_agent_changes_outside_the_mutable_files_is_ignored_and_told(lab: Lab) -> None:
    def step(brief: Brief) -> Edit:
        (brief.folder / "bench.sh").write_text("echo METRIC total_ms=1\n")
        (brief.folder / "new.txt").write_text("new\n")
        (brief.folder / "src/added.txt").write_text("added\n")
        (brief.folder / "src/other.txt").unlink()
        return prints(brief, 90)

    loop(lab, Scripted(step), max_experiments=1)
    assert lab.session.current[-1].metric == 90
    changed = lab.git("show", "--name-status", "--format=", lab.session.current[-1].commit or "").split()
    assert changed == ["A", "src/added.txt", "D", "src/other.txt", "M", "src/run.sh"]
    (line,) = lab.events("proposal")
    assert "bench.sh" in line["remarks"][0] and "new.txt" in line["remarks"][0]


def link(brief: Brief) -> Edit:
    (brief.folder / "src/run.sh").unlink()
    (brief.folder / "src/run.sh").symlink_to(brief.folder.parent / "elsewhere")
    return Edit("a link")


def fifo(brief: Brief) -> Edit:
    os.mkfifo(brief.folder / "src/pipe")
    return prints(brief, 1)


def replaced_by_fifo(brief: Brief) -> Edit:
    (brief.folder / "src/run.sh").unlink()
    os.mkfifo(brief.folder / "src/run.sh")
    return Edit("a pipe")


def folder_link(brief: Brief) -> Edit:
    (brief.folder / "src").rename(brief.folder / "elsewhere")
    (brief.folder / "src").symlink_to(brief.folder / "elsewhere")
    (brief.folder / "elsewhere/run.sh").write_text("echo METRIC total_ms=1\n")
    return Edit("a link to a folder")


def huge(brief: Brief) -> Edit:
    with (brief.folder / "src/data").open("wb") as file:
        file.truncate(2**30)
    return Edit("a gigabyte")


def repository(brief: Brief) -> Edit:
    (brief.folder / "src/sub/.git").mkdir(parents=True)
    (brief.folder / "src/sub/.git/HEAD").write_text("ref: refs/heads/main\n")
    (brief.folder / "src/sub/.git/objects").mkdir()
    (brief.folder / "src/sub/.git/refs").mkdir()
    return Edit("a repository")


def closed(brief: Brief) -> Edit:
    edit = prints(brief, 1)
    (brief.folder / "src/run.sh").chmod(0)
    return edit


def many(brief: Brief) -> Edit:
    for number in range(300):
        (brief.folder / f"src/{number}").write_text("x")
    return Edit("many")


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (link, "src/run.sh is a symbolic link"),
        (folder_link, "src is a symbolic link"),
        (fifo, "src/pipe is neither a file nor a folder"),
        (replaced_by_fifo, "src/run.sh is not a plain file"),
        (huge, "src/data has 1024.0 MiB; at most 4 may be"),
        (many, "300 files are changed"),
        (lambda brief: Edit("nothing"), "nothing has changed in src"),
        (lambda brief: Edit("outside") if (brief.folder / "new").write_text("x") else Edit(""), "ignored new"),
        (lambda brief: Edit(" ", prints(brief, 1).asi), "does not say what it changes"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_an_edit_that_cannot_be_committed_is_refused_and_may_be_repaired(lab: Lab, step: object, says: str) -> None:
    agent = Scripted(step, 90)
    loop(lab, agent, max_experiments=1)
    first, second = lab.events("proposal")
    assert (first["outcome"], first["round"]) == ("refused", 1) and says in first["reason"]
    assert (second["outcome"], second["round"], second["turn"]) == ("made", 2, first["turn"])
    assert says in agent.briefs[1].repair and not agent.briefs[0].repair
    assert lab.session.current[-1].metric == 90
    reserved = lab.events("reserve")
    assert [e.get("agent") for e in reserved[:3]] == ["scripted", "scripted", None], "two answers, then runs"
    assert {e["experiment"] for e in reserved} == {2}
    lab.assert_clean()


@pytest.mark.skipif(os.getuid() == 0, reason="root reads every folder")
def test_a_file_that_cannot_be_read_is_refused(lab: Lab) -> None:
    loop(lab, Scripted(closed, 90), max_experiments=1)
    assert "no permission" in proposals(lab)[0][1]


def test_a_repository_in_the_folder_is_no_change(lab: Lab) -> None:
    with pytest.raises(AutoresearchError):
        loop(lab, Scripted(repository))
    assert "src/sub" in proposals(lab)[0][1]


def test_the_folder_of_an_agent_is_no_repository(lab: Lab) -> None:
    def step(brief: Brief) -> Edit:
        done = subprocess.run(["git", "status"], cwd=brief.folder, capture_output=True)
        assert done.returncode != 0
        return prints(brief, 90)

    loop(lab, Scripted(step), max_experiments=1)


def test_a_proposal_from_another_parent_is_committed_on_the_incumbent(lab: Lab) -> None:
    """A near miss is what the strategy starts from; what it had besides is part of the change."""
    lab.attempt("echo METRIC total_ms=100\n# keep the same value\n", "--same")
    agent = Scripted(lambda brief: prints(brief, 99))
    ended = loop(lab, agent, max_experiments=1, strategy="loop_strategies:FromTheSecond")
    assert agent.briefs[0].parent == 2
    last = ended.session.current[-1]
    assert last.parent == ended.session.current[0].commit and last.asi["parent"] == 2


# --- known code ---


def test_known_code_is_said_once_then_sent_elsewhere_then_replaced(lab: Lab) -> None:
    first = Scripted(90, 90, 90, 90, name="first")
    second = Scripted(85, name="second")
    loop(lab, first, second, max_experiments=2)
    outcomes = [(e["agent"], e["outcome"], e.get("same")) for e in lab.events("proposal")]
    assert outcomes == [
        ("first", "made", None),
        ("first", "refused", 2),
        ("first", "refused", 2),
        ("first", "refused", 2),
        ("second", "made", None),
    ]
    assert "nothing has changed" in first.briefs[2].repair
    assert first.briefs[3].mode == "diversify" and "known already" in first.briefs[3].reason


def test_an_edit_of_words_alone_is_measured_where_the_command_may_read_them(lab: Lab) -> None:
    def says(word: str) -> Callable[[Brief], Edit]:
        def step(brief: Brief) -> Edit:
            (brief.folder / "src/prompt.py").write_text(f'"""{word}"""\n')
            (brief.folder / "src/run.sh").write_text("echo METRIC total_ms=$((99 - $(grep -c better src/prompt.py)))\n")
            return Edit(f"says {word}")

        return step

    ended = loop(lab, Scripted(says("well"), says("better"), says("well"), 90), max_experiments=3, strategy="best")
    told = [(e.description, e.metric) for e in ended.session.current[1:]]
    assert told == [("says well", 99), ("says better", 98), ("prints 90", 90)]
    assert proposals(lab)[2] == ("refused", "this is the code of experiment 2 (keep: says well); change something else")


def test_an_agent_that_cannot_repair_known_code_is_replaced_too(lab: Lab) -> None:
    cannot = ProposalFailed("it cannot repair that")
    first = Scripted(90, 90, cannot, 90, cannot, 90, name="first")
    loop(lab, first, Scripted(85, name="second"), max_experiments=2)
    told = [(e["agent"], e["outcome"], e["round"]) for e in lab.events("proposal")]
    assert told == [("first", "made", 1), *[("first", "refused", 1), ("first", "failed", 2)] * 2,
                    ("first", "refused", 1), ("second", "made", 1)]  # fmt: skip
    assert first.briefs[-1].mode == "diversify"


def test_an_edit_that_was_refused_is_not_taken_a_second_time(lab: Lab) -> None:
    with pytest.raises(AutoresearchError, match="5 turns in a row gave nothing to measure"):
        loop(lab, Scripted(*[writes("echo METRIC total_ms=100\n")] * 10))
    assert {e["same"] for e in lab.events("proposal")} == {1}


def test_five_turns_without_a_measurement_end_the_loop_and_another_run_begins_afresh(lab: Lab) -> None:
    failures = [ProposalFailed(f"number {n}") for n in range(5)]
    with pytest.raises(AutoresearchError, match=r"5 turns in a row .* number 4"):
        loop(lab, Scripted(*failures))
    assert [outcome for outcome, _ in proposals(lab)] == ["failed"] * 5
    assert lab.events("loop_run")[-1]["event"] == "end"
    ended = loop(lab, Scripted(ProposalFailed("once more"), 90), max_experiments=1)
    assert ended.measured == (2,)


def test_a_mistake_in_an_agent_is_a_failed_proposal_and_counts_what_was_reserved(lab: Lab) -> None:
    loop(lab, Scripted(ZeroDivisionError("of the agent"), 90, cost=0.5), max_experiments=1)
    assert proposals(lab)[0] == ("failed", "ZeroDivisionError: of the agent")
    assert lab.session.ledger.cost.usd == 0.5


# --- whose turn ---


def test_while_an_agent_rests_the_next_one_has_the_machine(lab: Lab) -> None:
    clock, said = Clockwork(), list[str]()
    first = Scripted(AgentResting("a limit of usage", clock.now + 600, Usage(usd=0.25)), 70, name="first")

    def wait(brief: Brief) -> Edit:
        clock.sleep(700)
        return prints(brief, 80)

    second = Scripted(90, wait, name="second")
    loop(lab, first, second, clock=clock, said=said, max_experiments=3)
    assert [e["agent"] for e in lab.events("proposal")] == ["second", "second", "first"]
    assert any("first must rest for 11 minutes: a limit of usage" in line for line in said)
    assert said.count("second has the machine now") == said.count("first has the machine now") == 1
    assert lab.session.ledger.cost.usd == 0.25


def test_when_all_rest_the_loop_waits_until_a_little_later_and_doubles_what_was_in_vain(lab: Lab) -> None:
    clock = Clockwork()
    begun, asked = clock.now, list[float]()

    def limit(brief: Brief) -> Edit:
        asked.append(clock.now - begun)
        raise AgentResting("limit", begun + 300)

    def works(brief: Brief) -> Edit:
        asked.append(clock.now - begun)
        return prints(brief, 90)

    loop(lab, Scripted(limit, limit, limit, works), clock=clock, max_experiments=1)
    assert asked == [0, 360, 480, 720], "60 s late, then after twice a minute, then after twice that"
    assert [e["until"] - begun for e in lab.events("loop_agent")] == [360, 480, 720]


def test_a_clock_that_is_set_back_does_not_make_a_wait_longer(lab: Lab) -> None:
    clock = Clockwork()

    def set_back() -> None:
        clock.now -= 86400

    clock.at.append((100, set_back))
    loop(lab, Scripted(AgentResting("limit", clock.now + 300), 90), clock=clock, max_experiments=1)
    assert 300 <= clock.passed < 400
    assert lab.session.find(2).metric == 90  # type: ignore[union-attr]


def test_hours_are_those_of_no_clock_that_can_be_set(lab: Lab) -> None:
    clock = Clockwork()

    def forth_and_back(brief: Brief) -> Edit:
        clock.now += 86400 * len(lab.session.current) * (-1) ** len(lab.session.current)
        clock.passed += 1000
        return prints(brief, 100 - len(lab.session.current))

    ended = loop(lab, Scripted(*[forth_and_back] * 9), clock=clock, max_hours=1)
    assert ended.measured == (2, 3, 4) and "--max-hours is 1" in ended.reason
    assert lab.session.proposed is not None, "the fourth waits for the next run"


def test_when_the_last_agent_is_gone_the_loop_ends_with_its_sentence(lab: Lab) -> None:
    first = Scripted(90, AgentGone("the login has ended", "log in: claude"), name="first")
    second = Scripted(85, AgentGone("no key", "set one"), name="second")
    with pytest.raises(AgentGone, match="no key; set one"):
        loop(lab, first, second)
    assert [e["agent"] for e in lab.events("proposal")] == ["first", "second"]
    assert lab.session.loop.agents["first"].gone and "log in" in lab.session.loop.agents["first"].reason
    assert lab.events("loop_run")[-1]["reason"] == "no key"


def test_an_agent_that_is_not_ready_is_left_out_and_without_another_refused(lab: Lab) -> None:
    absent = Scripted(90, name="absent")
    absent.ready = lambda: "there is no program; install it"  # type: ignore[method-assign]
    before = lab.events()
    with pytest.raises(PreconditionError, match="absent is not ready: there is no program"):
        loop(lab, absent)
    assert lab.events() == before
    said: list[str] = []
    loop(lab, absent, Scripted(90), said=said, max_experiments=1)
    assert "absent is not ready: there is no program; install it" in said


# --- money ---


def test_the_ledger_reserves_before_and_settles_after(lab: Lab) -> None:
    used = Usage("a-model", 1000, 400, 100, 50, 0.125)

    def step(brief: Brief) -> Edit:
        (open_one,) = [e for e in lab.session.ledger.entries if not e.settled]
        assert (open_one.usd, open_one.agent, open_one.experiment) == (0.5, "scripted", 2)
        edit = prints(brief, 90)
        return Edit(edit.description, {}, used)

    loop(lab, Scripted(step, cost=0.5), max_experiments=1)
    reserve, run, *_ = lab.events("reserve")
    assert (reserve["id"], reserve["usd"], run["device_s"]) == ("r1", 0.5, 600)
    settle, ran, *_ = lab.events("settle")
    assert settle["tokens"] == {"input": 1000, "cached": 400, "cache_written": 100, "output": 50}
    assert (settle["id"], settle["usd"], settle["model"]) == ("r1", 0.125, "a-model")
    assert ran["id"] == run["id"] == "r2" and "tokens" not in ran
    cost = lab.session.ledger.of(2)
    assert (cost.usd, cost.input, cost.output, cost.open) == (0.125, 1000, 50, 0)


def test_a_cap_is_held_by_what_is_reserved_and_across_runs(make_lab: Maker) -> None:
    lab = make_lab(keep=GREEDY, stop={"max_usd": 1.0})

    def dear(brief: Brief) -> Edit:
        return prints(brief, 100 - len(lab.session.current), 0.25)

    agent = Scripted(*[dear] * 9, cost=0.4)
    ended = loop(lab, agent)
    assert ended.measured == (2, 3, 4) and "0.40 USD, and 0.25 are left of the cap" in ended.reason
    assert agent.briefs[0].limit_usd == 1.0 and agent.briefs[2].limit_usd == 0.5
    with pytest.raises(StopReached, match=r"0\.25 are left"):
        loop(lab, Scripted(*[dear] * 9, cost=0.4))
    loop(lab, Scripted(dear, cost=0.2), max_experiments=1)
    assert lab.session.ledger.cost.usd == 1.0
    with pytest.raises(StopReached, match=r"1\.00 USD are spent, max_usd is 1"):
        loop(lab, Scripted(dear, cost=0.0))
    assert lab.attempt("echo METRIC total_ms=1\n").code == 6, "a person's try is held up by it, too"


def test_an_agent_whose_price_nobody_knows_is_refused_under_a_cap_alone(lab: Lab) -> None:
    with pytest.raises(StopReached, match="nobody knows what a proposal of scripted costs"):
        loop(lab, Scripted(90, cost=None), max_usd=5)
    assert not lab.events("reserve")
    loop(lab, Scripted(lambda brief: prints(brief, 90, None), cost=None), max_experiments=1)
    assert (lab.session.ledger.cost.unpriced, lab.session.ledger.cost.usd) == (1, 0)
    loop(lab, Scripted(80, cost=None), Scripted(80, name="free"), max_usd=5, max_experiments=1)
    assert lab.events("proposal")[-1]["agent"] == "free"


def test_what_was_paid_for_is_measured_though_the_cap_is_reached(lab: Lab) -> None:
    ended = loop(lab, Scripted(lambda brief: prints(brief, 90, 2.0), cost=0.5), max_usd=1)
    assert ended.measured == (2,) and "2.00 USD are spent" in ended.reason


def test_a_run_that_a_person_interrupts_goes_on_with_the_rest_of_the_same_limits(lab: Lab) -> None:
    clock, said = Clockwork(), list[str]()

    def interrupted(brief: Brief) -> Edit:
        clock.sleep(600)
        raise KeyboardInterrupt

    limits: dict[str, Any] = {"max_experiments": 2, "max_hours": 1.0}
    for steps in ((90, interrupted), (interrupted,), (interrupted,)):
        with pytest.raises(MachineError, match="interrupted"):
            loop(lab, Scripted(*steps), clock=clock, said=said, **limits)
        clock.sleep(8 * 3600)  # none of the loop's hours
    assert said.count("going on after an interruption") == 2 and lab.session.loop.hours == 0.5
    assert loop(lab, Scripted(80), clock=clock, **limits).measured == (2, 3)
    with pytest.raises(MachineError, match="interrupted"):
        loop(lab, Scripted(70, interrupted), clock=clock, **limits)
    assert loop(lab, Scripted(60), clock=clock, max_experiments=1).measured == (5,), "other limits begin anew"


def test_the_hours_after_each_of_two_kills_are_none_of_the_loop(lab: Lab) -> None:
    clock = Clockwork()

    class Killed(BaseException):
        """Nothing is written on the way out, as after a kill."""

    def killed(brief: Brief) -> Edit:
        clock.sleep(600)
        raise Killed

    limits: dict[str, Any] = {"max_experiments": 3, "max_hours": 1.0}
    for steps in ((90, killed), (killed,), (80, killed)):
        with pytest.raises(Killed):
            loop(lab, Scripted(*steps), clock=clock, **limits)
        clock.sleep(8 * 3600)
    assert [e["event"] for e in lab.events("loop_run")] == ["begin"] * 3 and lab.session.loop.hours < 1
    assert loop(lab, Scripted(70), clock=clock, **limits).measured == (2, 3, 4)


def test_a_journal_that_has_lost_lines_gets_none_of_the_loop_and_comes_back_whole(lab: Lab) -> None:
    loop(lab, Scripted(90), max_experiments=1)
    journal, whole = lab.workspace.journal, lab.workspace.journal.read_bytes()
    journal.write_bytes(whole[: (cut := whole.index(b'{"run":2,'))])
    with pytest.raises(IntegrityError, match="the journal has lost") as refused:
        loop(lab, Scripted(80), max_experiments=1)
    assert journal.read_bytes() == whole[:cut]
    assert refused.value.command is not None and lab.call(*shlex.split(refused.value.command)[1:]).code == 0
    assert loop(lab, Scripted(80), max_experiments=1, max_usd=1.0).measured == (3,), "no number is given twice"


def test_no_more_than_was_asked_for_is_measured_of_what_an_earlier_run_has_left(lab: Lab) -> None:
    def stop(brief: Brief) -> Edit:
        lab.workspace.stop_file.touch()
        return prints(brief, 90)

    loop(lab, Scripted(stop))
    lab.workspace.stop_file.unlink()
    first = lab.session.waiting[0]
    lab.prints(95)
    lab.git("add", "src")
    commit = lab.git("commit-tree", lab.git("write-tree"), "-p", "HEAD", "-m", "prints 95")
    lab.git("reset", "-q", "--hard")
    second = replace(first, turn=2, description="prints 95", commit=commit, fingerprint="another", reservation="")
    append(lab.workspace, proposal_line(second, 1))
    ended = loop(lab, Scripted(80), max_experiments=1)
    assert ended.measured == (2,) and [p.turn for p in ended.session.waiting] == [2]
    assert ended.reason == "experiments measured: 1, --max-experiments is 1"


# --- a person beside it ---


def test_edits_of_a_person_are_not_touched(lab: Lab) -> None:
    lab.edit("echo METRIC total_ms=1\n")
    with pytest.raises(PreconditionError, match=r"src/run\.sh has edits that were not measured"):
        loop(lab, Scripted(90))
    lab.write("src/new", "mine\n")
    with pytest.raises(PreconditionError) as refused:
        loop(lab, Scripted(90))
    assert "put them aside with git stash push -u -- src: autoresearch try" in refused.value.fix
    (lab.root / "src/new").unlink()
    assert (lab.root / "src/run.sh").read_text() == "echo METRIC total_ms=1\n"
    lab.git("commit", "-qam", "by hand")
    with pytest.raises(PreconditionError, match="a commit that was not measured"):
        loop(lab, Scripted(90))
    assert lab.git("log", "-1", "--format=%s") == "by hand"
    assert not lab.events("reserve"), "nothing was spent"


def test_edits_that_a_person_makes_meanwhile_stay_and_the_proposal_waits(lab: Lab) -> None:
    def meanwhile(brief: Brief) -> Edit:
        (lab.root / "src/other.txt").write_text("mine\n")
        return prints(brief, 90)

    with pytest.raises(PreconditionError, match=r"src/other\.txt has edits"):
        loop(lab, Scripted(meanwhile), max_experiments=1)
    assert (lab.root / "src/other.txt").read_text() == "mine\n"
    lab.git("checkout", "-q", "--", "src/other.txt")
    ended = loop(lab, Scripted(), max_experiments=1)
    assert ended.measured == (2,) and len(lab.events("proposal")) == 1


def keep_halves(lab: Lab) -> None:
    """Keep, as experiment 2, a script whose metric is the sum of two files: 50 and 49."""
    for name, value in (("one", 50), ("other", 49)):
        lab.write(f"src/{name}", f"{value}\n")
    assert lab.attempt("echo METRIC total_ms=$(( $(cat src/one) + $(cat src/other) ))\n").code == 0


def half(brief: Brief, name: str, value: int) -> Edit:
    (brief.folder / "src" / name).write_text(f"{value}\n")
    return Edit(f"{name} is {value}")


def keep_one(lab: Lab) -> None:
    """Keep a change of a person, as experiment 3."""
    lab.write("src/one", "40\n")
    assert lab.attempt().code == 0


@pytest.mark.parametrize("when", ["while it is made", "while it waits"])
def test_a_proposal_goes_on_top_of_what_a_person_has_kept_meanwhile_and_takes_nothing_back(lab: Lab, when: str) -> None:
    keep_halves(lab)

    def meanwhile(brief: Brief) -> Edit:
        if when == "while it is made":
            keep_one(lab)
        else:
            lab.workspace.stop_file.touch()
        return half(brief, "other", 30)

    ended = loop(lab, Scripted(meanwhile), max_experiments=1, strategy="best")
    if when == "while it waits":
        lab.workspace.stop_file.unlink()
        keep_one(lab)
        ended = loop(lab, Scripted(), max_experiments=1)
    told = [(e.description, e.metric) for e in ended.session.current]
    assert told == [("baseline", 100), ("a change", 99), ("a change", 89), ("other is 30", 70)]
    assert ended.measured == (4,) and ended.session.current[3].parent == ended.session.current[2].commit
    assert [e["outcome"] for e in lab.events("proposal")] == ["made", "made"]
    lab.assert_clean()


def test_a_proposal_that_would_take_back_what_a_person_has_kept_meanwhile_is_refused(lab: Lab) -> None:
    keep_halves(lab)

    def meanwhile(brief: Brief) -> Edit:
        keep_one(lab)
        return half(brief, "one", 35)

    agent = Scripted(meanwhile, lambda brief: half(brief, "other", 30))
    ended = loop(lab, agent, max_experiments=1, strategy="best")
    assert [outcome for outcome, _ in proposals(lab)] == ["made", "refused", "made"]
    assert proposals(lab)[1][1].startswith("experiment 3 was kept meanwhile, and it cannot be applied to that: ")
    assert [e.metric for e in ended.session.current] == [100, 99, 89, 70]
    lab.assert_clean()


def test_what_a_person_keeps_just_before_a_proposal_is_on_the_branch_stays_kept(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def after_a_try(*given: Any) -> str:
        assert lab.attempt("echo METRIC total_ms=95\n").code == 0
        return put_on_branch(*given)

    monkeypatch.setattr(driver, "put_on_branch", after_a_try)
    ended = loop(lab, Scripted(90), max_experiments=1)
    assert [e.description for e in ended.session.current] == ["baseline", "a change", "prints 90"]
    assert ended.measured == (3,) and ended.session.current[2].parent == ended.session.current[1].commit
    lab.assert_clean()


@pytest.mark.parametrize("what", ["a branch", "a commit", "an edit"])
def test_what_a_person_does_just_before_a_proposal_is_on_the_branch_is_not_touched(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    says = {"a branch": "the branch is main", "a commit": "a commit that was not measured", "an edit": "has edits"}

    def after_that(*given: Any) -> str:
        if what == "a branch":
            lab.git("switch", "-q", "main")
        else:
            lab.write("src/other.txt", "mine\n")
        if what == "a commit":
            lab.git("commit", "-qam", "by hand")
        return put_on_branch(*given)

    main = lab.git("rev-parse", "main")
    monkeypatch.setattr(driver, "put_on_branch", after_that)
    with pytest.raises(PreconditionError, match=says[what]):
        loop(lab, Scripted(90), max_experiments=1)
    assert lab.git("rev-parse", "main") == main and lab.session.proposed is not None
    assert what == "a branch" or (lab.root / "src/other.txt").read_text() == "mine\n"
    assert what != "a commit" or lab.git("log", "-1", "--format=%s") == "by hand"


def test_two_loops_do_not_work_in_one_workspace(lab: Lab) -> None:
    def another(brief: Brief) -> Edit:
        with pytest.raises(PreconditionError, match="at work here already"):
            loop(lab, Scripted(80))
        return prints(brief, 90)

    loop(lab, Scripted(another), max_experiments=1)


def test_the_file_stop_ends_the_loop_and_what_is_proposed_waits(lab: Lab) -> None:
    def stop(brief: Brief) -> Edit:
        lab.workspace.stop_file.touch()
        return prints(brief, 90)

    ended = loop(lab, Scripted(stop))
    assert "STOP" in ended.reason and ended.measured == ()
    with pytest.raises(StopReached):
        loop(lab, Scripted(80))
    lab.workspace.stop_file.unlink()
    assert loop(lab, Scripted(), max_experiments=1).measured == (2,)


@pytest.mark.parametrize("done", ["file", "file and index", "file cut short", "file empty", "branch"])
def test_a_proposal_that_a_killed_git_has_half_put_on_the_branch_is_measured_all_the_same(lab: Lab, done: str) -> None:
    def stop(brief: Brief) -> Edit:
        lab.workspace.stop_file.touch()
        return prints(brief, 90)

    loop(lab, Scripted(stop))
    lab.workspace.stop_file.unlink()
    commit = lab.events("proposal")[0]["commit"]
    theirs = lab.git("show", f"{commit}:src/run.sh") + "\n"
    lab.workspace.git_marker.touch()
    if done == "file and index":
        lab.git("checkout", "-q", commit, "--", "src")
    elif done == "branch":
        lab.git("reset", "-q", "--keep", commit)
    else:
        lab.edit(theirs[: {"file": None, "file cut short": 9, "file empty": 0}[done]])
    ended = loop(lab, Scripted(), max_experiments=1)
    assert ended.measured == (2,) and ended.session.current[1].metric == 90
    assert len(lab.events("proposal")) == 1
    lab.assert_clean()


def test_what_a_person_says_is_in_every_brief_and_waits_for_nobody_else(lab: Lab) -> None:
    append(lab.workspace, message_line("try less", 1))
    agent = Scripted(90, 80)
    loop(lab, agent, max_experiments=2)
    assert [brief.messages for brief in agent.briefs] == [("try less",)] * 2
    assert lab.session.mailbox.waiting == ()


def test_a_baseline_that_is_missing_is_measured_first(repo: Repo) -> None:
    assert repo.call(*INIT).code == 0
    lab = Lab(repo.root)
    ended = loop(lab, Scripted(90), max_experiments=1)
    assert [(e.number, e.description) for e in ended.session.current] == [(1, "baseline"), (2, "prints 90")]
    runs = [e.experiment for e in ended.session.ledger.entries if not e.agent]
    assert runs[:3] == [1, 1, 1] and set(runs[3:]) == {2}, "its device time is in the ledger, too"


# --- a machine that fails ---


def test_what_the_machine_fails_is_measured_again_and_not_asked_for_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, "off")  # so that the run can leave a mark for the next one
    flag = lab.root.parent / "failed"
    script = f"[ -e {flag} ] || {{ touch {flag}; kill -9 $$; }}\necho METRIC total_ms=90\n"
    agent = Scripted(writes(script))
    ended = loop(lab, agent, max_experiments=1)
    assert [(e.number, e.outcome) for e in ended.session.current][1:] == [(2, "killed"), (3, "ok")]
    assert len(agent.briefs) == 1 and ended.measured == (3,)
    first, second = (e.commit or "" for e in ended.session.current[1:])
    assert first != second and lab.git("rev-parse", f"{first}^{{tree}}") == lab.git("rev-parse", f"{second}^{{tree}}")
    lab.assert_clean()


def test_a_machine_that_fails_again_and_again_ends_the_loop(lab: Lab) -> None:
    with pytest.raises(MachineError, match="failed 3 experiments in a row"):
        loop(lab, Scripted(writes("kill -9 $$\n")))
    assert [e.outcome for e in lab.session.current[1:]] == ["killed"] * 3
    with pytest.raises(AutoresearchError):
        loop(lab, Scripted())
    assert proposals(lab)[-1] == ("given_up", "its runs were interrupted 5 times")


def test_a_proposal_that_a_person_has_measured_meanwhile_is_given_up(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "off")
    well = lab.root.parent / "well"
    with pytest.raises(MachineError, match="failed 3 experiments in a row"):
        loop(lab, Scripted(writes(f"[ -e {well} ] || kill -9 $$\necho METRIC total_ms=150\n")))
    well.touch()
    assert lab.call("try", "--again", "2", "--json").json["status"] == "discard"
    ended = loop(lab, Scripted(90), max_experiments=1)
    assert proposals(lab)[-2:] == [("given_up", "experiment 5 has measured its code meanwhile"), ("made", "")]
    assert ended.session.current[-1].metric == 90
    lab.assert_clean()


def test_of_a_proposal_that_the_machine_has_cut_short_run_is_what_to_type(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError("no folder for the run")

    with monkeypatch.context() as patched, pytest.raises(MachineError) as told:
        patched.setattr("autoresearch.experiments.attempt.decide", broken)
        loop(lab, Scripted(90), max_experiments=1)
    assert "autoresearch run" in str(told.value.fix) and "try --again" not in str(told.value.fix)
    assert loop(lab, Scripted(), max_experiments=1).session.current[-1].metric == 90


def test_it_waits_for_a_baseline_that_another_command_is_measuring(repo: Repo) -> None:
    assert repo.call(*INIT).code == 0
    lab, clock = Lab(repo.root), Clockwork()
    held = contextlib.ExitStack()
    held.enter_context(lock(lab.workspace))
    clock.at = [(5.0, lambda: (held.close(), lab.call("baseline"))[0])]
    ended = loop(lab, Scripted(90), clock=clock, max_experiments=1)
    assert [e.description for e in ended.session.current] == ["baseline", "prints 90"]


def test_an_agent_that_forgets_to_answer_has_failed(lab: Lab) -> None:
    class Forgetful(Scripted):
        def propose(self, brief: Brief) -> Edit:
            super().propose(brief)
            return None  # type: ignore[return-value]

    with pytest.raises(AutoresearchError):
        loop(lab, Forgetful(90, 80, 70, 60, 50))
    assert {outcome for outcome, _ in proposals(lab)} == {"failed"} and "NoneType" in proposals(lab)[0][1]
    assert lab.events("loop_run")[-1]["event"] == "end"
