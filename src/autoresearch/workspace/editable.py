"""Which files experiments may change, and whether the others are what they were."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from autoresearch.errors import IntegrityError, PreconditionError
from autoresearch.journal.session import Session
from autoresearch.system.file_hashes import differences, hash_files, sha256_of
from autoresearch.system.git import Change, Git
from autoresearch.system.git_plumbing import files_of
from autoresearch.workspace.task_file import NAME, TaskFile, within
from autoresearch.workspace.workspace import IGNORED, Workspace


def mutable_paths(git: Git, task: TaskFile) -> list[str]:
    """Return the mutable paths relative to the top of the repository."""
    return [str(Path(git.prefix) / path) for path in task.files.mutable]


def outside(git: Git, task: TaskFile, paths: Iterable[str]) -> list[str]:
    """Return those of `paths` (relative to the top) that no experiment may change."""
    roots = tuple(mutable_paths(git, task))
    return [path for path in paths if not within(path, roots)]


def edited(git: Git, session: Session, task: TaskFile) -> list[str]:
    """Return the mutable paths that differ from HEAD; raise `PreconditionError` when any other tracked file does.

    Untracked files elsewhere, and those that lay in the mutable folders when the session began, are a person's.
    """
    changes = git.changes()
    roots = set(outside(git, task, (c.path for c in changes)))
    foreign = [c for c in changes if not c.untracked and c.path in roots and not own_file(git, c.path)]
    if foreign:
        raise dirty(git, foreign)
    theirs = {*session.segment.keep_untracked}
    return [c.path for c in changes if c.path not in roots and not (c.untracked and _not_code(c.path, theirs))]


def put_aside(git: Git, task: TaskFile) -> str:
    """Return the command that takes every edit of the mutable files out of the way, the new files with them."""
    known = git.entries_of("HEAD", mutable_paths(git, task))
    there = [
        path for path in task.files.mutable  # git refuses the name of a file that was deleted for good
        if (git.root / path).exists() or any(within(name, (f"{git.prefix}{path}",)) for name in known)
    ]  # fmt: skip
    return f"git stash push -u -- {shlex.join(there or task.files.mutable)}"


def take_version(git: Git, commit: str, paths: Sequence[str]) -> None:
    """Write the files of a commit below mutable `paths` into the folder, where those of HEAD are; what it has not is
    deleted."""
    names = {*git.entries_of(commit, paths), *git.entries_of("HEAD", paths)}
    git.restore(commit, [path for path in paths if any(within(name, (path,)) for name in names)])
    git.move_submodules("HEAD", commit)


def own_file(git: Git, path: str) -> bool:
    """Whether a path, relative to the top, is of what the session itself writes: somebody may have committed it."""
    name = path.removeprefix(git.prefix)
    return path.startswith(git.prefix) and (name in IGNORED or f"{name.partition('/')[0]}/" in IGNORED)


def behind_the_best(git: Git, tip: str, head: str) -> IntegrityError | None:
    """Return the error for a branch that does not contain the best experiment `tip`; None when it does.

    To gather a change with `git reset --soft` would here make one that takes the kept changes back: the folder goes
    forward first, with `git reset --keep`, which keeps edits, or refuses where one is in the way.
    """
    if git.resolve(tip) is None or git.is_ancestor(tip, head):
        return None
    aside, stay = out_of_the_way(git, head, tip), "edits stay"
    forward = f"{aside}git reset --keep {tip[:12]}"
    if aside:
        stay = "what is in its way waits for git stash pop"
    if git.is_ancestor(head, tip):
        what = "the branch was set back and does not contain the best so far"
        return IntegrityError(what, f"bring that back, {stay}: {forward}")
    what = "the branch was rewritten and does not contain the best so far"
    forward = f"git branch rewritten-{head[:12]} && {forward}"
    return IntegrityError(what, f"keep this as a branch of its own, and go to the best, {stay}: {forward}")


def out_of_the_way(git: Git, here: str, there: str) -> str:
    """Return the words before a move from one commit to another that puts edits aside which git would stop at."""
    between = set(git.changed(here, there))
    paths = [os.path.relpath(git.top / c.path, git.root) for c in git.changes() if c.path in between]
    return f"git stash push -u -- {shlex.join(paths)} && " if paths else ""


def set_back(git: Git, session: Session) -> IntegrityError | None:
    """Return the error when the session's branch is checked out and does not contain the best experiment."""
    incumbent, head = session.incumbent, git.head()
    if incumbent is None or not incumbent.commit or head is None or git.branch() != session.segment.branch:
        return None
    return None if head == incumbent.commit else behind_the_best(git, incumbent.commit, head)


def _not_code(path: str, theirs: set[str]) -> bool:
    """Whether an untracked path is no part of a change: a person's, another repository, or what Python caches."""
    return path in theirs or path.endswith("/") or "__pycache__" in PurePosixPath(path).parts


