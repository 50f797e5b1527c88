"""The workspace around the loop: its branch at the incumbent, and a proposal's commit put on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from autoresearch.errors import IntegrityError, PreconditionError
from autoresearch.experiments.preflight import check_branch
from autoresearch.journal.loop import LoopProposal
from autoresearch.journal.session import Session
from autoresearch.loop.proposals import graft
from autoresearch.runs.spec import RunContext
from autoresearch.system.git_plumbing import commit_tree
from autoresearch.workspace.editable import behind_the_best, edited, mutable_paths, put_aside
from autoresearch.workspace.lock import Busy, changing_git, is_locked, lock
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace

Result = TypeVar("Result")


def patiently(workspace: Workspace, do: Callable[[], Result], rest: Callable[[], None]) -> Result:
    """Return what `do` returns; while another command holds the workspace, `rest` and try again."""
    while True:
        try:
            return do()
        except Busy:
            while is_locked(workspace):
                rest()


def check_place(context: RunContext, session: Session) -> None:
    """Raise `PreconditionError` when the branch or the mutable files hold what a person has not measured.

    The loop never touches that. A proposal's commit that waits to be measured may be there.
    """
    git, incumbent, proposed = context.git, session.incumbent, session.proposed
    head = git.head() or ""
    tip = git.resolve(incumbent.commit) if incumbent is not None and incumbent.commit else None
    if tip is None:
        return
    edits = edited(git, session, context.task)
    if edits:
        raise PreconditionError(
            f"{edits[0]} has edits that were not measured, and the loop leaves them alone",
            f'measure them, or put them aside with {put_aside(git, context.task)}: autoresearch try -m "..."',
        )
    if head == tip or (proposed is not None and head == proposed.commit):
        return
    raise behind_the_best(git, tip, head) or PreconditionError(
        "there is a commit that was not measured", "measure it first: autoresearch try"
    )


def put_on_branch(context: RunContext, proposal: LoopProposal, remade: Callable[[LoopProposal, str], None]) -> str:
    """Make a proposal's commit the tip of the branch, and return it; the lock is held meanwhile, and the session is
    what it is then. Raises as `check_branch` and `check_place` do: a person may have done something since they were
    asked.

    The same files are committed anew, and `remade` is told before anything moves, when an interrupted experiment had
    the commit, since the recovery takes that off the branch; and when the incumbent is another one than when it was
    made, by an experiment of a person.
    """
    workspace, git = context.workspace, context.git
    with lock(workspace):
        session = load_session(workspace)
        check_branch(git, session)
        check_place(context, session)
        incumbent, head = session.incumbent, git.head()
        assert incumbent is not None and proposal.commit is not None
        tip = git.resolve(incumbent.commit or "")
        commit = git.resolve(proposal.commit)
        if commit is None or tip is None:
            raise IntegrityError("the commit of a proposal is gone from the repository", "drop it: autoresearch skip")
        tries = [e.number for e in session.experiments if e.commit == commit]
        if tries or git.parents(commit) != [tip]:
            index = str(workspace.state / "proposal.index")
            tree = graft(git, commit, mutable_paths(git, context.task), tip, index)
            message = git.text("log", "-1", "--format=%B", commit).strip()
            again = f"\n\nagain: {tries[-1]}" if tries else ""  # without it, it may be the very same commit
            commit = commit_tree(git, tree, tip, f"{message}{again}\n")
            remade(proposal, commit)
        if head == commit:
            return commit
        with changing_git(workspace):
            git.move_to(commit)
        return commit


def take_off_branch(context: RunContext, proposal: LoopProposal) -> None:
    """Set the branch back to the incumbent when a proposal's commit is its tip, and is not the incumbent's by now."""
    git = context.git
    with lock(context.workspace):
        session, head = load_session(context.workspace), git.head()
        incumbent, branch = session.incumbent, session.segment.branch
        tip = git.resolve(incumbent.commit or "") if incumbent is not None else None
        if tip is not None and branch is not None and head is not None and head == proposal.commit != tip:
            with changing_git(context.workspace):
                git.go_back(branch, head, tip)
