"""What a person sees first, of one workspace, as data: the report is written from it, and the page draws it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from autoresearch.errors import AutoresearchError
from autoresearch.escaping import one_line, printable
from autoresearch.experiments.recovery import laboratory
from autoresearch.experiments.stop import STOP_FILE, stop_reason
from autoresearch.journal.experiment import Experiment
from autoresearch.journal.session import Session
from autoresearch.reports import figures, summary
from autoresearch.reports.brief import tell_stop
from autoresearch.reports.methods import methods
from autoresearch.reports.time_left import running_words
from autoresearch.reports.views import View, status_view
from autoresearch.search import ideas
from autoresearch.search.families import GENERIC, Families
from autoresearch.studies.selftest import rate
from autoresearch.system.git import git_at
from autoresearch.system.git_plumbing import missing_commits
from autoresearch.workers.board import workers_view, workers_words
from autoresearch.workspace.lock import current_run, is_locked
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.task_file import TaskFile, load
from autoresearch.workspace.workspace import Workspace

IDEAS = 12
DIFF_CHARS = 40_000
"""Of one change; what is longer is cut, and says so."""


def overview(workspace: Workspace, session: Session, now: int) -> View:
    """Return the whole of it: the sentence first, and what belongs to each section; `now` is in seconds."""
    task = task_of(workspace)
    known = families_of(task)
    status = status_view(session, current_run(workspace), task.rules if task is not None else None)
    idle = status["running"] is None and not is_locked(workspace)
    tell_stop(status, workspace, session, task, now, idle=idle)
    state = state_of(workspace, session, task, now)
    return {
        "name": one_line(session.segment.name, 80) or workspace.root.name,
        "headline": summary.headline(session, status, state),
        "state": state,
        "status": status,
        "progress": figures.progress(session),
        "confirmation": summary.confirmation(session),
        "top": summary.top(session),
        "ablation": summary.ablation(session),
        "failures": summary.failures(session),
        "families": summary.families(session, known),
        "near_misses": summary.close(session),
        "time": summary.time_spent(session),
        "insights": summary.insights(session, known),
        "loop": summary.loop_quality(session, false_keeps(workspace)),
        "ideas": [one_line(idea.text, 200) for idea in ideas.read(workspace) if not idea.done][:IDEAS],
        "lineage": summary.lineage(session),
        "methods": methods(session, task),
        "secondary": list(task.metric.secondary) if task is not None else [],
        "families_known": [*known],
    }


def task_of(workspace: Workspace) -> TaskFile | None:
    """Return the task; None where it cannot be read, since a journal alone is enough to show what was measured."""
    with contextlib.suppress(AutoresearchError):
        return load(workspace.root)
    return None


def families_of(task: TaskFile | None) -> Families:
    return (task.search.families if task is not None else {}) or GENERIC


def state_of(workspace: Workspace, session: Session, task: TaskFile | None, now: int) -> View:
    """Return whether the session runs, has stopped or waits, and why, in a sentence."""
    running = current_run(workspace)
    if running is not None:
        slots = workers_view(workspace)
        beside = f" {workers_words(slots)}." if slots is not None else ""
        return {"what": "running", "text": f"Running: {running_words(running, now)}.{beside}"}
    if is_locked(workspace):
        return {"what": "running", "text": "Running: a command is at work between two runs."}
    why = STOP_FILE if workspace.stop_file.exists() else None
    if why is None and task is not None:
        why = stop_reason(task.stop, session, now)
    if why is not None:
        return {"what": "stopped", "text": f"Stopped: {why}."}
    if session.unfinished is not None:
        text = f"Interrupted: experiment {session.unfinished.number} has no verdict (autoresearch resume)."
        return {"what": "interrupted", "text": text}
    return {"what": "waiting", "text": "Nothing is running."}


def false_keeps(workspace: Workspace) -> View | None:
    """Return what `selftest` has found so far; None where it was never made."""
    with contextlib.suppress(AutoresearchError):
        lab = laboratory(workspace, git_at(workspace.root))
        if lab is not None:
            return rate(load_session(lab), load(lab.root).keep.policy).as_view()
    return None


def diff_of(workspace: Workspace, e: Experiment, most: int = DIFF_CHARS) -> str:
    """Return the change of an experiment as a patch, printable and cut to `most` characters.

    Empty where it has no parent, or its commits are not in the repository.
    """
    if not e.parent or not e.commit:
        return ""
    with contextlib.suppress(AutoresearchError):
        git = git_at(workspace.root)
        if not missing_commits(git, {e.parent, e.commit}):
            text = git.diff(e.parent, e.commit)
            cut = f"\n[cut: {len(text) - most} more characters; autoresearch show {e.number} --diff]"
            return printable(text[:most]) + (cut if len(text) > most else "")
    return ""


def harmless(value: Any, depth: int = 0, clean: Callable[[str], str] = printable) -> Any:
    """Return plain data in which every text can be shown: no terminal sequences, no control or direction characters.

    A number that JSON does not know, or that has more than 64 bits, is None, and what is nested deeper than anybody
    writes by hand is cut. `clean` is what becomes of a text.
    """
    if depth > 40:
        return "…"
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else None
    if isinstance(value, dict):
        return {clean(str(key)): harmless(inner, depth + 1, clean) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [harmless(inner, depth + 1, clean) for inner in value]
    return value
