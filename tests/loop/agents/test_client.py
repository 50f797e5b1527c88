"""Running a coding agent's program: what it gets, what it may not do, and that nothing of it is left.

The programs here are small scripts in the place of Claude Code; the real ones are in the tests beside this one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from briefs import brief
from waiting import wait_for

from autoresearch.loop.agents import client
from autoresearch.loop.agents.base import AgentGone, AgentResting, Edit, ProposalFailed
from autoresearch.loop.agents.claude_code import ClaudeCode
from autoresearch.loop.agents.client import seconds_in
from autoresearch.loop.agents.codex import Codex
from autoresearch.loop.agents.gemini import Gemini
from autoresearch.system.files import held_by_us

NOW = 1_790_000_000.0
NOON = 1_789_992_000.0
"""12:00 UTC of that day, which is at 14:13."""

RESULT = {"type": "result", "subtype": "success", "is_error": False, "total_cost_usd": 0.5, "num_turns": 2,
          "structured_output": {"description": "LR 1 to 2", "hypothesis": "why", "family": "rate"},
          "modelUsage": {"big": {"inputTokens": 10, "cacheReadInputTokens": 5, "cacheCreationInputTokens": 2,
                                 "outputTokens": 7, "costUSD": 0.4},
                         "small": {"inputTokens": 1, "outputTokens": 1, "costUSD": 0.1}}}  # fmt: skip


@pytest.fixture
def claude(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a script that is run instead of Claude Code."""
    path = tmp_path / "claude"
    monkeypatch.setenv("AUTORESEARCH_CLAUDE", str(path))
    return path


def write(script: Path, text: str) -> None:
    script.write_text("#!/usr/bin/env bash\n" + text)
    script.chmod(0o755)


def propose(folder: Path, limit_s: float = 100.0) -> Edit:
    return ClaudeCode().propose(brief(folder, limit_s=limit_s))


