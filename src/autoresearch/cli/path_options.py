"""Options of `init` behind which several paths may follow, as a shell's `*.py` leaves them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand

MANY = ("--mutable", "--immutable", "--link")


class WithPaths(TyperCommand):
    """A command whose options in `MANY` take all the words up to the next option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, spread(args))


def spread(words: Sequence[str]) -> list[str]:
    """Return the words of a command with an option of `MANY` before each path behind it.

    `.` at the end is the folder of the workspace, unless that stands before the options.
    """
    found: list[str] = []
    option, count = "", 0
    folder_first = bool(words) and not words[0].startswith("-")
    for at, word in enumerate(words):
        if word.startswith("-") and word != "-":
            option, count = (word if word in MANY else ""), 0
        elif option:
            count += 1
            if count > 1 and (folder_first or word != "." or at < len(words) - 1):
                found.append(option)
        found.append(word)
    return found
