"""The real Claude Code as an agent of the loop, against a scripted stand-in of its model on loopback.

Needs the client: on the path as `claude`, or named by AUTORESEARCH_CLAUDE (npm package @anthropic-ai/claude-code).
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import messages_api
import pytest
from briefs import TRAIN, brief
from messages_api import tool_results
from standin import Reply, Stage, served

from autoresearch.loop.agents.base import AgentGone, AgentResting, Edit, ProposalFailed
from autoresearch.loop.agents.claude_code import ClaudeCode

CLIENT = os.environ.get("AUTORESEARCH_CLAUDE") or shutil.which("claude")
pytestmark = [
    pytest.mark.sampled(0.3),
    pytest.mark.slow,
    pytest.mark.skipif(
        not CLIENT, reason="Claude Code is not installed: no `claude` on the path, no AUTORESEARCH_CLAUDE"
    ),
]

NOW = 1_790_000_000.0
ANSWER = {"description": "LR 0.01 to 0.02", "hypothesis": "it was too low", "family": "learning rate"}


@dataclass
class Lab:
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    asked: list[dict[str, Any]] = field(default_factory=list)

    def propose(self, script: Iterator[Reply], **more: Any) -> Edit:
        stage: Stage = messages_api.stage(script)
        self.asked = stage.requests
        given = brief(self.folder, **more)
        with served(stage):
            self.monkeypatch.setenv("ANTHROPIC_BASE_URL", stage.url)
            return ClaudeCode("claude-sonnet-4-5", lambda: NOW).propose(given)

    def refused(self, kind: type[Exception], reply: Reply, **more: Any) -> Any:
        """Propose while each request is answered so; return the error."""
        with pytest.raises(kind) as failed:
            self.propose(iter([reply] * 20), **more)
        return failed.value


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    home = tmp_path / "home"
    (home / ".claude").mkdir(parents=True)
    (home / ".claude/settings.json").write_text('{"permissions": {"allow": ["Bash(*)"]}}')
    (home / ".claude/CLAUDE.md").write_text("INSTRUCTIONS OF THE PERSON")
    for name, value in {"AUTORESEARCH_CLAUDE": CLIENT, "HOME": home, "ANTHROPIC_API_KEY": "a-dummy",
                        "CLAUDE_CODE_MAX_RETRIES": "0"}.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    return Lab(tmp_path / "outer/folder", monkeypatch)


def tool(name: str, **given: object) -> Reply:
    return Reply("", name, given)


def error(status: int, kind: str, said: str, **headers: str) -> Reply:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Reply(status=status, input={"type": "error", "error": {"type": kind, "message": said}}, headers=named)


def test_it_edits_its_folder_and_can_do_nothing_else(lab: Lab) -> None:
    train, secret = lab.folder / "train.py", lab.folder.parent / "secret.txt"
    lab.folder.mkdir(parents=True)
    secret.write_text("SECRET\n")
    (lab.folder.parent / "CLAUDE.md").write_text("INSTRUCTIONS OF THE WORKSPACE")
    (lab.folder / "link").symlink_to(secret)

    def script() -> Iterator[Reply]:
        yield tool("Read", file_path=str(secret))
        yield tool("Read", file_path=str(lab.folder / "link"))
        yield tool("Grep", pattern="SECRET", path=str(secret.parent))
        yield tool("Write", file_path=str(secret.parent / "new"), content="x")
        yield tool("Bash", command="touch ran", description="a step")
        yield tool("WebFetch", url="http://127.0.0.1:1/", prompt="x")
        yield tool("Read", file_path=str(train))
        yield tool("Edit", file_path=str(train), old_string="LR = 0.05", new_string="LR = 0.02")
        yield tool("Edit", file_path=str(train), old_string="LR = 0.01", new_string="LR = 0.02")
        yield tool("StructuredOutput", **ANSWER)

    edit = lab.propose(script(), limit_usd=1.0)
    assert train.read_text() == TRAIN.replace("0.01", "0.02")
    assert (edit.description, edit.asi["hypothesis"]) == (ANSWER["description"], ANSWER["hypothesis"])
    # Ten requests of 1,000 tokens read and 20 written, at 3 and 15 dollars a million.
    assert (edit.usage.model, edit.usage.input, edit.usage.output) == ("claude-sonnet-4-5", 10_000, 200)
    assert edit.usage.usd == pytest.approx(10 * (1000 * 3 + 20 * 15) / 1e6)
    results = [tool_results(body)[-1] for body in lab.asked[1:]]
    assert all("denied" in result for result in results[:4]), results
    assert all("not enabled" in result for result in results[4:6]), results
    assert "not found" in results[7] and "updated successfully" in results[8]
    assert secret.read_text() == "SECRET\n" and not (secret.parent / "new").exists()
    assert not (lab.folder / "ran").exists()
    first = str(lab.asked[0])
    assert "You are a researcher" in first and "INSTRUCTIONS OF" not in first
    offered = {given["name"] for given in lab.asked[0]["tools"]}
    assert offered == {"Read", "Edit", "Write", "Grep", "Glob", "StructuredOutput"}


def test_a_malformed_answer_has_failed_and_is_paid_for(lab: Lab) -> None:
    failed = lab.refused(ProposalFailed, Reply("I would raise the learning rate."))
    assert "no JSON object" in failed.message and failed.usage.input >= 1000 and failed.usage.usd > 0


def test_a_usage_limit_of_a_subscription_rests_until_its_end(lab: Lab) -> None:
    lab.monkeypatch.delenv("ANTHROPIC_API_KEY")
    lab.monkeypatch.setenv("CLAUDE_CODE_OAUTH_TOKEN", "a-dummy")
    end = int(NOW) + 5000
    unified = {f"anthropic_ratelimit_unified_{name}": value for name, value in {
        "status": "rejected", "reset": str(end), "representative_claim": "five_hour", "5h_status": "rejected",
        "5h_reset": str(end), "5h_utilization": "1.0", "7d_status": "allowed", "7d_reset": str(end + 90_000),
        "7d_utilization": "0.5", "overage_status": "rejected"}.items()}  # fmt: skip
    reply = error(
        429, "rate_limit_error", "This would exceed your account's rate limit.", retry_after="5000", **unified
    )
    resting = lab.refused(AgentResting, reply)
    assert resting.until == end and (resting.usage.usd, resting.usage.input) == (0, 0)


@pytest.mark.parametrize(
    ("reply", "kind", "fix"),
    [
        (error(529, "overloaded_error", "Overloaded"), AgentResting, "wait"),
        (error(401, "authentication_error", "invalid x-api-key"), AgentGone, "/login"),
        (error(400, "invalid_request_error", "You have reached your specified API usage limits."), AgentGone, "credit"),
    ],
    ids=["overload", "login", "spending limit"],
)  # fmt: skip
def test_each_refusal_of_the_model_is_told_apart(lab: Lab, reply: Reply, kind: type[Exception], fix: str) -> None:
    refused = lab.refused(kind, reply)
    assert type(refused) is kind and fix in refused.fix and refused.usage.usd == 0
    if kind is AgentResting:
        assert refused.until > NOW


def test_the_limit_of_dollars_ends_it(lab: Lab) -> None:
    reading = Reply("", "Read", {"file_path": str(lab.folder / "train.py")}, context_tokens=1_000_000)
    failed = lab.refused(ProposalFailed, reading, limit_usd=1.0)
    assert "limit of dollars" in failed.message and len(lab.asked) == 1
    assert failed.usage.usd == pytest.approx(3.0003)


def test_a_model_that_never_answers_is_given_up(lab: Lab) -> None:
    never = threading.Event()

    def script() -> Iterator[Reply]:
        never.wait()
        yield Reply("too late")

    try:
        with pytest.raises(ProposalFailed, match="no answer in"):
            lab.propose(script(), limit_s=3.0)
    finally:
        never.set()
