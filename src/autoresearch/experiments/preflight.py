"""What must hold before an experiment begins. What fails here costs nothing and records nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from autoresearch.errors import AutoresearchError, IntegrityError, PreconditionError, StopReached
from autoresearch.experiments.recovery import Recovered, recover
from autoresearch.experiments.stop import STOP_FILE, still_to_do, stop_reason
from autoresearch.journal.refs import branch_ref, fetch_from
from autoresearch.journal.session import Session
from autoresearch.runs.isolation.policy import sandbox_for
from autoresearch.runs.spec import Meter, RunContext, Tick, unmetered
from autoresearch.system.clock import Clock
from autoresearch.system.git import Git, git_at
from autoresearch.system.git_plumbing import missing_commits
from autoresearch.workers.choice import with_workers
from autoresearch.workers.pool import Pool
from autoresearch.workspace.editable import (
    behind_the_best,
    check_immutable,
    out_of_the_way,
    put_back,
    tip_of,
    unfinished,
)
from autoresearch.workspace.journal_mirror import check_mirror
from autoresearch.workspace.lock import lock
from autoresearch.workspace.lost_session import lost_beside
from autoresearch.workspace.python import check_project, differs, past_the_snapshot, python_of, search_path
from autoresearch.workspace.session_journal import how_to_begin
from autoresearch.workspace.task_file import NAME, Stop, TaskFile, check_command, load
from autoresearch.workspace.workspace import Workspace, free_name

FETCH = f"from a clone that has them: {fetch_from('CLONE')}"
"""What brings back commits that are not in this repository."""

TASK_IS_FIXED = "install it, or correct [run] command in autoresearch.toml, commit that, then: autoresearch segment"


def preflight(
    root: Workspace,
    clock: Clock,
    tick: Tick | None,
    *,
    stops: bool = True,
    meter: Meter = unmetered,
    workers: str | Pool = "",
) -> tuple[RunContext, Session, list[str]]:
    """Repair what a kill left, then check that runs may begin; return what they need, and what was repaired.

    A stop condition is one of experiments: without `stops` it does not count. `workers` names the slots that make the
    runs; empty is this process.
    """
    git = git_at(root.root)
    recovered = repaired(root, git, clock())
    session = recovered.session
    task = _task(root, session)
    if stops:
        check_stop(root, session, task.stop, clock())
    check_immutable(root, session, task)
    check_command(root.root, task.run.command, search_path(root), TASK_IS_FIXED)
    check_project(root, task)
    sandbox_for(task)
    context = with_workers(RunContext(root, git, task, tick, meter, python_of(root, task)), workers)
    told = [differs(session.segment.python, context.python), past_the_snapshot(root, task, context.python)]
    return context, session, [*recovered.done, *filter(None, told)]


def repaired(root: Workspace, git: Git, now: int) -> Recovered:
    """Repair what a kill left. Raises `PreconditionError` unless the session's branch is checked out, `IntegrityError`
    when the branch is gone or the journal has lost lines. The lock is held."""
    recovered = recover(root, git, now)
    check_branch(git, recovered.session)
    if recovered.lost is not None:
        raise recovered.lost
    return recovered


@contextlib.contextmanager
def opened(root: Workspace, now: int) -> Iterator[tuple[Git, Session, TaskFile]]:
    """Hold the lock of a workspace that was `repaired`, for what changes it without a run; yield its git, session and
    task. Raises as `repaired` and `load` do."""
    with lock(root):
        git = Git(root.root)
        session = repaired(root, git, now).session
        yield git, session, load(root.root)


def _task(workspace: Workspace, session: Session) -> TaskFile:
    """Return the task; where its file is gone, raise what brings it back as the best experiment has it."""
    if not (workspace.root / NAME).exists() and NAME in session.segment.sha256:
        back = put_back(git_at(workspace.root), session, {NAME: "is missing"})
        raise PreconditionError(f"there is no {NAME} in {workspace.root}", back)
    return load(workspace.root)


def check_stop(workspace: Workspace, session: Session, stop: Stop, now: int) -> None:
    """Raise `StopReached` when a stop condition of the task, or the file STOP, says that no experiment may start."""
    if workspace.stop_file.exists():
        raise StopReached(STOP_FILE, "remove it to go on: rm STOP")
    reason = stop_reason(stop, session, now)
    last = still_to_do(stop, session, now)
    if reason is not None and last is not None:
        raise StopReached(reason, f"take the honest number now: {last}")
    if reason is not None:
        aside = f"mv {workspace.journal.name} {free_name(workspace.root, 'earlier.jsonl')}"
        raise StopReached(reason, f"for another session: {aside} && autoresearch init . --tag NAME")


def check_branch(git: Git, session: Session) -> None:
    """Raise `PreconditionError` unless the session's branch is checked out and nothing is half-way in git."""
    expected, branch = session.segment.branch, git.branch()
    if expected is None:
        lost = lost_beside(Workspace(git.root))
        if lost is not None:
            raise lost
        raise PreconditionError(
            "the journal is another tool's, and no session was begun here", f"begin one with: {how_to_begin(session)}"
        )
    operation = git.unfinished_operation()
    if operation is not None:
        raise unfinished(operation)
    head = git.head() or ""
    if git.resolve(branch_ref(expected)) is None:
        aside = out_of_the_way(git, head, tip) if head and (tip := git.resolve(tip_of(session))) else ""
        back = f"{aside}git switch -c {expected} {tip_of(session)}"
        raise IntegrityError(f"the session's branch {expected} is gone", f"bring it back: {back}")
    if branch == expected:
        return
    go = f"{out_of_the_way(git, head, git.resolve(branch_ref(expected)) or head)}git switch {expected}"
    if branch is not None:
        raise PreconditionError(f"the branch is {branch}, the session's is {expected}", go)
    if not git.is_ancestor(head, branch_ref(expected)):  # what was committed here would be on no branch
        go = f"git branch detached-{head[:12]} && {go}"
    raise PreconditionError("HEAD is detached", f"go to the session's branch: {go}")


