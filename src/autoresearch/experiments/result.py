"""What an experiment came to, once its verdict is in the journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autoresearch.experiments.decide import SeedRuns
from autoresearch.experiments.recovery import apply_verdict
from autoresearch.journal.session import Experiment, Session
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import RunContext
from autoresearch.system.files import remove
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
    # Before git moves: a mirror with a verdict tells what git owes to it.
    remarks += keep_up(root, context.git, session)
    remarks += apply_verdict(root, context.git, session, experiment)
    thin_weights(context, session, experiment)
    last = runs.failed or runs.last
    assert last is not None
    return ExperimentResult(experiment, session, last, tuple(remarks))


def thin_weights(context: RunContext, session: Session, experiment: Experiment) -> None:
    """Delete the weights of an experiment and of its parent, but for those of the first seed of a kept one: what
    the other seeds left would fill a disk in a night."""
    name = context.task.run.weights
    if name is None:
        return
    for e in [experiment, *(e for e in session.current if e.commit is not None and e.commit == experiment.parent)]:
        found = sorted(
            context.workspace.run_dir(e.number, 0).parent.glob(f"*/{name}"), key=lambda path: path.parent.name
        )
        own = context.workspace.run_dir(e.number, next(iter(e.seeds), 0)) / name
        kept = own if own in found else next(iter(found), None)
        for path in found:
            if e.status != "keep" or path != kept:
                remove(path)
