"""Turn what the agent did, edits or one commit, into the commit of an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autoresearch.errors import IntegrityError, PreconditionError
from autoresearch.experiments.code_fingerprint import code_size, fingerprint, syntax_error
from autoresearch.experiments.code_review import remarks
from autoresearch.journal.refs import ref_of
from autoresearch.journal.session import Session
from autoresearch.system.git import Git
from autoresearch.system.git_plumbing import files_of
from autoresearch.workspace.editable import edited, mutable_paths, outside
from autoresearch.workspace.lock import changing_git
from autoresearch.workspace.task_file import TaskFile, within
from autoresearch.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Candidate:
    """A change that may be measured; nothing is committed yet unless the agent did it."""

    parent: str
    """The incumbent's commit."""
    commit: str | None
    """The commit that the agent made; None when the change is still in the folder."""
    paths: tuple[str, ...]
    """What has changed, relative to the top of the repository."""
    description: str
    fingerprint: str
    simpler: bool
    """Whether there is less code than before."""
    warnings: tuple[str, ...] = ()
    """What in the change deserves a second look."""


def find_candidate(git: Git, session: Session, task: TaskFile, description: str, *, again: bool) -> Candidate:
    """Return the change on top of the incumbent; raise `PreconditionError` when there is none that may be measured.

    With `again` the code may have been measured before, and a commit may change nothing.
    """
    incumbent = session.incumbent
    tip = incumbent and incumbent.commit and git.resolve(incumbent.commit)
    if not tip:
        raise PreconditionError("there is no baseline yet", "measure it first: autoresearch baseline")
    if incumbent is None or incumbent.reference is None:
        raise IntegrityError(
            "the last kept experiment has no metric to compare with", "correct its line in autoresearch.jsonl"
        )
    edits = edited(git, session, task)
    head = git.head() or ""
    if head == tip:
        commit, paths = None, edits
        if not paths:
            what = ", ".join(task.files.mutable)
            raise PreconditionError(f"nothing has changed in {what}", "edit it, then try again")
    else:
        commit, paths = head, _agents_commit(git, task, tip, head, edits, empty=again)
    description = description or (git.subject(commit) if commit else "")
    if not description:
        raise PreconditionError("the experiment has no description", 'say what changes: autoresearch try -m "..."')
    roots = mutable_paths(git, task)
    before = files_of(git, tip, roots)
    after = files_of(git, commit, roots) if commit else _in_folder(git, before, paths)
    for path in paths:
        problem = syntax_error(path, after[path]) if path in after else None
        if problem:
            raise PreconditionError(f"it does not parse: {problem}", "correct it, then try again")
    code = fingerprint(after)
    if not again:
        _refuse_repetition(session, code, fingerprint(before))
    warnings = tuple(remarks(before, after, task.files.immutable))
    return Candidate(tip, commit, tuple(paths), description, code, code_size(after) < code_size(before), warnings)


def restore(root: Workspace, git: Git, session: Session, task: TaskFile, number: int) -> str:
    """Write the mutable files of experiment `number` into the folder and return its description.

    They may be there already, or in a commit that waits: a kill can come before the commit and behind it.
    """
    experiment = session.find(number)
    commit = git.resolve(ref_of(session, number))
    if experiment is None or commit is None:
        raise PreconditionError(f"there is no experiment {number} to measure again", "see: autoresearch log")
    paths = mutable_paths(git, task)
    edits, version = edited(git, session, task), files_of(git, commit, paths)
    here = files_of(git, "HEAD", paths)
    if edits and _in_folder(git, here, edits) != version:
        raise PreconditionError("there are edits that were not measured", "measure or undo them first: git stash")
    incumbent = session.incumbent
    if here != version and (incumbent is None or git.head() != git.resolve(incumbent.commit or "")):
        raise PreconditionError("there is a commit that was not measured", "measure it first: autoresearch try")
    if not edits and here != version:
        with changing_git(root):
            git.restore(commit, [path for path in paths if any(within(name, (path,)) for name in version)])
    return experiment.description


def _agents_commit(git: Git, task: TaskFile, tip: str, head: str, edits: Sequence[str], *, empty: bool) -> list[str]:
    """Return what the one commit on top of the incumbent changed; refuse anything else."""
    back = f"git reset --soft {tip[:12]}"
    if git.parents(head) != [tip]:
        raise PreconditionError(
            "the branch is not one commit on top of the best so far", f"gather your change with: {back}"
        )
    if edits:
        raise PreconditionError("there are edits on top of a commit that was not measured", f"gather both with: {back}")
    paths = git.changed(tip, head)
    foreign = outside(git, task, paths)
    if foreign:
        raise PreconditionError(f"the commit changes {foreign[0]}, which is not mutable", f"take it apart with: {back}")
    if not paths and not empty:
        raise PreconditionError("the commit changes nothing", f"undo it with: {back}")
    return paths


def _refuse_repetition(session: Session, code: str, before: str) -> None:
    if code == before:
        raise PreconditionError("only comments or spacing differ from the best so far", "change what the code does")
    earlier = session.tried(code)
    if earlier is not None:
        verdict = f"{earlier.status}: {earlier.description}"
        raise PreconditionError(
            f"experiment {earlier.number} was the same code ({verdict})",
            f"try something else, or repeat it on purpose with: autoresearch try --again {earlier.number}",
        )


def _in_folder(git: Git, before: dict[str, bytes], paths: Sequence[str]) -> dict[str, bytes]:
    """Return the mutable files as they are in the folder now."""
    after = dict(before)
    for path in paths:
        file = git.top / path
        if file.is_symlink():
            after[path] = str(file.readlink()).encode()
        elif file.is_file():
            after[path] = file.read_bytes()
        else:
            after.pop(path, None)
    return after
