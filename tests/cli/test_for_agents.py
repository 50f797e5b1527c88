"""What `init` gives coding agents, in a new folder and beside what a person has there."""

from __future__ import annotations

import json
from pathlib import Path

from lab import INIT, Lab, Repo

from autoresearch.workspace.agent_files import HOOK
from autoresearch.workspace.assets import bundle_folder


def test_every_agent_finds_the_skill_the_hooks_and_the_rules(lab: Lab) -> None:
    root = lab.root
    for name in ("autoresearch", "autoresearch-task"):
        text = (bundle_folder() / "skills" / name / "SKILL.md").read_text()
        assert (root / ".agents/skills" / name / "SKILL.md").read_text() == text
        assert (root / ".claude/skills" / name / "SKILL.md").read_text() == text
    settings = json.loads((root / ".claude/settings.json").read_text())
    deny, allow = settings["permissions"]["deny"], settings["permissions"]["allow"]
    assert {"Edit(/bench.sh)", "Edit(/autoresearch.toml)", "Edit(/autoresearch.jsonl)", "Edit(/.autoresearch/**)"} <= {
        *deny
    }
    assert "Edit(/src/**)" in allow and not {*deny} & {*allow}
    assert int(settings["env"]["BASH_DEFAULT_TIMEOUT_MS"]) == 600_000 and settings["includeCoAuthoredBy"] is False
    assert settings["hooks"] == json.loads((root / ".codex/hooks.json").read_text())["hooks"]
    assert (root / HOOK).is_file() and "`bench.sh`" in (root / "AGENTS.md").read_text()
    assert (root / "program.md").read_text() == (bundle_folder() / "program.md").read_text()
    assert lab.git("status", "--porcelain") == ""
    assert lab.call("doctor", "--json").json["checks"][-1]["found"] == "skill, hooks and permissions are here"


def test_what_a_person_has_for_agents_stays_as_it_is(repo: Repo) -> None:
    mine = {"AGENTS.md": "mine\n", "program.md": "mine\n", ".claude/settings.json": '{"model": "x"}\n',
            ".claude/skills/autoresearch/SKILL.md": "mine\n", ".codex/hooks.json": "{}\n"}  # fmt: skip
    for name, content in mine.items():
        repo.write(name, content)
    repo.commit("mine")
    exclude = (repo.root / ".git/info/exclude").read_text()
    assert repo.call(*INIT).code == 0
    assert {name: (repo.root / name).read_text() for name in mine} == mine
    added = (repo.root / ".git/info/exclude").read_text().removeprefix(exclude)
    assert not {f"/{name}" for name in mine} & set(added.splitlines())
    local = json.loads((repo.root / ".claude/settings.local.json").read_text())
    assert "Edit(/bench.sh)" in local["permissions"]["deny"] and HOOK in json.dumps(local["hooks"])
    assert repo.git("status", "--porcelain") == ""


def test_a_person_can_settle_what_is_wanted_in_plain_words(repo: Repo) -> None:
    assert repo.call(*INIT, "--goal", "below 50 ms, and no cache").code == 0
    assert "## Goal\n\nbelow 50 ms, and no cache\n" in (repo.root / "autoresearch.md").read_text()
    assert repo.call("resume", "--json").json["goal"] == ["below 50 ms, and no cache"]


def test_a_workspace_in_a_folder_of_a_repository_is_ignored_by_its_path(repo: Repo, tmp_path: Path) -> None:
    repo.write("sub dir/src/run.sh", "echo METRIC total_ms=1\n")
    repo.write("sub dir/bench.sh", "source src/run.sh\n")
    repo.commit("a part")
    part = Repo(repo.root / "sub dir")
    assert part.call(*INIT).code == 0
    assert part.git("status", "--porcelain") == ""
    assert (part.root / ".agents/skills/autoresearch/SKILL.md").is_file() and not (repo.root / ".agents").exists()
