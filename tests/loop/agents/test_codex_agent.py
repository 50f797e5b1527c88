"""The real Codex as an agent of the loop, against a scripted stand-in of its model on loopback.

Needs the client: on the path as `codex`, or named by AUTORESEARCH_CODEX (npm package @openai/codex).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import responses_api
from briefs import TRAIN, brief
from responses_api import tool_result
from standin import Reply, served, text_of

from autoresearch.loop.agents.base import AgentGone, AgentResting, Edit, ProposalFailed
from autoresearch.loop.agents.codex import Codex

CLIENT = os.environ.get("AUTORESEARCH_CODEX") or shutil.which("codex")
pytestmark = [
    pytest.mark.sampled(0.3),
    pytest.mark.slow,
    pytest.mark.skipif(not CLIENT, reason="Codex is not installed: no `codex` on the path, no AUTORESEARCH_CODEX"),
]

NOW = 1_790_000_000.0
"""2026-09-21 14:13:20 UTC."""

ANSWER = {"description": "LR 0.01 to 0.02", "hypothesis": "it was too low", "family": "learning rate", "edits": []}
KNOWN = "gpt-5.5"
"""A model that the client gives its patch tool."""


@dataclass
class Lab:
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    asked: list[dict[str, Any]] = field(default_factory=list)

    def propose(self, script: Iterator[Reply], model: str = KNOWN, **more: Any) -> Edit:
        stage = responses_api.stage(script)
        self.asked = stage.requests
        given = brief(self.folder, **more)
        with served(stage):
            provider = (
                f'{{name = "standin", base_url = "{stage.url}/v1", wire_api = "responses", env_key = "A_KEY", '
                "request_max_retries = 0, stream_max_retries = 0}"
            )
            settings = ('model_provider="standin"', f"model_providers.standin={provider}")
            return Codex(model, lambda: NOW, settings).propose(given)

    def refused(self, kind: type[Exception], reply: Reply, **more: Any) -> Any:
        with pytest.raises(kind) as failed:
            self.propose(iter([reply] * 20), **more)
        return failed.value


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    (tmp_path / "home/.codex").mkdir(parents=True)
    (tmp_path / "home/.codex/config.toml").write_text('model_provider = "none"\n')
    for name, value in {"AUTORESEARCH_CODEX": CLIENT, "HOME": tmp_path / "home", "A_KEY": "a-dummy",
                        "CODEX_HOME": tmp_path / "home/.codex"}.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    return Lab(tmp_path / "outer/folder", monkeypatch)


def patch(name: str, old: str, new: str) -> Reply:
    lines = ["*** Begin Patch", f"*** Update File: {name}", "@@", f"-{old}", f"+{new}", "*** End Patch"]
    return Reply("", "apply_patch", {"input": "\n".join(lines)})


def error(status: int, kind: str, said: str, **more: object) -> Reply:
    return Reply(status=status, input={"error": {"type": kind, "message": said, **more}})


def test_it_patches_its_folder_and_can_do_nothing_else(lab: Lab) -> None:
    lab.folder.mkdir(parents=True)
    secret = lab.folder.parent / "secret.txt"
    secret.write_text("SECRET\n")
    (lab.folder.parent / "AGENTS.md").write_text("INSTRUCTIONS OF THE WORKSPACE")

    def script() -> Iterator[Reply]:
        yield patch("../secret.txt", "SECRET", "x")
        yield patch(str(secret), "SECRET", "x")
        yield Reply("", "exec_command", {"cmd": "touch ran", "login": False})
        yield patch("train.py", "LR = 0.05", "LR = 0.02")
        yield patch("train.py", "LR = 0.01", "LR = 0.02")
        yield Reply(json.dumps(ANSWER))

    edit = lab.propose(script())
    results = [tool_result(body) for body in lab.asked[1:]]
    assert (lab.folder / "train.py").read_text() == TRAIN.replace("0.01", "0.02"), results
    assert (edit.description, edit.asi["family"]) == (ANSWER["description"], ANSWER["family"])
    assert (edit.usage.model, edit.usage.input, edit.usage.output) == (KNOWN, 6000, 60)
    assert edit.usage.usd is not None and edit.usage.usd > 0
    assert "outside of the project" in results[0] and "outside of the project" in results[1]
    assert "unsupported call" in results[2] and "Failed to find" in results[3]
    assert secret.read_text() == "SECRET\n" and not (lab.folder / "ran").exists()
    first = text_of(lab.asked[0]["input"])
    assert "You are a researcher" in first and "LR = 0.01" in first and "INSTRUCTIONS OF" not in first
    assert {given.get("name") for given in lab.asked[0]["tools"]} <= {"apply_patch", "request_user_input"}


def test_a_model_without_the_patch_tool_gives_its_edit_in_the_answer(lab: Lab) -> None:
    edits = [{"path": "train.py", "old": "LR = 0.01", "new": "LR = 0.02"}]
    lab.propose(iter([Reply(json.dumps({**ANSWER, "edits": edits}))]), model="a-model")
    assert (lab.folder / "train.py").read_text() == TRAIN.replace("0.01", "0.02")
    edits[0]["old"] = "LR = 0.05"
    failed = lab.refused(ProposalFailed, Reply(json.dumps({**ANSWER, "edits": edits})), model="a-model")
    assert "not in the file" in failed.message and failed.usage.input == 1000 and failed.usage.usd is None


@pytest.mark.parametrize(
    ("reply", "kind", "until"),
    [
        (error(429, "usage_limit_reached", "You have reached it", plan_type="plus", resets_at=int(NOW) + 5000),
         AgentResting, NOW + 5000 - (NOW + 5000) % 60),
        (error(401, "invalid_request_error", "Incorrect API key", code="invalid_api_key"), AgentGone, None),
        (Reply("I would raise the rate."), ProposalFailed, None),
        (Reply(context_tokens=0), AgentResting, NOW + 3600),
    ],
    ids=["usage limit", "login", "prose", "empty turn"],
)  # fmt: skip
def test_each_refusal_of_the_model_is_told_apart(
    lab: Lab, reply: Reply, kind: type[Exception], until: float | None
) -> None:
    refused = lab.refused(kind, reply)
    assert type(refused) is kind and refused.message.startswith(("Codex: ", "the agent's answer")), refused
    if until is not None:
        assert refused.until == until
    assert (lab.folder / "train.py").read_text() == TRAIN
