"""Every refusal leads on: doing what it prints brings what was asked for, and loses nothing kept or edited.

A walk brings a workspace into the state that leads to a refusal, does what the refusal says in a real shell, asks
again, and goes on with the next refusal until it works. A place of the package that refuses without a walk is in
NOT_WALKED with a reason, or `test_every_refusal_is_walked_or_listed` fails.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from drawn import drawn
from lab import INIT, TAG, Lab, new_repo, task_file
from made_once import made_once
from refusals import Follower, Recorder, Site, sites, sites_in

from autoresearch.journal.refs import mirror_ref

TRY = ("try", "-m", "a change")
Words = Sequence[str]


@dataclass(frozen=True)
class Ask:
    """What is asked for, and what a person does beside the commands that are printed."""

    words: Words
    by_hand: Callable[[], Words | None] | None = None
    """Done once, after the first refusal's command: what is said in prose. Returns what to ask for then; None for
    nothing, when that command was all."""
    fill: Mapping[str, str] = field(default_factory=dict)
    """Placeholder in a printed command -> what a person puts there."""
    cwd: Path | None = None
    discards: bool = False
    """Whether the command that is printed throws away what git has made in the folder."""


State = Callable[[Lab, pytest.MonkeyPatch], Ask]


@dataclass(frozen=True)
class Walk:
    site: str
    base: str
    """`kept`: two kept changes and a discarded one; `bare`: no baseline yet; `repo`: no session; `plain`: no files."""
    state: State


WALKS: list[Walk] = []


def walk(site: str, base: str = "kept") -> Callable[[State], State]:
    def register(state: State) -> State:
        WALKS.append(Walk(site, base, state))
        return state

    return register


def edit(lab: Lab, value: int = 20) -> None:
    lab.write("src/free", f"{value}\n")


def then(action: Callable[[], object], words: Words | None) -> Callable[[], Words | None]:
    def by_hand() -> Words | None:
        action()
        return words

    return by_hand


# --- words ---


@walk("cli/app.py _main: {}: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("-C", "nowhere", "status"), lambda: ("-C", ".", "status"))


@walk("cli/asi.py pairs: --asi {} is not KEY=VALUE")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab)
    return Ask((*TRY, "--asi", "less work"), lambda: (*TRY, "--asi", "hypothesis=less work"))


@walk("cli/experiments.py try_: --pairs is for a change that was a close call")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("try", "--pairs", "2"), lambda: None, {" N ": " 4 ", " P": " 2"})


@walk("cli/history.py log: there is no status {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("log", "--status", "kept"), lambda: ("log", "--status", "keep"))


@walk("cli/history.py _named: see: autoresearch log")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("show", "99"), lambda: ("show", "4"))


@walk("cli/history.py _named: N is {}, which is no experiment")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("show", "worst"), lambda: ("show", "best"))


@walk("cli/history.py _file_of: experiment {} had no file {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("show", "4", "--file", "nothing"), lambda: ("show", "4", "--file", "bench.sh"))


@walk("cli/history.py _file_of: the commit of experiment {} is not in the repository")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("show", "4", "--file", "bench.sh"), fill={"CLONE": lose_commits(lab, 4)})


@walk("cli/history.py _diff: the commits of this experiment are not in the repository")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("show", "4", "--diff"), fill={"CLONE": lose_commits(lab, 4)})


@walk("cli/history.py note: nothing to note")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("note", "2"), lambda: ("note", "2", "--asi", "result=..."))


@walk("cli/history.py note: there is no experiment {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("note", "99", "--asi", "a=b"), lambda: ("note", "4", "--asi", "a=b"))


@walk("cli/jobs.py _experiment_output: there is {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("wait", "99"), lambda: ("wait", "3"))


@walk("cli/jobs.py _experiment_output: experiment {} was interrupted before its verdict")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    start = {"type": "start", "experiment": 5, "commit": lab.git("rev-parse", "HEAD"), "parent": None, "seed": 1}
    append(lab, {**start, "description": "cut short", "asi": {}, "timestamp": 1})
    return Ask(("wait", "5"), lambda: ("show", "5"))


@walk("cli/messages.py tell: the message is empty")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("tell", "  "), lambda: None)


@walk("cli/messages.py tell: the message has more than {} characters")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("tell", "a" * 5000), lambda: ("tell", "a"))


@walk("cli/output.py _as_usage: see: {} --help")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("log", "--flap"), lambda: ("log",))


@walk("cli/quickstart.py run_quickstart: {} has a session already")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("quickstart", lab.root.name), lambda: None, cwd=lab.root.parent)


@walk("cli/search.py next_: there is no baseline yet", "bare")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("next",))


@walk("cli/workspaces.py init: {}; then: {}{}", "repo")
@walk("runs/setup.py setup: setup failed: {}", "bare setup")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    if (lab.root / "autoresearch.jsonl").exists():
        return Ask(("baseline",), then(lambda: lab.write("ready", ""), ("baseline",)))
    lab.write("autoresearch.toml", task_file(run={"setup": "test -e ready"}))
    lab.commit()
    return Ask(("init", ".", "--task", "command", "--tag", TAG), lambda: None, first("ready"))


# --- the baseline ---


@walk("experiments/baseline.py baseline: {} has changes that are not committed", "bare")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab)
    lab.write("src/new", "mine\n")
    lab.git("rm", "-q", "--cached", "src/base")
    return Ask(("baseline",))


@walk("experiments/baseline.py baseline: {}", "bare")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.edit("exit 1\n")
    lab.commit()
    return Ask(("baseline",), then(lambda: (lab.prints(1), lab.commit()), ("baseline",)))


@walk("experiments/baseline.py baseline: {}", "bare")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.edit("exit 1\n")
    lab.commit()
    # Here it is the benchmark that was wrong, which is immutable.
    correct = "echo METRIC total_ms=100\n"
    return Ask(("baseline",), then(lambda: (lab.write("bench.sh", correct), lab.commit()), ("baseline",)))


@walk("experiments/baseline.py _more_seeds: the baseline is there{}: experiment {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab)
    return Ask(("baseline",), lambda: None)


@walk("experiments/baseline.py _more_seeds: see: autoresearch show {}", "bare")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    gate = lab.root.parent / "gate"
    lab.edit(f"[ $AUTORESEARCH_SEED = 1 ] || [ -e {gate} ] || exit 1\necho METRIC total_ms=100\n")
    lab.commit()
    assert lab.call("baseline", "--seeds", "1").code == 0
    return Ask(("baseline", "--seeds", "2"), then(gate.touch, ("baseline", "--seeds", "2")))


# --- the change ---


@walk("experiments/candidate.py find_candidate: there is no baseline yet", "bare")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.prints(90)
    return Ask(TRY, then(lambda: lab.git("stash", "pop"), TRY))


@walk("experiments/candidate.py find_candidate: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab)
    clone = lose_commits(lab, 3)
    return Ask(TRY, fill={"CLONE": clone})


@walk("experiments/candidate.py find_candidate: the last kept experiment has no metric to compare with")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab)
    line = {"run": 5, "commit": lab.git("rev-parse", "HEAD"), "metric": None, "status": "keep", "description": "theirs"}
    append(lab, line)
    right = lab.workspace.journal.read_text().replace(json.dumps(line), json.dumps({**line, "metric": 70.0}))
    return Ask(TRY, then(lambda: lab.workspace.journal.write_text(right), TRY))


@walk("experiments/candidate.py find_candidate: the experiment has no description")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab)
    return Ask(("try",), lambda: None)


@walk("experiments/candidate.py find_candidate: it does not parse: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.write("src/model.py", "def f(:\n")
    return Ask(TRY, then(lambda: lab.write("src/model.py", "def f(): ...\n"), TRY))


@walk("experiments/candidate.py start_from: experiment {} was interrupted")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    start = {"type": "start", "experiment": 5, "commit": lab.git("rev-parse", "HEAD"), "parent": None, "seed": 1}
    append(lab, {**start, "description": "cut short", "asi": {}, "timestamp": 1})
    return Ask(("start", "4"), lambda: ("start", "1"))


@walk('experiments/smoke.py smoke: measure it at once: autoresearch try -m "what changes"')
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab)
    return Ask(("smoke",), lambda: None)


@walk("experiments/candidate.py restore: there is no experiment {} to begin with")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("try", "--again", "99"), lambda: ("try", "--again", "4"))


@walk("experiments/candidate.py restore: there are edits that were not measured")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab)
    lab.write("src/new", "mine\n")
    return Ask(("try", "--again", "4"))


@walk("experiments/candidate.py restore: there is a commit that was not measured")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab)
    lab.commit("by hand")
    return Ask(("try", "--again", "4"))


@walk("experiments/candidate.py _agents_commit: the branch is not one commit on top of the best so far")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    for value in (35, 20):
        edit(lab, value)
        lab.commit()
    return Ask(TRY)


@walk("experiments/candidate.py _agents_commit: the branch is not one commit on top of the best so far")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    # A merge that brings files which are not mutable: they go into the stash.
    lab.git("switch", "-q", "-c", "side", "main")
    lab.write("README.md", "theirs\n")
    lab.write("NEWS.md", "theirs\n")
    lab.write("src/free", "20\n")
    lab.commit()
    lab.git("switch", "-q", f"autoresearch/{TAG}")
    lab.git("merge", "-q", "--no-edit", "-X", "theirs", "side")
    return Ask(TRY)


@walk("experiments/candidate.py _agents_commit: there are edits on top of a commit that was not measured")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab, 35)
    lab.commit()
    edit(lab)
    return Ask(TRY)


@walk("experiments/candidate.py _agents_commit: the commit changes {}, which is not mutable")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab)
    lab.write("README.md", "mine\n")
    lab.write("a new file", "mine\n")
    lab.git("rm", "-q", "--cached", "tests/test_it.sh")
    lab.commit()
    return Ask(TRY)


@walk("experiments/candidate.py _agents_commit: the commit changes nothing")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.git("commit", "-q", "--allow-empty", "-m", "nothing")
    return Ask(TRY, then(lambda: edit(lab), TRY))


@walk("experiments/candidate.py _nothing_changed: edit it, then try again")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(TRY, then(lambda: edit(lab), TRY))


@walk("experiments/candidate.py _nothing_changed: edit it, or if {} is the change: git add -f -- {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.write(".git/info/exclude", (lab.root / ".git/info/exclude").read_text() + "*.bin\n")
    lab.write("src/a b.bin", "mine\n")
    return Ask(TRY)


@walk(
    "experiments/candidate.py _refuse_edits_in_submodules: {} is a submodule, and the edits in it are not committed",
    "submodule",
)
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.write("src/sub/file", "edited\n")
    return Ask(TRY)


@walk("experiments/candidate.py _refuse_repetition: experiment {} was the same code ({}: {})")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab, 50)
    return Ask(TRY, lambda: None)


@walk("experiments/candidate.py _refuse_repetition: {} the best so far", "harness")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.write("src/model.py", "x = 1  # the same\n")
    return Ask(TRY, lambda: None)


# --- segments and stops ---


@walk('experiments/new_segment.py begin_segment: commit them: git commit -am "..."')
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.write("bench.sh", "source src/run.sh  # again\n")
    return Ask(("segment",))


@walk("experiments/new_segment.py begin_segment: task and immutable files are those of the segment in force")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    change = then(lambda: (lab.write("bench.sh", "source src/run.sh  # again\n"), lab.commit()), ("segment",))
    return Ask(("segment",), change)


@walk("experiments/preflight.py check_stop: remove it to go on: rm STOP")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab)
    lab.write("STOP", "")
    return Ask(TRY, cwd=lab.root / "src")


@walk("experiments/preflight.py check_stop: for another session: {} && autoresearch init . --tag NAME")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    toml = lab.root / "autoresearch.toml"
    lab.write("autoresearch.toml", toml.read_text() + "\n[stop]\nmax_experiments = 1\n")
    lab.commit()
    lab.write("earlier.jsonl", "an earlier session\n")
    assert lab.call("segment").code == 0 and lab.call("baseline").code == 0
    return Ask(TRY, lambda: ("baseline",), {"NAME": "another"})


# --- the branch ---


@walk("experiments/preflight.py check_branch: the journal is another tool's, and no session was begun here", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    line = {"type": "config", "name": "x", "metricName": "total_ms", "metricUnit": "ms", "bestDirection": "lower"}
    lab.write("autoresearch.jsonl", json.dumps(line) + "\n")
    return Ask(("baseline",))


@walk("experiments/preflight.py check_branch: the session's branch {} is gone")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.git("switch", "-q", "main")
    lab.git("branch", "-q", "-D", f"autoresearch/{TAG}")
    lab.edit("echo mine\n")
    return Ask(("check",))


@walk("experiments/preflight.py check_branch: HEAD is detached")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.git("switch", "-q", "--detach")
    edit(lab)
    return Ask(TRY)


@walk("experiments/preflight.py check_branch: HEAD is detached")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.git("switch", "-q", "--detach")
    edit(lab)
    lab.commit("on no branch")
    lab.write("src/other.txt", "mine\n")
    return Ask(("check",))


@walk("experiments/preflight.py check_branch: the branch is {}, the session's is {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.git("switch", "-q", "-c", "mine", "main")
    lab.write("src/kept", "a new file, where the best has one\n")
    return Ask(("-C", "src", *TRY), then(lambda: edit(lab), TRY))


@walk("workspace/editable.py unfinished: a git {} is not finished here")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.git("switch", "-q", "-c", "side", "main")
    lab.write("README.md", "side\n")
    lab.commit()
    lab.git("switch", "-q", f"autoresearch/{TAG}")
    lab.write("README.md", "here\n")
    lab.git("commit", "-qam", "here")
    lab.git("merge", "-q", "side", check=False)
    return Ask(("check",), discards=True)


@walk("experiments/preflight.py _check_commits: the commits of experiments {} are gone from the repository")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("check",), fill={"CLONE": lose_commits(lab, 4)})


@walk("experiments/preflight.py _task: there is no {} in {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab)
    lab.git("rm", "-q", "autoresearch.toml")
    lab.git("commit", "-qm", "no task")
    return Ask(TRY)


@walk("workspace/task_file.py load: there is no {} in {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.git("rm", "-q", "autoresearch.toml")
    return Ask(("check",))


@walk("workspace/editable.py behind_the_best: bring that back, {}: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.git("reset", "-q", "--hard", "HEAD~1")
    edit(lab)
    return Ask(TRY)


@walk("workspace/editable.py behind_the_best: bring that back, {}: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.git("reset", "-q", "--hard", "HEAD~1")
    return Ask(("check",), cwd=lab.root / "src")


@walk("workspace/editable.py behind_the_best: bring that back, {}: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.git("reset", "-q", "--hard", "HEAD~2")
    lab.write("src/kept", "a new file, where the best has one\n")
    edit(lab, 39)
    return Ask(("check",), cwd=lab.root / "src")


@walk("workspace/editable.py behind_the_best: keep this as a branch of its own, and go to the best, {}: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab)
    lab.git("commit", "-qa", "--amend", "-m", "both")
    edit(lab, 21)
    return Ask(("check",))


# --- files that experiments may not change ---


@walk("workspace/editable.py dirty: {}{} {} and is not a file that experiments may change")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab)
    lab.write("README.md", "mine\n")
    return Ask(TRY, cwd=lab.root / "src")


@walk("workspace/editable.py dirty: {}{} {} and is not a file that experiments may change")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab)
    lab.git("mv", "README.md", "READ ME.md")
    lab.write("new.txt", "mine\n")
    lab.git("add", "new.txt")
    return Ask(TRY)


@walk("workspace/editable.py dirty: {}{} {} and is not a file that experiments may change")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab)
    lab.git("rm", "-q", "--cached", "README.md")
    lab.write("README.md", "mine, and no longer tracked\n")
    return Ask(TRY)


@walk("workspace/editable.py check_immutable: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab)
    lab.write("bench.sh", "echo METRIC total_ms=0\n")
    return Ask(TRY, cwd=lab.root / "src")


@walk("workspace/editable.py check_immutable: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab)
    lab.write("bench.sh", "echo METRIC total_ms=0\n")
    lab.git("commit", "-qam", "a better benchmark")
    return Ask(TRY)


@walk("workspace/editable.py check_immutable: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab)
    lab.git("rm", "-q", "bench.sh")
    return Ask(TRY)


@walk("workspace/editable.py check_immutable: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab)
    (lab.root / "bench.sh").unlink()
    (lab.root / "autoresearch.toml").write_text((lab.root / "autoresearch.toml").read_text() + "# mine\n")
    return Ask(TRY)


@walk("workspace/editable.py check_immutable: {}", "kept with a folder")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.prints(50)
    lab.write("tests/new.sh", "mine\n")
    lab.git("add", "tests/new.sh")
    return Ask(TRY)


@walk("workspace/editable.py check_immutable: {}", "kept with a folder")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.prints(50)
    lab.write("tests/new.sh", "mine\n")
    lab.commit()
    return Ask(TRY)


@walk("workspace/editable.py check_immutable: {}", "bare")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.write("bench.sh", "source src/run.sh  # corrected\n")
    lab.commit()
    return Ask(("baseline",))


@walk("workspace/editable.py check_immutable: {}", "bare")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.write("autoresearch.toml", (lab.root / "autoresearch.toml").read_text() + "# mine\n")
    return Ask(("check",))


# --- the journal ---


@walk("journal/session.py take: autoresearch.jsonl line {}: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    before = lab.workspace.journal.read_text()
    append(lab, {"run": 5, "commit": "abc", "metric": 1, "status": "kept", "description": "x"})
    return Ask(("status",), then(lambda: lab.workspace.journal.write_text(before), ("status",)))


@walk("workspace/session_journal.py load_session: remove or correct that line; nothing else was touched")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    before = lab.workspace.journal.read_text()
    lab.workspace.journal.write_text("garbage\n" + before)
    return Ask(("status",), then(lambda: lab.workspace.journal.write_text(before), ("status",)))


# --- the sandbox ---


@walk("runs/isolation/choice.py choose: {}={} is no sandbox; there are {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    env.setenv("AUTORESEARCH_SANDBOX", "cage")
    edit(lab)
    return Ask(TRY, then(lambda: env.delenv("AUTORESEARCH_SANDBOX"), TRY))


@walk("runs/isolation/policy.py sandbox_for: this task requires a sandbox; {}", "requires a sandbox")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    env.setenv("AUTORESEARCH_SANDBOX", "off")
    return Ask(("baseline",), then(lambda: env.delenv("AUTORESEARCH_SANDBOX"), ("check",)))


@walk("workers/choice.py slots_of: {} names no workers", "measured")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("baseline", "--seeds", "4", "--workers", "two"), lambda: ("baseline", "--seeds", "4"))


@walk("workers/choice.py pool_of: see what is missing: autoresearch doctor", "measured")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    env.setenv("AUTORESEARCH_SANDBOX", "off")
    ask = ("baseline", "--seeds", "4", "--workers", "local:2")
    return Ask(ask, lambda: ask[:3])


# --- ideas and strategies ---


@walk("search/ideas.py add: that idea is on the list already")
@walk("search/ideas.py add: idea {} says the same: {}")
@walk("search/ideas.py claim: idea {} is done")
@walk("search/ideas.py claim: idea {} is claimed by {}")
@walk("search/ideas.py _find: there is no idea {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    raise AssertionError("the state of these is in IDEAS")


IDEAS: dict[str, tuple[Words, Words]] = {
    "search/ideas.py add: that idea is on the list already": (("--add", "a shorter warmdown"), ()),
    "search/ideas.py add: idea {} says the same: {}": (
        ("--add", "try a shorter warmdown of the rate now"), ("--add", "shorter rows, so that more of them fit")),
    "search/ideas.py claim: idea {} is done": (("--claim", "2"), ("--claim", "1")),
    "search/ideas.py claim: idea {} is claimed by {}": (("--claim", "3", "--by", "me"), ("--claim", "1", "--by", "me")),
    "search/ideas.py _find: there is no idea {}": (("--done", "9"), ("--done", "1")),
}  # fmt: skip
"""Place -> what is refused of `ideas`, and what is asked for after a look at the list."""


@walk("search/strategies.py load: there is no strategy {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("next", "--strategy", "nope"), lambda: ("next",))


# --- studies ---


@walk("studies/ablate.py ablate: nothing was kept since the baseline", "measured")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("ablate",), then(lambda: lab.attempt("echo METRIC total_ms=50\n"), ("ablate", "--seeds", "1")))


@walk("studies/confirm.py confirm: nothing was kept since the baseline", "measured")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("confirm",), then(lambda: lab.attempt("echo METRIC total_ms=50\n"), ("confirm", "--seeds", "2")))


@walk("studies/confirm.py confirm: the task has no evaluator, so no locked split")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("confirm", "--split", "locked", "--seeds", "2"), lambda: ("confirm", "--seeds", "2"))


@walk("studies/replicate.py replicate: there is no experiment {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("replicate", "99"), lambda: ("replicate", "4"))


@walk("studies/replicate.py replicate: the commit of experiment {} is not in this repository")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("replicate", "4"), fill={"CLONE": lose_commits(lab, 4)})


@walk("studies/study.py fail: its output is in {}", "bare")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    gate = lab.write("../gate", "")
    lab.edit(f"[ -e '{lab.root.parent}/gate' ] || exit 1\necho METRIC total_ms=100\n")
    lab.commit()
    ready(lab, ("baseline",))
    gate.unlink()
    return Ask(("replicate", "1", "--seed", "7"), then(gate.touch, ("replicate", "1", "--seed", "7")))


# --- git ---


@walk("system/git_command.py _explained: {}: another git process holds a lock")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab)
    lock = lab.write(".git/index.lock", "")
    return Ask(TRY, then(lock.unlink, TRY))


@walk("system/git_command.py __init__: {} is not in a git repository", "plain")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    for path in ("src/run.sh", "bench.sh"):
        lab.write(path, "echo METRIC total_ms=1\n")
    env.setenv("GIT_AUTHOR_NAME", "A Person")
    env.setenv("GIT_AUTHOR_EMAIL", "person@example.org")
    env.setenv("GIT_COMMITTER_NAME", "A Person")
    env.setenv("GIT_COMMITTER_EMAIL", "person@example.org")
    return Ask(INIT)


@walk("system/git_command.py __init__: {} is in a bare repository")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    subprocess.run(["git", "init", "-q", "--bare", lab.root.parent / "bare"], check=True)
    return Ask(("-C", "../bare", *INIT), lambda: ("-C", ".", "status"))


# --- init ---


@walk("workspace/init.py init: {} is empty", "plain")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    def go_to_one() -> Words:
        new_repo(lab.root.parent / "other")
        return ("-C", "../other", *INIT)

    return Ask(INIT, go_to_one)


@walk("workspace/init.py _segment_beside: {} has a session already")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("init", lab.root.name), lambda: None, cwd=lab.root.parent)


@walk("workspace/init.py _segment_beside: {}, so no session can begin beside it", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.write("autoresearch.jsonl", '{"run": 3, "status": "bogus"}\n')
    lab.write("other.jsonl", "an earlier one\n")
    return Ask(("init", lab.root.name, *INIT[2:]), cwd=lab.root.parent)


@walk("workspace/init.py _segment_beside: {}, so no session can begin beside it", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.write("autoresearch.jsonl", '{"run": 3, "status": "bogus"}\n')
    lab.commit()
    return Ask(INIT)


@walk("workspace/init.py _existing: the repository has no commit yet", "plain")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.git("init", "-q")
    lab.git("config", "user.name", "A Person")
    lab.git("config", "user.email", "person@example.org")
    for path in ("src/run.sh", "bench.sh"):
        lab.write(path, "echo METRIC total_ms=1\n")
    return Ask(INIT)


@walk("workspace/init.py _existing: HEAD is detached", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.git("switch", "-q", "--detach")
    lab.write("README.md", "on no branch\n")
    lab.commit()
    return Ask(INIT, fill={"NAME": "mine"})


@walk("workspace/init.py _check_existing: {}{} has changes that are not committed", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.write("README.md", "mine\n")
    lab.git("mv", "judge.sh", "court.sh")
    lab.git("rm", "-q", "--cached", "src/other.txt")
    return Ask(INIT)


@walk("workspace/init.py _check_existing: {} is there already and differs", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.write("autoresearch.toml", "mine = 1\n")
    lab.commit()
    lab.write("my-autoresearch.toml", "mine, too\n")
    return Ask(INIT)


@walk("workspace/init.py _check_existing: {} is there already and differs", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.write("autoresearch.toml", "mine = 1\n")
    return Ask(INIT)


@walk("workspace/init.py _check_existing: {} is not tracked by git, so no run would have it", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.write("a bench.sh", "echo METRIC total_ms=1\n")
    return Ask((*INIT, "--command", "bash 'a bench.sh'"))


@walk("workspace/init.py _check_existing: {} is not tracked by git", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.write("ignored/x", "mine\n")
    lab.write(".git/info/exclude", "ignored\n")
    return Ask((*INIT, "--mutable", "ignored"))


@walk("workspace/init.py _check_existing: {} does not exist", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask((*INIT, "--mutable", "gone"), lambda: INIT)


@walk("workspace/init.py _check_existing: {} has no file in it", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    (lab.root / "empty").mkdir()
    return Ask((*INIT, "--mutable", "empty"), then(lambda: lab.write("empty/x", ""), (*INIT, "--mutable", "empty")))


TRIAL = tuple(word for word in INIT if word != "--no-probe")


@walk("runs/metric_choice.py chosen: the trial run failed: {}", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.write("src/run.sh", "exit 3\n")
    lab.commit()
    return Ask(TRIAL, lambda: None)


@walk("runs/metric_choice.py chosen: choose one: {}", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    without = [word for word in TRIAL if word not in ("--metric", "total_ms")]
    return Ask(without, lambda: None, {"NAME": "total_ms"})


@walk("runs/metric_choice.py chosen: the command printed and wrote nothing that is called {}{}{}", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask((*TRIAL, "--metric", "peak_ms"), lambda: None, {"REGEX": "'total_ms=(.*)'"})


@walk("runs/metric_choice.py chosen: say which, as this does for the first: {}", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.write("src/run.sh", "echo epoch 1: loss 3; echo best: loss 2\n")
    lab.commit()
    return Ask((*TRIAL, "--metric", "loss"), lambda: None)


@walk("runs/metric_choice.py _check: {} cannot be told from other lines: {}", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.write("src/run.sh", "echo took 15ms\n")
    lab.commit()
    return Ask((*TRIAL, "--metric", "took", "--unit", "s"), lambda: None, {"REGEX": "'took (.*)ms'"})


@walk("workspace/init_options.py configured: say --direction lower, or --direction higher", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    words = [word for word in INIT if word not in ("--direction", "lower")]
    return Ask((*words, "--metric", "score"), lambda: (*words, "--metric", "score", "--direction", "higher"))


@walk("workspace/init.py _check_tag: {} cannot be part of a branch name", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask((*INIT, "--tag", "a b"), lambda: (*INIT, "--tag", "a-b"))


@walk("workspace/init.py _check_names: the branch {} exists", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.git("branch", "autoresearch")
    return Ask(INIT)


@walk("workspace/init.py _check_names: there is something of this name already: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.git("switch", "-q", "main")
    lab.git("branch", "-q", "-m", f"autoresearch/{TAG}", "elsewhere")
    lab.workspace.journal.unlink()
    lab.git("update-ref", "-d", mirror_ref(TAG))
    return Ask(INIT, lambda: (*INIT, "--tag", "another"))


@walk("workspace/lost_session.py taken: {}, or bring it back: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.git("switch", "-q", "main")
    lab.git("branch", "-q", "-m", f"autoresearch/{TAG}", "elsewhere")
    lab.workspace.journal.unlink()
    return Ask(INIT, lambda: None)


WRONG_WORDS: dict[str, tuple[Words, Words]] = {
    "workspace/assets.py task_folder: there is no task {}": (("--task", "nope"), ("--task", "command")),
    "workspace/init_options.py configured: both --seconds and --steps are given": (
        ("--seconds", "1", "--steps", "1"), ("--seconds", "1")),
    "workspace/init_options.py configured: the task {} has no profiles and no source": (("--profile", "tiny"), ()),
    "workspace/init_options.py configured: there is no {} to link": (("--link", "gone"), ("--link", "README.md")),
    "workspace/init_options.py _relative: {} is outside {}": (("--mutable", "../x"), ("--mutable", "src")),
    "workspace/init_options.py parsed: {}": (("--metric", "total ms"), ("--metric", "total_ms")),
    "workspace/init_options.py parsed: name what experiments may change: {}": (
        ("--mutable", "."), ("--mutable", "src")),
    "workspace/task_file.py check_command: the command {} cannot be read: {}": (
        ("--command", "bash 'bench.sh"), ("--command", "bash bench.sh")),
    "workspace/task_file.py check_command: the command is empty": (("--command", " "), ("--command", "bash bench.sh")),
    "workspace/task_file.py check_command: command not found: {}": (
        ("--command", "no-such-program"), ("--command", "bash bench.sh")),
}  # fmt: skip
"""Place -> what is wrong in the options of `init`, and what is right, as it says."""
SHORT = ("init", ".", "--tag", TAG)
MISSING_WORDS: dict[str, tuple[Words, Words]] = {
    "workspace/init_options.py configured: no file was named that experiments may change": (
        (*SHORT, "--task", "command"), INIT),
    "workspace/init_options.py configured: {} {} missing": ((*SHORT, "--task", "command", "--mutable", "src"), INIT),
    "workspace/init_options.py configured: there is no profile {}": ((*SHORT, "--profile", "huge", "--no-setup"),
                                                                     (*SHORT, "--profile", "tiny", "--no-setup")),
    "workspace/init_options.py _source: there is no {}": ((*SHORT, "--source", "gone", "--no-setup"),
                                                          (*SHORT, "--source", "python", "--no-setup")),
}  # fmt: skip
"""Place -> the words that lack something, and those that do not."""


# --- the workspace ---


@walk("workspace/lock.py lock: {} is a file")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab)
    shutil.rmtree(lab.root / ".autoresearch")
    lab.write(".autoresearch", "mine\n")
    return Ask(TRY)


@walk("workspace/task_file.py parse: {} is not TOML: {}")
@walk("workspace/task_file.py parse: {}: {}")
@walk("workspace/task_file.py load: {} cannot be read: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    raise AssertionError("the state of these is in BROKEN")


BROKEN: dict[str, bytes] = {
    "workspace/task_file.py parse: {} is not TOML: {}": b"[task\n",
    "workspace/task_file.py parse: {}: {}": b"[task]\nname = 3\n",
    "workspace/task_file.py load: {} cannot be read: {}": b"\xff\xfe\x00",
}
"""Place -> what a task file is."""


@walk("workspace/lost_session.py no_session: {}start with: {}", "plain")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    there = ("-C", "lab", "status")
    return Ask(("status",), lambda: there, {"--task pretrain": "--task pretrain --profile tiny --no-setup"})


@walk("workspace/python.py check_project: `{} run` has no environment here yet, and a run must not make one", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    # What makes one is downloaded: here a program of that name stands in for it.
    programs = lab.root.parent / "tools"
    programs.mkdir()
    (programs / "uv").write_text("#!/bin/sh\n[ $1 = sync ] && mkdir -p .venv/bin && ln -s /bin/sh .venv/bin/python\n")
    (programs / "uv").chmod(0o755)
    env.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    lab.write("pyproject.toml", '[project]\nname = "x"\n')
    lab.write(".gitignore", ".venv\n")
    lab.commit()
    return Ask((*INIT, "--command", "uv run bench.sh"))


# --- the rest, with reasons ---

LOST = "typed as it is printed in tests/workspace/test_lost_journal.py, or in prose there"
SHOWN = "a picture or a page that cannot be had; nothing is lost, and nothing follows but other words"

ASKED = "words or a server that are put right, and asked again, in tests/models/test_generate.py"
JUDGED = "likewise in tests/models/test_judge.py"
AGENTS = "no workspace and no session; tests/workspace/test_user_agents.py"

NOT_WALKED = {
    "cli/install.py install_skill: no coding agent was found on this machine": AGENTS,
    "workspace/user_agents.py plan_install: there is no agent {}": AGENTS,
    "workspace/user_agents.py plan_removal: nothing was installed by this command": AGENTS,
    "workspace/user_agents.py _with_hooks: {} cannot be read: {}": AGENTS,
    "workspace/user_agents.py _stored: {} cannot be read: {}": AGENTS,
    "workspace/user_agents.py _read: {} cannot be read: {}": AGENTS,
    "workers/choice.py pool_of: leave out --workers, or see how that goes: autoresearch status":
        "a loop at work; tests/loop/test_lineup.py",
    "workers/local.py places: ask for fewer: --workers local:{}": "GPUs; tests/workers/test_places.py",
    "workers/local.py places: this system holds no process to some of the cores, so runs would disturb each other":
        "another system; tests/workers/test_places.py",
    "workers/local.py submit: a worker could not be started: {}": "any error of the system",
    "workers/worker.py main: the run could not be made: {}": "any error of the system",
    "cli/jobs.py wait: still running: {}": "waits for a run; tests/cli/test_jobs.py",
    "cli/history.py _file_of: {} is no text": "what it prints writes where one says",
    "experiments/preflight.py check_stop: take the honest number now: {}": "a clock; tests/experiments/test_time.py",
    "cli/exchange.py export: {} cannot be written to standard output": "prose; tests/exchange/test_table_files.py",
    "cli/jobs.py _job_output: {} ended without a word": "a kill before the first word; tests/cli/test_jobs.py",
    "cli/output.py here: the current folder does not exist any more": "prose; a shell whose folder was removed",
    "cli/output.py run: interrupted": "a signal; tests/experiments/test_kill.py",
    "cli/output.py run: correct that and try again; autoresearch resume repairs a session": "any error of the system",
    "cli/quickstart.py run_quickstart: {} is not empty": "what it prints takes minutes; tests/test_quickstart.py",
    "experiments/recovery.py interruptible: see: autoresearch show {}": "a signal; tests/experiments/test_kill.py",
    "experiments/recovery.py interruptible: measure it with: {}": "a signal; tests/experiments/test_kill.py",
    "experiments/recovery.py interruptible: when the machine is well again: autoresearch resume":
        "a disk that is full; tests/experiments/test_disk_full.py",
    "cli/posttraining.py _working: interrupted; what was answered is kept": "a signal; tests/models/test_kills.py",
    "cli/posttraining.py _working: make room, or correct that; what was answered is kept; then: {}": ASKED,
    "models/chat.py check_installed: the package openai is not installed": "nothing is installed by tests",
    "models/calls.py only_one: another command is at work in {}": "waits for a command; tests/models/test_generate.py",
    "models/calls.py _affordable: type the same with a higher --max-usd": ASKED,
    "models/calls.py _damaged: {} line {} is damaged": ASKED,
    "models/calls.py only_one: {} is no folder": ASKED,
    "models/conversation.py _wrong: {} line {}: {}": JUDGED,
    "models/conversation.py read_rows: {} cannot be read: {}": JUDGED,
    "models/conversation.py read_rows: {} is empty": JUDGED,
    "models/generate.py _subtypes: name them yourself with --subtype, or ask anew: --seed 1": ASKED,
    "models/generate.py run: no example was made: {}": ASKED,
    "models/judge.py check_apart: base and tuned are the same model at one address": JUDGED,
    "models/judge.py check_apart: the judge {} is {}, and models prefer what they have written": JUDGED,
    "models/judge.py run: ask in another way: --judge or --format": JUDGED,
    "models/params.py _wrong: {} is missing": ASKED,
    "models/params.py _wrong: {}: there is no parameter {}": ASKED,
    "models/params.py _wrong: {}{}{}": ASKED,
    "models/params.py check_capped: give its price: --price {}=IN,OUT (US dollars a million tokens)": ASKED,
    "models/params.py prices_of: --price {} is not MODEL=IN,OUT": ASKED,
    "models/params.py read_yaml: {} cannot be read: {}": ASKED,
    "models/params.py read_yaml: {} has no table of parameters": ASKED,
    "models/params.py read_yaml: {} is no YAML: {}": ASKED,
    "models/served.py key_of: there is no key for {}": ASKED,
    "models/served.py key_of: what {} has is no key": ASKED,
    "models/served.py resolved: {} is no address of a server": ASKED,
    "models/together.py _end: correct that, and type the same again: what was answered is kept": ASKED,
    "reports/picture.py picture: matplotlib is not installed": "nothing is installed by tests",
    "reports/dashboard/server.py application: FastAPI is not installed": "nothing is installed by tests",
    "runs/feeder.py feeding: the feeder could not be started: {}": "no more processes",
    "runs/isolation/choice.py choose: {}={}, and {}": "depends on the sandboxes of the machine; tests/runs",
    "runs/isolation/policy.py _model_prefix: [files] readable names too many files one by one": "thousands of files",
    "runs/isolation/sandbox.py check_set_up: the sandbox could not be set up ({})": "a sandbox that breaks; tests/runs",
    "runs/isolation/tamper_check.py of: the git object {} does not hold what its name says": "a broken disk",
    "runs/measure.py _fresh: no folder for the run: {}": "a disk that is full; tests/experiments/test_disk_full.py",
    "runs/slot.py _remove: the snapshot of a run, {}, cannot be removed": "attributes that only root may set",
    "search/ideas.py _changing: another agent is changing the ideas": "prose; a lock that is held",
    "studies/ablate.py apply: there is no smaller stack to apply": "prose; nothing follows",
    "studies/ablate.py apply: there are edits that were not measured": "edits while a study runs",
    "studies/ablate.py apply: there is a commit that was not measured": "a commit while a study runs",
    "studies/confirm.py confirm_stack: nothing was kept since the baseline": "finalize has refused before",
    "studies/selftest.py selftest: a run of the unchanged code failed ({})": "not walked yet",
    "studies/study.py study_of: go on with: {}": "a signal; tests/experiments/test_kill_studies.py",
    "studies/study.py fail: go on with: {}": "a machine that fails during a study; not walked yet",
    "system/git_command.py require_git: git is not installed": "nothing is installed by tests",
    "system/git_command.py _explained: {} failed: {}": "any failure of git",
    "system/git_command.py _explained: {}: files of this repository are kept with git-lfs, which cannot be run here":
        "nothing is installed by tests",
    "system/git_command.py _explained: {}: no permission to write in this repository": "root is refused nothing",
    "system/git_command.py _explained: {}: no space left on the device": "tests/experiments/test_disk_full.py",
    "system/git_command.py __init__: git refuses {}: it belongs to another user": "needs another user",
    "system/git_command.py process: {} was killed by signal {}": "a signal; tests/experiments/test_kill.py",
    "system/git_objects.py _answers: git cat-file was killed": "a signal",
    "system/git_plumbing.py files_of: a file of commit {} cannot be read from the repository": "a broken disk",
    "system/git_plumbing.py _tree: the tree {} cannot be read from the repository": "a broken disk",
    "system/process.py run_limited: the run could not be started or logged: {}": "no more processes",
    "experiments/restore.py _check_place: the branch of the session, {}, is not checked out": LOST,
    "experiments/restore.py _check_place: the journal of the session {} is in {}": LOST,
    "experiments/restore.py _check_place: {} is not in the folder": LOST,
    "experiments/restore.py _check_place: {} is there and has all that its mirror has": LOST,
    "experiments/restore.py _differs: {} is there and has other lines than the mirror of {}; it is left as it is": LOST,
    "experiments/restore.py restore: the repository keeps no journal of a session {}": LOST,
    "workspace/journal_mirror.py _read: the mirror of the journal is damaged: the git object {}": LOST,
    "workspace/journal_mirror.py check_mirror: if that was not meant, go back to the mirror: {}": LOST,
    "workspace/journal_mirror.py check_mirror: write it anew: autoresearch resume": LOST,
    "workspace/journal_mirror.py check_mirror: write it anew: git update-ref -d {} && {}": LOST,
    "workspace/journal_mirror.py folder: the mirror of a journal names the folder {}": LOST,
    "workspace/journal_mirror.py lost_lines: bring them back: autoresearch resume --restore {}": LOST,
    "workspace/lost_session.py lost_beside: bring it back: {}": LOST,
    "workspace/lost_session.py no_session: {}, {}": LOST,
    "workspace/lost_session.py no_session: {}; the session {} is in {}": LOST,
    "workspace/lost_session.py taken: the session {} is in {}": LOST,
    "workspace/session_journal.py session_of: it was mirrored like that": LOST,
    "cli/pages.py _numbers: {} is no list of experiments": SHOWN,
    "cli/pages.py plot: --curves and --speed are two pictures": SHOWN,
    "cli/pages.py plot: --key is about curves": SHOWN,
    "reports/dashboard/server.py _numbers: {} is no list of experiments": SHOWN,
    "reports/dashboard/server.py listen: port {}: {}": SHOWN,
    "reports/dashboard/source.py _found: there is no experiment {}": SHOWN,
    "reports/dashboard/source.py compare: one experiment cannot be compared": SHOWN,
    "reports/dashboard/source.py policy: {} experiments are too many to judge anew while a page waits": SHOWN,
    "reports/dashboard/source.py session: {} is no regular file": SHOWN,
    "reports/picture.py picture: {} has no format that can be drawn": SHOWN,
    "reports/plot_lines.py draw_curves: no curve has {}": SHOWN,
    "reports/plot_lines.py draw_curves: none of these experiments left a learning curve": SHOWN,
    "reports/plot_lines.py draw_speed: no experiment has both a value and a speed": SHOWN,
    "reports/plot_lines.py experiments_with: there is no experiment {}": SHOWN,
    "reports/plot_lines.py experiments_with: {} experiments are too many to tell apart": SHOWN,
    "cli/run.py steer: the goal has more than {} characters": "prose; tests/loop/test_steering.py",
    "cli/run.py steer: there is no family {} in this task": "not walked yet",
    "studies/ablate.py _content: the git object {} cannot be read from the repository": "a broken disk",
    "workspace/init_options.py configured: the task {} makes its own data": "not walked yet",
    "workspace/lock.py only_loop: see how it goes: autoresearch status; end it: touch STOP": "waits for a loop",
    "workspace/init.py new_repository: no repository could be made in {}: {}": "root is refused nothing",
    "workspace/lock.py lock: {} is running here": "waits for a run; tests/cli/test_jobs.py",
    "workspace/lock.py lock: no permission to write in {}": "root is refused nothing",
    "workspace/python.py check_project: `hatch run` would install the project from the folder of a run into your "
    "environment": "prose: another command; tests/workspace/test_python.py",
    "workspace/session_journal.py load_session: {} cannot be read: no permission": "root is refused nothing",
    "workspace/session_journal.py append: no permission to write {}": "root is refused nothing",
}  # fmt: skip
"""Place -> why nobody walks there."""
NOT_OURS = {
    "exchange/": "what a file of another tool lacks; tests/exchange/test_import_log.py",
    "loop/": "not walked yet",
}
"""Rooms that are not walked, and why."""


def append(lab: Lab, line: Mapping[str, object]) -> None:
    with lab.workspace.journal.open("a") as file:
        file.write(json.dumps(line) + "\n")


def first(path: str) -> dict[str, str]:
    return {"autoresearch baseline": f"touch {path} && autoresearch baseline"}


def lose_commits(lab: Lab, number: int) -> str:
    """Make a clone that has everything, take the commit of an experiment out of the repository, return the clone."""
    clone = lab.root.parent / "clone"
    shutil.copytree(lab.root / ".git", clone / ".git")
    for later in range(number, 9):
        lab.git("update-ref", "-d", f"refs/autoresearch/{TAG}/{later}")
    commit = next(e.commit for e in lab.session.experiments if e.number == number)
    if lab.git("rev-parse", "HEAD") == commit:
        lab.git("reset", "-q", "--keep", "HEAD~1")
    lab.git("reflog", "expire", "--expire=now", "--all")
    lab.git("gc", "-q", "--prune=now")
    assert lab.git("cat-file", "-t", commit or "", check=False) == ""
    return str(clone)


# --- the walking ---


def ready(lab: Lab, *calls: Words) -> None:
    for words in calls:
        done = lab.call(*words)
        assert done.code == 0, done


def make_kept(folder: Path) -> None:
    new_repo(folder / "lab")
    lab = Lab(folder / "lab")
    ready(lab, (*INIT, "--policy", "greedy"), ("baseline",))
    lab.write("src/kept", "40\n")
    lab.write("src/free", "40\n")
    assert "KEEP" in lab.attempt("echo METRIC total_ms=$(( $(cat src/kept) + $(cat src/free) ))\n").out
    lab.write("src/kept", "30\n")
    assert "KEEP" in lab.attempt().out
    lab.write("src/free", "50\n")
    assert "DISCARD" in lab.attempt().out


def make_bare(folder: Path) -> None:
    new_repo(folder / "lab")
    ready(Lab(folder / "lab"), (*INIT, "--policy", "greedy"))


def make_measured(folder: Path) -> None:
    make_bare(folder)
    ready(Lab(folder / "lab"), ("baseline",))


def make_of_task(
    folder: Path, calls: Sequence[Words] = (), content: Mapping[str, str] | None = None, **tables: Mapping[str, object]
) -> None:
    new_repo(folder / "lab")
    lab = Lab(folder / "lab")
    for name, text in (content or {}).items():
        lab.write(name, text)
    lab.write("autoresearch.toml", task_file(keep={"policy": "greedy"}, **tables))
    lab.commit()
    ready(lab, ("init", ".", "--task", "command", "--tag", TAG, "--no-setup"), *calls)


def make_with_submodule(folder: Path) -> None:
    new_repo(folder / "inner")
    lab = Lab(folder / "lab")
    new_repo(folder / "lab")
    (folder / "inner" / "file").write_text("one\n")
    for words in (("add", "-A"), ("commit", "-qm", "file")):
        subprocess.run(["git", "-C", folder / "inner", *words], check=True)
    lab.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(folder / "inner"), "src/sub")
    for key, value in (("user.name", "A Person"), ("user.email", "person@example.org")):
        subprocess.run(["git", "-C", lab.root / "src/sub", "config", key, value], check=True)
    lab.commit()
    ready(lab, (*INIT, "--policy", "greedy"), ("baseline",))


FIXED = ["bench.sh", "autoresearch.toml"]
HARNESS = {"task": {"harness": True}, "run": {"evaluate": "bash judge.sh"}, "files": {"immutable": [*FIXED, "harness"]}}
BASES: dict[str, Callable[[Path], object]] = {
    "kept": make_kept,
    "bare": make_bare,
    "measured": make_measured,
    "repo": lambda folder: new_repo(folder / "lab"),
    "plain": lambda folder: (folder / "lab").mkdir(),
    "submodule": make_with_submodule,
    "bare setup": lambda folder: make_of_task(folder, run={"setup": "test -e ready"}),
    "kept with a folder": lambda folder: make_of_task(folder, [("baseline",)], files={"immutable": [*FIXED, "tests"]}),
    "harness": lambda folder: make_of_task(folder, [("baseline",)], {"src/model.py": "x = 1\n"}, **HARNESS),
    "requires a sandbox": lambda folder: make_of_task(folder, run={"sandbox": "required"}),
}


@pytest.fixture
def at(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Lab]:
    def copy(base: str) -> Lab:
        root = tmp_path / "a lab"
        shutil.copytree(made_once(tmp_path_factory, f"walk {base}", BASES[base]) / "lab", root, symlinks=True)
        lab = Lab(root)
        lab.git("status", check=False)  # the copy's files have other inodes than the index knows
        return lab

    return copy


def go(lab: Lab, site: str, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Walk from a refusal until what was asked for works, and assert that nothing was lost on the way."""
    recorder = Recorder(monkeypatch)
    follower = Follower(lab, recorder, ask.fill, ask.cwd, ask.discards)
    follower.obtain(ask.words, ask.by_hand)
    assert follower.sites and follower.sites[0] == site, follower.sites
    follower.standing.assert_holds()


