"""Walks from what the command line itself refuses."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from lab import TAG, Lab, task_file
from walking import TRY, Ask, append, edit, first, lose_commits, then, walk


@walk("cli/app.py _main: {}: {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("-C", "nowhere", "status"), lambda: ("-C", ".", "status"))


@walk("cli/output.py _check_words: {} is not UTF-8")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    edit(lab)
    return Ask(("try", "-m", "caf\udce9"), lambda: ("try", "-m", "café"))


@walk("cli/output.py refuse_unheeded: leave it out, or see: {} --help")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("show", "4", "--file", "bench.sh", "--diff"), lambda: ("show", "4", "--diff"))


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


@walk("cli/run.py steer: there is no family {} in this task")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("steer", "--ban", "astrology"), lambda: ("steer", "--ban", "size"))


@walk("workspace/upgrade_plan.py plan: {} is not among what differs")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    return Ask(("upgrade", "--take", "nothing.md"), lambda: ("upgrade",))


def at_home(lab: Lab, env: pytest.MonkeyPatch, *agents: str) -> None:
    """Give the person a home folder with these coding agents."""
    home = lab.root.parent / "home"
    for name in ("", *agents):
        (home / name).mkdir(parents=True, exist_ok=True)
    for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME"):
        env.delenv(name, raising=False)
    env.setenv("HOME", str(home))
    env.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")


@walk("cli/install.py install_skill: no coding agent was found on this machine")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    at_home(lab, env)
    return Ask(("install-skill",), lambda: ("install-skill", "--agent", "codex"))


@walk("workspace/user_agents.py plan_install: there is no agent {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    at_home(lab, env, ".codex")
    return Ask(("install-skill", "--agent", "nobody"), lambda: ("install-skill", "--agent", "codex"))


@walk("workspace/user_agents.py plan_removal: nothing was installed by this command")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    at_home(lab, env, ".codex")
    return Ask(("install-skill", "--remove"), lambda: ("install-skill",))


@walk("exchange/audit.py audit_files: the noise must be a number from 0 on, below {}")
def _(lab: Lab, env: pytest.MonkeyPatch) -> Ask:
    words = ("audit", "autoresearch.jsonl", "--noise")
    return Ask((*words, "-1"), lambda: (*words, "1"))
