"""Which data a task has prepared on this machine: one hash, by which two machines are compared."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess

from autoresearch.errors import PreconditionError
from autoresearch.escaping import one_line
from autoresearch.workspace.python import project_variables, search_path
from autoresearch.workspace.task_file import TaskFile
from autoresearch.workspace.workspace import Workspace

MOST_S = 300.0
"""Seconds for a program that reads a manifest, on a busy machine and a slow disk."""


def manifest(workspace: Workspace, task: TaskFile) -> str | None:
    """Return the hash of the prepared data; None for a task without a harness, which says nothing of its data.

    Raises `PreconditionError` when it is not prepared.
    """
    words = shlex.split(task.run.evaluate or "")
    if not task.task.harness or words[-1:] != ["evaluate"]:
        return None
    env = {**os.environ, "PATH": search_path(workspace), **project_variables(workspace, task)}
    try:
        done = subprocess.run([*words[:-1], "info"], cwd=workspace.root, env=env, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace", timeout=MOST_S)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _unprepared(workspace, task, str(error)) from None
    try:
        about, _ = json.JSONDecoder().raw_decode(done.stdout, done.stdout.index("{"))
        return hashlib.sha256(json.dumps(about["sha256"], sort_keys=True).encode()).hexdigest()
    except (ValueError, KeyError, TypeError):
        raise _unprepared(workspace, task, (done.stderr.strip().splitlines() or [""])[-1]) from None


def _unprepared(workspace: Workspace, task: TaskFile, why: str) -> PreconditionError:
    told = f": {one_line(why)}" if why else ""
    there = f"cd {shlex.quote(str(workspace.root))} && {task.run.setup or 'python prepare.py'}"
    return PreconditionError(f"the data is not prepared{told}", f"prepare it there: {there}")
