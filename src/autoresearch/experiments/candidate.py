"""Turn what the agent did, edits or one commit, into the commit of an experiment."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autoresearch.errors import IntegrityError, PreconditionError
from autoresearch.experiments.code_fingerprint import code_size, fingerprint, syntax_error
from autoresearch.experiments.code_review import remarks
from autoresearch.experiments.preflight import FETCH, check_branch
from autoresearch.journal.refs import ref_of
from autoresearch.journal.session import Experiment, Session
from autoresearch.system.git import Git, git_at
from autoresearch.system.git_plumbing import changed_between, files_of
from autoresearch.workspace.editable import behind_the_best, edited, mutable_paths, outside, put_aside, take_version
from autoresearch.workspace.lock import changing_git, lock
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.task_file import TaskFile, load
from autoresearch.workspace.workspace import Workspace

Entries = dict[str, tuple[str, str]]
"""Path -> (mode, hash) of files, links and submodules."""


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


def find_candidate(
    git: Git,
    session: Session,
    task: TaskFile,
    description: str,
    *,
    same: bool,
    repeats: Callable[[int], None] = lambda number: None,
) -> Candidate:
    """Return the change on top of the incumbent; raise `PreconditionError` when there is none that may be measured.

    With `same` the code may have been measured before, and a commit may change nothing. `repeats` is called with the
    number of the experiment that the change is, before it is refused for that.
    """
    incumbent = session.incumbent
    tip = incumbent and incumbent.commit and git.resolve(incumbent.commit)
    if not tip:
        if incumbent is not None and incumbent.commit:
            gone = f"the commit of experiment {incumbent.number}, the best, is not in this repository"
            raise IntegrityError(gone, FETCH)
        raise PreconditionError("there is no baseline yet", "measure it first: autoresearch baseline")
    if incumbent is None or incumbent.reference is None:
        raise IntegrityError(
            "the last kept experiment has no metric to compare with", "correct its line in autoresearch.jsonl"
        )
    edits = edited(git, session, task)
    head = git.head() or ""
    _refuse_edits_in_submodules(git, task)
    if head == tip:
        commit, paths = None, edits
        if not paths:
            raise _nothing_changed(git, task)
    else:
        commit, paths = head, _agents_commit(git, task, tip, head, edits, empty=same)
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
    warnings = tuple(remarks(before, after, task.files.immutable))
    known = [*([incumbent] if code == fingerprint(before) else []), *session.tried(code)]
    if known and not same:
        mine = git.entries_of(commit, roots) if commit else git.entries_with(paths, roots)
        alike = _refuse_repetition(git, session, task, mine, known, repeats)
        warnings = (alike, *warnings) if alike else warnings
    return Candidate(tip, commit, tuple(paths), description, code, code_size(after) < code_size(before), warnings)


def start_from(root: Workspace, number: int) -> Experiment:
    """Write the mutable files of experiment `number` into the folder, to edit them further, and return it.

    Raises `AutoresearchError` where edits, a commit or a run would be in the way; then nothing is written.
    """
    with lock(root):
        git, session, task = git_at(root.root), load_session(root), load(root.root)
        check_branch(git, session)
        if session.unfinished is not None:
            raise PreconditionError(
                f"experiment {session.unfinished.number} was interrupted", "repair it first: autoresearch resume"
            )
        return restore(root, git, session, task, number)


def restore(root: Workspace, git: Git, session: Session, task: TaskFile, number: int) -> Experiment:
    """Write the mutable files of experiment `number` into the folder and return it.

    They may be there already, or in a commit that waits: a kill can come before the commit and behind it.
    """
    experiment = session.find(number)
    commit = git.resolve(ref_of(session, number))
    if experiment is None or commit is None:
        raise PreconditionError(f"there is no experiment {number} to begin with", "see: autoresearch log")
    paths = mutable_paths(git, task)
    edits, version = edited(git, session, task), git.entries_of(commit, paths)
    here = git.entries_of("HEAD", paths)
    if edits and git.entries_with(edits, paths) != version:
        raise PreconditionError("there are edits that were not measured", f"put them aside: {put_aside(git, task)}")
    incumbent = session.incumbent
    if here != version and (incumbent is None or git.head() != git.resolve(incumbent.commit or "")):
        raise PreconditionError("there is a commit that was not measured", "measure it first: autoresearch try")
    if not edits and here != version:
        with changing_git(root):
            take_version(git, commit, paths)
    return experiment


def _agents_commit(git: Git, task: TaskFile, tip: str, head: str, edits: Sequence[str], *, empty: bool) -> list[str]:
    """Return what the one commit on top of the incumbent changed; refuse anything else."""
    behind = behind_the_best(git, tip, head)
    if behind is not None:
        raise behind
    back = f"git reset --soft {tip[:12]}"
    if git.parents(head) != [tip]:
        raise PreconditionError(
            "the branch is not one commit on top of the best so far", f"gather your change with: {back}"
        )
    if edits:
        raise PreconditionError("there are edits on top of a commit that was not measured", f"gather both with: {back}")
    between = changed_between(git, tip, head)
    paths = git.changed(tip, head) if between is None else sorted(path for path, _, _ in between)
    foreign = outside(git, task, paths)
    if foreign:
        raise PreconditionError(f"the commit changes {foreign[0]}, which is not mutable", f"take it apart with: {back}")
    if not paths and not empty:
        raise PreconditionError("the commit changes nothing", f"undo it with: {back}")
    return paths


def _nothing_changed(git: Git, task: TaskFile) -> PreconditionError:
    """Return the error for a folder without a change; a new file that git ignores is none, and is named."""
    ignored = [path for path in git.ignored_files(mutable_paths(git, task)) if "__pycache__" not in path]
    what = f"nothing has changed in {', '.join(task.files.mutable)}"
    if ignored:
        path = shlex.quote(f":/{ignored[0]}" if git.prefix else ignored[0])
        what = f"{what} that git does not ignore"
        return PreconditionError(what, f"edit it, or if {ignored[0]} is the change: git add -f -- {path}")
    return PreconditionError(what, "edit it, then try again")


def _refuse_edits_in_submodules(git: Git, task: TaskFile) -> None:
    """Refuse edits that a commit here cannot have: those of files in a submodule."""
    inside = git.edited_submodules(mutable_paths(git, task))
    if inside:
        commit = f"git -C {shlex.quote(str(git.top / inside[0]))} commit -am"
        raise PreconditionError(
            f"{inside[0]} is a submodule, and the edits in it are not committed", f'commit them there: {commit} "..."'
        )


def same_to_a_run(task: TaskFile, mine: Entries, theirs: Entries) -> bool:
    """Whether two versions of the mutable files, with one fingerprint, are the same: then one of them is measured.

    The same is what has the same files, modes, links and submodules. What differs only in comments and spacing is the
    same where a harness takes the metric of a model; a command may count lines, or read a docstring as its prompt.
    """
    return mine == theirs or (task.task.harness and _shape(mine) == _shape(theirs))


def repeated(git: Git, session: Session, task: TaskFile, version: str, code: str) -> list[Experiment]:
    """Return the experiments of this segment that a commit or tree with the fingerprint `code` would repeat: for one of
    them, `try` refuses it."""
    known = session.tried(code)
    mine = entries(git, task, version) if known else {}
    return [e for e in known if same_to_a_run(task, mine, entries(git, task, e.commit))]


def _refuse_repetition(
    git: Git,
    session: Session,
    task: TaskFile,
    mine: Entries,
    known: Sequence[Experiment],
    repeats: Callable[[int], None],
) -> str | None:
    """Refuse what was measured already; return what to say of a change that differs in no code, and may count."""
    again = 'measure it all the same: autoresearch try --same -m "..."'
    alike: Experiment | None = None
    for e in known:
        theirs = entries(git, task, e.commit)
        if same_to_a_run(task, mine, theirs):
            repeats(e.number)
            if e == session.incumbent:
                what = "nothing has changed since" if mine == theirs else "only comments or spacing differ from"
                raise PreconditionError(f"{what} the best so far", f"change what the code does, or {again}")
            raise PreconditionError(
                f"experiment {e.number} was the same code ({e.status}: {e.description})",
                f"try something else, or repeat it on purpose with: autoresearch try --again {e.number}",
            )
        if _shape(mine) == _shape(theirs):
            alike = alike or e
    return None if alike is None else f"differs from experiment {alike.number} only in comments or spacing"


def entries(git: Git, task: TaskFile, version: str | None) -> Entries:
    """Return the mutable files of a commit or tree; nothing for a commit that is not in this repository any more."""
    found = git.reader.read(f"{version}^{{tree}}") if version else None
    return git.entries_of(found.name, mutable_paths(git, task)) if found else {}


def _shape(entries: Entries) -> Entries:
    """Return all but what is written in files: their paths and modes, links, and the commits of submodules."""
    return {path: (mode, "" if mode.startswith("100") else sha) for path, (mode, sha) in entries.items()}


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
