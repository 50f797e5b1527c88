"""The skills as agents read them: form, lengths, links, commands, and limits that are the program's own."""

from __future__ import annotations

import json
import re
import runpy
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
import skills_ref
from lab import task_file as lab_task
from test_docs import commands, wrong_commands
from test_house import ROOT, dead_links

from autoresearch import __version__
from autoresearch.cli import experiments
from autoresearch.cli.app import program
from autoresearch.errors import IntegrityError, NoSession, PreconditionError, StopReached
from autoresearch.search import strategies
from autoresearch.workspace import agent_files, task_file
from autoresearch.workspace.lost_session import no_session

SKILLS = sorted((ROOT / "skills").glob("*/SKILL.md"))
PAGES = sorted((ROOT / "skills").rglob("*.md"))
KEYS = {"name", "description", "license", "compatibility", "metadata", "allowed-tools"}
CLAUDE_CODE_STOPS_AFTER = 8
"""Blocks of a Stop hook without a tool call, after which Claude Code ends the turn all the same."""


def parts(page: Path) -> tuple[dict[str, str], str]:
    """Return (frontmatter, body) of a skill; its frontmatter is plain `key: value` lines."""
    match = re.fullmatch(r"---\n(.*?)\n---\n(.*)", page.read_text("utf-8"), re.S)
    assert match, f"{page} has no frontmatter"
    pairs = [line.partition(": ") for line in match[1].splitlines()]
    assert all(colon for _, colon, _ in pairs), page
    return {key: value for key, _, value in pairs}, match[2]


def tokens(text: str) -> float:
    """Return about how many tokens a text is, from above: dense prose with code has 3.5 characters in each."""
    return len(text) / 3.5


@pytest.mark.parametrize("page", SKILLS, ids=lambda page: page.parent.name)
def test_a_skill_has_the_form_that_every_agent_accepts(page: Path) -> None:
    head, body = parts(page)
    assert {*head} <= KEYS and head["name"] == page.parent.name
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", head["name"]) and len(head["name"]) <= 64
    assert 100 < len(head["description"]) <= 1024 and "Use when" in head["description"]
    assert len(head["compatibility"]) <= 500
    assert not any(": " in value or value[0] in "[{&*!|>%@`'\"#" for value in head.values()), "YAML would read more"
    assert len(body.splitlines()) < 500 and tokens(body) < 5000


@pytest.mark.parametrize("page", SKILLS, ids=lambda page: page.parent.name)
def test_the_validator_of_the_standard_accepts_a_skill(page: Path) -> None:
    assert skills_ref.validate(page.parent) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_needs_what_only_one_agent_fills_in(page: Path) -> None:
    text = page.read_text("utf-8")
    assert not re.search(r"\$ARGUMENTS|\$\{CLAUDE_|!`|^@\w", text, re.M)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_skill_folder_stands_alone(page: Path) -> None:
    folder = ROOT / "skills" / page.relative_to(ROOT / "skills").parts[0]
    text = page.read_text("utf-8")
    assert dead_links(text, page.parent) == []
    for target in re.findall(r"\]\(([^)#:]+)", text):
        assert (page.parent / target).resolve().is_relative_to(folder), f"{target} leaves the folder"


def test_every_reference_is_named_by_its_skill() -> None:
    text = (ROOT / "skills/autoresearch/SKILL.md").read_text("utf-8")
    for page in (ROOT / "skills/autoresearch/references").glob("*.md"):
        assert f"(references/{page.name})" in text


@pytest.mark.parametrize("page", [*PAGES, ROOT / "program.md"], ids=lambda page: page.name)
def test_every_command_that_a_page_names_is_one(page: Path) -> None:
    assert wrong_commands(program(), page.read_text("utf-8")) == []


def test_the_skill_names_the_commands_of_the_loop() -> None:
    text = (ROOT / "skills/autoresearch/SKILL.md").read_text("utf-8")
    named = {words.split()[0] for words, _ in commands(text)}
    loop = "status init doctor resume baseline next try wait note ideas log show check".split()
    assert {*loop} <= named
    program = (ROOT / "program.md").read_text("utf-8")
    assert {"status", "resume", "baseline", "next", "try", "wait", "note"} <= {
        w.split()[0] for w, _ in commands(program)
    }


def test_the_skill_and_a_folder_without_a_session_name_the_same_way_to_begin(tmp_path: Path) -> None:
    text = " ".join((ROOT / "skills/autoresearch/SKILL.md").read_text("utf-8").split())
    told = no_session(tmp_path).fix
    assert told.startswith("start with: autoresearch init") and told.endswith(" && cd lab")
    begin = told.removeprefix("start with: ").removesuffix(" && cd lab")
    assert f'`{begin} --goal "..."`, then `cd lab`' in text


def test_the_skill_has_fewer_than_2500_tokens() -> None:
    """Counted with a tokenizer by benchmarks/agents.py: 4.08 characters a token."""
    assert len((ROOT / "skills/autoresearch/SKILL.md").read_text("utf-8")) < 2500 * 4.08


