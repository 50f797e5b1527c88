"""`replicate`: one more run of an experiment, to see whether its value comes again."""

from __future__ import annotations

from autoresearch.errors import PreconditionError, UsageError
from autoresearch.experiments.decide import among, compared
from autoresearch.experiments.preflight import preflight
from autoresearch.journal.events import repeat_line
from autoresearch.journal.session import Experiment, Session
from autoresearch.runs.spec import Tick
from autoresearch.studies.study import study_of
from autoresearch.system.clock import Clock
from autoresearch.system.process import signals_interrupt
from autoresearch.workspace.lock import lock
from autoresearch.workspace.session_journal import append, load_session
from autoresearch.workspace.workspace import Workspace


def replicate(
    root: Workspace, number: int, seed: int | None, clock: Clock, *, tick: Tick | None = None
) -> tuple[Experiment, Session, int, float]:
    """Run experiment `number` once more and record the value as a repeat; return it with the session after.

    Without `seed` with the seed of its first run, which tells whether a run can be reproduced. Raises
    `AutoresearchError` when the run fails, `PreconditionError` when there is no such experiment or commit.
    """
    with lock(root), signals_interrupt():
        context, session, _ = preflight(root, clock, tick, stops=False)
        experiment = session.find(number)
        if experiment is None or experiment.status is None:
            raise UsageError(f"there is no experiment {number}", "see: autoresearch log")
        if experiment.segment != session.segment.number:
            raise PreconditionError(
                f"experiment {number} is of another segment, which measured something else",
                f"see: autoresearch show {number}",
            )
        commit = context.git.resolve(experiment.commit or "")
        if commit is None:
            raise PreconditionError(
                f"the commit of experiment {number} is not in this repository", "see: autoresearch check"
            )
        chosen = seed if seed is not None else next(iter(experiment.seeds), 1)
        again = f"autoresearch replicate {number}" + (f" --seed {seed}" if seed is not None else "")
        about = {"experiment": number, "seed": chosen}
        with study_of(context, session, clock, "replicate", about, again) as runner:
            run = runner.measure(commit, number, chosen)
            if run.value is None:
                raise runner.fail(f"experiment {number} with seed {chosen}", run)
            value = run.value
            beside, study = among(compared(context.task.rules), run), runner.study.number
            append(root, repeat_line(number, chosen, value, context.env(), clock(), study=study, guards=beside))
            runner.end("done", {"value": value})
        session = load_session(root)
        experiment = session.find(number)
        assert experiment is not None
        return experiment, session, chosen, value
