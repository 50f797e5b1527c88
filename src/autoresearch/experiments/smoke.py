"""`smoke`: a few steps of an edit, before a run is spent on it. No experiment, no score, nothing in the journal."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from autoresearch.errors import PreconditionError
from autoresearch.experiments.candidate import find_candidate
from autoresearch.experiments.preflight import preflight
from autoresearch.runs.measure import measure
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import RunSpec, Tick
from autoresearch.runs.turn import Turn
from autoresearch.system.clock import Clock
from autoresearch.system.files import remove
from autoresearch.system.git_plumbing import commit_on, object_name, write_object
from autoresearch.system.process import signals_interrupt
from autoresearch.workspace.editable import mutable_paths
from autoresearch.workspace.lock import lock
from autoresearch.workspace.task_file import NAME, TaskFile, parse
from autoresearch.workspace.workspace import Workspace

STEPS = 3
"""Enough that shapes, the optimiser's state and the second step's speed have been seen."""

SEED = 1


@dataclass(frozen=True, slots=True)
class Smoke:
    """What a quick check came to."""

    run: Measurement
    seconds: float
    """All of it, the evaluation included."""
    steps: int | None
    """Of training; None where the task has a command of its own for this."""
    log: str
    """Where its output is, relative to the workspace."""

    @property
    def passed(self) -> bool:
        """Whether the edit runs: a command of the task's own need not print a number."""
        return self.run.outcome == "ok" or (self.steps is None and self.run.outcome == "no_metric")


def smoke(root: Workspace, clock: Clock, *, tick: Tick | None = None) -> Smoke:
    """Run the edited files for a few steps in a snapshot, with the evaluator and its probes where there is a harness.

    The value that comes out is of a model that was hardly trained, and is dropped. Raises as `attempt` does before a
    run, and `PreconditionError` for a task that has neither a harness nor `[run] smoke`.
    """
    with lock(root), signals_interrupt():
        context, session, _ = preflight(root, clock, tick, stops=False)
        git, task = context.git, context.task
        roots = mutable_paths(git, task)
        if not task.task.harness and task.run.smoke is None:
            what = f"the task has no quick check: it has no harness, and {NAME} no [run] smoke"
            raise PreconditionError(what, 'measure it at once: autoresearch try -m "what changes"')
        candidate = find_candidate(git, session, task, "smoke", same=True)
        tip = candidate.commit or candidate.parent
        changed: dict[str, tuple[str, str] | None] = {}
        if candidate.commit is None:
            entries = git.entries_with(candidate.paths, roots)
            changed = {path: entries.get(path) for path in {*entries, *git.entries_of(tip, roots)}}
        smaller, text = _smaller(task, (root.root / NAME).read_text(encoding="utf-8"))
        write_object(git, "blob", text.encode())
        changed[f"{git.prefix}{NAME}"] = ("100644", object_name("blob", text.encode(), candidate.parent))
        commit = commit_on(git, tip, changed, "smoke")
        folder = root.state / "smoke"
        remove(folder)
        began, turn = time.monotonic(), Turn("smoke", 1, 1, True)
        spec = RunSpec(commit, session.next_number, SEED, folder, turn=turn)
        run = measure(replace(context, task=smaller), spec)
        for name in filter(None, ("result.json", task.run.weights)):
            remove(folder / name)
        log = (folder / "run.log").relative_to(root.root)
        others = {name: value for name, value in run.metrics.items() if not name.startswith("val_")}
        run = replace(run, value=None, metrics=others)
        return Smoke(run, time.monotonic() - began, STEPS if task.task.harness else None, str(log))


def _smaller(task: TaskFile, text: str) -> tuple[TaskFile, str]:
    """Return the task with a budget of a few steps, or with its own command for this, and its text."""
    import tomlkit

    document: Any = tomlkit.parse(text)
    run = document["run"]
    if task.task.harness:
        run["budget"] = {"steps": STEPS}
    else:
        run["command"] = task.run.smoke
        run.pop("evaluate", None)
    made = tomlkit.dumps(document)
    return parse(made), made
