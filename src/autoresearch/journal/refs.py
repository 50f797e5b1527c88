"""The git refs of a session, and its branch: spelled here and nowhere else."""

from __future__ import annotations

from autoresearch.journal.session import Session

_MIRROR = "0-journal"

EXPERIMENTS = "refs/autoresearch"
"""The folder of all refs that keep the commits of experiments, those of every session of a repository."""


def fetch_from(clone: str) -> str:
    """Return the command that fetches the refs of every session from a clone: all of them, or none.

    git swaps a mirror, which is a tree, for any other, and refuses an experiment that is not behind the one it has; so
    where both have a session of this name, `--atomic` leaves the mirror, too.
    """
    return f"git fetch --atomic {clone} '{EXPERIMENTS}/*:{EXPERIMENTS}/*'"


def branch_of(tag: str) -> str:
    """Return the name of the branch of a session with this tag."""
    return f"autoresearch/{tag}"


def branch_ref(branch: str) -> str:
    """Return the ref of a branch."""
    return f"refs/heads/{branch}"


def ref_of(session: Session, number: int) -> str:
    """Return the ref that keeps an experiment's commit reachable."""
    return f"{folder_of(session)}/{number}"


def folder_of(session: Session) -> str:
    """Return the folder of the refs that keep the experiments of a session."""
    return tag_folder(session.segment.tag or "session")


def tag_folder(tag: str) -> str:
    """Return the folder of the refs that keep the experiments of the session with this tag."""
    return f"{EXPERIMENTS}/{tag}"


def ablation_ref(session: Session, study: int) -> str:
    """Return the ref that keeps what an ablation offers; beside the experiments', whose names are numbers."""
    return f"{folder_of(session)}/0-ablate/{study}"


def final_folder(name: str) -> str:
    """Return the folder of the refs of a stack of `finalize`, which are branches for review."""
    return branch_ref(f"finalize/{name}")


def final_branch(name: str, place: int, words: str) -> str:
    """Return one branch of a stack of `finalize`: its place from the bottom, and in a few letters what it changes."""
    return f"finalize/{name}/{place:02}-{words}"


def mirror_ref(tag: str | None) -> str:
    """Return the ref that keeps a copy of the journal of the session with this tag, beside its experiments."""
    return f"{tag_folder(tag or 'session')}/{_MIRROR}"


def earlier_mirror_ref(tag: str | None, tree: str) -> str:
    """Return the ref that keeps a copy which the journal does not go on from any more."""
    return f"{tag_folder(tag or 'session')}/{_MIRROR}-earlier/{tree[:12]}"


def is_mirror(ref: str) -> bool:
    """Whether a ref keeps a copy of a journal, the present or an earlier one."""
    return f"/{_MIRROR}" in ref


def tag_of_mirror(ref: str) -> str:
    """Return the tag of the session whose journal this ref keeps."""
    return ref.removeprefix(f"{EXPERIMENTS}/").removesuffix(f"/{_MIRROR}")


ALL_MIRRORS = f"{EXPERIMENTS}/**/{_MIRROR}"
"""A pattern of git for the copies of all journals of a repository."""