def check_all(workspace: Workspace, git: Git, session: Session, task: TaskFile) -> list[AutoresearchError]:
    """Return everything that is wrong, for the command `check`."""
    wrong: list[AutoresearchError] = []
    tests: tuple[Callable[[], None], ...] = (
        lambda: check_branch(git, session),
        lambda: check_immutable(workspace, session, task),
        lambda: _check_commits(git, session),
        lambda: _check_mirror(workspace, git, session),
    )
    for test in tests:
        try:
            test()
        except AutoresearchError as error:
            wrong.append(error)
    return wrong


def _check_mirror(workspace: Workspace, git: Git, session: Session) -> None:
    """Raise `IntegrityError` when the journal is not what was mirrored, or when its mirror is damaged."""
    wrong = check_mirror(workspace, git, session, whole=True)
    if wrong is not None:
        raise wrong


def _check_commits(git: Git, session: Session) -> None:
    """Raise `IntegrityError` when a commit that the journal names is not in the repository any more."""
    ours = [e for e in session.experiments if e.commit and e.started is not None]  # an imported log's git is its own
    gone = missing_commits(git, {e.commit for e in ours if e.commit})
    missing = [e.number for e in ours if e.commit in gone]
    if missing:
        numbers = ", ".join(map(str, missing[:5]))
        raise IntegrityError(f"the commits of experiments {numbers} are gone from the repository", FETCH)
    incumbent, branch = session.incumbent, session.segment.branch
    if incumbent is not None and branch is not None and incumbent.commit:
        tip = git.resolve(branch_ref(branch))
        wrong = behind_the_best(git, incumbent.commit, tip) if tip is not None else None
        if wrong is not None:
            raise wrong
