"""The living document `autoresearch.md`: what an agent or a person writes down for whoever comes next."""

from __future__ import annotations

import re

from autoresearch.escaping import one_line
from autoresearch.workspace.workspace import Workspace

NAME = "autoresearch.md"


def section(workspace: Workspace, heading: str, limit: int) -> list[str]:
    """Return the lines below `## heading`, printable and bounded to about `limit` characters; the last ones stay.

    No document and no such heading give an empty list.
    """
    try:
        text = (workspace.root / NAME).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    match = re.search(rf"^#+ *{re.escape(heading)} *$(.*?)(?=^#+ |\Z)", text, re.M | re.S | re.I)
    lines = [one_line(line, 240) for line in (match[1] if match else "").splitlines() if line.strip()]
    kept: list[str] = []
    for line in reversed(lines):
        limit -= len(line)
        if limit < 0:
            break
        kept.insert(0, line)
    return kept or [one_line(line, 240) for line in lines[-1:]]
