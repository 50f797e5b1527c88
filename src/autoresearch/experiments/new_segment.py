"""A new segment: another metric, evaluator or task in the same session, with a baseline of its own."""

from __future__ import annotations

from autoresearch.errors import PreconditionError
from autoresearch.experiments.preflight import check_branch
from autoresearch.experiments.recovery import recover
from autoresearch.journal.session import Session
from autoresearch.system.file_hashes import hash_files
from autoresearch.system.git import Git
from autoresearch.workspace.editable import mutable_paths, own_file
from autoresearch.workspace.init import next_segment, segment_line
from autoresearch.workspace.journal_mirror import keep_up
from autoresearch.workspace.lock import lock
from autoresearch.workspace.python import differs, python_of
from autoresearch.workspace.session_journal import append, load_session
from autoresearch.workspace.task_file import load
from autoresearch.workspace.workspace import Workspace


def begin_segment(root: Workspace, now: int) -> Session:
    """Begin a segment from the task file and the immutable files as they are committed now; return the session.

    What was measured before stays in the journal and is compared with nothing new. Raises `PreconditionError` when
    something is not committed, or when nothing, the Python of runs included, is different from the segment in force.
    """
    with lock(root):
        git = Git(root.root)
        recovered = recover(root, git, now)
        session = recovered.session
        check_branch(git, session)
        if recovered.lost is not None:
            raise recovered.lost
        task = load(root.root)
        changed = [c.path for c in git.changes() if not c.untracked and not own_file(git, c.path)]
        if changed:
            what = f"{changed[0]} has changes that are not committed"
            raise PreconditionError(what, 'commit them: git commit -am "..."')
        hashes = hash_files(root.root, task.files.immutable)
        before, python = session.segment, python_of(root, task)
        if hashes == dict(before.sha256) and differs(before.python, python) is None:
            raise PreconditionError(
                "task and immutable files are those of the segment in force", "change them, commit, and call this again"
            )
        untracked = {c.path for c in git.changes() if c.untracked}
        mine = tuple(mutable_paths(git, task))
        theirs = [path for path in untracked if path.startswith(mine)]
        number = next_segment(session)
        append(root, segment_line(task, number, hashes, before.branch, before.tag, theirs, now, python))
        begun = load_session(root)
        keep_up(root, git, begun)
        return begun