@pytest.mark.slow
@pytest.mark.parametrize("way", drawn([w for w in WALKS if w.site not in {*IDEAS, *BROKEN}], 0.15, "walks"),
                         ids=lambda way: f"{way.base}: {way.site}")  # fmt: skip
def test_a_refusal_leads_on(at: Callable[[str], Lab], way: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = at(way.base)
    go(lab, way.site, way.state(lab, monkeypatch), monkeypatch)


@pytest.mark.parametrize("site", IDEAS)
def test_what_is_refused_of_an_idea_is_right_after_a_look_at_the_list(
    at: Callable[[str], Lab], site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = at("bare")
    lab.write("autoresearch.ideas.md", "- [ ] a shorter warmdown\n- [x] more heads\n- [ ] fewer layers @ada\n")
    if "says the same" in site:
        lab.write("autoresearch.ideas.md", "- [ ] try a shorter warmdown of the rate\n")
    refused, right = IDEAS[site]
    go(lab, site, Ask(("ideas", *refused), lambda: ("ideas", *right)), monkeypatch)


@pytest.mark.parametrize("site", BROKEN)
def test_a_task_file_that_is_broken_is_put_right(
    at: Callable[[str], Lab], site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = at("kept")
    path = lab.root / "autoresearch.toml"
    right = path.read_text()
    path.write_bytes(BROKEN[site])
    # Corrected in another way than it was before: then it is an immutable file that has changed.
    go(lab, site, Ask(("check",), then(lambda: path.write_text(f"{right}# corrected\n"), ("check",))), monkeypatch)


@pytest.mark.parametrize("site", [*WRONG_WORDS, *MISSING_WORDS])
def test_words_of_init_that_are_wrong_are_put_right(
    at: Callable[[str], Lab], site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = at("repo" if site in WRONG_WORDS or site.endswith("missing") or "no file" in site else "plain")
    wrong, right = MISSING_WORDS.get(site) or [(*INIT, *words) for words in WRONG_WORDS[site]]
    go(lab, site, Ask(wrong, lambda: right), monkeypatch)


def test_every_refusal_is_walked_or_listed() -> None:
    walked = {*(way.site for way in WALKS), *IDEAS, *BROKEN, *WRONG_WORDS, *MISSING_WORDS}
    known = {site.name for site in sites()}
    ours = {name for name in known if not name.startswith(tuple(NOT_OURS))}
    assert ours - walked - {*NOT_WALKED} == set(), "a refusal that nobody walks: add a walk, or a reason"
    assert (walked | {*NOT_WALKED}) - known == set(), "a walk to a place that is not there any more"
    assert walked & {*NOT_WALKED} == set()
    assert len(known) == len(sites()), "two places in a function that say the same"


REFUSES = """
def a(x):
    raise PreconditionError(f"{x} is wrong", "correct it")
def b():
    error = UsageError("what")
    return error
"""


def test_each_place_that_makes_an_error_is_found() -> None:
    found = [*sites_in(REFUSES, "m.py")]
    assert [site.name for site in found] == ["m.py a: {} is wrong", "m.py b: what"]
    assert found[0] == Site("m.py a", "{} is wrong", "correct it", 0, 0)
