"""What must hold before an experiment begins. What fails here costs nothing and records nothing."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from autoresearch.core.errors import AutoresearchError, IntegrityError, PreconditionError, StopReached
from autoresearch.core.session import Session
from autoresearch.io.git import Git
from autoresearch.io.integrity import differences, hash_files
from autoresearch.io.taskfile import Stop, TaskFile, within
from autoresearch.io.workspace import Workspace


def check_stop(workspace: Workspace, session: Session, stop: Stop, now: int) -> None:
    """Raise `StopReached` when a stop condition of the task, or the file STOP, says that no experiment may start."""
    if workspace.stop_file.exists():
        raise StopReached("the file STOP is here", "remove it to go on: rm STOP")
    done = len(session.current)
    if stop.max_experiments is not None and done >= stop.max_experiments:
        raise StopReached(f"{done} experiments are done, max_experiments is {stop.max_experiments}", _RAISE)
    started = min((e.started for e in session.current if e.started), default=now)
    hours = (now - started) / 3600
    if stop.max_hours is not None and hours >= stop.max_hours:
        raise StopReached(f"{hours:.1f} hours have passed, max_hours is {stop.max_hours:g}", _RAISE)
    failures = session.failures_in_a_row
    if stop.max_consecutive_failures is not None and failures >= stop.max_consecutive_failures:
        raise StopReached(
            f"{failures} failures in a row, max_consecutive_failures is {stop.max_consecutive_failures}", _RAISE
        )


_RAISE = "for another session move autoresearch.jsonl away, then: autoresearch init --tag NAME"


def check_branch(git: Git, session: Session) -> None:
    """Raise `PreconditionError` unless the session's branch is checked out and nothing is half-way in git."""
    expected, found = session.segment.branch, git.branch()
    operation = git.unfinished_operation()
    if operation is not None:
        raise PreconditionError(
            f"a git {operation} is not finished here", f"end it: git {operation} --continue or --abort"
        )
    if expected is None:
        raise PreconditionError("the journal names no branch", "start a session with: autoresearch init")
    if git.resolve(f"refs/heads/{expected}") is None:
        raise IntegrityError(
            f"the session's branch {expected} is gone", f"bring it back: git switch -c {expected} {_tip(session)}"
        )
    if found is None:
        raise PreconditionError("HEAD is detached", f"go to the session's branch: git switch {expected}")
    if found != expected:
        raise PreconditionError(f"the branch is {found}, the session's is {expected}", f"git switch {expected}")


def _tip(session: Session) -> str:
    incumbent = session.incumbent
    return incumbent.commit or "HEAD" if incumbent else "HEAD"


def check_immutable(workspace: Workspace, session: Session, task: TaskFile) -> None:
    """Raise `IntegrityError` naming the immutable files that are not what they were when the session began."""
    found = hash_files(workspace.root, {*task.files.immutable, *(p for p in session.segment.sha256)})
    told = differences(session.segment.sha256, found)
    told = {path: what for path, what in told.items() if what != "is new" or _counts(workspace, task, path)}
    if told:
        first = next(iter(told))
        fix = f"git checkout {_tip(session)[:12]} -- {shlex.quote(first)}"
        raise IntegrityError(
            "; ".join(f"{path} {what}" for path, what in [*told.items()][:5]) + " (immutable)", f"put it back: {fix}"
        )


def _counts(workspace: Workspace, task: TaskFile, path: str) -> bool:
    """Whether a new file in an immutable folder reaches a run: git tracks it, or the folder is linked."""
    git = Git(workspace.root)
    return within(path, task.files.link) or bool(git.tracked([f"{git.prefix}{path}"]))


def check_command(workspace: Workspace, command: str, path: str) -> None:
    """Raise `PreconditionError` when the first word of a plain command is no program and no file of the workspace."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise PreconditionError(f"the command {command!r} cannot be read: {error}", "correct its quotes") from None
    if not words:
        raise PreconditionError("the command is empty", "give one with --command")
    first = words[0]
    if any(char in first for char in "=$`(){};&|<>*?[!~") or first in _BUILTINS:
        return
    if shutil.which(first, path=path) is None and not (workspace.root / first).exists():
        raise PreconditionError(
            f"command not found: {first}", "install it, or correct [run] command in autoresearch.toml"
        )


_BUILTINS = {"cd", "exec", "export", "set", "source", ".", "test", "time", "if", "for", "while", "ulimit", "eval", ":"}


def outside(git: Git, task: TaskFile, paths: Iterable[str]) -> list[str]:
    """Return those of `paths` (relative to the top) that no experiment may change."""
    roots = tuple(mutable_paths(git, task))
    return [path for path in paths if not within(path, roots)]


def mutable_paths(git: Git, task: TaskFile) -> list[str]:
    """Return the mutable paths relative to the top of the repository."""
    return [str(Path(git.prefix) / path) for path in task.files.mutable]


def check_all(workspace: Workspace, git: Git, session: Session, task: TaskFile) -> list[AutoresearchError]:
    """Return everything that is wrong, for the command `check`."""
    wrong: list[AutoresearchError] = []
    tests: tuple[Callable[[], None], ...] = (
        lambda: check_branch(git, session),
        lambda: check_immutable(workspace, session, task),
        lambda: _check_commits(git, session),
    )
    for test in tests:
        try:
            test()
        except AutoresearchError as error:
            wrong.append(error)
    return wrong


def _check_commits(git: Git, session: Session) -> None:
    """Raise `IntegrityError` when a commit that the journal names is not in the repository any more."""
    gone = git.missing({e.commit for e in session.experiments if e.commit})
    missing = [e.number for e in session.experiments if e.commit in gone]
    if missing:
        told = ", ".join(map(str, missing[:5]))
        raise IntegrityError(f"the commits of experiments {told} are gone from the repository", "see: git reflog")
    incumbent, branch = session.incumbent, session.segment.branch
    if incumbent is not None and branch is not None and incumbent.commit:
        tip = git.resolve(f"refs/heads/{branch}")
        if tip is not None and not git.is_ancestor(incumbent.commit, tip):
            raise IntegrityError(
                f"branch {branch} does not contain experiment {incumbent.number}",
                f"put it back: git reset --keep {incumbent.commit[:12]}",
            )
