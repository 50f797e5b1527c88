"""Which back-end `--workers` names."""

from __future__ import annotations

from dataclasses import replace

from autoresearch.errors import PreconditionError, UsageError
from autoresearch.runs.isolation.policy import sandbox_for
from autoresearch.runs.spec import RunContext
from autoresearch.system.hardware import detect
from autoresearch.workers.local import LocalWorkers
from autoresearch.workers.pool import Pool

MOST_SLOTS = 1024


def slots_of(text: str) -> int:
    """Return how many slots `local:N` asks for; raise `UsageError` for anything else."""
    kind, _, count = text.partition(":")
    if kind != "local" or not count.isascii() or not count.isdecimal() or not 1 <= int(count) <= MOST_SLOTS:
        raise UsageError(f"{text!r} names no workers", "say how many runs at once, for instance: --workers local:2")
    return int(count)


def with_workers(context: RunContext, text: str) -> RunContext:
    """Return the context with the slots that `--workers` names; as it is for an empty text.

    Raises `UsageError` for what names none or more than the machine has, and `PreconditionError` without a sandbox.
    """
    if not text:
        return context
    slots = slots_of(text)
    if slots > 1 and sandbox_for(context.task) is None:
        why = "several runs at once need a sandbox: without one, nobody could tell which of them has changed a file"
        raise PreconditionError(why, "see what is missing: autoresearch doctor")
    workers = LocalWorkers(context.workspace, slots, detect())
    return replace(context, slots=Pool(workers, context.task.run.limit_s, meter=context.meter, tick=context.tick))
