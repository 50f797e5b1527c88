"""The backlog of ideas: `autoresearch.ideas.md`, a Markdown list that a person and agents edit.

An item is `- [ ] text #family @who`: family and who has claimed it are at its end, and may be missing.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autoresearch.errors import AutoresearchError, PreconditionError, UsageError
from autoresearch.escaping import one_line
from autoresearch.journal.session import Experiment, Session
from autoresearch.search.families import GENERIC, Families, family_of
from autoresearch.search.history import SAME, similarity
from autoresearch.system.files import Held, held_by_us, write_atomic
from autoresearch.workspace.workspace import Workspace

NAME = "autoresearch.ideas.md"

WAIT_S = 10.0
"""How long a change of the list waits for that of another agent."""

_ITEM = re.compile(r"^\s*[-*] (?:\[(?P<mark>[ xX])\] )?(?P<text>.*?\S)(?P<tags>(?:\s+[#@][\w.-]+)*)\s*$")


@dataclass(frozen=True, slots=True)
class Idea:
    number: int
    """Its place in the list, from 1."""
    text: str
    done: bool
    line: int
    """Where it stands in the file, from 0."""
    family: str = ""
    """What it is tagged with, else what its words point to."""
    by: str = ""
    """Who has claimed it; empty when it is free."""
    tags: str = ""


def read(workspace: Workspace, families: Families = GENERIC) -> list[Idea]:
    """Return every item of the list, each with its family among `families`; no file is an empty list."""
    ideas: list[Idea] = []
    for line, text in enumerate(_lines(workspace)):
        match = _ITEM.match(text)
        if match:
            tags = match["tags"].split()
            family = next((tag[1:].replace("-", " ").lower() for tag in tags if tag[0] == "#"), "")
            by = next((tag[1:] for tag in tags if tag[0] == "@"), "")
            family = family or family_of(match["text"], {}, families)
            done = (match["mark"] or " ") in "xX"
            ideas.append(Idea(len(ideas) + 1, match["text"], done, line, family, by, " ".join(tags)))
    return ideas


def families_of(workspace: Workspace) -> Families:
    """Return the families of changes of the workspace's task; the generic ones where it names none."""
    from autoresearch.workspace.task_file import load

    with contextlib.suppress(AutoresearchError):  # a journal alone is enough
        return load(workspace.root).search.families or GENERIC
    return GENERIC


def open_ideas(workspace: Workspace) -> list[str]:
    """Return the texts that are not done, a bounded line each."""
    return [one_line(idea.text, 160) for idea in read(workspace) if not idea.done]


def add(workspace: Workspace, text: str, family: str = "") -> None:
    """Append an idea; raise `UsageError` when the list has it already, in these words or nearly."""
    text = one_line(text, 500)
    with _changing(workspace):
        for idea in read(workspace):
            if idea.text.casefold() == text.casefold():
                raise UsageError("that idea is on the list already", "see: autoresearch ideas")
            if similarity(idea.text, text) >= SAME:
                theirs = one_line(idea.text, 80)
                raise UsageError(f"idea {idea.number} says the same: {theirs}", "say in the text what is different")
        lines = _lines(workspace) or ["# Ideas", ""]
        tag = f" #{'-'.join(family.lower().split())}" if family.strip() else ""
        text = re.sub(r"(?<=\s)([#@][\w.-]+)$", r"`\1`", text)  # at the end it would be a tag: who, or of which family
        write_atomic(_path(workspace), "\n".join([*lines, f"- [ ] {text}{tag}"]) + "\n")


def like(session: Session, text: str) -> Experiment | None:
    """Return the experiment whose description says nearly the same as `text`, the most similar one, or None."""
    close = [(similarity(e.description, text), e) for e in session.current if e.outcome != "killed"]
    best = max(close, key=lambda pair: pair[0], default=None)
    return best[1] if best is not None and best[0] >= SAME else None


def mark_done(workspace: Workspace, number: int) -> None:
    """Tick an idea off; raise `UsageError` when there is none of this number."""
    with _changing(workspace):
        idea = _find(workspace, number)
        _rewrite(workspace, idea, "x", idea.tags)


def claim(workspace: Workspace, number: int, by: str) -> None:
    """Mark an idea as taken by somebody; raise `PreconditionError` when somebody else has it or it is done."""
    by = re.sub(r"[^\w.-]+", "-", by).strip("-") or "somebody"
    with _changing(workspace):
        idea = _find(workspace, number)
        if idea.done:
            raise PreconditionError(f"idea {number} is done", "choose another: autoresearch ideas")
        if idea.by and idea.by != by:
            raise PreconditionError(f"idea {number} is claimed by {idea.by}", "choose another: autoresearch ideas")
        if not idea.by:
            _rewrite(workspace, idea, " ", f"{idea.tags} @{by}".strip())


def _find(workspace: Workspace, number: int) -> Idea:
    idea = next((idea for idea in read(workspace) if idea.number == number), None)
    if idea is None:
        raise UsageError(f"there is no idea {number}", "see: autoresearch ideas")
    return idea


def _rewrite(workspace: Workspace, idea: Idea, mark: str, tags: str) -> None:
    lines = _lines(workspace)
    lines[idea.line] = f"- [{mark}] {idea.text} {tags}".rstrip()
    write_atomic(_path(workspace), "\n".join(lines) + "\n")


@contextlib.contextmanager
def _changing(workspace: Workspace) -> Iterator[None]:
    """Keep other agents out while the list is read and written: each must see what the others have claimed."""
    workspace.state.mkdir(exist_ok=True)
    try:
        with held_by_us(workspace.state / "ideas.lock", wait_s=WAIT_S):
            yield
    except Held:
        raise PreconditionError("another agent is changing the ideas", "try again") from None


def _path(workspace: Workspace) -> Path:
    return workspace.root / NAME


def _lines(workspace: Workspace) -> list[str]:
    try:
        return _path(workspace).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
