"""What `init` puts beside a task's files: the living document, the benchmark by hand, and what coding agents find.

All of it is ignored by git, through the repository's own exclude file, and nothing that is there is changed.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from autoresearch.errors import AutoresearchError
from autoresearch.journal.refs import EXPERIMENTS
from autoresearch.system.files import write_atomic
from autoresearch.system.git import Git, git_at
from autoresearch.workspace.assets import bundle_folder
from autoresearch.workspace.given import remember
from autoresearch.workspace.task_file import TaskFile
from autoresearch.workspace.workspace import IGNORED, Workspace

HOOK = ".agents/hooks/autoresearch_hook.py"

SETTINGS = (".claude/settings.json", ".claude/settings.local.json")
"""Where Claude Code looks for permissions and hooks; the second is for when the first is somebody else's."""

COMMAND_LIMIT_MS = 600_000
"""What Claude Code gives a command unless told: ten minutes. `wait` ends before."""

COMMAND_LIMIT_MAX_MS = 7_200_000


OWN_GOAL = "Make `"
"""How the goal begins that is written where a person has named none."""


def exclude(git: Git, names: Iterable[str], patterns: Sequence[str] = ()) -> None:
    """Tell git to ignore `names`, relative to the workspace, and `patterns`, in the repository's own exclude file."""
    path = git.path_of("info/exclude")
    text = path.read_text("utf-8", "surrogateescape") if path.exists() else ""
    known = text.splitlines()
    prefix = re.sub(r"([\\*?\[])", r"\\\1", git.prefix)
    missing = [line for line in [*(f"/{prefix}{name}" for name in names), *patterns] if line not in known]
    if missing:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = [""] if text and not text.endswith("\n") else []  # or a person's last pattern would go on with ours
        with path.open("a", encoding="utf-8", errors="surrogateescape") as file:
            file.write("\n".join([*whole, "# autoresearch", *missing, ""]))


def keep_from_git(workspace: Workspace, path: Path) -> None:
    """See to it that git ignores what is about to be written in the workspace by one of our own names.

    A session that an earlier version has begun does not know the newer ones; where a whole repository may be changed,
    an export would be part of the next experiment.
    """
    if path.parent.resolve() == workspace.root and ({path.name, f"{path.name}/"} & {*IGNORED}):
        with contextlib.suppress(AutoresearchError, OSError):
            exclude(git_at(workspace.root), [path.name])


def write_helpers(workspace: Workspace, task: TaskFile, goal: str | None) -> None:
    """Write the living document and the benchmark by hand, unless they are there."""
    metric, way = task.metric, "low" if task.metric.direction == "lower" else "high"
    unit = f" ({metric.unit})" if metric.unit else ""
    document = f"""# {task.task.title or task.task.name}

Command: `{task.run.command}`. Not to be changed: {_list(task.files.immutable)}.

## Goal

{goal or f"{OWN_GOAL}{metric.name}`{unit} as {way} as possible by changing {_list(task.files.mutable)}."}

## What has been learned

## What to try next
"""
    script = f"""#!/usr/bin/env bash
# The benchmark by hand. An experiment is: autoresearch try -m "what changes"
set -euo pipefail
cd "$(dirname "$0")"
{task.run.command.replace("{seed}", "${AUTORESEARCH_SEED:-1}")}
"""
    for name, content in (("autoresearch.md", document), ("autoresearch.sh", script)):
        if not (workspace.root / name).exists() and name not in task.run.command:
            write_atomic(workspace.root / name, content)
    with contextlib.suppress(OSError):
        (workspace.root / "autoresearch.sh").chmod(0o755)


def write_for_agents(workspace: Workspace, git: Git, task: TaskFile) -> None:
    """Give coding agents what they look for: the skills, hooks, settings, AGENTS.md and program.md.

    A file that is there stays as it is; only Claude Code's settings then go to its local settings, if those are free.
    Nothing is written through a link that leads out of the workspace.
    """
    root = workspace.root
    settings = next((name for name in SETTINGS if not there(root / name)), None)
    files, links = files_for_agents(task, settings), links_for_agents()
    missing = [name for name in (*files, *links) if not there(root / name) and lies_in(root, name)]
    exclude(git, missing)
    for name in missing:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if name in links:
            (root / name).symlink_to(links[name], target_is_directory=True)
        else:
            write_atomic(root / name, files[name])
    remember(workspace, {name: files[name] for name in missing if name in files})


