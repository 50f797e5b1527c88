"""A run that the machine disturbed is made again: seen from outside the run's processes, never from its value."""

from __future__ import annotations

from collections.abc import Sequence

from autoresearch.experiments.disturbance import COUNTS, disturbance, speed_of
from autoresearch.journal.events import disturbed_line
from autoresearch.journal.experiment import Speed
from autoresearch.runs.measure import measure
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import RunContext, RunSpec
from autoresearch.system.clock import Clock
from autoresearch.workspace.session_journal import append

MOST_AGAIN = 2
"""How often one run is made again; a machine that is always disturbed must not stop a session."""


def make(context: RunContext, spec: RunSpec) -> Measurement:
    """Make a run and keep account of it: here, or in a slot where the context has some."""
    if context.slots is not None:
        return context.slots.measure(spec)
    with context.meter(context.task.run.limit_s):
        return measure(context, spec)


def measure_undisturbed(
    context: RunContext,
    spec: RunSpec,
    own: Sequence[Speed],
    beside: Sequence[Speed],
    clock: Clock,
    *,
    study: int | None = None,
) -> tuple[Measurement, tuple[str, ...]]:
    """Make a run, of a study where its number is given, again while it was disturbed; return it, and what was seen
    each time.

    `own` are the speeds of the commit's other runs, `beside` those of the commit that it is compared with. What was
    disturbed is a line of the journal, and in no mean and no noise. After the last time the run counts all the same.
    Where the budget is one of work, in steps for instance, a slow run is as good as a fast one.
    """
    seen: list[str] = []
    while True:
        run = make(context, spec)
        why = "" if context.task.same_work else disturbance(run, own, beside)
        if not why or run.value is None:
            return run, tuple(seen)
        if len(seen) == MOST_AGAIN:
            return run, (*seen, f"{why}{COUNTS}")
        seen.append(why)
        line = disturbed_line(spec.experiment, spec.seed, run.value, why, speed_of(run), clock(), study=study)
        append(context.workspace, line)
