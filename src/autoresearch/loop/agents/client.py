"""Run a coding agent's program for one proposal: a process group of its own, bounded in time and in what it prints.

The program reads the prompt from a file and its answer goes to another, both outside of the folder that it edits.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoresearch.escaping import one_line
from autoresearch.loop.agents.base import Brief
from autoresearch.models.endpoint import LONGEST_REST_S
from autoresearch.system.files import Held, held_by_us, remove_tree, users_tmp
from autoresearch.system.limits import Limits
from autoresearch.system.process import RUN_ID, Exit, kill_run, run_limited

MOST_BYTES = 64 * 2**20
"""What a program may print, and the largest file that it may write; a session of an hour prints under one MiB."""

REST_S = 3600.0
"""How long an agent rests at a usage limit that does not say when it ends."""

CALL, HELD = "call-", "held"
"""How the name of a folder for one call begins, and a file in it whose lock is held while somebody uses it."""

OVERLOAD_S = 300.0

_OURS = ("AUTORESEARCH_", "CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT", "CLAUDE_CODE_SSE_PORT")
"""Beginnings of variables that a program must not inherit: it would take itself for a part of another session."""


@dataclass(frozen=True, slots=True)
class Answered:
    """How the program ended, and what it said."""

    exit: Exit
    out: str
    err: str
    last: str
    """What it wrote to the file `last` of its scratch folder; empty when it wrote none."""

    @property
    def trouble(self) -> str:
        """Why there is no answer, in words, when the program was ended or died; empty when it ended by itself."""
        if self.exit.code is None:
            return self.exit.over or getattr(self.exit, "standstill", "") or f"no answer in {self.exit.seconds:.0f} s"
        if len(self.out) >= MOST_BYTES or len(self.err) >= MOST_BYTES:
            return f"it printed more than {MOST_BYTES // 2**20} MiB"
        if self.exit.signal is not None:
            return f"it died of signal {self.exit.signal}"
        return ""

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield the JSON objects of standard output, one a line; other lines are passed over."""
        for line in self.out.splitlines():
            if line.startswith("{"):
                try:
                    found = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(found, dict):
                    yield found

    def complaint(self, limit: int = 200) -> str:
        """Return the end of what it printed, as one line, for a message."""
        return one_line((self.err.strip() or self.out.strip())[-2000:], 2000)[-limit:] or "it said nothing"


def program(name: str) -> str | None:
    """Return the path of a coding agent's program: what AUTORESEARCH_<NAME> says, else what is on the path; or None."""
    given = os.environ.get(f"AUTORESEARCH_{name.upper()}")
    return shutil.which(given or name)


def missing(name: str, title: str, package: str) -> str | None:
    """Return that the program is not there, with what to type; None when it is."""
    if program(name):
        return None
    return f"{title} is not installed: npm install -g {package}, or set AUTORESEARCH_{name.upper()} to its path"


def run(words: Sequence[str], text: str, brief: Brief, files: Mapping[str, str], env: Mapping[str, str]) -> Answered:
    """Run a program in the brief's folder until it ends or `brief.limit_s` is over, and return what it said.

    It reads `text` from standard input. `files` are written to a scratch folder first, whose path stands in `words`
    and in the values of `env` wherever they say `{scratch}`. No process of it is left afterwards, nor one that an
    earlier call for the same folder left when it was killed. Raises `MachineError` when nothing can be started.
    """
    sweep(brief.folder)
    with _scratch() as scratch:
        name = str(scratch)
        for path, content in {"prompt": text, **files}.items():
            (scratch / path).write_text(content, encoding="utf-8", errors="replace")
        given = {key: value.replace("{scratch}", name) for key, value in env.items()}
        out, err = scratch / "out", scratch / "err"
        redirected = f"< {shlex.quote(f'{name}/prompt')} > {shlex.quote(str(out))} 2> {shlex.quote(str(err))}"
        command = shlex.join([word.replace("{scratch}", name) for word in words])
        ended = run_limited(
            f"exec {command} {redirected}",
            cwd=brief.folder,
            log=scratch / "log",
            limit_s=brief.limit_s,
            env={**_inherited(), "TMPDIR": name, **given, RUN_ID: _mark(brief.folder)},
            limits=Limits(file=MOST_BYTES),
        )
        sweep(brief.folder)
        return Answered(ended, _read(out), _read(err), _read(scratch / "last"))


@contextmanager
def _scratch() -> Iterator[Path]:
    """Give a folder with a short path, for sockets; of calls that were killed it takes away what was left.

    Another container may have the same /tmp and the same user: only a lock that nobody holds says that no agent works
    in a folder any more.
    """
    base, made = users_tmp(), None
    with ExitStack() as stack:
        if base is not None:
            for left in base.glob(f"{CALL}*"):
                with suppress(Held, OSError), held_by_us(left / HELD):
                    remove_tree(left)
            with suppress(Held, OSError):  # /tmp is full, or another call has taken it for one that was left
                new = Path(tempfile.mkdtemp(prefix=CALL, dir=base))
                stack.enter_context(held_by_us(new / HELD))
                made = new
        made = made or Path(tempfile.mkdtemp(prefix="autoresearch-"))
        try:
            yield made
        finally:
            remove_tree(made)


def sweep(folder: Path) -> int:
    """End what a killed driver has left of an agent that worked in a folder; return how many processes there were."""
    return kill_run(_mark(folder))


def _mark(folder: Path) -> str:
    return f"agent in {folder}"


def rests_until(now: float, reset: float | None) -> float:
    """Return when to ask again after a usage limit that ends at `reset`, or does not say when; since 1970."""
    return min(now + REST_S if reset is None else max(reset, now), now + LONGEST_REST_S)


def seconds_in(text: str) -> float | None:
    """Return the seconds of a duration like `1h2m3s`, `45 minutes` or `5000.5s` in a text; None without one."""
    units = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
    words = r"(?:ays?|ours?|rs?|in(?:ute)?s?|ec(?:ond)?s?)?"
    parts = re.findall(rf"(\d+(?:\.\d+)?)\s*(d|h|m|s){words}(?![a-z])", text.lower())
    return sum(float(count) * units[unit] for count, unit in parts) if parts else None


def number(value: object) -> float:
    """Return a count, a price or a time of an answer; 0 for what is none of them."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return 0.0
    return max(0.0, float(value))


def _inherited() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(_OURS)}


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""
