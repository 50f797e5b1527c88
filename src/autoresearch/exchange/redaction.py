"""What must not leave the machine: secrets, and the paths of home folders, found in texts and taken out of them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from autoresearch.journal import file as journal
from autoresearch.runs.withheld import SECRET

SHAPES = {
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    "key of a model's API": r"\bsk-(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{20,}",
    "token of GitHub": r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})",
    "token of GitLab": r"\bglpat-[\w-]{18,}",
    "token of Hugging Face": r"\bhf_[A-Za-z0-9]{30,}",
    "key of AWS": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "key of Google": r"\bAIza[\w-]{35}",
    "token of Slack": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "web token": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",
    # With a user before it or none; or alone, where it is as long as a token and no user of ssh.
    "password in an address":
        r"(?<=://)(?:[^\s/:@\"'<>]*:[^\s/@\"'<>]+|(?<!ssh://)[^\s/:@\"'<>${}]{12,})(?=@)",
    "authorization": r"(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{20,}",
}  # fmt: skip
"""What -> how it looks, as those who hand such things out document it."""

HINTS = ("PRIVATE KEY", "sk-", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "hf_", "AKIA", "ASIA",
         "AIza", "xox", "eyJ", "://", "earer ", "/home/", "Users")  # fmt: skip
"""A text with none of these, nor with a value of the environment or the own home, has nothing that must be taken out:
most texts of a long session, and to look for a few words is quick."""

LEAST_VALUE = 12
"""Characters: a shorter value of a variable could be any word."""

_PLAIN = re.compile(r"[a-z]+|[\d.]+")
"""A word, or a number: no secret, whatever the variable is called."""

HOME_PATH = "path of a home folder"

PIECE_BYTES = 2**20
"""Of a long text: most pieces have no hint, and none is cut where a secret could be."""

_BEGINS = r"(?<![\w.~-])"
_MOUNTED = r"(?:/(?:mnt|cygdrive)/[A-Za-z]|/[A-Za-z]|/(?:mnt|export|nfs|usr|var)|/System/Volumes/Data)?"
"""What folders of homes lie below where they are another system's, or on another disk."""
_ANY_HOME = _BEGINS + _MOUNTED + r"/(?:home|Users)/[^/\s\"'`:;,<>|()\[\]{}\\]+"
_HOME_OF_WINDOWS = r"\b[A-Za-z]:\\+Users\\+[^\\\s\"'`:;,<>|/]+"
_ENDS = r"(?=[/\s\"'`:;,<>|()\[\]{}\\]|$)"


class Redaction:
    """Takes secrets and home paths out of texts, and counts what it has taken out."""

    def __init__(self, env: Mapping[str, str], home: Path) -> None:
        """`env` is the environment whose secret values are looked for, `home` the home folder of who bundles."""
        self.taken: Counter[str] = Counter()
        named = {
            value: name
            for name, value in env.items()
            if SECRET.search(name) and len(value) >= LEAST_VALUE and not _PLAIN.fullmatch(value)
        }
        longest_first = sorted(named, key=len, reverse=True)
        self._secrets = [(re.compile(re.escape(value)), f"value of {named[value]}") for value in longest_first]
        self._secrets += [(re.compile(shape, re.DOTALL), what) for what, shape in SHAPES.items()]
        own = sorted({os.fspath(home), os.path.realpath(home)} - {"/", ""}, key=len, reverse=True)
        # A longer path is nobody else's, wherever it stands (`-I/home/me/x`); `/root` may be part of one.
        homes = [("" if path.count("/") > 1 else _BEGINS) + re.escape(path) + _ENDS for path in own]
        homes += [_ANY_HOME, _HOME_OF_WINDOWS]
        self._homes = re.compile("|".join(homes))
        self._hints = (*HINTS, *named, *own)

    def text(self, text: str) -> str:
        """Return a text without them: a secret is `[taken out: WHAT]` then, and a home folder `~`."""
        if not self._may_have(text):
            return text
        for pattern, what in self._secrets:
            text = self._counted(pattern, f"[taken out: {what}]", text, what)
        return self._counted(self._homes, "~", text, HOME_PATH)

    def _may_have(self, text: str) -> bool:
        return any(hint in text for hint in self._hints)

    def _counted(self, pattern: re.Pattern[str], instead: str, text: str, what: str) -> str:
        text, count = pattern.subn(lambda _: instead, text)
        self.taken[what] += count
        return text

    def secrets_in(self, text: str) -> Iterator[str]:
        """Yield the kind of each secret that a text has."""
        if self._may_have(text):
            yield from (what for pattern, what in self._secrets if pattern.search(text))

    def has_home(self, text: str) -> bool:
        """Whether a text has the path of a home folder."""
        return self._may_have(text) and self._homes.search(text) is not None

    def content(self, content: bytes) -> bytes:
        """Return the content of a text file without them; what is no UTF-8 in it stays as it is."""
        return self.text(content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def journal(self, content: bytes) -> bytes:
        """Return the whole lines of a journal without them; a line in which there is nothing stays byte for byte."""
        lines = []
        for line in content.split(b"\n")[:-1]:
            # Without an escape a line has what its texts have; so most need not be read.
            hidden = b"\\" in line or self._may_have(line.decode("utf-8", "replace"))
            event = journal.parsed(line) if hidden else None
            clean = None if event is None else walked(event, self.text)
            lines.append(line + b"\n" if clean is None or clean == event else journal.lines_of(clean))
        return b"".join(lines)


def pieces(content: bytes) -> Iterator[str]:
    """Yield the content of a text file in pieces of whole lines, of about `PIECE_BYTES` each."""
    at = 0
    while at < len(content):
        end = content.find(b"\n", at + PIECE_BYTES) + 1 or len(content)
        yield content[at:end].decode("utf-8", "replace")
        at = end


def walked(value: Any, clean: Callable[[str], str]) -> Any:
    """Return plain data with every text in it, keys too, replaced by what `clean` makes of it."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key): walked(inner, clean) for key, inner in value.items()}
    return [walked(inner, clean) for inner in value] if isinstance(value, list) else value
