"""What an experiment came to, once its verdict is in the journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autoresearch.experiments.decide import SeedRuns
from autoresearch.experiments.recovery import apply_verdict
from autoresearch.journal.session import Experiment, Session
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import RunContext
from autoresearch.workspace.journal_mirror import keep_up
from autoresearch.workspace.session_journal import load_session


@dataclass(frozen=True, slots=True)
class ExperimentResult:
    """The experiment with its verdict, the session after it, and remarks."""

    experiment: Experiment
    session: Session
    last: Measurement
    """The run that decided, for its excerpt."""
    remarks: tuple[str, ...] = ()
    hooks: Mapping[str, list[str]] = field(default_factory=dict)
    """`before` and `after` -> what the person's hook said."""


def conclude(context: RunContext, runs: SeedRuns, remarks: list[str]) -> ExperimentResult:
    """Move git as the verdict says, and return the result from the journal alone."""
    root, session = context.workspace, load_session(context.workspace)
    experiment = session.find(runs.number)
    assert experiment is not None
    remarks += keep_up(
        root, context.git, session
    )  # before git moves: a mirror with a verdict tells what git owes to it
    remarks += apply_verdict(root, context.git, session, experiment)
    weights = context.task.run.weights
    if weights is not None and experiment.status != "keep":
        for path in root.run_dir(runs.number, 0).parent.glob(f"*/{weights}"):
            path.unlink()
    last = runs.failed or runs.last
    assert last is not None
    return ExperimentResult(experiment, session, last, tuple(remarks))
