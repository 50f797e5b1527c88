"""Walks from what `baseline`, `try`, `start` and `segment` refuse."""

from __future__ import annotations

import json

import pytest
from lab import TAG, Lab
from walking import TRY, Ask, append, edit, lose_commits, then, walk

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


@walk('experiments/new_segment.py check_committed: commit them: git commit -am "..."')
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


# --- several runs at once ---


@walk("workers/choice.py slots_of: {} names no workers", "measured")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("baseline", "--seeds", "4", "--workers", "two"), lambda: ("baseline", "--seeds", "4"))


@walk("workers/choice.py pool_of: see what is missing: autoresearch doctor", "measured")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    env.setenv("AUTORESEARCH_SANDBOX", "off")
    ask = ("baseline", "--seeds", "4", "--workers", "local:2")
    return Ask(ask, lambda: ask[:3])
