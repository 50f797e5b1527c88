"""The skill, the hooks and the permissions in the real Claude Code, which talks to a scripted stand-in of its model.

Needs the client: on the path as `claude`, or named by AUTORESEARCH_CLAUDE (npm package @anthropic-ai/claude-code).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import messages_api
import pytest
from drawn import drawn
from lab import INIT, Lab, call, new_repo
from messages_api import tool_results
from standin import Reply, Stage, served, text_of
from test_house import ROOT
from waiting import PATIENCE_S

CLIENT = os.environ.get("AUTORESEARCH_CLAUDE") or shutil.which("claude")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not CLIENT, reason="Claude Code is not installed: no `claude` on the path, no AUTORESEARCH_CLAUDE"
    ),
]

FULL = 195_000
"""Tokens that a reply says the context has, so that the client compacts it."""


@dataclass
class Client:
    """Runs Claude Code without a person, in a home of its own, on loopback."""

    home: Path
    stage: Stage
    events: list[dict[str, Any]] = field(default_factory=list)

    def run(self, prompt: str, cwd: Path) -> dict[str, Any]:
        """Run one prompt to its end and return the result line."""
        tools = ("--allowedTools", "Bash", "Edit", "Read", "Write")
        done = self.call("-p", prompt, "--output-format", "stream-json", "--verbose", *tools, cwd=cwd)
        self.events = [json.loads(line) for line in done.stdout.splitlines()]
        return self.events[-1]

    def call(self, *words: str, cwd: Path, codes: Container[int] = (0,)) -> subprocess.CompletedProcess[str]:
        """Run the program; nothing of autoresearch is on its path."""
        ours = str(Path(sys.executable).parent)
        path = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if p != ours)
        env = {
            "PATH": path, "HOME": str(self.home), "TMPDIR": str(self.home), "ANTHROPIC_BASE_URL": self.stage.url,
            "ANTHROPIC_API_KEY": "a-dummy", "ANTHROPIC_MODEL": "claude-sonnet-4-5", "DISABLE_AUTOUPDATER": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "CLAUDE_CODE_AUTO_COMPACT_WINDOW": "100000",
            "OMP_NUM_THREADS": "1",  # of the trainings: another test is at work on the other core
            **{key: value for key, value in os.environ.items() if key.startswith(("GIT_", "AUTORESEARCH_C"))},
        }  # fmt: skip
        done = subprocess.run(
            [str(CLIENT), *words], cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=PATIENCE_S,
        )  # fmt: skip
        assert done.returncode in codes, done.stdout[-2000:] + done.stderr
        return done


@pytest.fixture
def command_lab(tmp_path: Path) -> Lab:
    """A fresh workspace of a command, without a baseline; the metric repeats exactly."""
    new_repo(tmp_path / "lab")
    lab = Lab(tmp_path / "lab")
    assert lab.call(*INIT).code == 0
    return lab


@pytest.fixture
def pretrain_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A fresh workspace of the task pretrain, tiny and with six steps of training, that starts from a bad rate."""
    monkeypatch.setenv("AUTORESEARCH_CACHE", str(tmp_path / "cache"))
    text = "\n\n".join(f"On day {n} Ada found {n % 7} maps near house {n * 31 % 97}." * 20 for n in range(100))
    (tmp_path / "text.txt").write_text(text)
    options = ("--task", "pretrain", "--profile", "tiny", "--source", str(tmp_path / "text.txt"), "--steps", "6",
               "--policy", "greedy", "--tag", "t")  # fmt: skip
    made = call("init", "lab", *options, cwd=tmp_path)
    assert made.code == 0, made
    lab = Lab(tmp_path / "lab")
    lab.git("config", "user.name", "A Person")
    lab.git("config", "user.email", "person@example.org")
    train = lab.root / "train.py"
    train.write_text(train.read_text().replace("MATRIX_LR = 0.02 ", "MATRIX_LR = 0.0001 "))
    lab.commit("a bad rate")
    return lab


START, KEEP, DISCARD, CRASH = (f"MATRIX_LR = {rate} " for rate in ("0.0001", "0.02", "0.000001", "1 / 0"))
"""The line that the script edits: as the workspace begins, and three edits."""


def bash(command: str, **more: Any) -> Reply:
    return Reply("", "Bash", {"command": command, "description": "a step"}, **more)


def edit(root: Path, old: str, new: str, name: str = "train.py") -> Reply:
    return Reply("", "Edit", {"file_path": str(root / name), "old_string": old, "new_string": new})


def read(root: Path, name: str = "train.py") -> Reply:
    return Reply("", "Read", {"file_path": str(root / name)})


def beginning(root: Path) -> Iterator[Reply]:
    """What the model says: the skill's loop, with two attempts on the evaluator."""
    yield bash("autoresearch resume")
    yield read(root, "prepare.py")
    yield edit(root, "import annotations", "import annotations # easier", "prepare.py")
    yield bash("sed -i 's/^/# /' prepare.py")
    yield bash("autoresearch baseline --detach && autoresearch wait")
    yield bash('echo "the user said stop" > STOP')
    yield Reply("Stopped.")


