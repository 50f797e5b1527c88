"""`upgrade`: a workspace gets the harness and the agents' files of this package; what a person has changed stays.

A newer harness may measure otherwise, so it begins a segment, in which the best so far is measured again as the
baseline. A kill at any instant leaves a state in which the next `upgrade` goes on: it writes what still differs,
commits what it finds written, and begins the segment that is missing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from autoresearch import __version__
from autoresearch.experiments.new_segment import begin, check_committed
from autoresearch.experiments.preflight import opened
from autoresearch.journal.session import Session
from autoresearch.system.file_hashes import differences, hash_files
from autoresearch.system.files import write_atomic
from autoresearch.system.git import Git
from autoresearch.workspace import task_settings, upgrade_plan
from autoresearch.workspace.agent_files import exclude, write_for_agents
from autoresearch.workspace.given import remember
from autoresearch.workspace.lock import changing_git
from autoresearch.workspace.task_file import TaskFile, within
from autoresearch.workspace.task_settings import Setting, changed_settings
from autoresearch.workspace.upgrade_plan import AGENTS, HARNESS, Item
from autoresearch.workspace.workspace import Workspace

FOLDER = "upgrade"
"""In the state of the workspace: `before/` has what was replaced, `ours/` what would have replaced what stayed."""


@dataclass(frozen=True, slots=True)
class Upgraded:
    items: tuple[Item, ...]
    session: Session
    begun: int | None
    """The segment that was begun; None where nothing changed that runs are measured with."""
    settings: tuple[Setting, ...] = ()
    """What this version reads otherwise of the task file, which stays as it is."""


def upgrade(root: Workspace, now: int, take: Collection[str] = ()) -> Upgraded:
    """Bring a workspace up to this package; `now` is in seconds, `take` names changed files to replace all the same.

    Raises `PreconditionError` when tracked files have changes or another branch is checked out, and as `opened` and
    `upgrade_plan.plan` do.
    """
    with opened(root, now) as (git, session, task):
        items = upgrade_plan.plan(root, git, task, take)
        wanted = upgrade_plan.changes(items)
        paths = _written(root, git, task, items)
        committed = [f"{git.prefix}{item.path}" for item in wanted if item.part == HARNESS]
        if committed or paths:
            check_committed(git, paths)
        _keep_copies(root, items)
        exclude(git, [item.path for item in wanted if item.part == AGENTS and item.now is None])
        for item in wanted:
            _write(root.root / item.path, item.ours)
        if committed or paths:
            with changing_git(root):
                git.commit([*paths, *committed], f"autoresearch: harness and task of {__version__}")
        if any(item.part == AGENTS for item in wanted):
            write_for_agents(root, git, task)
        settings = changed_settings(root)
        written = {item.path: item.ours for item in wanted if item.ours is not None and not item.merged}
        remember(root, written, task_settings.defaults())
        begun = _begin_segment(root, git, session, task, now, written=bool(committed or paths))
        number = begun.segment.number if begun is not None else None
        return Upgraded(tuple(items), begun or session, number, tuple(settings))


def _written(root: Workspace, git: Git, task: TaskFile, items: list[Item]) -> list[str]:
    """Return the changed files, relative to the top, that are as this package has them: an upgrade that was killed
    before its commit has left them."""
    roots, differ = upgrade_plan.committed_roots(task), {item.path for item in items}
    names = {change.path: change.path.removeprefix(git.prefix) for change in git.changes()}
    return [path for path, name in names.items() if path.startswith(git.prefix) and within(name, roots)
            and not within(name, task.files.mutable) and name not in differ]  # fmt: skip


def _begin_segment(
    root: Workspace, git: Git, session: Session, task: TaskFile, now: int, *, written: bool
) -> Session | None:
    """Begin a segment where what runs are measured with is another than at the beginning of the one in force; return
    the session. Where nothing was written now, only an earlier upgrade that was killed may have made it so."""
    hashes = hash_files(root.root, task.files.immutable)
    changed = differences(session.segment.sha256, hashes)
    ours = all(within(path, upgrade_plan.committed_roots(task)) for path in changed)
    if not changed or not (written or ours):
        return None
    return begin(root, git, session, task, hashes, now)


def _keep_copies(root: Workspace, items: list[Item]) -> None:
    """Keep what will be replaced and is in no commit, and beside what stays put this package's own."""
    folder = root.state / FOLDER
    for item in items:
        if item.kept and item.ours is not None:
            _write(folder / "ours" / item.path, item.ours)
        elif not item.kept and item.part == AGENTS and item.now is not None:
            _write(folder / "before" / item.path, item.now)


def _write(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)
