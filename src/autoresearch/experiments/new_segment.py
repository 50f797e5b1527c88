"""A new segment: another metric, evaluator or task in the same session, with a baseline of its own."""

from __future__ import annotations

from collections.abc import Collection

from autoresearch.errors import PreconditionError
from autoresearch.experiments.preflight import opened
from autoresearch.experiments.recovery import recover
from autoresearch.journal.session import Session
from autoresearch.system.file_hashes import differences, hash_files
from autoresearch.system.git import Git, git_at
from autoresearch.workspace.editable import mutable_paths, own_file
from autoresearch.workspace.init import next_segment, segment_line
from autoresearch.workspace.journal_mirror import keep_up
from autoresearch.workspace.lock import changing_git
from autoresearch.workspace.python import differs, python_of
from autoresearch.workspace.session_journal import append, load_session
from autoresearch.workspace.task_file import NAME, TaskFile, load
from autoresearch.workspace.workspace import Workspace


def begin_segment(root: Workspace, now: int) -> Session:
    """Begin a segment from the task file and the immutable files as they are committed now; return the session.

    What was measured before stays in the journal and is compared with nothing new. Raises `PreconditionError` when
    something is not committed, or when nothing is different from the segment in force, the Python of runs and what was
    committed on top of its best included.
    """
    with opened(root, now) as (git, session, task):
        check_committed(git)
        hashes = hash_files(root.root, task.files.immutable)
        before, python = session.segment, python_of(root, task)
        same_code = session.incumbent is None or session.incumbent.commit == git.head()
        if hashes == dict(before.sha256) and differs(before.python, python) is None and same_code:
            raise PreconditionError(
                "task and immutable files are those of the segment in force", "change them, commit, and call this again"
            )
        return begin(root, git, session, task, hashes, now)


def check_committed(git: Git, but: Collection[str] = ()) -> None:
    """Raise `PreconditionError` when a tracked file has changes; `but` are paths relative to the top that may."""
    changed = [c.path for c in git.changes() if not c.untracked and not own_file(git, c.path) and c.path not in but]
    if changed:
        what = f"{changed[0]} has changes that are not committed"
        raise PreconditionError(what, 'commit them: git commit -am "..."')


def take_edited_task(root: Workspace, now: int) -> list[str]:
    """Begin a segment with the task file as it is now where it was edited before there is a baseline; return what was
    done, a line each. The edit is committed by itself if it is not yet.

    Nothing was measured with the old one, so nothing can be compared with what it said. Raises `PreconditionError` when
    the new one cannot be read. The lock is held; what else has changed is left to the preflight.
    """
    git = git_at(root.root)
    recovered = recover(root, git, now)
    session, before = recovered.session, recovered.session.segment
    unmeasured = session.baseline is None and recovered.lost is None and NAME in before.sha256
    ready = git.branch() == before.branch and git.unfinished_operation() is None  # if not, the preflight says why
    if not unmeasured or not ready or not (root.root / NAME).is_file():
        return [*recovered.done]
    task = load(root.root)
    changes = differences(before.sha256, hash_files(root.root, {*task.files.immutable, *before.sha256}))
    others = {what for path, what in changes.items() if path != NAME}
    if NAME not in changes or others - {"is new"}:
        return [*recovered.done]
    if f"{git.prefix}{NAME}" in {c.path for c in git.changes()}:
        with changing_git(root):
            git.commit([f"{git.prefix}{NAME}"], f"autoresearch: {NAME} edited before the baseline")
    begin(root, git, session, task, hash_files(root.root, task.files.immutable), now)
    return [*recovered.done, f"{NAME} was edited before there is a baseline, and is taken as it is now"]


def begin(root: Workspace, git: Git, session: Session, task: TaskFile, hashes: dict[str, str], now: int) -> Session:
    """Write the line that begins a segment with these hashes; return the session. The lock is held."""
    before = session.segment
    untracked = {c.path for c in git.changes() if c.untracked}
    mine = tuple(mutable_paths(git, task))
    theirs = [path for path in untracked if path.startswith(mine)]
    number, python = next_segment(session), python_of(root, task)
    append(root, segment_line(task, number, hashes, before.branch, before.tag, theirs, now, python))
    begun = load_session(root)
    keep_up(root, git, begun)
    return begun
