"""The real Gemini CLI as an agent of the loop, against a scripted stand-in of its model on loopback.

Needs the client: on the path as `gemini`, or named by AUTORESEARCH_GEMINI (npm package @google/gemini-cli).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import generate_content_api
import pytest
from briefs import TRAIN, brief
from generate_content_api import tool_results
from standin import Reply, served

from autoresearch.loop.agents.base import AgentResting, Edit, ProposalFailed
from autoresearch.loop.agents.gemini import Gemini

CLIENT = os.environ.get("AUTORESEARCH_GEMINI") or shutil.which("gemini")
pytestmark = [
    pytest.mark.sampled(0.3),
    pytest.mark.slow,
    pytest.mark.skipif(
        not CLIENT, reason="Gemini CLI is not installed: no `gemini` on the path, no AUTORESEARCH_GEMINI"
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
        stage = generate_content_api.stage(script)
        self.asked = stage.requests
        given = brief(self.folder, **more)
        with served(stage):
            self.monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", stage.url)
            return Gemini("gemini-2.5-flash", lambda: NOW).propose(given)

    def refused(self, kind: type[Exception], reply: Reply, **more: Any) -> Any:
        with pytest.raises(kind) as failed:
            self.propose(iter([reply] * 20), **more)
        return failed.value


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    home = tmp_path / "home"
    (home / ".gemini").mkdir(parents=True)
    server = {"command": "touch", "args": [str(tmp_path / "server ran")]}
    settings = {"security": {"auth": {"selectedType": "gemini-api-key"}}, "mcpServers": {"mine": server}}
    (home / ".gemini/settings.json").write_text(json.dumps(settings))
    for name, value in {"AUTORESEARCH_GEMINI": CLIENT, "HOME": home, "GEMINI_API_KEY": "a-dummy"}.items():
        monkeypatch.setenv(name, str(value))
    return Lab(tmp_path / "outer/folder", monkeypatch)


def error(status: int, kind: str, said: str, **more: object) -> Reply:
    return Reply(status=status, input={"error": {"code": status, "status": kind, "message": said, **more}})


def test_it_edits_its_folder_and_can_do_nothing_else(lab: Lab) -> None:
    train, secret = str(lab.folder / "train.py"), lab.folder.parent / "secret.txt"
    lab.folder.mkdir(parents=True)
    secret.write_text("SECRET\n")
    (lab.folder / "link").symlink_to(secret)

    def script() -> Iterator[Reply]:
        yield Reply("", "read_file", {"file_path": str(secret)})
        yield Reply("", "write_file", {"file_path": str(lab.folder / "link"), "content": "x"})
        yield Reply("", "run_shell_command", {"command": "touch ran"})
        yield Reply("", "web_fetch", {"prompt": "http://127.0.0.1:1/"})
        yield Reply("", "replace", {"file_path": train, "old_string": "LR = 0.01", "new_string": "LR = 0.02",
                                    "instruction": "raise it"})  # fmt: skip
        yield Reply(f"```json\n{json.dumps(ANSWER)}\n```")

    edit = lab.propose(script())
    results = [tool_results(body)[-1] for body in lab.asked[1:]]
    assert (lab.folder / "train.py").read_text() == TRAIN.replace("0.01", "0.02"), results
    assert (edit.description, edit.asi["family"]) == (ANSWER["description"], ANSWER["family"])
    assert (edit.usage.model, edit.usage.input, edit.usage.output) == ("gemini-2.5-flash", 6000, 60)
    assert edit.usage.usd is not None and edit.usage.usd > 0
    assert "not in workspace" in results[0] and "not in workspace" in results[1]
    assert "not found" in results[2] and "not found" in results[3]
    assert secret.read_text() == "SECRET\n" and not (lab.folder / "ran").exists()
    assert not (lab.folder.parents[1] / "server ran").exists()
    assert "You are a researcher" in str(lab.asked[0])


@pytest.mark.parametrize(
    ("reply", "kind", "until"),
    [
        (error(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota. Please retry in 5000.5s.", details=[
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure",
             "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}]),
         AgentResting, NOW + 5000.5),
        (Reply("I would raise the rate."), ProposalFailed, None),
    ],
    ids=["quota", "prose"],
)  # fmt: skip
def test_each_refusal_of_the_model_is_told_apart(
    lab: Lab, reply: Reply, kind: type[Exception], until: float | None
) -> None:
    refused = lab.refused(kind, reply)
    assert type(refused) is kind
    if until is not None:
        assert refused.until == until
    assert (lab.folder / "train.py").read_text() == TRAIN