def keeping(root: Path) -> Iterator[Reply]:
    """What the model says: a gain, measured by a process of its own."""
    yield bash("autoresearch resume")
    yield read(root)
    yield edit(root, START, KEEP)
    yield bash('autoresearch try --detach -m "a better one" --asi hypothesis="it does less" --asi family=speed')
    yield bash("autoresearch wait")
    yield bash('autoresearch note 2 --asi result="as expected"')
    yield bash('echo "the user said stop" > STOP')
    yield Reply("Stopped.")


def in_session(lab: Lab, tmp_path: Path, replies: Iterator[Reply]) -> tuple[Client, Stage, list[str]]:
    """Let the model say these replies; return the client, the stage, and what the tools answered to each."""
    home = tmp_path / "home"
    home.mkdir()
    stage = messages_api.stage(replies)
    client = Client(home, stage)
    with served(stage):
        result = client.run("/autoresearch t below 60", lab.root)
    assert result["result"] == "Stopped." and result["is_error"] is False, result
    start = text_of(stage.requests[0]["messages"])
    assert "State of the autoresearch session" in start and "One experiment" in start and "t below 60" in start
    # Each request answers one line of the script.
    return client, stage, ["\n".join(tool_results(body)) for body in stage.requests[1:]]


@pytest.mark.sampled(0.2, "end to end")
def test_a_session_begins_in_claude_code(pretrain_lab: Lab, tmp_path: Path) -> None:
    lab = pretrain_lab
    fixed = (lab.root / "prepare.py").read_bytes()
    _, stage, said = in_session(lab, tmp_path, beginning(lab.root))
    assert "next: autoresearch baseline" in said[0]
    assert "denied" in said[2] or "immutable" in said[2]
    assert "denied" in said[3] or "immutable" in said[3]
    assert (lab.root / "prepare.py").read_bytes() == fixed
    assert "experiment 1: KEEP" in said[4], said[4]
    assert len(stage.requests) == 7
    assert [(e["run"], e["status"], e["description"]) for e in lab.events("run")] == [(1, "keep", "baseline")]
    lab.assert_clean()
    assert lab.call("check").code == 0


@pytest.fixture
def measured_lab(pretrain_lab: Lab) -> Lab:
    """The same with a baseline."""
    assert pretrain_lab.call("baseline").code == 0
    return pretrain_lab


@pytest.mark.sampled(0.2, "end to end")
def test_a_gain_is_kept_in_claude_code(measured_lab: Lab, tmp_path: Path) -> None:
    lab = measured_lab
    _, stage, said = in_session(lab, tmp_path, keeping(lab.root))
    assert "experiment 2 is being measured" in said[3] or "experiment 2: KEEP" in said[3]  # if it was that quick
    assert "experiment 2: KEEP" in said[4], said[4]
    assert len(stage.requests) == 8
    assert [(e["run"], e["status"], e["description"]) for e in lab.events("run")] == [
        (1, "keep", "baseline"), (2, "keep", "a better one"),
    ]  # fmt: skip
    second = lab.session.find(2)
    assert second is not None and second.asi == {
        "hypothesis": "it does less",
        "family": "speed",
        "result": "as expected",
    }
    assert KEEP in (lab.root / "train.py").read_text()
    lab.assert_clean()
    assert lab.call("check").code == 0


def going_on(root: Path) -> Iterator[Reply]:
    """What the model says: two failures, a context that is full, and a wish to stop too early."""
    yield bash("autoresearch resume")
    yield read(root)
    yield edit(root, START, DISCARD)
    yield bash('autoresearch try -m "a worse one" --asi family=size')
    yield read(root)
    yield edit(root, START, CRASH)
    yield bash('autoresearch try -m "a broken one"')
    yield bash('autoresearch note 3 --asi result="a slip" --asi next="closed"', context_tokens=FULL)
    yield Reply("I have done two experiments. Shall I continue?")
    yield bash("autoresearch next")
    yield Reply("Here is a summary.")
    yield bash('echo "the user said stop" > STOP')
    yield bash('autoresearch try -m "one more"')
    yield Reply("Stopped.")


