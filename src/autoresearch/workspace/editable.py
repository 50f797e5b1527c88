"""Which files experiments may change, and whether the others are what they were."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from autoresearch.errors import IntegrityError
from autoresearch.journal.session import Session
from autoresearch.system.file_hashes import differences, hash_files
from autoresearch.system.git import Git
from autoresearch.workspace.task_file import TaskFile, within
from autoresearch.workspace.workspace import Workspace


def mutable_paths(git: Git, task: TaskFile) -> list[str]:
    """Return the mutable paths relative to the top of the repository."""
    return [str(Path(git.prefix) / path) for path in task.files.mutable]


def outside(git: Git, task: TaskFile, paths: Iterable[str]) -> list[str]:
    """Return those of `paths` (relative to the top) that no experiment may change."""
    roots = tuple(mutable_paths(git, task))
    return [path for path in paths if not within(path, roots)]


def check_immutable(workspace: Workspace, session: Session, task: TaskFile) -> None:
    """Raise `IntegrityError` naming the immutable files that are not what they were when the session began."""
    hashes = hash_files(workspace.root, {*task.files.immutable, *(p for p in session.segment.sha256)})
    changes = differences(session.segment.sha256, hashes)
    changes = {path: what for path, what in changes.items() if what != "is new" or _counts(workspace, task, path)}
    if changes:
        first = next(iter(changes))
        fix = f"git checkout {tip_of(session)[:12]} -- {shlex.quote(first)}"
        raise IntegrityError(
            "; ".join(f"{path} {what}" for path, what in [*changes.items()][:5]) + " (immutable)", f"put it back: {fix}"
        )


def _counts(workspace: Workspace, task: TaskFile, path: str) -> bool:
    """Whether a new file in an immutable folder reaches a run: git tracks it, or the folder is linked."""
    git = Git(workspace.root)
    return within(path, task.files.link) or bool(git.tracked([f"{git.prefix}{path}"]))


def tip_of(session: Session) -> str:
    """Return the commit that the folder should hold: the incumbent's, else HEAD."""
    incumbent = session.incumbent
    return incumbent.commit or "HEAD" if incumbent else "HEAD"
