"""An agent for kills of the loop: it writes down each of its calls, so that what was paid twice or lost shows."""

from __future__ import annotations

from pathlib import Path

from autoresearch.journal.ledger import Usage
from autoresearch.loop.agents.base import Brief, Edit

FILE = "number.txt"
CALLS = "calls.txt"
"""Beside the workspace: a line for each call, and one for each answer."""

MOST, PRICE = 0.5, 0.125
"""What a call may cost, and what it does cost, in US dollars."""


class Counting:
    """One worse, then one better, and so on; each version of the file is a new one."""

    name = "counting"

    def ready(self) -> str | None:
        return None

    def cost_usd(self, brief: Brief) -> float | None:
        return MOST

    def propose(self, brief: Brief) -> Edit:
        calls = next(folder for folder in brief.folder.parents if (folder / ".autoresearch").is_dir()).parent / CALLS
        turn = brief.session.loop.next_turn
        note(calls, f"called {turn}")
        number, pause, *_ = (brief.folder / FILE).read_text().split()
        value = float(number) + (1 if turn % 2 else -1)
        (brief.folder / FILE).write_text(f"{value:g} {pause} turn{turn}\n")
        note(calls, f"answered {turn}")
        return Edit(f"turn {turn}", {"hypothesis": "it is a number"}, Usage("a-model", 100, 0, 0, 10, PRICE))


def note(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(f"{line}\n")
