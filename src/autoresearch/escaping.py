"""Text that a run printed is data: bounded, escaped, and marked as such before anyone reads it."""

from __future__ import annotations

import re
import unicodedata

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]+[0-~]|[@-_])")


def printable(text: str) -> str:
    """Return `text` with terminal sequences dropped and other control and direction characters escaped."""
    if text.isascii() and text.isprintable():
        return text
    out = []
    for char in _ANSI.sub("", text):
        if char in "\n\t" or (unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn")):
            out.append(char)
        else:
            out.append(f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}")
    return "".join(out)


def one_line(text: str, limit: int = 200) -> str:
    """Return `text` as one printable line of at most `limit` characters."""
    line = " ".join(printable(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def excerpt(output: str, lines: int = 8, width: int = 160) -> list[str]:
    """Return the last `lines` non-empty lines of a run's output, each escaped and cut to `width` characters."""
    # A carriage return redraws a line: only what was drawn last is kept.
    kept = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in output.split("\n")]
    kept = [line.rstrip() for line in kept if line.strip()][-lines:]
    return [one_line(line.replace("\t", "  "), width) for line in kept]
