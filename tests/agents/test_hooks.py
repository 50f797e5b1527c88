"""The hooks of coding agents: run as the agents run them, on real workspaces, quiet whenever something is off."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from lab import Lab
from test_house import ROOT

from autoresearch.workspace.agent_files import HOOK

ID = "0a1b2c3d-test"
PLUGIN = json.loads((ROOT / "hooks" / "hooks.json").read_text())["hooks"]


class Agent:
    """Runs the command of a hook as a coding agent does: by the shell, with the event on standard input."""

    def __init__(self, lab: Lab, tmp: Path) -> None:
        self.lab, self.tmp = lab, tmp
        settings = json.loads((lab.root / ".claude/settings.json").read_text())
        self.hooks, self.cwd = settings["hooks"], lab.root
        self.env = {**os.environ, "CLAUDE_PROJECT_DIR": str(lab.root), "TMPDIR": str(tmp)}

    def __call__(self, name: str, **event: Any) -> dict[str, Any] | None:
        """Fire an event and return the answer, None when there was none; the hook must leave with status 0."""
        told = {"session_id": ID, "cwd": str(self.cwd), "hook_event_name": name, **event}
        command = self.hooks[name][0]["hooks"][0]["command"]
        done = subprocess.run(
            ["bash", "-c", command], input=json.dumps(told), cwd=self.cwd, env=self.env, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout) if done.stdout else None

    def refused(self, tool: str, **given: Any) -> str | None:
        """Return why a tool call is refused, or None."""
        answer = self("PreToolUse", tool_name=tool, tool_input=given)
        if answer is None:
            return None
        decision = answer["hookSpecificOutput"]
        assert decision["permissionDecision"] == "deny"
        return str(decision["permissionDecisionReason"])

    def stop(self, **more: Any) -> str | None:
        """End the turn; return what sends the agent on, or None."""
        answer = self("Stop", stop_hook_active=False, **more)
        return None if answer is None else str(answer["reason"])


@pytest.fixture
def agent(lab: Lab, tmp_path: Path) -> Agent:
    found = Agent(lab, tmp_path)
    assert lab.call("resume").code == 0  # the lab is a copy: what it knows of itself is brought up to date
    return found


@pytest.fixture
def armed(agent: Agent) -> Agent:
    agent("UserPromptSubmit", prompt="/autoresearch night below 50 ms")
    return agent


def test_the_start_of_an_agent_is_told_where_the_session_is(agent: Agent) -> None:
    answer = agent("SessionStart", source="startup")
    assert answer is not None
    text = answer["hookSpecificOutput"]["additionalContext"]
    assert "make total_ms as low as possible" in text and "baseline     100" in text and "next:" in text
    assert "This conversation" not in text and len(text) < 4000


def test_after_a_compaction_an_armed_agent_is_told_what_it_was_doing(armed: Agent) -> None:
    answer = armed("SessionStart", source="compact")
    assert answer is not None
    text = answer["hookSpecificOutput"]["additionalContext"]
    assert 'runs the loop of the skill autoresearch (begun with: "night below 50 ms")' in text


def test_what_happened_since_the_last_command_is_told(agent: Agent) -> None:
    def told() -> str:
        answer = agent("SessionStart", source="resume")
        assert answer is not None
        return str(answer["hookSpecificOutput"]["additionalContext"])

    running = agent.lab.workspace.running
    running.write_text(json.dumps({"pid": os.getpid(), "experiment": 7, "seed": 2}))
    assert "Experiment 7 (seed 2) is being measured right now" in told()
    gone = subprocess.Popen(["true"])
    gone.wait()
    running.write_text(json.dumps({"pid": gone.pid, "experiment": 7, "seed": 2}))
    assert "Experiment 7 (seed 2) was interrupted; autoresearch resume" in told()
    running.unlink()
    with (agent.lab.root / "autoresearch.jsonl").open("a") as file:
        file.write("{}\n")
    assert "The journal has grown since" in told()


@pytest.mark.parametrize("tool", ["Edit", "Write", "MultiEdit"])
@pytest.mark.parametrize("path", ["bench.sh", "autoresearch.toml", "autoresearch.jsonl", ".autoresearch/runs/1/x"])
def test_an_edit_of_what_is_fixed_is_refused_with_the_reason(agent: Agent, tool: str, path: str) -> None:
    reason = agent.refused(tool, file_path=str(agent.lab.root / path))
    assert reason is not None and path in reason and "is for the user" in reason
    assert ("may change: src" in reason) == (path in ("bench.sh", "autoresearch.toml"))


@pytest.mark.parametrize(
    "command",
    [
        "sed -i 's/1/2/' bench.sh", "cd src && sed -i.bak s/1/2/ ../bench.sh; ls", "echo 1 > bench.sh",
        "cat x | tee -a ./bench.sh", "cp src/run.sh bench.sh", "mv bench.sh old", "rm -f bench.sh", "true; > bench.sh",
        "printf x >>bench.sh\nls", "FOO=1 perl -pi -e 's/a/b/' bench.sh", "dd if=/dev/zero of=bench.sh count=1",
        "echo '{}' >> autoresearch.jsonl", "rm -rf .autoresearch/runs", "python3 x.py 2> bench.sh",
        "cat > bench.sh <<'EOF'\n# we don't need this\nEOF", "# it's broken\nrm -f bench.sh", "echo x >| bench.sh",
        "ls # it's here\nrm bench.sh", "cat <<< hello\nrm bench.sh", "x=$((1<<3))\nrm bench.sh",
        "cat <<END-OF > x\na\nEND-OF\nrm bench.sh", "bash <<'EOF'\nrm bench.sh\nEOF", "cat <<E | sh -s\nrm bench.sh\nE",
    ],
)  # fmt: skip
def test_a_shell_command_that_writes_what_is_fixed_is_refused(agent: Agent, command: str) -> None:
    if command.startswith("cd src"):
        agent.cwd = agent.lab.root / "src"
    assert agent.refused("Bash", command=command) is not None


@pytest.mark.parametrize(
    "command",
    [
        "bash bench.sh > out.txt", "cp bench.sh /tmp/copy", "cat bench.sh | grep -i x", "sed -n 1,5p bench.sh",
        "sed -i s/1/2/ src/run.sh", "git diff bench.sh", "git checkout HEAD -- bench.sh", "echo 'rm bench.sh'",
        'autoresearch try -m "rm bench.sh > bench.sh"', "echo done > STOP", "echo \"unclosed", "",
        "git restore --source=refs/autoresearch/t/2 -- src", "echo x >&2", "tail -5 autoresearch.jsonl",
        "cat > notes.txt <<EOF\nrm bench.sh; it's > bench.sh\nEOF\nls", "# rm bench.sh",
    ],
)  # fmt: skip
def test_other_shell_commands_pass(agent: Agent, command: str) -> None:
    assert agent.refused("Bash", command=command) is None


def test_a_patch_of_what_is_fixed_is_refused(agent: Agent) -> None:
    def patch(name: str) -> str:
        return f"*** Begin Patch\n*** Update File: {name}\n@@\n-a\n+b\n*** End Patch\n"

    assert agent.refused("apply_patch", command=patch("bench.sh")) is not None
    assert agent.refused("Bash", command=f"apply_patch <<'EOF'\n{patch('bench.sh')}EOF") is not None
    assert agent.refused("apply_patch", command=patch("src/run.sh")) is None


def test_edits_of_mutable_files_and_of_notes_pass(agent: Agent) -> None:
    for name in ("src/run.sh", "src/new.py", "autoresearch.md", "autoresearch.ideas.md", "STOP", "elsewhere.txt"):
        assert agent.refused("Edit", file_path=str(agent.lab.root / name)) is None
    assert agent.refused("Edit", file_path=name) is None


def test_a_link_to_what_is_fixed_is_seen_through(agent: Agent) -> None:
    (agent.lab.root / "src" / "innocent").symlink_to("../bench.sh")
    assert agent.refused("Write", file_path=str(agent.lab.root / "src" / "innocent")) is not None


@pytest.mark.parametrize("with_folder", [True, False])
def test_what_is_fixed_may_be_edited_on_another_branch_and_the_record_may_not(agent: Agent, with_folder: bool) -> None:
    lab, bench = agent.lab, str(agent.lab.root / "bench.sh")
    if not with_folder:  # as in a work tree, where .git is a file
        lab.git("init", "-q", "--separate-git-dir", "../elsewhere")
        assert (lab.root / ".git").is_file()
    for words, refused in ((("main",), False), (("--detach", "autoresearch/t"), False), (("autoresearch/t",), True)):
        lab.git("switch", "-q", *words)
        assert (agent.refused("Edit", file_path=bench) is not None) is refused, words
        assert agent.refused("Edit", file_path=str(lab.workspace.journal)) is not None


@pytest.mark.parametrize("why", ["the file STOP", "a stop condition", "the time is up"])
def test_what_is_fixed_may_be_edited_when_the_session_has_ended(agent: Agent, why: str) -> None:
    bench, brief = str(agent.lab.root / "bench.sh"), agent.lab.root / ".autoresearch/brief.json"
    assert agent.refused("Edit", file_path=bench) is not None
    if why == "the file STOP":
        (agent.lab.root / "STOP").touch()
    else:
        ended = {"stop": "enough"} if why == "a stop condition" else {"ends": 1000}
        brief.write_text(json.dumps({**json.loads(brief.read_text()), **ended}))
    assert agent.refused("Edit", file_path=bench) is None
    assert agent.refused("Edit", file_path=str(brief)) is not None


def test_an_armed_agent_that_stops_is_sent_on_until_its_idle_budget_is_spent(armed: Agent) -> None:
    reasons = [armed.stop() for _ in range(8)]
    assert [reason is not None for reason in reasons] == [True] * 5 + [False] * 3
    assert reasons[0] is not None and "night below 50 ms" in reasons[0] and "autoresearch try" in reasons[0]


def test_a_new_line_in_the_journal_renews_the_idle_budget(armed: Agent) -> None:
    assert [armed.stop() is not None for _ in range(6)] == [True] * 5 + [False]
    armed.lab.attempt("echo METRIC total_ms=101\n")
    assert armed.stop() is not None


def test_the_skill_tool_arms_as_the_command_does(agent: Agent) -> None:
    assert agent.stop() is None
    assert agent.refused("Skill", skill="autoresearch:autoresearch", args="go") is None
    assert agent.stop() is not None


@pytest.mark.parametrize("prompt", ["hello", "what does /autoresearch do?", "/autoresearch-task new",
                                    "/autoresearch:autoresearch-task new", "", None])  # fmt: skip
def test_other_prompts_do_not_arm(agent: Agent, prompt: str | None) -> None:
    agent("UserPromptSubmit", prompt=prompt)
    assert agent.stop() is None


def test_a_stop_file_is_honoured(armed: Agent) -> None:
    (armed.lab.root / "STOP").write_text("enough\n")
    assert armed.stop() is None


def test_a_stop_file_that_is_taken_away_lets_the_loop_go_on(armed: Agent) -> None:
    stop = armed.lab.root / "STOP"
    stop.touch()
    armed.lab.call("resume")
    assert armed.stop() is None
    stop.unlink()
    assert armed.stop() is not None


def test_every_command_that_changes_the_session_keeps_the_hooks_informed(agent: Agent) -> None:
    def told() -> str:
        answer = agent("SessionStart", source="startup")
        assert answer is not None
        return str(answer["hookSpecificOutput"]["additionalContext"])

    agent.lab.attempt("echo METRIC total_ms=90\n")
    assert "experiment 2" in told()
    agent.lab.call("ideas", "--add", "read the file once")
    assert "read the file once" in told()
    agent.lab.write("autoresearch.md", "## What has been learned\n\n- forking costs 3 ms\n")
    agent.lab.call("status")
    assert "forking costs 3 ms" in told()


def test_a_stop_condition_is_honoured(make_lab: Any, tmp_path: Path) -> None:
    lab = make_lab(stop={"max_experiments": 2})
    agent = Agent(lab, tmp_path)
    agent("UserPromptSubmit", prompt="/autoresearch")
    lab.call("resume")
    assert agent.stop() is not None
    lab.attempt("echo METRIC total_ms=101\n")
    assert agent.stop() is None


def test_time_that_is_up_is_honoured_without_a_command(armed: Agent) -> None:
    path = armed.lab.root / ".autoresearch/brief.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "ends": 1000}))
    assert armed.stop() is None


def test_other_agent_sessions_and_background_tasks_are_left_alone(armed: Agent) -> None:
    assert armed.stop(session_id="another") is None
    assert armed.stop(session_id="") is None
    assert armed.stop(background_tasks=[{"id": "b", "status": "running"}]) is None
    assert armed.stop(background_tasks=[{"id": "b", "status": "completed"}]) is not None


def test_an_agent_that_stops_while_an_experiment_runs_is_told_to_wait_for_it(armed: Agent) -> None:
    armed.lab.workspace.running.write_text(json.dumps({"pid": os.getpid(), "experiment": 7, "seed": 2}))
    reason = armed.stop()
    assert reason is not None and "Experiment 7 (seed 2) is being measured right now" in reason


@pytest.mark.parametrize("damage", ["journal", "brief", "no brief", "brief of another shape", "no state"])
def test_damage_makes_hooks_quiet_and_never_blocks(armed: Agent, damage: str) -> None:
    root, state = armed.lab.root, armed.lab.root / ".autoresearch"
    if damage == "journal":
        (root / "autoresearch.jsonl").write_bytes(b"\xff\xfe not json\n{\n")
    elif damage == "no state":
        shutil.rmtree(state)
    elif damage == "no brief":
        (state / "brief.json").unlink()
    else:
        (state / "brief.json").write_text("{" if damage == "brief" else '[{"text": 3}]')
    edit = armed.refused("Edit", file_path=str(root / "bench.sh"))
    if damage == "journal":  # what the last good command said still holds
        assert edit is not None and armed.stop() is not None
        return
    assert edit is None and armed.stop() is None and armed("SessionStart", source="startup") is None


def test_an_empty_session_id_arms_nothing(agent: Agent) -> None:
    for session in ("", "../../x", "a/b", None):
        agent("UserPromptSubmit", prompt="/autoresearch", session_id=session)
        assert agent.stop(session_id=session) is None
    assert [*agent.tmp.glob("autoresearch-agents*/*")] == []


def test_marks_go_into_no_folder_that_is_not_this_users_alone(agent: Agent) -> None:
    folder, mine = agent.tmp / f"autoresearch-agents-{os.getuid()}", agent.tmp / "mine"
    elsewhere = agent.tmp / "elsewhere"
    for open_to_others in (True, False):
        if open_to_others:
            folder.mkdir(mode=0o700)
            folder.chmod(0o777)
        else:
            folder.rmdir()
            elsewhere.mkdir(mode=0o700)
            folder.symlink_to(elsewhere)
        agent("UserPromptSubmit", prompt="/autoresearch night below 50 ms")
        assert [*folder.iterdir()] == [] and agent.stop() is None
        mine.write_text('{"goal": "mine", "idle": 0, "seen": ""}')
        (folder / f"{ID}.json").symlink_to(mine)
        assert agent.stop() is None and "mine" in mine.read_text()
        (folder / f"{ID}.json").unlink()


def test_without_python_or_script_the_hooks_are_quiet(armed: Agent) -> None:
    for hooks in (armed.hooks, PLUGIN):
        armed.hooks = {
            name: [{**group, "hooks": [{"command": _without_ours(group["hooks"][0]["command"])}]} for group in groups]
            for name, groups in hooks.items()
        }
        armed.env["PATH"] = str(armed.tmp / "empty")
        bash = shutil.which("bash")
        assert bash is not None
        (armed.tmp / "empty").mkdir(exist_ok=True)
        (armed.tmp / "empty" / "bash").unlink(missing_ok=True)
        (armed.tmp / "empty" / "bash").symlink_to(bash)
        assert armed.stop() is None
    armed.env = {**os.environ, "CLAUDE_PLUGIN_ROOT": "/nowhere", "TMPDIR": str(armed.tmp)}
    armed.hooks = PLUGIN
    assert armed.stop() is None


def test_where_the_plugins_folder_is_not_told_its_hooks_are_quiet(armed: Agent) -> None:
    """Some clients leave CLAUDE_PLUGIN_ROOT unset, or empty; a hook that fails is a fault that the agent is shown."""
    armed.hooks = PLUGIN
    for env in ({}, {"CLAUDE_PLUGIN_ROOT": ""}):
        armed.env = {**os.environ, "TMPDIR": str(armed.tmp), **env}
        assert armed("SessionStart", source="startup") is None and armed("UserPromptSubmit", prompt="hello") is None
        assert armed.refused("Edit", file_path=str(armed.lab.root / "bench.sh")) is None and armed.stop() is None


def _without_ours(command: str) -> str:
    """Return a hook's command as on a machine where our own Python is gone."""
    head, found, tail = command.partition('PY="/')
    return head + 'PY="/gone' + tail if found else command


