"""What works here and what does not, each finding with what to do about it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from autoresearch.errors import AutoresearchError, NoSession
from autoresearch.experiments.preflight import check_all, check_branch
from autoresearch.experiments.seed_use import measured_without_seed
from autoresearch.journal.session import Session
from autoresearch.runs.isolation.choice import choose, missing
from autoresearch.system.extras import ML, install
from autoresearch.system.git import Git
from autoresearch.system.git_command import INSTALL, OLDEST
from autoresearch.system.hardware import detect
from autoresearch.workspace.agent_files import HOOK, SETTINGS
from autoresearch.workspace.lock import current_run
from autoresearch.workspace.python import check_project, differs, past_the_snapshot, python_of, python_words
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.task_file import TaskFile, load
from autoresearch.workspace.task_settings import changed_settings
from autoresearch.workspace.upgrade_plan import changes, plan
from autoresearch.workspace.workspace import Workspace, find

MIN_FREE_GB = 2.0
"""Below this a night of logs and weights may not fit."""


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    ok: bool
    found: str
    fix: str = ""
    needed: bool = True
    """Whether autoresearch cannot work without it; the rest is advice."""


def examine(folder: Path) -> list[Check]:
    """Return every check, the machine first, then the workspace that `folder` is in."""
    machine = [_python(), _git(), _bash(), _sandbox(), _machine(), _packages(), _plot(), _disk(folder), _cache()]
    return [*machine, *_workspace(folder)]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check(
        "python",
        sys.version_info >= (3, 11),
        f"{version} at {sys.executable}",
        "" if sys.version_info >= (3, 11) else "install 3.11 or newer",
    )


def _git() -> Check:
    if shutil.which("git") is None:
        return Check("git", False, "not installed", INSTALL)
    said = subprocess.run(["git", "--version"], capture_output=True, text=True).stdout
    found = re.search(r"(\d+)\.(\d+)\S*", said)
    if found is None:  # such as the program of macOS that stands there until git is installed
        return Check("git", False, "it does not say its version", INSTALL)
    new = (int(found[1]), int(found[2])) >= OLDEST
    return Check("git", new, found[0], "" if new else INSTALL)


def _bash() -> Check:
    path = shutil.which("bash")
    return Check("bash", path is not None, path or "not installed", "" if path else "install bash")


def _sandbox() -> Check:
    try:
        sandbox, why = choose(), missing()
    except AutoresearchError as error:
        return Check("sandbox", False, error.message, error.fix)
    if sandbox is not None:
        holds = "a run writes its own folders only, and cannot read what is held out"
        return Check("sandbox", True, f"{sandbox.name}: {holds}; not held back: {'; '.join(sandbox.gaps())}")
    fix = "install it: apt install bubblewrap" if "not installed" in (why or "") else ""
    told = f"none, {why}; what a run changes is found and put back, what it reads or sends is not seen"
    return Check("sandbox", False, told, fix, needed=False)


def _machine() -> Check:
    machine = detect()
    return Check("machine", True, f"{machine.describe()}; profile {machine.profile()}")


def _packages() -> Check:
    missing = [name for name in ML if importlib.util.find_spec(name) is None]
    if missing:
        return Check(
            "packages",
            False,
            f"not installed: {', '.join(missing)}",
            f"for the task pretrain: {install('ml')}",
            needed=False,
        )
    return Check("packages", True, f"torch {importlib.metadata.version('torch')} and all others of the task pretrain")


def _plot() -> Check:
    there = importlib.util.find_spec("matplotlib") is not None
    return Check(
        "plot",
        there,
        "matplotlib" if there else "no matplotlib",
        "" if there else install("plot"),
        needed=False,
    )


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free / 2**30
    return Check(
        "disk",
        free >= MIN_FREE_GB,
        f"{free:.1f} GB free",
        "" if free >= MIN_FREE_GB else "free some space",
        needed=False,
    )


def _cache() -> Check:
    cache = Path(os.environ.get("AUTORESEARCH_CACHE") or "~/.cache/autoresearch").expanduser()
    prepared = sorted(path.parent.name for path in cache.glob("*/*/manifest.json"))
    told = f"{len(prepared)} prepared data set{'' if len(prepared) == 1 else 's'} in {cache}"
    parent = next(p for p in (cache, *cache.parents) if p.exists())
    writable = os.access(parent, os.W_OK)
    return Check(
        "data",
        writable,
        told if writable else f"{parent} is not writable",
        "" if writable else "set AUTORESEARCH_CACHE",
        needed=False,
    )


def _workspace(folder: Path) -> list[Check]:
    try:
        workspace = find(folder)
    except NoSession as error:
        lost = "resume --restore" in error.fix
        found = error.message if lost else "none here; start one with: autoresearch quickstart"
        return [Check("workspace", not lost, found, error.fix if lost else "", needed=False)]
    try:
        session = load_session(workspace)
        git = Git(workspace.root)
        check_branch(git, session)  # first: another branch has no task file
        task = load(workspace.root)
        wrong = check_all(workspace, git, session, task)
    except AutoresearchError as error:
        return [Check("workspace", False, error.message, error.fix)]
    if wrong:
        return [Check("workspace", False, error.message, error.fix) for error in wrong]
    checks = [
        Check("workspace", True, f"{workspace.root}, {len(session.experiments)} experiments"),
        _runs_python(workspace, session, task),
        *_seed(session, task),
    ]
    checks += [_agents(workspace), *_upgrade(workspace, git, task)]
    if session.unfinished is not None and current_run(workspace) is None:
        checks.append(Check("interrupted", False, f"experiment {session.unfinished.number}", "autoresearch resume"))
    return checks


def _runs_python(workspace: Workspace, session: Session, task: TaskFile) -> Check:
    """Which Python the command of an experiment runs, and whether it is the one that the session began with."""
    try:
        check_project(workspace, task)
    except AutoresearchError as error:
        return Check("run python", False, error.message, error.fix)
    python = python_of(workspace, task)
    if python is None:
        return Check("run python", True, "none that can be told; the command finds its own")
    another = differs(session.segment.python, python)
    if another is not None:
        fix = "activate that one again, or measure anew with this one: autoresearch segment"
        return Check("run python", False, another, fix, needed=False)
    past = past_the_snapshot(workspace, task, python)
    if past is not None:
        what, _, fix = past.partition(": ")
        return Check("run python", False, what, fix, needed=False)
    return Check("run python", True, python_words({"version": python.version, "path": python.path}))


def _seed(session: Session, task: TaskFile) -> list[Check]:
    """Whether the command of an experiment uses its seed, where two runs have told."""
    if session.baseline is None or len(session.baseline.by_seed) < 2:
        return []
    if not measured_without_seed(task, session.baseline):
        return [Check("seed", True, "equal by declaration" if task.metric.exact else "runs differ by their seed")]
    fix = f"see what the baseline says: autoresearch show {session.baseline.number}"
    found = f"{len(session.baseline.by_seed)} runs gave the same value, so the command does not use its seed"
    return [Check("seed", False, found, fix, needed=False)]


def _agents(workspace: Workspace) -> Check:
    """Whether coding agents find the skill and the hooks here."""
    if not (workspace.root / ".agents" / "skills" / "autoresearch" / "SKILL.md").is_file():
        return Check("agents", False, "no skill in .agents/skills", "tell the agent to follow program.md", needed=False)
    claude = any(HOOK in _text(workspace.root / name) for name in SETTINGS)
    if not claude or not (workspace.root / HOOK).is_file():
        fix = "install the plugin, see: docs/agents.md"
        return Check("agents", False, "skill without hooks: the settings are not ours", fix, needed=False)
    return Check("agents", True, "skill, hooks and permissions are here")


def _upgrade(workspace: Workspace, git: Git, task: TaskFile) -> list[Check]:
    """Whether files that an earlier version wrote here are older than those of this package."""
    older = changes(plan(workspace, git, task))
    other = [setting.key for setting in changed_settings(workspace) if setting.what == "default"]
    fix = "see which: autoresearch upgrade"
    if not older and other:
        what = f"autoresearch.toml leaves to a default what is another now: {', '.join(other)}"
        return [Check("upgrade", False, what, fix, False)]
    if not older:
        return []
    what = "harness and files for agents are" if any(item.fixed for item in older) else "files for agents are"
    files = "1 file" if len(older) == 1 else f"{len(older)} files"
    return [Check("upgrade", False, f"{what} of an earlier version: {files}", fix, False)]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
