"""Sessions of a repository whose journal is not where one looks: lost, but mirrored, or in another worktree."""

from __future__ import annotations

import contextlib
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from autoresearch.errors import AutoresearchError, IntegrityError, NoSession, PreconditionError
from autoresearch.journal import file as journal
from autoresearch.journal.refs import ALL_MIRRORS, branch_of, fetch_from, mirror_ref, tag_of_mirror
from autoresearch.journal.session import replay
from autoresearch.system.git import Git, git_at
from autoresearch.workspace.journal_mirror import Mirror, read_mirror, whole_lines
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Worktree:
    """A folder in which a branch of the repository is checked out."""

    top: Path
    branch: str | None


@dataclass(frozen=True, slots=True)
class MirroredSession:
    """A session that the repository has a mirror of."""

    tag: str
    mirror: Mirror
    folder: str
    """Where its workspace is, from the top of a worktree."""
    there: Path | None
    """The workspace that has its journal now; None when none has."""


def no_session(start: Path) -> NoSession:
    """Return the error for a folder without a journal: it names what brings one back, where the repository has one."""
    what, begin = f"no {journal.NAME} in {start} or above it", "autoresearch init lab --task pretrain && cd lab"
    known: list[MirroredSession] = []
    fetch = ""
    with contextlib.suppress(AutoresearchError, OSError):
        git = git_at(start)
        known = mirrored_sessions(git)
        lost = [session for session in known if session.there is None]
        if lost:
            first, names = lost[0], ", ".join(session.tag for session in lost)
            kept = f"but the repository keeps that of the session{'s' if len(lost) > 1 else ''} {names}"
            return NoSession(f"{what}, {kept}", f"bring it back: {way_back(git, first)}")
        theirs = [ref for ref in git.targets("refs/remotes") if f"/{branch_of('')}" in ref] if not known else []
        if theirs:
            branch = theirs[0].removeprefix("refs/remotes/")
            fetch = f"the journal of the session of {branch} may be had with: {fetch_command(git)}; else "
    if known:
        place = shlex.quote(str(known[-1].there))
        there = f"begin another with {begin}, or go on there: cd {place}"
        return NoSession(f"{what}; the session {known[-1].tag} is in {place}", there)
    return NoSession(what, f"{fetch}start with: {begin}")


def taken(git: Git, tag: str) -> PreconditionError | None:
    """Return the error for the name of a session that the repository knows, which may want it back; None for others."""
    if read_mirror(git, mirror_ref(tag)) is None:
        return None
    session = next((session for session in mirrored_sessions(git) if session.tag == tag), None)
    if session is None:
        return None
    other = "choose another name with --tag NAME"
    if session.there is not None:
        place = shlex.quote(str(session.there))
        return PreconditionError(f"the session {tag} is in {place}", f"{other}, or go on there: cd {place}")
    what = f"the repository keeps the journal of a session {tag}"
    return PreconditionError(what, f"{other}, or bring it back: {way_back(git, session)}")


def fetch_command(git: Git) -> str:
    """Return what brings the sessions of another repository into this one: a clone has the branches alone."""
    remotes = git.text("remote").split()
    remote = "origin" if "origin" in remotes or not remotes else remotes[0]
    return fetch_from(remote)


def mirrored_sessions(git: Git, *, but: str = "") -> list[MirroredSession]:
    """Return the sessions that the repository has mirrors of; first those whose branch is checked out here.

    The one with the tag `but` is left out.
    """
    refs = [ref for ref in git.targets(ALL_MIRRORS) if tag_of_mirror(ref) != but]
    found, trees = [], worktrees(git) if refs else []
    for ref in refs:
        with contextlib.suppress(IntegrityError):  # one that cannot be restored
            mirror = read_mirror(git, ref)
            if mirror is not None:
                tag, folder = tag_of_mirror(ref), mirror.folder(git)
                there = next((place for tree in trees if _has(place := tree.top / folder, tag)), None)
                found.append(MirroredSession(tag, mirror, folder, there))
    here = git.branch()
    return sorted(found, key=lambda session: branch_of(session.tag) != here)


def _has(folder: Path, tag: str) -> bool:
    """Whether the journal of the session with this tag is in a folder."""
    with contextlib.suppress(AutoresearchError, OSError):
        if (folder / journal.NAME).is_file():
            return (load_session(Workspace(folder)).segment.tag or "session") == tag
    return False


def worktrees(git: Git) -> list[Worktree]:
    """Return the worktrees of the repository, also those whose folder is gone."""
    trees: list[Worktree] = []
    for line in git.text("worktree", "list", "--porcelain").splitlines():
        if line.startswith("worktree "):
            trees.append(Worktree(Path(line.removeprefix("worktree ")), None))
        elif line.startswith("branch ") and trees:
            trees[-1] = Worktree(trees[-1].top, line.removeprefix("branch refs/heads/"))
    return trees


def way_back(git: Git, session: MirroredSession) -> str:
    """Return the command that restores the journal of a session, from the branch that is checked out here."""
    restore, branch = f"autoresearch resume --restore {shlex.quote(session.tag)}", branch_of(session.tag)
    if git.branch() == branch:
        return restore
    other = next((tree.top for tree in worktrees(git) if tree.branch == branch), None)
    if other is not None and other.is_dir():
        return f"cd {shlex.quote(str(other))} && {restore}"
    switch = f"git switch {shlex.quote(branch)}"
    if not any(name.endswith(f"/{branch}") for name in git.targets("refs/heads", "refs/remotes")):
        tip = _tip(git, session)
        if tip is None:
            return f"{fetch_command(git)} && {restore}"
        switch = f"git switch -c {shlex.quote(branch)} {tip[:12]}"
    prune = "git worktree prune && " if other is not None else ""
    return f"{prune}{switch} && {restore}"


def _tip(git: Git, session: MirroredSession) -> str | None:
    """Return the commit that the branch of a session was at, as far as its journal and the repository know."""
    known = replay(journal.read_lines(session.mirror.journal(git))).incumbent
    return git.resolve(known.commit) if known is not None and known.commit else None


def lost_sessions(root: Path, tag: str) -> list[str]:
    """Return a sentence for each session, but `tag`, that the repository has a mirror of and that is in no folder."""
    with contextlib.suppress(AutoresearchError):
        git = git_at(root)
        lost = [session for session in mirrored_sessions(git, but=tag) if session.there is None]
        return [
            f"the session {s.tag} of this repository is in no folder; to go on with it: {way_back(git, s)}"
            for s in lost
        ]
    return []


def lost_beside(workspace: Workspace) -> PreconditionError | None:
    """Return the error for a journal of another tool that a lost session had been begun beside; None for any other.

    That is so where git tracks such a journal: a new worktree or clone has it as it is committed.
    """
    with contextlib.suppress(AutoresearchError, OSError):
        git, content = git_at(workspace.root), whole_lines(workspace)
        for session in mirrored_sessions(git):
            place = os.path.realpath(git.top / session.folder) == os.path.realpath(workspace.root)
            if session.there is None and place and session.mirror.relation(git, content) == "shorter":
                what = (
                    f"this is only the beginning of the journal of the session {session.tag}, which the repository has"
                )
                return PreconditionError(what, f"bring it back: {way_back(git, session)}")
    return None
