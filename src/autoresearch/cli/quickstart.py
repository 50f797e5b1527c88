"""`quickstart`: a first session from nothing, with the sampler as the researcher."""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path

from autoresearch.cli.output import emit
from autoresearch.cli.progress import Display
from autoresearch.errors import PreconditionError
from autoresearch.experiments.attempt import attempt
from autoresearch.experiments.baseline import baseline
from autoresearch.experiments.result import ExperimentResult
from autoresearch.journal import file as journal
from autoresearch.journal.session import Session
from autoresearch.loop.agents.base import Brief, ProposalFailed
from autoresearch.loop.agents.sampler import Sampler
from autoresearch.reports import views
from autoresearch.reports.log_table import log_lines
from autoresearch.runs.setup import setup_workspace
from autoresearch.system.clock import wall_clock
from autoresearch.workspace.init import init
from autoresearch.workspace.init_options import InitOptions
from autoresearch.workspace.task_file import load
from autoresearch.workspace.workspace import Workspace

BASELINE_SEEDS = 2
"""The least that shows the noise; a real session takes more."""

CONFIRMING_SEEDS = 1
"""So few that the whole stays under five minutes on two cores; a real session takes three."""


def run_quickstart(folder: Path, experiments: int, seconds: float, seed: int, as_json: bool) -> None:
    """Make a workspace in `folder`, measure a baseline and some experiments, print the table, draw the plot."""
    if folder.exists() and any(folder.iterdir()):
        if (folder / journal.NAME).exists():
            there = f"cd {shlex.quote(os.path.relpath(folder))} && autoresearch status"
            raise PreconditionError(f"{folder} has a session already", f"go on there: {there}")
        raise PreconditionError(f"{folder} is not empty", "name a new folder: autoresearch quickstart DIR")
    began = time.monotonic()
    with Display(total=1 + BASELINE_SEEDS + experiments) as display:
        display.say(f"1/4 a workspace in {folder}: task pretrain, profile tiny, the text of the Python installation")
        options = InitOptions(
            "pretrain", tag="quickstart", source="python", profile="tiny", seconds=seconds, seeds=CONFIRMING_SEEDS
        )
        workspace = init(folder, options, wall_clock())
        os.chdir(workspace.root)
        setup_workspace(workspace, display.tick)
        display.say(f"2/4 the baseline, {BASELINE_SEEDS} runs of {seconds:g} s", steps=1)
        report = baseline(workspace, BASELINE_SEEDS, wall_clock, tick=display.tick)
        _tell(display, report, BASELINE_SEEDS)
        display.say(f"3/4 {experiments} experiments; the sampler changes constants of train.py")
        session = _experiments(workspace, report.session, experiments, seed, display)
        display.say("4/4 the plot")
        plot = _plot(session, workspace.root / "progress.png")
    rows = [views.brief_view(session, e) for e in session.experiments]
    status, took = views.status_view(session, None), round(time.monotonic() - began, 1)
    lines = [
        "",
        *log_lines(session, rows),
        "",
        *views.status_lines(session, status)[2:-1],
        f"plot         {plot or 'not drawn: pip install autoresearch[plot]'}",
        f"took         {took:.0f} s",
        "",
        "What next:",
        *_activation(),
        f"  cd {folder}",
        "  autoresearch show 2 --diff        what an experiment changed, and how it was judged",
        "  autoresearch report               all of it as one HTML file",
        '  autoresearch try -m "my idea"     after an edit of train.py',
        "  tell your coding agent, started in this folder, to follow program.md",
        "  autoresearch init ../lab          a real session: the profile of your hardware, longer runs",
    ]
    emit(as_json, {**status, "workspace": str(workspace.root), "plot": plot, "log": rows, "seconds": took}, lines)


def _activation() -> list[str]:
    """Return the line that puts `autoresearch` on the path, when only `uv run` does so now."""
    script = Path(sys.prefix) / "bin" / "activate"
    return [f"  source {script}"] if "UV_RUN_RECURSION_DEPTH" in os.environ and script.exists() else []


def _experiments(workspace: Workspace, session: Session, count: int, seed: int, display: Display) -> Session:
    """Let the sampler propose `count` changes and measure each."""
    sampler, task = Sampler(workspace=workspace), load(workspace.root)
    for _ in range(count):
        assert session.incumbent is not None
        try:
            edit = sampler.propose(
                Brief(workspace.root, session, task, session.incumbent.number, "improve", "", seed=seed)
            )
        except ProposalFailed as error:
            display.say(str(error))
            break
        report = attempt(workspace, edit.description, edit.asi, wall_clock, tick=display.tick)
        session = report.session
        _tell(display, report, 1)
    return session


def _tell(display: Display, report: ExperimentResult, steps: int) -> None:
    session, e = report.session, report.experiment
    value = views.number(session, e.metric)
    display.say(f"    {e.number}. {e.description}: {value}, {e.status} ({e.reason})", steps=steps)


def _plot(session: Session, path: Path) -> str | None:
    from autoresearch.reports import plot

    try:
        plot.draw(session, path)
    except PreconditionError:
        return None
    return str(path)
