"""Walks from what journal, git, `init` and the task file refuse."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from lab import INIT, TAG, Lab, new_repo, task_file
from walking import TRY, Ask, Words, append, edit, then, walk

from autoresearch.journal.refs import mirror_ref

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


@walk("workspace/init.py init: {} is a file", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("init", "README.md", *INIT[2:]), lambda: INIT)


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


@walk("workspace/init.py _own: {} is not committed", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.write("autoresearch.toml", task_file())
    return Ask(("init", ".", "--task", "command", "--tag", TAG))


@walk("workspace/init_options.py beside_own: {} is committed here, so {} cannot change it", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    lab.write("autoresearch.toml", task_file())
    lab.commit()
    return Ask(("init", ".", "--minutes", "90", "--tag", TAG), lambda: None)


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
    return Ask(without, lambda: None)


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


@walk("workspace/init_options.py check_command_given: {} {} about a command, and none was given", "repo")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    asked = ("init", ".", "--metric", "total_ms", "--mutable", "src")
    return Ask(asked, lambda: (*asked, "--no-probe", "--command", "bash bench.sh"))


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
    "workspace/init_options.py configured: --{} are given": (
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
    "workspace/init_options.py configured: the task {} makes its own data": (
        (*SHORT, "--task", "mazes", "--source", "python", "--no-setup"), (*SHORT, "--task", "mazes", "--no-setup")),
    "workspace/init_options.py _base: the task {} begins with no model that is there already": (
        (*SHORT, "--task", "mazes", "--base", "model.pt", "--no-setup"), (*SHORT, "--task", "mazes", "--no-setup")),
    "workspace/init_options.py _base: there are no weights at {}": (
        (*SHORT, "--task", "sft", "--base", "gone", "--no-setup"),
        (*SHORT, "--task", "sft", "--base", "trained", "--no-setup")),
    "workspace/init_options.py _base: {} has no config.json of a model": (
        (*SHORT, "--task", "sft", "--base", ".", "--no-setup"),
        (*SHORT, "--task", "sft", "--base", "trained", "--no-setup")),
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
