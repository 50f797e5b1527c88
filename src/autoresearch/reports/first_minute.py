"""What this machine's GPU, or its processor, does with the pretrain task, measured in about a minute without its data.

Each phase is a process of its own (`assets/first_minute`), in a folder that is made for it as `init` makes a workspace.
What is found has no name of a host or a user in it, so that it can be shown to anybody.
"""

from __future__ import annotations

import getpass
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoresearch.errors import PreconditionError
from autoresearch.system.extras import install
from autoresearch.system.files import write_atomic
from autoresearch.workspace import assets, task_file
from autoresearch.workspace.init_options import InitOptions, configured

TASK = "pretrain"
PHASES = {"card": 60, "products": 60, "kernels": 180, "compiler": 180, "step": 300, "memory": 60}
"""Phase -> seconds that it may take: on a new card the first use of a kernel may compile for a minute."""

STEP_S = 4.0
"""Seconds of steps that are timed."""

TOGETHER = 2
"""Processes that share the device at the end: a run is a trainer, and beside it what grades."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the phases run, and with which Python."""

    folder: Path
    python: str = sys.executable

    def command(self, phase: str, *more: str) -> list[str]:
        return [self.python, "-m", "first_minute", phase, *more]

    def env(self) -> dict[str, str]:
        path = [str(assets.tasks_folder().parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        # Bytecode of the programs would stay in a folder that may be an installed package.
        return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONDONTWRITEBYTECODE": "1"}


def measured(say: Say) -> dict[str, Any]:
    """Return phase -> what it found, and `together`; a phase that failed has an `error` in one line.

    `say` is told what begins. Raises `PreconditionError` when torch is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise PreconditionError("torch is not installed", f"install what ML tasks need: {install('ml')}")
    with tempfile.TemporaryDirectory(prefix="autoresearch-doctor-") as temporary:
        place = Place(make_folder(Path(temporary) / "task"))
        found = {phase: _told(say, place, phase) for phase in PHASES}
        say(f"{TOGETHER} processes at once")
        found["together"] = together(place)
    clean: dict[str, Any] = shown_to_anybody(found, Path(temporary))
    return clean


def make_folder(folder: Path, profile: str = "auto") -> Path:
    """Make a folder with the task's files as `init` would choose them for this machine; return it."""
    source = assets.task_folder(TASK)
    left_out = shutil.ignore_patterns("__pycache__", ".autoresearch")
    shutil.copytree(source, folder, ignore=left_out)
    shutil.copytree(assets.harness_folder(), folder / "harness", ignore=left_out)
    write_atomic(folder / task_file.NAME, configured(source, InitOptions(task=TASK, profile=profile), None))
    return folder


def _told(say: Say, place: Place, phase: str) -> dict[str, Any]:
    say(phase)
    return phase_alone(place, phase, PHASES[phase])


def phase_alone(place: Place, phase: str, limit_s: float, *more: str) -> dict[str, Any]:
    """Return what a phase printed, or why it printed nothing."""
    began = time.monotonic()
    process = _start(place, phase, *more)
    try:
        out, err = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        _end(process)
        return {"error": f"it took longer than {limit_s:g} s"}
    return read(process.returncode, out, err) | {"wall_s": round(time.monotonic() - began, 1)}


def together(place: Place, count: int = TOGETHER) -> dict[str, Any]:
    """Return the tokens a second of each of `count` processes that train at once, each in its part of the memory."""
    more = ("--share", str(count), "--seconds", f"{STEP_S:g}")
    processes = [_start(place, "step", *more) for _ in range(count)]
    try:
        found = [read(each.returncode, *said) for each in processes for said in [each.communicate(timeout=300)]]
    except subprocess.TimeoutExpired:
        return {"error": "they took longer than 300 s"}
    finally:
        for each in processes:
            _end(each)
    wrong = [one["error"] for one in found if "error" in one]
    return {"error": wrong[0]} if wrong else {"tokens_a_second": [one["tokens_a_second"] for one in found]}


def _start(place: Place, phase: str, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        place.command(phase, *more), cwd=place.folder, env=place.env(), text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
        process.communicate()


def read(code: int | None, out: str, err: str) -> dict[str, Any]:
    """Return the object on the last line of a phase's output; where there is none, its last words as the error."""
    lines = out.strip().splitlines()
    try:
        if code == 0 and lines:
            found = json.loads(lines[-1])
            if isinstance(found, dict):
                return found
    except ValueError:
        pass
    ended = f"ended by signal {-code}" if code is not None and code < 0 else f"left with code {code}"
    said = [line for line in (err or out).strip().splitlines() if line.strip()]
    return {"error": f"{ended}: {said[-1].strip()[:200]}" if said else ended}


def shown_to_anybody(value: Any, *folders: Path) -> Any:
    """Return what was found without home folders, temporary `folders`, and the names of host and user in its texts.

    Names of fewer than three letters could be a part of any word, and stay.
    """
    whole = {str(folder): "FOLDER" for folder in folders} | {str(Path.home()): "~"}
    names = {platform.node(): "HOST", platform.node().partition(".")[0]: "HOST", _user(): "USER"}
    words = {name: instead for name, instead in names.items() if len(name) > 2}

    def clean(text: str) -> str:
        for path, instead in whole.items():
            text = text.replace(path, instead) if len(path) > 1 else text
        text = re.sub(r"/(?:home|Users)/[^/\s'\":]+", "~", text)
        for name, instead in words.items():
            text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", instead, text)
        return text

    return _walked(value, clean)


def _walked(value: Any, clean: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {key: _walked(inner, clean) for key, inner in value.items()}
    return [_walked(inner, clean) for inner in value] if isinstance(value, list) else value


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a number without a name, as in some containers
        return ""
