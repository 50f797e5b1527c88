"""The agent `replay`: proposes edits that a file lists, one after another; for experiments that are known beforehand.

Each line of the file is an object: `description`, perhaps `asi` (an object of texts) and `usage` (as `Usage`, to
pretend a cost), and the edit: `edits`, a list of `{"file", "old", "new"}` whose old text must be there exactly once, or
`files`, an object of whole contents by path. Which lines had their turn is in the journal, each by its hash, so a list
goes on after a kill, and each of its edits is proposed once, whatever another list of the same name has proposed.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

from autoresearch.errors import UsageError
from autoresearch.journal.ledger import Usage
from autoresearch.loop.agents.base import NOTHING, AgentGone, Brief, Edit, ProposalFailed

LINE = "line"
"""Key of the side information that has the hash of an edit's line."""


class Replay:
    """Proposes what a file of JSON lines says."""

    def __init__(self, file: str = "") -> None:
        if not file:
            raise UsageError("the agent replay needs a file of edits", "name it: --agent replay:edits.jsonl")
        self.file = Path(file).resolve()
        self.name = f"replay:{self.file.name}"
        self._text, self._known = "", list[dict[str, Any]]()

    def ready(self) -> str | None:
        try:
            self._edits()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            return f"{self.file.name} cannot be replayed ({why}): correct it, or name another with --agent"
        return None

    def cost_usd(self, brief: Brief) -> float | None:
        edit = self._next(brief)
        return edit.get("usage", {}).get("usd", 0.0) if edit is not None else 0.0

    def propose(self, brief: Brief) -> Edit:
        if brief.repair:
            raise ProposalFailed("the next edit of the list is another turn's")
        edit = self._next(brief)
        if edit is None:
            raise AgentGone(f"all edits of {self.file.name} were proposed", "see: autoresearch log")
        known, usage = {LINE: edit[LINE]}, NOTHING
        try:
            usage = Usage(**edit.get("usage", {}))
            _make(edit, brief.folder, usage)
            return Edit(edit["description"], {**known, **edit.get("asi", {}), **known}, usage)
        except ProposalFailed as error:
            raise ProposalFailed(error.message, error.usage, known) from None
        except KeyError as error:
            raise ProposalFailed(f"{edit['description']}: the edit has no {error}", usage, known) from None
        except Exception as error:  # whatever the line has that is none: the next turn is another line's
            raise ProposalFailed(f"{edit['description']}: {type(error).__name__}: {error}", usage, known) from None

    def _next(self, brief: Brief) -> dict[str, Any] | None:
        """Return the first edit that had no turn; None when all had. A line that is there twice has two."""
        turns = {p.turn: p.asi.get(LINE) for p in brief.session.loop.proposals if p.agent == self.name and p.round == 1}
        done = Counter(turns.values())
        for edit in self._edits():
            told = edit[LINE] if done[edit[LINE]] else None  # None: a turn that an earlier version has written down
            if not done[told]:
                return edit
            done[told] -= 1
        return None

    def _edits(self) -> list[dict[str, Any]]:
        """Return the edits of the file; raise `ValueError` for one that is not as it should be."""
        text = self.file.read_text(encoding="utf-8")
        if text == self._text:
            return self._known
        edits = []
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            edit = json.loads(line)
            known = isinstance(edit, dict) and isinstance(edit.get("description"), str) and edit["description"].strip()
            if not known or not ({"edits", "files"} & {*edit}):
                raise ValueError(f"line {number} has no description, or neither edits nor files")
            digest = hashlib.sha256(line.strip().encode()).hexdigest()[:12]
            edits.append({**edit, "description": " ".join(edit["description"].split()), LINE: digest})
        self._text, self._known = text, edits
        return edits


def _make(edit: dict[str, Any], folder: Path, usage: Usage) -> None:
    """Make an edit in a folder; raise `ProposalFailed` where it does not fit."""
    for path, content in edit.get("files", {}).items():
        target = _inside(folder, path, usage)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
    for change in edit.get("edits", ()):
        target = _inside(folder, change["file"], usage)
        text = target.read_text(encoding="utf-8") if target.is_file() else ""
        count = text.count(change["old"])
        if count != 1:
            what = f"{edit['description']}: the old text is {count} times in {change['file']}, not once"
            raise ProposalFailed(what, usage)
        target.write_text(text.replace(change["old"], change["new"]), encoding="utf-8")


def _inside(folder: Path, path: str, usage: Usage) -> Path:
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ProposalFailed(f"{path} is not a path inside the workspace", usage)
    target = folder / path
    if not target.resolve().is_relative_to(folder.resolve()):  # a link that is committed may lead anywhere
        raise ProposalFailed(f"{path} leads out of the workspace", usage)
    return target
