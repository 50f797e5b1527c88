"""Which data a task has prepared on this machine: a hash and the sizes of its files, by which machines are compared."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from autoresearch.errors import PreconditionError
from autoresearch.escaping import one_line
from autoresearch.runs.isolation.policy import cache_dir
from autoresearch.workspace.python import project_variables, search_path
from autoresearch.workspace.task_file import TaskFile
from autoresearch.workspace.workspace import Workspace

MOST_S = 300.0
"""Seconds for a program that reads a manifest, on a busy machine and a slow disk."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The prepared data of a machine; without a hash for a task without a harness, which says nothing of its data."""

    sha256: str | None = None
    """Of what its manifest says of its files."""
    sizes: Mapping[str, int] | None = None
    """File that the manifest names -> its bytes as it lies there, -1 where it is missing; None where none is found."""


def manifest(workspace: Workspace, task: TaskFile) -> Prepared:
    """Return what is prepared for a task on this machine. Raises `PreconditionError` when nothing is."""
    words = shlex.split(task.run.evaluate or "")
    if not task.task.harness or words[-1:] != ["evaluate"]:
        return Prepared()
    env = {**os.environ, "PATH": search_path(workspace), **project_variables(workspace, task)}
    try:
        done = subprocess.run([*words[:-1], "info"], cwd=workspace.root, env=env, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace", timeout=MOST_S)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _unprepared(workspace, task, str(error)) from None
    try:
        about, _ = json.JSONDecoder().raw_decode(done.stdout, done.stdout.index("{"))
        told = hashlib.sha256(json.dumps(about["sha256"], sort_keys=True).encode()).hexdigest()
        return Prepared(told, _sizes(about["sha256"]))
    except (ValueError, KeyError, TypeError):
        raise _unprepared(workspace, task, (done.stderr.strip().splitlines() or [""])[-1]) from None


def check_whole(here: Prepared, there: Mapping[str, object]) -> None:
    """Compare the files of the same data on two machines, `there` as `asdict` tells it: a manifest is also right beside
    a file that was cut short. Raises `PreconditionError`, which names a file."""
    sizes = there["sizes"]
    if here.sha256 != there["sha256"] or here.sizes is None or not isinstance(sizes, dict):
        return
    for name, size in here.sizes.items():
        if size != sizes.get(name):
            told = [f"{each} bytes" if each is not None and each >= 0 else "none" for each in (size, sizes.get(name))]
            raise PreconditionError(
                f"{name} of the prepared data has {told[0]} there, and {told[1]} here",
                "prepare it again where it was cut short, or copy it once more: python prepare.py --force",
            )


def _sizes(hashes: Mapping[str, str]) -> dict[str, int] | None:
    """Return the sizes of the files that a manifest of these hashes lies beside in the cache."""
    for path in sorted(cache_dir().glob("*/*/manifest.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if json.loads(path.read_text("utf-8"))["sha256"] == hashes:
                files = {name: path.parent / name for name in hashes}
                return {name: file.stat().st_size if file.is_file() else -1 for name, file in files.items()}
    return None


def _unprepared(workspace: Workspace, task: TaskFile, why: str) -> PreconditionError:
    told = f": {one_line(why)}" if why else ""
    there = f"cd {shlex.quote(str(workspace.root))} && {task.run.setup or 'python prepare.py'}"
    return PreconditionError(f"the data is not prepared{told}", f"prepare it there: {there}")
