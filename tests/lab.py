"""What tests work with: a real repository, a session in one, the program itself in this process or in its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from waiting import PATIENCE_S

from autoresearch.cli import output
from autoresearch.cli.app import program
from autoresearch.journal.session import Session
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace

BENCH = """#!/usr/bin/env bash
# The benchmark: whatever the mutable script says, in this very shell.
source src/run.sh
"""

TAG = "t"

WHERE = ("without a sandbox", "in the sandbox")
"""What the fixture `sandboxed` goes through."""


@dataclass(frozen=True)
class Called:
    """What one command said and how it left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        assert self.out.count("\n") == 1 and self.out.endswith("\n"), self
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


def call(*args: str, cwd: Path) -> Called:
    """Run the command line in this process: the same code as the program, without the start of Python."""
    out, err, before = io.StringIO(), io.StringIO(), Path.cwd()
    code: object = None
    os.chdir(cwd)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            output.run(program(args), [*args])
    except SystemExit as left:
        code = left.code
    finally:
        os.chdir(before)
    assert isinstance(code, int)
    return Called(code, out.getvalue(), err.getvalue())


def cli(*args: str, cwd: Path, env: Mapping[str, str] | None = None, **popen: Any) -> Called:
    """Run the real program in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "autoresearch", *args],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE_S,
        **popen,
    )
    return Called(done.returncode, done.stdout.decode(), done.stderr.decode())


@dataclass(frozen=True)
class Repo:
    """A real git repository."""

    root: Path

    def git(self, *args: str, check: bool = True) -> str:
        done = subprocess.run(["git", *args], cwd=self.root, capture_output=True, text=True, errors="surrogateescape")
        assert not check or done.returncode == 0, done
        return done.stdout.strip("\n")

    def write(self, name: str, content: str, mode: int | None = None) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        if mode is not None:
            path.chmod(mode)
        return path

    def commit(self, message: str = "a commit") -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "--no-verify", "-m", message)
        return self.git("rev-parse", "HEAD")

    def call(self, *args: str) -> Called:
        return call(*args, cwd=self.root)


@dataclass(frozen=True)
class Lab(Repo):
    """A repository that `init` made a workspace; its metric is what `src/run.sh` prints."""

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.root)

    @property
    def session(self) -> Session:
        return load_session(self.workspace)

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        lines = (self.root / "autoresearch.jsonl").read_text().splitlines()
        return [e for e in map(json.loads, lines) if kind is None or e.get("type", "run") == kind]

    def edit(self, script: str) -> None:
        self.write("src/run.sh", script)

    def prints(self, value: float | str) -> None:
        """Make the mutable script print this value of the metric."""
        self.edit(f"echo METRIC total_ms={value}\n")

    def attempt(self, script: str | None = None, *more: str) -> Called:
        """Edit the mutable script and measure it."""
        if script is not None:
            self.edit(script)
        return self.call("try", "-m", "a change", *more)

    def ref(self, number: int) -> str:
        return self.git("rev-parse", "--verify", "--quiet", f"refs/autoresearch/{TAG}/{number}", check=False)

    def processes(self) -> list[int]:
        """Return the processes that a run of this workspace has left."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get("AUTORESEARCH_RUN_DIR", "").startswith(str(self.root)):
                    found.append(process.pid)
        return found

    def assert_clean(self) -> None:
        """The branch is at the incumbent, the folder equals it, and nothing of a run is left."""
        incumbent = self.session.incumbent
        assert incumbent is not None
        assert self.git("branch", "--show-current") == f"autoresearch/{TAG}"
        assert self.git("rev-parse", "HEAD") == incumbent.commit
        assert self.git("status", "--porcelain", "--ignore-submodules=dirty") == ""
        assert not self.workspace.running.exists() and not self.workspace.git_marker.exists()
        assert not self.workspace.scratch.exists() or not [*self.workspace.scratch.iterdir()]


Maker = Callable[..., Lab]


def new_repo(root: Path) -> Repo:
    root.mkdir(parents=True)
    repo = Repo(root)
    repo.git("init", "-q", "-b", "main")
    repo.git("config", "user.name", "A Person")
    repo.git("config", "user.email", "person@example.org")
    repo.write("bench.sh", BENCH)
    repo.write("README.md", "read me\n")
    repo.write("tests/test_it.sh", "true\n")
    repo.write("judge.sh", "source src/judge.sh\n")
    repo.write("src/run.sh", "echo METRIC total_ms=100\n")
    repo.write("src/judge.sh", "echo METRIC total_ms=100\n")
    repo.write("src/other.txt", "other\n")
    repo.write("src/base", "10000\n")
    repo.commit("start")
    return repo


INIT = ("init", ".", "--no-probe", "--task", "command", "--command", "bash bench.sh", "--metric", "total_ms",
        "--direction", "lower", "--mutable", "src", "--tag", TAG)  # fmt: skip
"""Without a trial run, which is in tests/cli/test_trial_run.py."""


def task_file(**tables: Mapping[str, object]) -> str:
    """Return the text of a task file: the lab's, with the given keys of each table put over it."""
    task: dict[str, dict[str, object]] = {
        "task": {"name": "lab"},
        "metric": {"name": "total_ms", "direction": "lower"},
        "run": {"command": "bash bench.sh"},
        "files": {"mutable": ["src"], "immutable": ["bench.sh", "autoresearch.toml"]},
    }
    for name, table in tables.items():
        task[name] = {**task.get(name, {}), **table}
    lines = []
    for name, keys in task.items():
        lines += [f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in keys.items()), ""]
    return "\n".join(lines)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    return json.dumps(value)
