"""`quickstart`: a first session from nothing, with the sampler as the researcher."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from autoresearch.commands import views
from autoresearch.commands.edge import clear_progress, emit, progress, remark
from autoresearch.core.errors import PreconditionError
from autoresearch.core.session import Session
from autoresearch.engine.experiment import attempt, baseline, setup_workspace, wall_clock
from autoresearch.engine.measure import Tick
from autoresearch.engine.sampler import propose
from autoresearch.engine.setup import Choice, init
from autoresearch.io.taskfile import load
from autoresearch.io.workspace import Workspace, write_atomic

BASELINE_SEEDS = 2
"""The least that shows the noise; a real session takes more."""


def run_quickstart(folder: Path, experiments: int, seconds: float, seed: int, as_json: bool) -> None:
    """Make a workspace in `folder`, measure a baseline and some experiments, print the table, draw the plot."""
    if folder.exists() and any(folder.iterdir()):
        raise PreconditionError(f"{folder} is not empty", "go on there with autoresearch status, or name a new folder")
    began = time.monotonic()
    tick = progress()
    remark(f"1/4 a workspace in {folder} (task pretrain, profile tiny, the text of the Python installation)")
    choice = Choice(
        "pretrain", tag="quickstart", source="python", profile="tiny", seconds=seconds, seeds=BASELINE_SEEDS
    )
    workspace = init(folder, choice, wall_clock())
    os.chdir(workspace.root)
    setup_workspace(workspace, tick)
    clear_progress()
    remark(f"2/4 the baseline, {BASELINE_SEEDS} runs of {seconds:g} s")
    report = baseline(workspace, BASELINE_SEEDS, wall_clock, tick=tick)
    _tell(report.session, report.experiment.number)
    remark(f"3/4 {experiments} experiments; the sampler changes one constant of train.py at a time")
    session = _experiments(workspace, report.session, experiments, random.Random(seed), tick)
    remark("4/4 the plot")
    plot = _plot(session, workspace.root / "progress.png")
    rows = [views.brief_view(session, e) for e in session.experiments]
    status = views.status_view(session, None)
    view = {
        **status,
        "workspace": str(workspace.root),
        "plot": plot,
        "log": rows,
        "seconds": round(time.monotonic() - began, 1),
    }
    lines = [
        "",
        *views.log_lines(session, rows),
        "",
        *views.status_lines(session, status)[3:-1],
        f"plot         {plot or 'no matplotlib: pip install autoresearch[plot]'}",
        f"took         {time.monotonic() - began:.0f} s",
        "",
        "What next:",
        f"  cd {folder}",
        "  autoresearch show 2 --diff           what an experiment changed and how it was judged",
        '  edit train.py, then autoresearch try -m "your idea"',
        "  start your coding agent in this folder and ask it for /autoresearch, or to follow program.md",
        "  autoresearch init lab --task pretrain     a real session: your hardware's profile, five-minute runs",
    ]
    emit(as_json, view, lines)


def _experiments(workspace: Workspace, session: Session, count: int, rng: random.Random, tick: Tick) -> Session:
    """Let the sampler propose `count` changes and measure each."""
    mutable = workspace.root / load(workspace.root).files.mutable[0]
    tried: set[str] = set()
    for _ in range(count):
        proposal = propose(mutable.read_text(encoding="utf-8"), tried, rng)
        if proposal is None:
            remark("the sampler has tried every constant")
            break
        tried.add(proposal.description)
        write_atomic(mutable, proposal.source)
        report = attempt(
            workspace, proposal.description, {"family": "constant", "name": proposal.name}, wall_clock, tick=tick
        )
        session = report.session
        _tell(session, report.experiment.number)
    return session


def _tell(session: Session, number: int) -> None:
    clear_progress()
    experiment = session.find(number)
    assert experiment is not None
    value = views.number(session, experiment.metric)
    remark(f"    {number}. {experiment.description}: {value}, {experiment.status} ({experiment.reason})")


def _plot(session: Session, path: Path) -> str | None:
    from autoresearch.commands import drawing

    try:
        drawing.draw(session, path)
    except PreconditionError:
        return None
    return str(path)
