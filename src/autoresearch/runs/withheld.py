"""Variables that look like a key or a password: no run gets them unless the task says so, and some miss one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

SECRET = re.compile(r"API_?KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|PRIVATE_?KEY", re.IGNORECASE)
"""Names of environment variables that no run gets unless the task says so."""

NAME_IT = "if it is needed, add it to secrets under [run] in autoresearch.toml, commit that, then: autoresearch segment"
"""The way to a run that gets a variable: from `init` on the task file is fixed for a segment."""

LAST = 6
"""Lines at the end of an output in which a program says why it ended."""

_ABSENT = re.compile(
    r"not (?:set|found|defined|present|provided|given|configured|specified|available|in\b)|missing|no such|unset"
    r"|unbound|undefined|requires?\b|required|must|need|please|KeyError|environment variable|env(?:ironment)? var"
    r"|export |empty|no value|absent|expected|could ?n[o']t (?:find|read|get)|cannot (?:find|read|get)|without"
    r"|set it\b|NotPresent",
    re.IGNORECASE,
)
"""What is said of a variable that is not there."""

_HARMLESS = re.compile(r"\bwarn|\boptional|\bdeprecat|\bskipp|\binfo\b|\bhint\b", re.IGNORECASE)
"""What is said of one that is not needed."""

_FRAME = re.compile(r"\s+at |note: run with|Node\.js v|\s*\^+\s*$|\s*\|?\s*$")
"""Lines behind a message of why a program ended: frames of a stack and the like."""

_TRACEBACK = "Traceback (most recent call last):"


def withheld(env: Mapping[str, str], secrets: Iterable[str]) -> list[str]:
    """Return the variables of `env` that runs do not get, since `[run] secrets` does not name them."""
    allowed = {*secrets}
    return [name for name in env if SECRET.search(name) and name not in allowed]


def missed(output: str, names: Iterable[str]) -> str:
    """Return what to say when a failed run's last words are about a variable that was kept from it; else empty.

    `output` is the end of what it printed. In Python the words of the exception count, elsewhere the last lines, where
    they say that the variable is missing. A warning about one is no reason for a failure.
    """
    reason, by_exception = _last_words(output)
    for name in names:
        word = re.compile(rf"(?<![\w$]){re.escape(name)}(?!\w)|\$\{{?{re.escape(name)}\b")
        for line in reason:
            if word.search(line) and (by_exception or (_ABSENT.search(line) and not _HARMLESS.search(line))):
                return f"; its output names {name}, which no run gets: {NAME_IT}"
    return ""


def _last_words(output: str) -> tuple[list[str], bool]:
    """Return the lines in which a program says why it ended, and whether they are those of a Python exception."""
    lines = [line.rsplit("\r", 1)[-1] for line in output.rstrip().splitlines()]
    began = max((at for at, line in enumerate(lines) if line.strip() == _TRACEBACK), default=None)
    if began is not None:
        message = next((at for at in range(began + 1, len(lines)) if lines[at][:1].strip()), len(lines))
        if len(lines) - message <= LAST:
            return lines[message:], True
    return [line for line in lines if not _FRAME.match(line)][-LAST:], False
