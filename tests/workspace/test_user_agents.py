"""`install-skill`: what the agents of a machine get, and that taking it away leaves a home folder as it was."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from lab import call

from autoresearch.workspace.assets import bundle_folder

SETTINGS = '{"model":"x",   "hooks": {"Stop": [{"hooks": [{"type": "command", "command": "mine"}]}]}}'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with Claude Code's settings, written by hand, and a Codex that was never configured."""
    root = tmp_path / "home"
    (root / ".claude").mkdir(parents=True)
    (root / ".claude/settings.json").write_text(SETTINGS)
    (root / ".codex").mkdir()
    (root / ".codex/config.toml").write_text('model = "y"\n')
    monkeypatch.setenv("HOME", str(root))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return root


def contents(root: Path) -> dict[str, bytes | None]:
    """Every file with its bytes, and every folder."""
    return {str(p.relative_to(root)): p.read_bytes() if p.is_file() else None for p in sorted(root.rglob("*"))}


def test_it_says_what_it_would_do_and_does_it_only_when_told(home: Path, tmp_path: Path) -> None:
    before = contents(home)
    said = call("install-skill", cwd=tmp_path)
    assert said.code == 0 and contents(home) == before
    assert f"change  {home}/.claude/settings.json" in said.out and "autoresearch install-skill --yes" in said.out
    done = call("install-skill", "--yes", "--json", cwd=tmp_path)
    assert done.code == 0 and done.json["done"]
    skill = (bundle_folder() / "skills/autoresearch/SKILL.md").read_bytes()
    assert (home / ".claude/skills/autoresearch/SKILL.md").read_bytes() == skill
    assert (home / ".agents/skills/autoresearch/SKILL.md").read_bytes() == skill
    settings = json.loads((home / ".claude/settings.json").read_text())
    assert settings["model"] == "x" and settings["hooks"]["Stop"][0]["hooks"][0]["command"] == "mine"
    assert {*settings["hooks"]} == {*json.loads((home / ".codex/hooks.json").read_text())["hooks"]}
    again = call("install-skill", "--yes", "--json", cwd=tmp_path)
    assert again.json["changes"] == [], "nothing is written twice"


def test_taking_it_away_leaves_the_home_folder_as_it_was_to_the_byte(home: Path, tmp_path: Path) -> None:
    before = contents(home)
    assert call("install-skill", "--yes", cwd=tmp_path).code == 0
    assert call("install-skill", "--agent", "gemini", "--yes", cwd=tmp_path).code == 0
    assert contents(home) != before
    planned = call("install-skill", "--remove", cwd=tmp_path)
    assert planned.code == 0 and contents(home) != before
    assert call("install-skill", "--remove", "--yes", cwd=tmp_path).code == 0
    assert contents(home) == before
    assert call("install-skill", "--remove", "--yes", cwd=tmp_path).code == 5


def test_what_was_written_for_all_agents_is_not_taken_away_for_one(home: Path, tmp_path: Path) -> None:
    assert call("install-skill", "--yes", cwd=tmp_path).code == 0
    before = contents(home)
    refused = call("install-skill", "--remove", "--agent", "codex", "--yes", cwd=tmp_path)
    assert refused.code == 2 and "for all agents; leave out --agent" in refused.err and contents(home) == before


def test_what_the_person_has_or_has_changed_since_stays(home: Path, tmp_path: Path) -> None:
    mine = home / ".claude/skills/autoresearch/SKILL.md"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine\n")
    done = call("install-skill", "--agent", "claude", "--yes", cwd=tmp_path)
    assert mine.read_text() == "mine\n" and "left" in done.out
    settings = json.loads((home / ".claude/settings.json").read_text())
    settings["model"] = "z"
    (home / ".claude/settings.json").write_text(json.dumps(settings))
    note = home / ".claude/skills/autoresearch-task/mine.txt"
    note.write_text("a note\n")
    assert call("install-skill", "--remove", "--yes", cwd=tmp_path).code == 0
    assert mine.read_text() == "mine\n" and note.read_text() == "a note\n"
    now = json.loads((home / ".claude/settings.json").read_text())
    assert now == {"model": "z", "hooks": json.loads(SETTINGS)["hooks"]}


def test_settings_that_cannot_be_read_stop_it_before_anything_is_written(home: Path, tmp_path: Path) -> None:
    (home / ".claude/settings.json").write_text("{ not json")
    before = contents(home)
    refused = call("install-skill", "--yes", cwd=tmp_path)
    assert refused.code == 5 and "settings.json cannot be read" in refused.err and contents(home) == before
    assert call("install-skill", "--agent", "nobody", cwd=tmp_path).code == 2


def test_without_an_agent_it_says_which_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    refused = call("install-skill", "--yes", cwd=tmp_path)
    assert refused.code == 5 and "--agent claude" in refused.err


def test_the_installed_hook_runs_and_says_nothing_where_there_is_no_session(home: Path, tmp_path: Path) -> None:
    assert call("install-skill", "--agent", "claude", "--yes", cwd=tmp_path).code == 0
    groups = json.loads((home / ".claude/settings.json").read_text())["hooks"]["SessionStart"]
    event = json.dumps({"hook_event_name": "SessionStart", "cwd": str(tmp_path), "session_id": "s"})
    command = groups[-1]["hooks"][0]["command"]
    done = subprocess.run(["bash", "-c", command], input=event, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_a_person_has_made_of_the_settings_between_two_installs_is_what_comes_back(
    home: Path, tmp_path: Path
) -> None:
    settings = home / ".claude/settings.json"
    assert call("install-skill", "--yes", cwd=tmp_path).code == 0
    settings.write_text('{"model": "theirs"}')
    (home / ".codex/hooks.json").unlink()
    (home / ".codex/hooks.json").write_text('{"mine": 1}')
    assert call("install-skill", "--yes", cwd=tmp_path).code == 0
    assert "hooks" in json.loads(settings.read_text())
    assert call("install-skill", "--remove", "--yes", cwd=tmp_path).code == 0
    assert settings.read_text() == '{"model": "theirs"}'
    assert (home / ".codex/hooks.json").read_text() == '{"mine": 1}'


def test_of_settings_that_were_made_by_us_and_added_to_only_the_hooks_are_taken(home: Path, tmp_path: Path) -> None:
    assert call("install-skill", "--yes", cwd=tmp_path).code == 0
    hooks = home / ".codex/hooks.json"
    hooks.write_text(json.dumps({**json.loads(hooks.read_text()), "added": 1}))
    assert call("install-skill", "--remove", "--yes", cwd=tmp_path).code == 0
    assert json.loads(hooks.read_text()) == {"added": 1, "hooks": {}}


def test_private_settings_stay_private_and_a_link_stays_a_link(home: Path, tmp_path: Path) -> None:
    settings, kept = home / ".claude/settings.json", home / "dotfiles/settings.json"
    kept.parent.mkdir()
    settings.rename(kept)
    kept.chmod(0o600)
    settings.symlink_to(kept)
    for words, hooks in (((), True), (("--remove",), False)):
        assert call("install-skill", *words, "--yes", cwd=tmp_path).code == 0
        assert settings.is_symlink() and kept.stat().st_mode & 0o777 == 0o600
        assert ("autoresearch_hook" in kept.read_text()) is hooks
        if hooks:
            [record] = (home / ".local/state/autoresearch").glob("*.json")
            assert record.stat().st_mode & 0o777 == 0o600
    assert kept.read_text() == SETTINGS