def test_a_message_that_says_to_change_what_agents_may_not_is_the_users_wherever_an_agent_looks() -> None:
    names = ("skills/autoresearch/SKILL.md", "program.md", "hooks/autoresearch_hook.py")
    texts = [(ROOT / name).read_text("utf-8") for name in names]
    for text in [*texts, agent_files._agents_page(task_file.parse(lab_task()))]:
        assert re.search(r"message (of autoresearch )?that says to[^.]* is for the user: tell them", text)


def test_what_the_skill_says_of_exit_codes_and_limits_is_what_the_program_does() -> None:
    text = " ".join((ROOT / "skills/autoresearch/SKILL.md").read_text("utf-8").split())
    assert f"Exit code {NoSession.exit_code}: there is none" in text
    assert f"refused, exit {PreconditionError.exit_code} | nothing was measured" in text
    assert f"refused, exit {IntegrityError.exit_code} | something immutable" in text
    assert f"exit code {StopReached.exit_code}, a stop condition" in text
    assert f"leaves with exit code {PreconditionError.exit_code} and says that it is still running" in text
    in_words = {3: "three", 5: "five"}
    assert f"{in_words[strategies.SMALLER_AFTER]} failures in a row" in text
    assert f"{in_words[strategies.DIVERSIFY_AFTER]} in a row not kept" in text


def test_wait_and_the_stop_hook_end_before_the_agent_ends_them() -> None:
    assert experiments.WAIT_S * 1000 < agent_files.COMMAND_LIMIT_MS <= 600_000
    hook = (ROOT / "hooks/autoresearch_hook.py").read_text("utf-8")
    budget = re.search(r"^IDLE_BUDGET = (\d+)$", hook, re.M)
    assert budget and int(budget[1]) < CLAUDE_CODE_STOPS_AFTER


def test_the_task_of_the_task_skill_is_one() -> None:
    text = (ROOT / "skills/autoresearch-task/SKILL.md").read_text("utf-8")
    (toml,) = re.findall(r"```toml\n(.*?)```", text, re.S)
    assert task_file.parse(toml).task.name == "bench"
    (result,) = re.findall(r"```json\n(.*?)```", text, re.S)
    assert json.loads(result)["outcome"] == "ok"


def test_the_plugin_is_whole() -> None:
    plugin = json.loads((ROOT / ".claude-plugin/plugin.json").read_text())
    market = json.loads((ROOT / ".claude-plugin/marketplace.json").read_text())
    assert plugin["name"] == "autoresearch" and plugin["version"] == __version__
    assert [(p["name"], p["source"]) for p in market["plugins"]] == [("autoresearch", "./")]
    hooks: dict[str, Any] = json.loads((ROOT / "hooks/hooks.json").read_text())["hooks"]
    assert {*hooks} == {"SessionStart", "UserPromptSubmit", "PreToolUse", "Stop"}
    for group in (group for groups in hooks.values() for group in groups):
        (hook,) = group["hooks"]
        assert hook["command"].startswith("[ -f ") and hook["command"].endswith(" || true")


def test_the_icon_is_the_one_that_its_script_draws_and_what_a_directory_takes() -> None:
    icon = (ROOT / ".claude-plugin/icon.png").read_bytes()
    drawn = runpy.run_path(str(ROOT / ".claude-plugin/draw_icon.py"))
    assert pixels(icon) == pixels(drawn["png"](drawn["drawing"]()))
    width, height = struct.unpack(">II", icon[16:24])
    assert icon[:8] == b"\x89PNG\r\n\x1a\n" and 512 <= width == height <= 2048 and len(icon) < 30_000


def pixels(png: bytes) -> bytes:
    """Return what a PNG shows, however it was packed."""
    at, packed = 8, b""
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        packed += png[at + 8 : at + 8 + length] if png[at + 4 : at + 8] == b"IDAT" else b""
        at += 12 + length
    return png[16:29] + zlib.decompress(packed)


def test_the_plugin_says_that_it_reaches_no_host_and_nothing_of_it_does() -> None:
    plugin = json.loads((ROOT / ".claude-plugin/plugin.json").read_text())
    assert plugin["network"] == {"hosts": []}
    hook = (ROOT / "hooks/autoresearch_hook.py").read_text("utf-8")
    assert not re.search(r"\b(urllib|http|socket|requests|ssl|curl|wget)\b", hook)


def test_the_readme_has_the_line_that_installs_the_plugin() -> None:
    assert "`/plugin install autoresearch --marketplace FOLDER`" in (ROOT / "README.md").read_text("utf-8")


def test_a_clone_has_the_same_for_agents_that_start_in_it() -> None:
    for folder in (".claude/skills", ".agents/skills"):
        assert {path.parent.name for path in (ROOT / folder).glob("*/SKILL.md")} == {p.parent.name for p in SKILLS}
    settings = json.loads((ROOT / ".claude/settings.json").read_text())
    assert settings["env"]["BASH_DEFAULT_TIMEOUT_MS"] == str(agent_files.COMMAND_LIMIT_MS)
    assert settings["includeCoAuthoredBy"] is False
    assert {*settings["hooks"]} == {"SessionStart", "UserPromptSubmit", "PreToolUse", "Stop"}