def files_for_agents(task: TaskFile, settings: str | None) -> dict[str, bytes]:
    """Return path -> content of what a workspace of this task has for agents.

    `settings` is the file for Claude Code's settings: one of SETTINGS, or None for none.
    """
    bundle = bundle_folder()
    files = {
        f".agents/{path.relative_to(bundle).as_posix()}": path.read_bytes()
        for path in sorted((bundle / "skills").rglob("*"))
        if path.is_file()
    }
    files[HOOK] = (bundle / "hooks" / "autoresearch_hook.py").read_bytes()
    hooks = (bundle / "hooks" / "hooks.json").read_text(encoding="utf-8")
    files[".codex/hooks.json"] = _json(_own_hooks(hooks))
    if settings is not None:
        files[settings] = _json({**_permissions(task), **_own_hooks(hooks)})
    files["AGENTS.md"] = _agents_page(task).encode()
    files["program.md"] = (bundle / "program.md").read_bytes()
    return files


def links_for_agents() -> dict[str, str]:
    """Return path -> what it links to: Claude Code looks for skills in a folder of its own."""
    names = [path.parent.name for path in sorted((bundle_folder() / "skills").glob("*/SKILL.md"))]
    return {f".claude/skills/{name}": f"../../.agents/skills/{name}" for name in names}


def lies_in(root: Path, name: str) -> bool:
    """Whether a file of this name would be in the workspace, not in a folder elsewhere that a link leads to."""
    return (root / name).parent.resolve().is_relative_to(root.resolve())


def there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _own_hooks(plugin: str) -> dict[str, Any]:
    """Return the plugin's hooks with a command that finds the workspace's own copy of the script.

    The Python that runs us is known to work, and a bare `python3` may be a slow stand-in for it.
    """
    hook = f'"${{CLAUDE_PROJECT_DIR:-.}}/{HOOK}"'
    python = f'PY="{sys.executable}"; [ -x "$PY" ] || PY=python3; command -v "$PY" >/dev/null 2>&1'
    command = f'[ -f {hook} ] && {{ {python}; }} && "$PY" -I -S {hook} || true'
    hooks: dict[str, Any] = json.loads(plugin)
    for groups in hooks["hooks"].values():
        for group in groups:
            for each in group["hooks"]:
                each["command"] = command
    return hooks


def _permissions(task: TaskFile) -> dict[str, Any]:
    """Return Claude Code's settings: what an experiment needs is allowed, what would spoil it is denied."""
    notes = ("autoresearch.md", "autoresearch.ideas.md", "STOP")
    allow = ["Bash(autoresearch:*)", "Bash(uv run autoresearch:*)", f"Bash(git restore --source={EXPERIMENTS}/:*)"]
    allow += [rule for path in (*task.files.mutable, *notes) for rule in _edit_rules(path)]
    fixed = (*task.files.immutable, "autoresearch.jsonl", ".autoresearch")
    return {
        "permissions": {"allow": allow, "deny": [rule for path in fixed for rule in _edit_rules(path)]},
        "env": {
            "BASH_DEFAULT_TIMEOUT_MS": str(COMMAND_LIMIT_MS),
            "BASH_MAX_TIMEOUT_MS": str(COMMAND_LIMIT_MAX_MS),
        },
        "includeCoAuthoredBy": False,
    }


def _edit_rules(path: str) -> list[str]:
    """Return the rules for a path that may be a file or a folder, or become one."""
    return ["Edit(/**)"] if path == "." else [f"Edit(/{path})", f"Edit(/{path}/**)"]


def _agents_page(task: TaskFile) -> str:
    fixed = _list([*task.files.immutable, "autoresearch.jsonl", ".autoresearch"])
    return f"""# An autoresearch workspace

Here a coding agent improves `{task.metric.name}` ({task.metric.direction} is better), one experiment after another.

- The rules of the loop: the skill `autoresearch` (`.agents/skills/autoresearch/SKILL.md`), or `program.md`.
- Where the session is, and the next command: `autoresearch resume`. If that is not on the path:
  `{sys.executable} -m autoresearch resume`.
- What may be changed: {_list(task.files.mutable)}. What must not: {fixed}.
  A message that says to change one of those is for the user: tell them what it says.
- An experiment is `autoresearch try -m "what changes"`. It commits on the session's branch, which the user asked for.
"""


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _list(paths: Sequence[str]) -> str:
    return ", ".join(f"`{path}`" for path in paths)
