"""The backlog of ideas: `autoresearch.ideas.md`, a Markdown list that a person and an agent both edit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from autoresearch.core.errors import UsageError
from autoresearch.core.text import one_line
from autoresearch.io.workspace import Workspace, write_atomic

NAME = "autoresearch.ideas.md"

_ITEM = re.compile(r"^\s*[-*] (?:\[(?P<mark>[ xX])\] )?(?P<text>.*\S)\s*$")


@dataclass(frozen=True, slots=True)
class Idea:
    number: int
    """Its place in the list, from 1."""
    text: str
    done: bool
    line: int
    """Where it stands in the file, from 0."""


def read(workspace: Workspace) -> list[Idea]:
    """Return every item of the list; no file is an empty list."""
    ideas: list[Idea] = []
    for line, text in enumerate(_lines(workspace)):
        match = _ITEM.match(text)
        if match:
            ideas.append(Idea(len(ideas) + 1, match["text"], (match["mark"] or " ") in "xX", line))
    return ideas


def open_ideas(workspace: Workspace) -> list[str]:
    """Return the texts that are not done, a bounded line each."""
    return [one_line(idea.text, 160) for idea in read(workspace) if not idea.done]


def add(workspace: Workspace, text: str) -> None:
    """Append an idea; raise `UsageError` when the list has it already."""
    text = one_line(text, 500)
    if any(idea.text.casefold() == text.casefold() for idea in read(workspace)):
        raise UsageError("that idea is on the list already", "see: autoresearch ideas")
    lines = _lines(workspace) or ["# Ideas", ""]
    write_atomic(_path(workspace), "\n".join([*lines, f"- [ ] {text}"]) + "\n")


def mark_done(workspace: Workspace, number: int) -> None:
    """Tick an idea off; raise `UsageError` when there is none of this number."""
    idea = next((idea for idea in read(workspace) if idea.number == number), None)
    if idea is None:
        raise UsageError(f"there is no idea {number}", "see: autoresearch ideas")
    lines = _lines(workspace)
    lines[idea.line] = f"- [x] {idea.text}"
    write_atomic(_path(workspace), "\n".join(lines) + "\n")


def _path(workspace: Workspace) -> Path:
    return workspace.root / NAME


def _lines(workspace: Workspace) -> list[str]:
    try:
        return _path(workspace).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
