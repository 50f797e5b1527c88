"""Executables of a person that run around each experiment: `autoresearch.hooks/before.sh` and `after.sh`.

Each gets one JSON object on standard input. What it prints reaches the agent, bounded, as data. It runs as the
person's own program, not as the experiment's, with a limit on its time; what goes wrong in it is told and has no
part in the verdict.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from autoresearch.errors import AutoresearchError
from autoresearch.escaping import excerpt
from autoresearch.journal.session import Session
from autoresearch.system.files import write_atomic
from autoresearch.system.process import run_limited
from autoresearch.workspace.workspace import Workspace

FOLDER = "autoresearch.hooks"
LIMIT_S = 30.0
MOST_LINES = 8
"""Of what a hook printed, the last; each at most 160 characters."""


def run_hook(
    workspace: Workspace, session: Session, when: Literal["before", "after"], about: Mapping[str, Any]
) -> list[str]:
    """Run a hook, if there is one; return what the agent is told: its last lines, and what went wrong."""
    hook = workspace.root / FOLDER / f"{when}.sh"
    if not hook.is_file():
        return []
    if not os.access(hook, os.X_OK):
        return [f"{FOLDER}/{hook.name} is not executable: chmod +x {FOLDER}/{hook.name}"]
    event = {"event": when, "cwd": str(workspace.root), "session": _session(session), "experiment": dict(about)}
    given, log = workspace.state / "hooks" / f"{when}.json", workspace.state / "hooks" / f"{when}.log"
    try:
        write_atomic(given, json.dumps(event) + "\n")
        ended = run_limited(_command(hook, given), cwd=workspace.root, log=log, limit_s=LIMIT_S, env=os.environ)
    except (OSError, ValueError, AutoresearchError) as error:
        return [f"the {when} hook could not run: {error}"]
    lines = excerpt(ended.tail, lines=MOST_LINES)
    if ended.timed_out:
        lines.append(f"the {when} hook was ended after {LIMIT_S:g} s")
    elif ended.code != 0:
        lines.append(f"the {when} hook exited with {ended.code}")
    return lines


def _command(hook: Path, given: Path) -> str:
    return f"exec {shlex.quote(str(hook))} < {shlex.quote(str(given))}"


def _session(session: Session) -> dict[str, Any]:
    best = session.best
    return {
        "name": session.segment.name,
        "metric": session.metric.name,
        "direction": session.metric.direction,
        "experiments": len(session.current),
        "best": {"experiment": best.number, "value": best.reference} if best else None,
        "baseline": session.baseline.reference if session.baseline else None,
        "failures_in_a_row": session.failures_in_a_row,
    }
