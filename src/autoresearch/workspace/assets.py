"""Where the files are that `init` copies: in a checkout at the top, in an installed package inside it."""

from __future__ import annotations

from pathlib import Path

from autoresearch.errors import UsageError
from autoresearch.workspace import task_file


def tasks_folder() -> Path:
    package = Path(__file__).resolve().parents[1]
    inside = package / "assets"
    return (inside if inside.is_dir() else package.parents[1] / "assets") / "tasks"


def harness_folder() -> Path:
    """Return the folder that `init` copies into the workspaces of tasks with a harness."""
    return tasks_folder().with_name("harness")


def bundle_folder() -> Path:
    """Return the folder that has `skills/`, `hooks/` and `program.md`, for coding agents."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "assets" / "bundle"
    return inside if inside.is_dir() else package.parents[1]


def shipped_table() -> Path:
    """Return the file that says which contents earlier versions have put into workspaces (benchmarks/shipped.py)."""
    return tasks_folder().with_name("shipped.json")


def task_names() -> list[str]:
    """Return the names of the tasks there are to choose from."""
    return sorted(path.parent.name for path in tasks_folder().glob(f"*/{task_file.NAME}"))


def task_folder(name: str) -> Path:
    """Return the folder of a task; raise `UsageError` that lists the known ones."""
    if name not in task_names():
        raise UsageError(f"there is no task {name!r}", f"choose one of: {', '.join(task_names())}")
    return tasks_folder() / name
