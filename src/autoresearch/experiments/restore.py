"""`resume --restore`: bring a lost journal back from its mirror in the repository, and what was beside it."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from autoresearch.errors import PreconditionError, UsageError
from autoresearch.experiments.recovery import killed
from autoresearch.journal import file as journal
from autoresearch.journal.events import read_start, start_line
from autoresearch.journal.fields import Event
from autoresearch.journal.refs import branch_of, mirror_ref, tag_folder
from autoresearch.journal.session import Session
from autoresearch.system.files import write_atomic
from autoresearch.system.git import Git, git_at
from autoresearch.system.git_command import START
from autoresearch.workspace import agent_files, task_file
from autoresearch.workspace.init import leave_alone
from autoresearch.workspace.journal_mirror import Mirror, read_mirror, whole_lines
from autoresearch.workspace.lock import lock
from autoresearch.workspace.lost_session import MirroredSession, fetch_command, mirrored_sessions, way_back
from autoresearch.workspace.orphans import come_back, owner_of
from autoresearch.workspace.session_journal import session_of
from autoresearch.workspace.workspace import IGNORED, Workspace

LOST_PLACE = "go to the repository that the session was in"


def restore(start: Path, tag: str, now: int) -> tuple[Workspace, list[str]]:
    """Restore the journal of the session with this tag in the worktree that `start` is in.

    Returns its workspace and what was done, a sentence each. A journal that is there is left alone, unless it is the
    beginning of the mirrored one: then the rest is added. Raises `UsageError` when the repository has no such journal,
    and `PreconditionError`, with the way there, when this is not the place for it.
    """
    try:
        git = git_at(start)
    except PreconditionError as error:  # one that is started here would have no session, either
        error.fix = LOST_PLACE if error.fix == START else error.fix
        raise
    mirror = read_mirror(git, mirror_ref(tag))
    if mirror is None:
        known = ", ".join(session.tag for session in mirrored_sessions(git))
        fix = f"choose one of: {known}" if known else f"if another repository has it: {fetch_command(git)}"
        raise UsageError(f"the repository keeps no journal of a session {tag!r}", fix)
    workspace, mirrored = Workspace(git.top / mirror.folder(git)), mirror.journal(git)
    _check_place(git, tag, mirror, workspace)
    session = session_of(mirrored)
    count = len(session.experiments)
    done = [f"the journal of the session {tag} was restored from {mirror_ref(tag)}: {count} experiments"]
    # The journal last: until it is there and whole, this is still to be done, and can be called again.
    _lay_beside(workspace, git, mirror.pages(git))
    with _held(workspace):
        if mirror.relation(git, whole_lines(workspace)) != "shorter":
            raise _differs(workspace, tag)
        begun = next((segment for segment in session.segments if segment.branch is not None), session.segment)
        come_back(workspace, owner_of(begun.tag, begun.timestamp))
        lines, lost = _lost_experiments(workspace, git, session, now)
        write_atomic(workspace.journal, mirrored + lines)
    return workspace, [*done, *lost]


def lay_out(workspace: Workspace, git: Git, content: bytes, pages: Mapping[str, tuple[bool, bytes]]) -> None:
    """Make a checked-out folder, in which no command has been, the workspace of a journal with this content.

    `pages` are what lies beside the journal: path -> (whether it is a program, content).
    """
    _lay_beside(workspace, git, pages)
    with _held(workspace):
        write_atomic(workspace.journal, content)


def _lay_beside(workspace: Workspace, git: Git, pages: Mapping[str, tuple[bool, bytes]]) -> None:
    """Write what a session has beside its journal; what is there stays as it is."""
    agent_files.exclude(git, IGNORED)
    leave_alone(git)
    for name, (program, page) in pages.items():
        path = workspace.root / name
        if not os.path.lexists(path):
            path.parent.mkdir(exist_ok=True)
            write_atomic(path, page)
            path.chmod(0o755 if program else 0o644)
    task = task_file.load(workspace.root)
    agent_files.write_helpers(workspace, task, None)
    agent_files.write_for_agents(workspace, git, task)


@contextlib.contextmanager
def _held(workspace: Workspace) -> Iterator[None]:
    """Hold the lock of a workspace that may have no journal: then an empty one is made, if nobody else has made one."""
    workspace.state.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        workspace.journal.open("xb").close()
    with lock(workspace):
        yield


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


def _lost_experiments(workspace: Workspace, git: Git, session: Session, now: int) -> tuple[bytes, list[str]]:
    """Return lines for the experiments that have a commit under a ref and none in the mirror, and a sentence for each.

    Nothing was decided on them, as far as anyone knows; without a line, the next ones would get their numbers and refs.
    """
    last, folder = session.next_number - 1, tag_folder(session.segment.tag or "session")
    refs = {ref.removeprefix(f"{folder}/"): commit for ref, commit in git.targets(folder).items()}
    numbers = sorted(int(name) for name in refs if name.isdigit() and int(name) > last)
    events, said = list[Event](), list[str]()
    for number in numbers:
        commit = refs[str(number)]
        parent = next(iter(git.parents(commit)), None) if session.incumbent is not None else None
        start = start_line(number, commit, parent, 1, git.subject(commit), {}, "", now)
        begun = read_start(start, session.segment.number)
        events += [start, killed(workspace, session, begun, now, "its verdict was lost with the journal")]
        again = f"autoresearch try --again {number}" if parent else "autoresearch baseline"
        said.append(
            f"experiment {number} was begun after the mirror was made; its verdict, if there was one, is lost. "
            f"Measure it with: {again}"
        )
    return journal.lines_of(events), said
