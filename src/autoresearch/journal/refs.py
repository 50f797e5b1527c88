"""The git refs of a session: spelled here and nowhere else."""

from __future__ import annotations

from autoresearch.journal.session import Session


def ref_of(session: Session, number: int) -> str:
    """Return the ref that keeps an experiment's commit reachable."""
    return f"{folder_of(session)}/{number}"


def folder_of(session: Session) -> str:
    """Return the folder of the refs that keep the experiments of a session."""
    return f"refs/autoresearch/{session.segment.tag or 'session'}"


def ablation_ref(session: Session, study: int) -> str:
    """Return the ref that keeps what an ablation offers; beside the experiments', whose names are numbers."""
    return f"{folder_of(session)}/0-ablate/{study}"
