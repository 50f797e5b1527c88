"""Which back-end `--workers` names."""

from __future__ import annotations

from dataclasses import replace

from autoresearch.errors import PreconditionError, UsageError
from autoresearch.runs.isolation.policy import sandbox_for
from autoresearch.runs.spec import RunContext, Tick
from autoresearch.system.git import git_at
from autoresearch.system.hardware import detect
from autoresearch.workers.base import Workers
from autoresearch.workers.board import Board
from autoresearch.workers.cluster.ray_workers import cluster
from autoresearch.workers.local import LocalWorkers
from autoresearch.workers.pool import Pool, RunMeter
from autoresearch.workspace.lock import another_loop_runs, in_use
from autoresearch.workspace.python import python_of
from autoresearch.workspace.task_file import TaskFile
from autoresearch.workspace.workspace import Workspace

MOST_SLOTS = 1024

RAY = "ray"
"""Names the cluster that this machine belongs to; `ray://HOST:PORT` one by its address."""


def slots_of(text: str) -> int | str:
    """Return how many slots `local:N` asks for, or the address of a cluster; raise `UsageError` for anything else."""
    kind, _, count = text.partition(":")
    if kind == RAY:
        address = text.removeprefix(RAY).removeprefix("://")
        host, _, port = address.rpartition(":")
        if text == RAY or (text.startswith(f"{RAY}://") and address == "auto"):
            return "auto"
        if text.startswith(f"{RAY}://") and host and port.isascii() and port.isdecimal() and 0 < int(port) < 65536:
            return address
        raise UsageError(
            f"{text!r} names no cluster", "give the address that it was started with: --workers ray://HOST:6379"
        )
    if kind != "local" or not count.isascii() or not count.isdecimal() or not 1 <= int(count) <= MOST_SLOTS:
        raise UsageError(f"{text!r} names no workers", "say how many runs at once, for instance: --workers local:2")
    return int(count)


def pool_of(workspace: Workspace, task: TaskFile, text: str, meter: RunMeter, tick: Tick | None) -> Pool:
    """Return the slots that `--workers` names, for the runs of a workspace; `meter` and `tick` are as in `Pool`.

    Raises `UsageError` for what names none or more than the machine has, and `PreconditionError` without a sandbox,
    while a loop has slots here, or for a cluster that cannot be used.
    """
    slots = slots_of(text)
    if isinstance(slots, int) and slots > 1 and sandbox_for(task) is None:
        why = "several runs at once need a sandbox: without one, nobody could tell which of them has changed a file"
        raise PreconditionError(why, "see what is missing: autoresearch doctor")
    if another_loop_runs(workspace) or any(in_use(here) for here in workspace.in_slots):
        what = "another command is at work here, and may need the slots"
        raise PreconditionError(what, "leave out --workers, or see how that goes: autoresearch status")
    workers: Workers
    if isinstance(slots, int):
        workers = LocalWorkers(workspace, slots, detect())
    else:
        python = python_of(workspace, task)
        workers = cluster(RunContext(workspace, git_at(workspace.root), task, python=python), slots)
    return Pool(workers, task.run.limit_s, meter=meter, tick=tick, board=Board(workspace))


def with_workers(context: RunContext, asked: str | Pool) -> RunContext:
    """Return the context with the slots that are asked for; as it is for an empty text. Raises as `pool_of` does."""
    if isinstance(asked, Pool):
        asked.tick = context.tick
        return replace(context, slots=asked)
    if not asked:
        return context
    limit_s = context.task.run.limit_s
    pool = pool_of(context.workspace, context.task, asked, lambda spec: context.meter(limit_s), context.tick)
    return replace(context, slots=pool)