def test_elsewhere_the_hooks_do_nothing(armed: Agent, tmp_path: Path) -> None:
    armed.cwd = tmp_path
    del armed.env["CLAUDE_PROJECT_DIR"]
    armed.hooks, armed.env["CLAUDE_PLUGIN_ROOT"] = PLUGIN, str(ROOT)
    assert armed.stop() is None and armed("SessionStart", source="startup") is None
    assert armed.refused("Edit", file_path=str(tmp_path / "bench.sh")) is None


def test_the_plugin_works_by_itself_and_leaves_a_workspace_with_own_hooks_to_them(armed: Agent) -> None:
    own, armed.hooks = armed.hooks, PLUGIN
    armed.env["CLAUDE_PLUGIN_ROOT"] = str(ROOT)
    assert armed.stop() is None
    (armed.lab.root / ".claude/settings.json").unlink()
    (armed.lab.root / ".codex/hooks.json").unlink()
    assert armed.stop() is not None
    assert armed.refused("Edit", file_path=str(armed.lab.root / "bench.sh")) is not None
    assert HOOK in own["Stop"][0]["hooks"][0]["command"]


def test_the_plugin_works_where_only_another_agent_has_hooks_of_its_own(armed: Agent) -> None:
    armed.hooks, armed.env["CLAUDE_PLUGIN_ROOT"] = PLUGIN, str(ROOT)
    settings = armed.lab.root / ".claude/settings.json"
    settings.rename(settings.with_name("settings.local.json"))
    assert armed.stop() is None, "Claude Code reads these, too"
    settings.with_name("settings.local.json").unlink()
    assert (armed.lab.root / ".codex/hooks.json").is_file() and armed.stop() is not None


def test_the_program_is_put_on_the_path_of_an_agent_that_has_none(agent: Agent) -> None:
    env_file = agent.tmp / "env"
    agent.env.update(CLAUDE_ENV_FILE=str(env_file), PATH="/usr/bin:/bin")
    agent("SessionStart", source="startup")
    found = subprocess.run(
        ["bash", "-c", f". {env_file}; command -v autoresearch"], env={"PATH": "/usr/bin:/bin"}, capture_output=True
    )
    assert found.returncode == 0