def dirty(git: Git, foreign: Sequence[Change]) -> PreconditionError:
    """Return the error for tracked files that have changes and should have none."""
    first = foreign[0]
    more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
    what = "is staged" if first.staged else "has changes"
    path = shlex.quote(f":/{first.path}" if git.prefix else first.path)
    fix = f"put it aside: git stash push -- {path}"
    if first.staged and not git.tracked([first.path]):  # gone from the index: git stash knows nothing of it
        gone = "" if (git.top / first.path).exists() else " --worktree"
        fix = f"bring it back: git restore --staged{gone} -- {path}"
    return PreconditionError(f"{first.path}{more} {what} and is not a file that experiments may change", fix)


def check_immutable(workspace: Workspace, session: Session, task: TaskFile) -> None:
    """Raise `IntegrityError` naming the immutable files that are not what they were when the session began."""
    hashes = hash_files(workspace.root, {*task.files.immutable, *(p for p in session.segment.sha256)})
    changes = differences(session.segment.sha256, hashes)
    changes = {path: what for path, what in changes.items() if what != "is new" or _counts(workspace, task, path)}
    if changes:
        told = "; ".join(f"{path} {what}" for path, what in [*changes.items()][:5]) + " (immutable)"
        if changes.get(NAME) == "has changed" and session.baseline is not None:
            told += f", and another {NAME} needs a segment of its own: commit it, then autoresearch segment"
        raise IntegrityError(told, put_back(Git(workspace.root), session, changes))


def put_back(git: Git, session: Session, changes: Mapping[str, str]) -> str:
    """Return how immutable files become what they were. Nothing of what they are now is lost on the way.

    It goes by the first file, with the others that the same command puts back. What was committed on top of the best is
    taken out of its commit; where nothing is measured yet, a commit of it begins a segment.
    """
    if session.baseline is None and dict(changes) == {NAME: "has changed"}:
        return "nothing was measured yet, and the baseline takes it as it is now: autoresearch baseline"
    tip = session.incumbent.commit if session.incumbent is not None else None
    tip = git.resolve(tip) if tip else None
    now, best = ({} if at is None else git.entries_of(at, [git.prefix + path for path in changes])
                 for at in (git.head(), tip))  # fmt: skip
    tracked, ways = {*git.tracked([git.prefix + path for path in changes])}, {}
    for name, what in changes.items():
        path = git.prefix + name
        same = path in now and (now[path] == best.get(path) or _content(git, path) == session.segment.sha256.get(name))
        back = "git stash push"
        if not (git.top / path).exists():
            back = "git restore --staged --worktree"
        elif path not in tracked:  # git stash knows nothing of it
            back = "git restore --staged"
        if what == "is new":
            ways[name] = f"{_soft(tip)}{back}" if path in now else back if path in tracked else "mv"
        else:
            ways[name] = back if same else f"{_soft(tip)}{back}" if path in best else "segment"
    first, way = next(iter(ways.items()))
    paths = shlex.join(name for name, its in ways.items() if its == way)
    if way == "mv":
        return f"take it out of there: mv {shlex.quote(first)} {shlex.quote(f'{PurePosixPath(first).name}.aside')}"
    if way == "segment":
        uncommitted = any(git.prefix + name in {c.path for c in git.changes()} for name in ways if ways[name] == way)
        commit = f"git commit -m {shlex.quote(f'change {first}')} -- {paths} && " if uncommitted else ""
        return f"nothing was measured with it yet, so measure with what it is now: {commit}autoresearch segment"
    kept = ", what it is now stays in the stash" if "stash" in way else ""
    return f"put it back{kept}: {way} -- {paths}"


def _soft(tip: str | None) -> str:
    return f"git reset --soft {tip[:12]} && " if tip else ""


def _content(git: Git, path: str) -> str | None:
    """Return the hash of a file as HEAD has it."""
    content = files_of(git, "HEAD", [path]).get(path)
    return None if content is None else sha256_of(content)


def unfinished(operation: str) -> PreconditionError:
    """Return the error for a merge, rebase or the like that waits for its end."""
    fix = f"go on with git {operation} --continue, or take it back: git {operation} --abort"
    return PreconditionError(f"a git {operation} is not finished here", fix)


def _counts(workspace: Workspace, task: TaskFile, path: str) -> bool:
    """Whether a new file in an immutable folder reaches a run: git tracks it, or the folder is linked."""
    git = Git(workspace.root)
    return within(path, task.files.link) or bool(git.tracked([f"{git.prefix}{path}"]))


def tip_of(session: Session) -> str:
    """Return the commit that the folder should hold: the incumbent's, else HEAD."""
    incumbent = session.incumbent
    return incumbent.commit or "HEAD" if incumbent else "HEAD"
