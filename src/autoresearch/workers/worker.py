"""The program of a worker: takes one attempt from standard input, measures it, answers in a line, and ends.

A process of its own for each attempt: what `run_limited` ends after a run are the orphans of its whole process, and
what it counts is the time of all of its children, so a process can make one run at a time.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from autoresearch.errors import AutoresearchError, MachineError
from autoresearch.runs.measure import measure
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import RunContext, RunSpec
from autoresearch.system.files import remove_tree
from autoresearch.system.git import git_at
from autoresearch.system.limits import DEFAULT_SHARE, memory_of_machine
from autoresearch.system.process import signals_interrupt
from autoresearch.workers.messages import answer, spec_of
from autoresearch.workspace.python import python_of
from autoresearch.workspace.task_file import TaskFile, load
from autoresearch.workspace.workspace import Workspace


def main() -> None:
    begun, job = time.monotonic(), json.load(sys.stdin)
    if job["cores"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, job["cores"])
    outcome: Measurement | AutoresearchError
    try:
        with signals_interrupt():
            workspace = Workspace(Path(job["root"]), job["slot"])
            outcome = measured(workspace, job["slots"], spec_of(job["spec"]), os.getppid())
    except AutoresearchError as error:
        outcome = error
    except OSError as error:
        outcome = MachineError(f"the run could not be made: {error}", "see: autoresearch doctor")
    except KeyboardInterrupt:
        sys.exit(1)  # whoever asked for that does not wait for an answer
    print(answer(job["attempt"], outcome, time.monotonic() - begun), flush=True)


def measured(
    workspace: Workspace, slots: int, spec: RunSpec, parent: int, *, around: Path | None = None
) -> Measurement:
    """Make a run in one of so many slots of this machine, for a process that it must not outlive; `around` is a folder
    that has other workspaces beside this one.

    Raises as `measure` does, and `KeyboardInterrupt` when that process is gone.
    """
    task = shared(load(workspace.root), slots)

    def watch(_phase: str, _seconds: float) -> None:
        if os.getppid() != parent:  # Linux ends us with it, other systems do not
            raise KeyboardInterrupt

    context = RunContext(
        workspace, git_at(workspace.root), task, watch, python=python_of(workspace, task), owner=parent, around=around
    )
    try:
        return measure(context, spec)
    finally:
        remove_tree(workspace.scratch)


def shared(task: TaskFile, slots: int) -> TaskFile:
    """Return the task for one of so many slots: where it sets no limit of memory, each has a part of the machine's."""
    if task.run.limit_memory_gb is not None:
        return task
    part = DEFAULT_SHARE * memory_of_machine() / slots / 2**30
    return task.model_copy(update={"run": task.run.model_copy(update={"limit_memory_gb": part})})


if __name__ == "__main__":
    main()
