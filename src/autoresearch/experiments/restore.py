"""`resume --restore`: bring a lost journal back from its mirror in the repository, and what was beside it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from autoresearch.errors import PreconditionError, UsageError
from autoresearch.experiments.recovery import killed
from autoresearch.journal.events import start_line
from autoresearch.journal.refs import branch_of, mirror_ref, tag_folder
from autoresearch.journal.session import Session
from autoresearch.system.files import write_atomic
from autoresearch.system.git import Git, git_at
from autoresearch.workspace import agent_files, task_file
from autoresearch.workspace.init import leave_alone
from autoresearch.workspace.journal_mirror import Mirror, read_mirror, whole_lines
from autoresearch.workspace.lock import lock
from autoresearch.workspace.lost_session import MirroredSession, fetch_command, mirrored_sessions, way_back
from autoresearch.workspace.session_journal import append, load_session
from autoresearch.workspace.workspace import IGNORED, Workspace


def restore(start: Path, tag: str, now: int) -> tuple[Workspace, list[str]]:
    """Restore the journal of the session with this tag in the worktree that `start` is in.

    Returns its workspace and what was done, a sentence each. A journal that is there is left alone, unless it is the
    beginning of the mirrored one: then the rest is added. Raises `UsageError` when the repository has no such journal,
    and `PreconditionError`, with the way there, when this is not the place for it.
    """
    git = git_at(start)
    mirror = read_mirror(git, mirror_ref(tag))
    if mirror is None:
        known = ", ".join(session.tag for session in mirrored_sessions(git))
        fix = f"choose one of: {known}" if known else f"if another repository has it: {fetch_command(git)}"
        raise UsageError(f"the repository keeps no journal of a session {tag!r}", fix)
    content = mirror.journal(git)
    workspace = Workspace(git.top / mirror.folder(git))
    _check_place(git, tag, mirror, workspace)
    workspace.state.mkdir(exist_ok=True)
    if not workspace.journal.exists():
        _create(workspace, content)
    with lock(workspace):
        there = whole_lines(workspace)
        if there != content:
            if mirror.relation(git, there) != "shorter":
                raise _differs(workspace, tag)
            write_atomic(workspace.journal, content)
        agent_files.exclude(git, IGNORED)
        leave_alone(git, IGNORED)
        for name, (program, page) in mirror.pages(git).items():
            path = workspace.root / name
            if not os.path.lexists(path):
                path.parent.mkdir(exist_ok=True)
                write_atomic(path, page)
                path.chmod(0o755 if program else 0o644)
        task = task_file.load(workspace.root)
        agent_files.write_helpers(workspace, task, None)
        agent_files.write_for_agents(workspace, git, task)
        session = load_session(workspace)
        count = len(session.experiments)
        done = [f"the journal of the session {tag} was restored from {mirror_ref(tag)}: {count} experiments"]
        return workspace, done + _lost_experiments(workspace, git, session, now)


def _check_place(git: Git, tag: str, mirror: Mirror, workspace: Workspace) -> None:
    """Raise `PreconditionError` unless the journal can come to this worktree and is missing there, or cut short."""
    there = next((s.there for s in mirrored_sessions(git) if s.tag == tag), None)
    if there is not None and os.path.realpath(there) != os.path.realpath(workspace.root):
        raise PreconditionError(f"the journal of the session {tag} is in {there}", f"cd {shlex.quote(str(there))}")
    if workspace.journal.exists():
        relation = mirror.relation(git, whole_lines(workspace))
        if relation in ("same", "goes on"):
            raise PreconditionError(
                f"{workspace.journal} is there and has all that its mirror has", "go on with: autoresearch resume"
            )
    branch = branch_of(tag)
    if git.branch() != branch:
        session = MirroredSession(tag, mirror, mirror.folder(git), there)
        raise PreconditionError(f"the branch of the session, {branch}, is not checked out", way_back(git, session))
    if not (workspace.root / task_file.NAME).is_file():
        path = f"{mirror.folder(git)}{task_file.NAME}"
        raise PreconditionError(
            f"{path} is not in the folder", f"bring it back: git restore {shlex.quote(':/' + path)}"
        )
    if workspace.journal.exists() and mirror.relation(git, whole_lines(workspace)) == "differs":
        raise _differs(workspace, tag)


def _differs(workspace: Workspace, tag: str) -> PreconditionError:
    aside = next(
        name for n in range(1, 1000) if not (workspace.root / (name := f"other{n if n > 1 else ''}.jsonl")).exists()
    )
    path = workspace.journal
    move = f"mv {shlex.quote(str(path))} {shlex.quote(str(path.with_name(aside)))}"
    return PreconditionError(
        f"{path} is there and has other lines than the mirror of {tag}; it is left as it is",
        f"put it aside first: {move} && autoresearch resume --restore {shlex.quote(tag)}",
    )


def _create(workspace: Workspace, content: bytes) -> None:
    """Write a journal where there is none; raise `PreconditionError` when there is one all the same."""
    whole = workspace.state / f"restored.{os.getpid()}"
    write_atomic(whole, content)
    try:
        os.link(whole, workspace.journal)
    except FileExistsError:
        raise PreconditionError(f"{workspace.journal} has just been made", "see: autoresearch status") from None
    finally:
        whole.unlink()


def _lost_experiments(workspace: Workspace, git: Git, session: Session, now: int) -> list[str]:
    """Record the experiments that have a commit under a ref and no line: the journal was lost before it was mirrored.

    Nothing was decided on them, as far as anyone knows; without a line, the next ones would get their numbers and refs.
    """
    last, folder = session.next_number - 1, tag_folder(session.segment.tag or "session")
    refs = {ref.removeprefix(f"{folder}/"): commit for ref, commit in git.targets(folder).items()}
    numbers = sorted(int(name) for name in refs if name.isdigit() and int(name) > last)
    for number in numbers:
        commit = refs[str(number)]
        parent = next(iter(git.parents(commit)), None) if session.incumbent is not None else None
        append(workspace, start_line(number, commit, parent, 1, git.subject(commit), {}, "", now))
        begun = load_session(workspace).find(number)
        assert begun is not None
        append(workspace, killed(workspace, begun, now, "its verdict was lost with the journal"))
    return [
        f"experiment {number} was begun after the mirror was made; its verdict, if there was one, is lost. "
        f"Measure it with: autoresearch try --again {number}"
        for number in numbers
    ]