@pytest.mark.sampled(0.2, "end to end")
def test_a_session_goes_on_in_claude_code(measured_lab: Lab, tmp_path: Path) -> None:
    lab = measured_lab
    client, stage, said = in_session(lab, tmp_path, going_on(lab.root))
    assert "experiment 2: DISCARD" in said[3], said[3]
    assert "experiment 3: CRASH" in said[6], said[6]

    # The context was compacted once; the request after it has the brief, and not the conversation.
    assert len(stage.summaries) == 1
    (compact,) = [e for e in client.events if e.get("hook_name") == "SessionStart:compact" and "output" in e]
    assert "3 crash" in compact["output"] and 'begun with: \\"t below 60\\"' in compact["output"]
    after = text_of(stage.requests[8]["messages"])
    assert "State of the autoresearch session" in after and "a broken one" in after and "goal:" in after
    assert len(stage.requests[8]["messages"]) < len(stage.requests[7]["messages"])

    # It wanted to stop twice before STOP was there, and was sent on; then it was let go.
    for n in (9, 11):
        pushed = text_of(stage.requests[n]["messages"][-1]["content"])
        assert "The autoresearch loop" in pushed and "has not ended" in pushed, pushed
    assert "mode " in said[9]
    assert "the file STOP is here" in said[12] and "Exit code 6" in said[12]
    assert len(stage.requests) == 14

    # The journal is right.
    assert [(e["run"], e["status"], e["description"]) for e in lab.events("run")] == [
        (1, "keep", "baseline"), (2, "discard", "a worse one"), (3, "crash", "a broken one"),
    ]  # fmt: skip
    last = lab.session.find(3)
    assert last is not None and last.asi == {"result": "a slip", "next": "closed"}
    assert START in (lab.root / "train.py").read_text()
    lab.assert_clean()
    assert lab.call("check").code == 0


@pytest.mark.sampled(1)
@pytest.mark.parametrize("way", drawn(["clone", "plugin", "folder of the skill"], 0.34, "ways of installing"))
def test_the_skill_answers_after_each_way_of_installing(way: str, command_lab: Lab, tmp_path: Path) -> None:
    """The workspace has nothing for agents here: what works is what was installed."""
    for name in (".claude", ".agents", ".codex", "AGENTS.md"):
        path = command_lab.root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    home, cwd = tmp_path / "home", command_lab.root
    home.mkdir()
    hooked = way != "folder of the skill"
    replies = [Reply("Done."), *([Reply("", "Bash", {"command": "touch STOP"}), Reply("Stopped.")] if hooked else [])]
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    if way == "clone":  # the agent starts in the clone, and goes into the workspace
        cwd = clone
        command_lab.root.rename(clone / "lab")
        replies.insert(0, Reply("", "Bash", {"command": "cd lab"}))
    stage = messages_api.stage(iter(replies))
    client = Client(home, stage)
    with served(stage):
        if way == "plugin":
            client.call("plugin", "marketplace", "add", str(clone), cwd=cwd)
            client.call("plugin", "install", "autoresearch@autoresearch", cwd=cwd)
        elif way == "folder of the skill":
            shutil.copytree(clone / "skills/autoresearch", home / ".claude/skills/autoresearch")
        client.run("/autoresearch below 60", cwd)
    assert "You are the researcher." in text_of(stage.requests[0]["messages"])
    assert len(stage.requests) == len(replies)
    pushed = [body for body in stage.requests if "The autoresearch loop in" in text_of(body["messages"][-1]["content"])]
    assert len(pushed) == hooked


LEFT = (
    "CLAUDE.md at the plugin root is not loaded",  # it is for those who work on this repository
    "Unknown field 'network'",  # older clients do not know what newer ones ask for
)
"""Warnings of `claude plugin validate` that cannot be mended."""


def findings(report: str) -> list[str]:
    """Return the errors and warnings of a report of `claude plugin validate`, without its advice and its notes."""
    found, counted, inside = [], 0, False
    for line in report.splitlines():
        head = re.match(r"\S+ Found (\d+) .*(error|warning)s?:?$", line)
        counted += int(head[1]) if head else 0
        inside = bool(head) or (inside and (not line or line.startswith(" ")))
        if inside and line.startswith("  ❯ "):
            found.append(line.removeprefix("  ❯ "))
    assert len(found) == counted, f"the report has another form than this test knows:\n{report}"
    return found


def test_the_plugin_is_valid_but_for_what_cannot_be_mended(tmp_path: Path) -> None:
    """`claude plugin validate --strict`; `agentskills validate` is another program, see docs/agents.md."""
    client = Client(tmp_path, messages_api.stage(iter(())))
    done = client.call("plugin", "validate", "--strict", ".", cwd=ROOT, codes=(0, 1))
    report = done.stdout + done.stderr
    assert re.search(r"Validation (passed|failed)", report), report
    assert [line for line in findings(report) if not any(known in line for known in LEFT)] == [], report
    assert "no line that installs" not in report and "Hosts not declared" not in report, report


def test_a_fault_of_the_plugin_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "plugin"
    shutil.copytree(ROOT / ".claude-plugin", folder / ".claude-plugin")
    manifest = folder / ".claude-plugin/plugin.json"
    manifest.write_text(manifest.read_text().replace('"version": "0.1.0"', '"versoin": 3'))
    client = Client(tmp_path, messages_api.stage(iter(())))
    done = client.call("plugin", "validate", "--strict", str(folder), cwd=tmp_path, codes=(1,))
    assert [line for line in findings(done.stdout + done.stderr) if not any(known in line for known in LEFT)]
