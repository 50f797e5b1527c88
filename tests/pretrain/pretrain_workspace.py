"""The pretrain task in tests: small workspaces of its real files, and text to train on."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from waiting import PATIENCE_S

ASSETS = Path(__file__).resolve().parents[2] / "assets" / "tasks" / "pretrain"
HARNESS = ASSETS.parents[1] / "harness"


def story(number: int, sentences: int = 40) -> str:
    """A document of plain English, different for each number."""
    names = ("Ada", "Bo", "Chen", "Dara", "Emil", "Fatima", "Gus", "Hana")
    things = ("a lamp", "two boats", "the map", "some bread", "an old clock", "no answer", "seven keys")
    lines = []
    for i in range(sentences):
        who, what = names[(number * 7 + i * 3) % 8], things[(number + i * i) % 7]
        lines.append(f"On day {number + i} {who} found {what} near house {number * i % 97}.")
        if i % 5 == 4:
            lines.append("")
    return "\n".join(lines)


@dataclass(frozen=True)
class Workspace:
    """A copy of the task's files, with a small model, and the environment to run them in."""

    folder: Path
    env: dict[str, str]

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """python ARGUMENTS in the workspace."""
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, cwd=self.folder, env={**self.env, **env}, capture_output=True, text=True, timeout=PATIENCE_S
        )

    def copy(self, folder: Path, *, cache: Path | None = None) -> Workspace:
        """Return a copy in `folder`, with a copy of the cache in `cache` where it is to be changed or watched."""
        shutil.copytree(self.folder, folder)
        if cache is None:
            return Workspace(folder, self.env)
        shutil.copytree(self.env["AUTORESEARCH_CACHE"], cache)
        return Workspace(folder, environment(cache))

    def edit(self, name: str, pattern: str, replacement: str) -> None:
        path = self.folder / name
        text, count = re.subn(pattern, replacement, path.read_text(encoding="utf-8"), count=1)
        assert count == 1, f"{pattern} is not in {name}"
        path.write_text(text, encoding="utf-8")


def environment(cache: Path) -> dict[str, str]:
    ours = {key: value for key, value in os.environ.items() if not key.startswith("AUTORESEARCH_")}
    return ours | {
        "AUTORESEARCH_CACHE": str(cache),
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def new_workspace(folder: Path, source: Path | str, budget: str, cache: Path) -> Workspace:
    shutil.copytree(ASSETS, folder, ignore=shutil.ignore_patterns("__pycache__", ".autoresearch"))
    shutil.copytree(HARNESS, folder / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    workspace = Workspace(folder, environment(cache))
    workspace.edit("autoresearch.toml", r"budget = \{.*?\}", f"budget = {{ {budget} }}")
    workspace.edit("autoresearch.toml", r'source = "python"', f'source = "{source}"')
    workspace.edit("prepare.py", r"2\*\*15, 16, 1024,", "2**15, 16, 64,")  # places that are looked at again
    workspace.edit("train.py", r"DEPTH = 0", "DEPTH = 1")
    workspace.edit("train.py", r"WIDTH = 0", "WIDTH = 64")
    workspace.edit("train.py", r"BATCH_ROWS = 0", "BATCH_ROWS = 8")
    return workspace


def engine_run(workspace: Workspace, run_dir: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """A training as the engine has it made: a feeder is there, and grading comes apart."""
    run_dir.mkdir(parents=True, exist_ok=True)
    ours, theirs = socket.socketpair()
    given = {**workspace.env, "AUTORESEARCH_SEED": "3", **env}
    feeding = {**given, "AUTORESEARCH_RUN_DIR": str(run_dir), "AUTORESEARCH_FEED": str(theirs.fileno())}
    command = [sys.executable, "prepare.py", "feed"]
    feeder = subprocess.Popen(command, cwd=workspace.folder, env=feeding, pass_fds=[theirs.fileno()])
    theirs.close()
    try:
        return subprocess.run(
            [sys.executable, "train.py"], cwd=workspace.folder, env={**given, "AUTORESEARCH_FEED": str(ours.fileno())},
            pass_fds=[ours.fileno()], capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip
    finally:
        ours.close()
        feeder.wait(PATIENCE_S)


def evaluation(workspace: Workspace, run_dir: Path, **env: str) -> dict[str, object]:
    """The result as the engine reads it."""
    target = run_dir / "from-engine.json"
    given = {"AUTORESEARCH_RUN_DIR": str(run_dir), "AUTORESEARCH_RESULT": str(target), **env}
    done = workspace.run("prepare.py", "evaluate", **given)
    assert done.returncode == 0, done.stderr
    return json.loads(target.read_text())