def test_a_program_gets_the_prompt_and_answers(claude: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAUDECODE", "1")
    write(claude, f"cat > prompt; pwd > place; env > env; echo 'not json'; echo '{json.dumps(RESULT)}'\n")
    folder = tmp_path / "a folder's"
    edit = propose(folder)
    assert (edit.description, edit.asi["family"]) == ("LR 1 to 2", "rate")
    used = edit.usage
    assert (used.model, used.input, used.cached, used.cache_written, used.output) == ("big", 18, 5, 2, 8)
    assert used.usd == 0.5
    assert "You are a researcher" in (folder / "prompt").read_text()
    assert (folder / "place").read_text().strip() == str(folder)
    assert "CLAUDECODE" not in (folder / "env").read_text()


def left_of(folder: Path) -> list[int]:
    """Return the processes that work in a folder."""
    found = []
    for process in psutil.process_iter(["cwd"]):
        if process.info["cwd"] == str(folder):
            found.append(process.pid)
    return found


def test_a_program_that_hangs_is_ended_with_all_that_it_started(claude: Path, tmp_path: Path) -> None:
    write(claude, 'echo \'{"type":"system"}\'; setsid sleep 1000 & (sleep 1000 &) ; sleep 1000\n')
    with pytest.raises(ProposalFailed, match="no answer in") as failed:
        propose(tmp_path / "folder", limit_s=1.0)
    assert failed.value.usage.usd is None
    assert left_of(tmp_path / "folder") == []


def test_what_a_killed_driver_left_is_ended_by_the_next_proposal(claude: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write(claude, "setsid sleep 1000 & touch begun; sleep 1000\n")
    brief(folder)
    code = f"import sys; sys.path[:0] = {sys.path!r}; from test_client import propose; from pathlib import Path\n"
    driver = subprocess.Popen([sys.executable, "-c", f"{code}propose(Path({str(folder)!r}))"], cwd=tmp_path)
    wait_for(lambda: (folder / "begun").exists(), "the program of the first driver")
    driver.kill()
    driver.wait()
    assert left_of(folder) != []
    write(claude, f"echo '{json.dumps(RESULT)}'\n")
    propose(folder)
    assert left_of(folder) == []


def test_the_folder_of_a_call_is_its_own_while_it_lasts_and_gone_after_a_kill(
    claude: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with another container that has the same /tmp, user and workspace."""
    short = tmp_path / "short"
    short.mkdir()
    monkeypatch.setattr(client, "users_tmp", lambda: short)
    killed, other = short / "call-killed", short / "call-other"
    for folder in (killed, other):
        folder.mkdir()
        (folder / "prompt").write_text("a prompt")
    write(claude, f"echo $TMPDIR > place; echo '{json.dumps(RESULT)}'\n")
    with held_by_us(other / "held"):
        propose(tmp_path / "folder")
        propose(tmp_path / "folder")
        assert [*short.iterdir()] == [other] and (other / "prompt").read_text() == "a prompt"
    place = Path((tmp_path / "folder/place").read_text().strip())
    assert place.parent == short and len(place.name) <= len("agent-12345678")


def test_a_program_that_floods_is_ended(claude: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoresearch.loop.agents.client.MOST_BYTES", 2**20)
    write(claude, 'yes \'{"type":"assistant"}\'\n')
    with pytest.raises(ProposalFailed, match=r"signal 25|printed more than"):
        propose(tmp_path / "folder")
    assert left_of(tmp_path / "folder") == []


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("exit 3", "it ended without a result: it said nothing"),
        ("echo oops >&2; exit 1", "oops"),
        ('echo \'{"type":"result"\'', "it ended without a result"),
        ("kill -SEGV $$", "signal"),
        ('echo \'{"type":"result","subtype":"success","result":"done!"}\'', "no JSON object"),
        ('echo \'{"type":"result","subtype":"success","structured_output":{"description":3}}\'', "no descri"),
        ('echo \'{"type":"result","is_error":false,"subtype":"error_max_budget_usd"}\'', "limit of dollars"),
        ('echo \'{"type":"result","modelUsage":3,"usage":[],"subtype":"error_during_execution"}\'', "error"),
    ],
)
def test_what_is_no_answer_has_failed(claude: Path, tmp_path: Path, script: str, what: str) -> None:
    write(claude, script + "\n")
    with pytest.raises(ProposalFailed, match=what):
        propose(tmp_path / "folder")


def claude_says(said: str, status: int | None, kind: str, info: object = None) -> list[dict[str, object]]:
    """The lines of Claude Code 2.1.197 when the model's server has refused."""
    limit = [{"type": "rate_limit_event", "rate_limit_info": info}] if info else []
    message = {"model": "<synthetic>", "usage": {"input_tokens": 0, "output_tokens": 0}}
    return [*limit, {"type": "assistant", "message": message, "error": kind},
            {"type": "result", "subtype": "success", "is_error": True, "api_error_status": status, "result": said,
             "total_cost_usd": 0, "modelUsage": {}}]  # fmt: skip


def codex_says(said: str) -> list[dict[str, object]]:
    """The lines of Codex 0.169.0 likewise."""
    return [{"type": "thread.started"}, {"type": "turn.started"}, {"type": "error", "message": said},
            {"type": "turn.failed", "error": {"message": said}}]  # fmt: skip


def gemini_says(said: str, code: int) -> list[dict[str, object]]:
    """The last object of Gemini CLI 0.61.0 likewise, which it prints on standard error."""
    return [{"session_id": "x", "error": {"type": "Error", "message": said, "code": code}}]


FULL = {"utilization": 1.0, "resetsAt": NOW + 900}
WINDOWS = {"5h": FULL, "7d": {"utilization": 1.02, "resetsAt": NOW + 9000}, "x": {"utilization": 0.9, "resetsAt": 9e12}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("agent", "lines", "kind", "told"),
    [
        (ClaudeCode, claude_says("Not logged in", None, "authentication_failed"), AgentGone, "/login"),
        (ClaudeCode, claude_says("Credit balance is too low", 400, "billing_error"), AgentGone, "credit"),
        (ClaudeCode, claude_says("no such model", 404, "model_not_found"), AgentGone, "claude:MODEL"),
        (ClaudeCode, claude_says("API Error: 500 oops", 500, "server_error"), ProposalFailed, "log"),
        (ClaudeCode, claude_says("Unable to connect to API", None, "server_error"), AgentResting, NOW + 300),
        (ClaudeCode, claude_says("429", 429, "rate_limit"), AgentResting, NOW + 3600),
        (ClaudeCode, claude_says("429", 429, "rate_limit", {"status": "allowed", "overageStatus": "rejected"}),
         AgentResting, NOW + 3600),
        (ClaudeCode, claude_says("429", 429, "rate_limit", {"status": "rejected", "unifiedWindows": WINDOWS}),
         AgentResting, NOW + 9000),
        (ClaudeCode, claude_says("429", 429, "rate_limit", {"status": "rejected", "resetsAt": NOW + 9e9}),
         AgentResting, NOW + 8 * 86400),
        (ClaudeCode, claude_says("429", 429, "rate_limit", {"status": "rejected", "resetsAt": "soon"}),
         AgentResting, NOW + 3600),
        (Codex, codex_says("You've hit your usage limit. Try again at 3:05 PM."), AgentResting, NOON + 11100),
        (Codex, codex_says("You've hit your usage limit. Try again at 2:05 PM."), AgentResting, NOW),
        (Codex, codex_says("You've hit your usage limit. Try again at 8:05 AM."), AgentResting, NOON + 72300),
        (Codex, codex_says("You've hit your usage limit. Try again at Sep 23rd, 2026 12:00 AM."),
         AgentResting, NOON + 129600),
        (Codex, codex_says("You've hit your usage limit. Try again in 2 days 3 hours."), AgentResting, NOW + 183600),
        (Codex, codex_says("You've hit your usage limit."), AgentResting, NOW + 3600),
        (Codex, codex_says("exceeded retry limit, last status: 429 Too Many Requests"), AgentResting, NOW + 3600),
        (Codex, codex_says("unexpected status 503 Service Unavailable: overloaded, url: x"), AgentResting, NOW + 300),
        (Codex, codex_says("Connection failed: error sending request"), AgentResting, NOW + 300),
        (Codex, codex_says("Quota exceeded. Check your plan and billing details."), AgentGone, "credit"),
        (Codex, codex_says("Your access token could not be refreshed. Please log out and sign in again."), AgentGone,
         "codex login"),
        (Codex, codex_says("The model `x` does not exist"), AgentGone, "codex:MODEL"),
        (Codex, codex_says('{"error": {"message": "bad"}}'), ProposalFailed, "log"),
        (Gemini, gemini_says("exception TypeError: fetch failed sending request", 1), AgentResting, NOW + 300),
        (Gemini, gemini_says("You have exhausted your capacity. Your quota will reset after 2h30m1s.", 429),
         AgentResting, NOW + 9001),
        (Gemini, gemini_says("you must specify the GEMINI_API_KEY environment variable", 41), AgentGone, "GEMINI_API"),
        (Gemini, gemini_says('{"error":{"code":400,"message":"API key not valid."}}', 400), AgentGone, "GEMINI_API"),
        (Gemini, gemini_says("models/x is not found for API version v1beta", 1), AgentGone, "gemini:MODEL"),
        (Gemini, gemini_says("Reached max session turns", 53), ProposalFailed, "log"),
    ],
)  # fmt: skip
def test_what_a_program_says_of_a_refusal_is_understood(
    agent: type[ClaudeCode | Codex | Gemini], lines: list[object], kind: type[Exception], told: str | float,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    script = tmp_path / "program"
    monkeypatch.setenv(f"AUTORESEARCH_{agent.name.upper()}", str(script))
    (tmp_path / "lines").write_text("Warning: {\n" + "\n".join(json.dumps(line) for line in lines) + "\n")
    write(script, f"cat {tmp_path}/lines {'>&2' if agent is Gemini else ''}; exit 1\n")
    with pytest.raises(Exception) as refused:
        agent(now=lambda: NOW).propose(brief(tmp_path / "folder"))
    assert type(refused.value) is kind, refused.value
    if isinstance(told, str):
        assert told in refused.value.fix  # type: ignore[attr-defined]
    else:
        assert refused.value.until == told  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [ClaudeCode, Codex, Gemini])
def test_a_program_that_is_missing_says_how_to_get_it(
    kind: type[ClaudeCode | Codex | Gemini], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    agent = kind()
    assert "npm install -g" in str(agent.ready())
    with pytest.raises(AgentGone, match="is not installed") as gone:
        agent.propose(brief(tmp_path / "folder"))
    assert "npm install -g" in gone.value.fix
    write(tmp_path / agent.name, "exit 1\n")
    assert agent.ready() is None
    assert os.access(tmp_path / agent.name, os.X_OK)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5000.5s", 5000.5),
        ("1h2m3s", 3723),
        ("2 days 3 hours", 183600),
        ("45 minutes", 2700),
        ("soon", None),
        ("3x", None),
    ],
)
def test_durations_are_read(text: str, seconds: float | None) -> None:
    assert seconds_in(text) == seconds
