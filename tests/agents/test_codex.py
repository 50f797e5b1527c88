"""The skill and the hooks in the real Codex, which talks to a scripted stand-in of its model.

Needs the client: on the path as `codex`, or named by AUTORESEARCH_CODEX (npm package @openai/codex).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import responses_api
from lab import INIT, Lab, new_repo
from responses_api import tool_result
from standin import Reply, served, text_of
from waiting import PATIENCE_S

CLIENT = os.environ.get("AUTORESEARCH_CODEX") or shutil.which("codex")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CLIENT, reason="Codex is not installed: no `codex` on the path, no AUTORESEARCH_CODEX"),
]

FULL = 195_000
"""Tokens that a reply says the context has, so that the client compacts it."""


def script() -> Iterator[Reply]:
    """What the model says: the same session as in tests/agents/test_claude_code.py, with the tools of Codex."""

    def bash(command: str, tokens: int = 1000) -> Reply:
        return Reply("", "exec_command", {"cmd": command, "login": False, "yield_time_ms": 30_000}, tokens)

    def patch(name: str, old: str, new: str) -> Reply:
        lines = ["*** Begin Patch", f"*** Update File: {name}", "@@", f"-{old}", f"+{new}", "*** End Patch"]
        return bash("\n".join(["apply_patch <<'EOF'", *lines, "EOF"]))

    yield bash("autoresearch resume")
    yield patch("bench.sh", "source src/run.sh", "source src/run.sh # easier")
    yield bash("sed -i 's/^/# /' bench.sh")
    yield bash("autoresearch baseline --detach && autoresearch wait")
    yield patch("src/run.sh", "echo METRIC total_ms=100", "echo METRIC total_ms=90")
    yield bash('autoresearch try --detach -m "a better one"; autoresearch wait')
    yield patch("src/run.sh", "echo METRIC total_ms=90", "echo METRIC total_ms=95")
    yield bash('autoresearch try -m "a worse one"')
    yield patch("src/run.sh", "echo METRIC total_ms=90", "exit 3")
    yield bash('autoresearch try -m "a broken one"')
    yield bash('autoresearch note 4 --asi result="a slip"', FULL)
    yield Reply("I have done three experiments. Shall I continue?")
    yield bash('echo "the user said stop" > STOP')
    yield Reply("Stopped.")


def test_a_session_in_codex(tmp_path: Path) -> None:
    new_repo(tmp_path / "lab")
    lab = Lab(tmp_path / "lab")
    assert lab.call(*INIT).code == 0
    fixed = (lab.root / "bench.sh").read_bytes()
    stage = responses_api.stage(script())
    home = tmp_path / "home"
    (home / ".codex").mkdir(parents=True)
    with served(stage):
        provider = f'{{name = "standin", base_url = "{stage.url}/v1", wire_api = "responses", env_key = "A_KEY"}}'
        options = (
            'model_provider="standin"',
            f"model_providers.standin={provider}",
            "model_auto_compact_token_limit=90000",
        )
        command = [
            str(CLIENT), "exec", "--json", "--trust", "--dangerously-bypass-hook-trust",
            "--dangerously-bypass-approvals-and-sandbox", "-m", "a-model", "-C", str(lab.root),
            *(word for option in options for word in ("-c", option)), "$autoresearch t below 60",
        ]  # fmt: skip
        env = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(home),
            "A_KEY": "dummy", "CODEX_HOME": str(home / ".codex"), "TMPDIR": str(home),
            **{key: value for key, value in os.environ.items() if key.startswith("GIT_")},
        }  # fmt: skip
        done = subprocess.run(
            command, cwd=lab.root, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S
        )
    assert done.returncode == 0 and '"text":"Stopped."' in done.stdout, done.stdout[-3000:] + done.stderr[-3000:]

    # Each request answers one line of the script; `said` has what the tool answered to line n.
    said = [tool_result(body) for body in stage.requests[1:]]
    start = text_of(stage.requests[0]["input"])
    assert "State of the autoresearch session" in start and "One experiment" in start and "t below 60" in start
    assert "An autoresearch workspace" in start
    assert "next: autoresearch baseline" in said[0], said[0]
    assert "bench.sh is immutable" in said[1] and "bench.sh is immutable" in said[2]
    assert (lab.root / "bench.sh").read_bytes() == fixed
    assert "experiment 1: KEEP" in said[3] and "experiment 2: KEEP" in said[5]
    assert "experiment 3: DISCARD" in said[7] and "experiment 4: CRASH" in said[9]
    assert len(stage.summaries) == 1
    after = text_of(stage.requests[11]["input"])
    assert "State of the autoresearch session" in after and "a broken one" in after
    assert "The autoresearch loop" in text_of(stage.requests[12]["input"][-1]["content"])
    assert len(stage.requests) == 14

    assert [(e["run"], e["status"]) for e in lab.events("run")] == [
        (1, "keep"),
        (2, "keep"),
        (3, "discard"),
        (4, "crash"),
    ]
    assert (lab.root / "src/run.sh").read_text() == "echo METRIC total_ms=90\n"
    lab.assert_clean()
    assert lab.call("check").code == 0
