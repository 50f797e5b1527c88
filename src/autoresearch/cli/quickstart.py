"""`quickstart`: a first session from nothing, with the sampler as the researcher.

All of it is real: the task, its trainer and its constants are those of the profile `tiny`, and the verdicts are those
of `run`. What is short is the budget, which is in tokens, so that every run of a seed repeats to the last digit on one
machine, and the pairs behind a verdict, of which there is one.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path

from autoresearch.cli.output import emit
from autoresearch.cli.progress import Display
from autoresearch.errors import PreconditionError
from autoresearch.experiments.baseline import baseline
from autoresearch.experiments.result import ExperimentResult
from autoresearch.journal import file as journal
from autoresearch.journal.session import Session
from autoresearch.loop.agents.sampler import Sampler
from autoresearch.loop.driver import Driver
from autoresearch.loop.options import Options
from autoresearch.reports import views
from autoresearch.reports.log_table import log_lines
from autoresearch.runs.setup import setup_workspace
from autoresearch.system.clock import wall_clock
from autoresearch.system.extras import install
from autoresearch.system.files import write_atomic
from autoresearch.workspace.init import init
from autoresearch.workspace.init_options import InitOptions
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace

BASELINE_SEEDS = 3
"""The least that shows the noise."""

PAIRS = 1
"""Behind a verdict: noise is small where a run repeats exactly; a real session takes up to seven."""

RUNS = 2
"""That an experiment takes on average, for the time that is left: three with a pair, one where the first decides."""


def run_quickstart(folder: Path, experiments: int, tokens: int, seed: int, as_json: bool) -> None:
    """Make a workspace in `folder`, measure a baseline and some experiments, print the table, draw plot and report."""
    if folder.exists() and any(folder.iterdir()):
        if (folder / journal.NAME).exists():
            there = f"cd {shlex.quote(os.path.relpath(folder))} && autoresearch status"
            raise PreconditionError(f"{folder} has a session already", f"name another folder, or go on there: {there}")
        raise PreconditionError(f"{folder} is not empty", "name a new folder: autoresearch quickstart DIR")
    began = time.monotonic()
    with Display(total=BASELINE_SEEDS + RUNS * experiments) as display:
        display.say(f"1/4 a workspace in {folder}: task pretrain, profile tiny, the text of the Python installation")
        options = InitOptions("pretrain", tag="quickstart", source="python", profile="tiny", tokens=tokens, seeds=PAIRS)
        workspace = init(folder, options, wall_clock())
        os.chdir(workspace.root)
        setup_workspace(workspace, display.tick)
        display.say(f"2/4 the baseline: train.py as it is, {BASELINE_SEEDS} runs of {tokens} tokens, for the noise")
        display.begin()
        first = baseline(workspace, BASELINE_SEEDS, wall_clock, tick=display.tick)
        display.say(_baseline_line(first), steps=BASELINE_SEEDS)
        display.say(
            f"3/4 {experiments} experiments: the sampler changes one constant of train.py, and it is trained once; "
            "what looks better is trained again beside the best, both on a new seed"
        )
        _experiments(workspace, experiments, seed, display)
        display.say("4/4 the plot and the report")
        session = load_session(workspace)
        plot, report = _plot(session, workspace.root / "progress.png"), _report(workspace, session)
    rows = [views.brief_view(session, e) for e in session.experiments]
    status, took = views.status_view(session, None), round(time.monotonic() - began, 1)
    without = f"not drawn: {install('plot')}"
    kept = [row for row in rows[1:] if row["status"] == "keep"]
    view = {**status, "workspace": str(workspace.root), "plot": plot, "report": report, "log": rows, "seconds": took}
    lines = [
        "",
        *log_lines(session, rows),
        "",
        *views.status_lines(session, status)[2:5],
        f"plot         {plot or without}",
        f"report       {report}",
        "",
        "What next:",
        *_activation(),
        f"  cd {shlex.quote(str(folder))}",
        *(f"  {command:<38}{what}" for command, what in _next((kept or rows)[-1]["experiment"], bool(kept), status)),
    ]
    emit(as_json, view, lines)


def _next(experiment: int, kept: bool, status: views.View) -> list[tuple[str, str]]:
    """Return what to do now, and what it is good for."""
    commands = [call["command"] or "" for call in status["close_calls"]]
    doubtful = [command for command in commands if "try --again" in command]  # what was kept is for confirm
    return [
        (f"autoresearch show {experiment} --diff", "what an experiment changed, and how it was judged"),
        *[("autoresearch confirm", "whether the gain holds on fresh seeds and on other data")] * kept,
        *[(command, "a discard that may be a gain: more pairs of runs tell") for command in doubtful[:1]],
        ("autoresearch run --max-hours 1", "more experiments"),
        ('autoresearch try -m "my idea"', "after an edit of train.py"),
        ("autoresearch init ../lab", "a real session: the profile of your hardware, longer runs"),
        ("claude, or another coding agent", "started in this folder, it follows program.md"),
    ]


def _activation() -> list[str]:
    """Return the line that puts `autoresearch` on the path, when only `uv run` does so now."""
    script = Path(sys.prefix) / "bin" / "activate"
    return [f"  source {script}"] if "UV_RUN_RECURSION_DEPTH" in os.environ and script.exists() else []


def _experiments(workspace: Workspace, count: int, seed: int, display: Display) -> None:
    """Let the loop make `count` experiments with the sampler, as `run --agent sampler` does."""

    def tell(result: ExperimentResult) -> None:
        _tell(display, result)

    options = Options(max_experiments=count, seed=seed)
    driver = Driver(workspace, [Sampler()], options, awake=False, tick=display.tick, say=display.say, tell=tell)
    driver.run()


def _baseline_line(report: ExperimentResult) -> str:
    session, e = report.session, report.experiment
    metric = session.metric
    better = f"{metric.name}, {metric.direction} is better"
    return f"    {e.number}. baseline: {views.number(session, e.metric)} ({better}); noise {views.noise_words(session)}"


def _tell(display: Display, report: ExperimentResult) -> None:
    session, e = report.session, report.experiment
    verdict = e.status.upper() if e.status == "keep" else e.status
    value = views.number(session, e.metric)
    display.say(f"    {e.number}. {e.description}: {value}, {verdict}: {e.reason}", steps=RUNS)


def _plot(session: Session, path: Path) -> str | None:
    from autoresearch.reports import plot

    try:
        plot.draw(session, path)
    except PreconditionError:
        return None
    return str(path)


def _report(workspace: Workspace, session: Session) -> str:
    from autoresearch.reports.report import html_report

    path = workspace.root / "report.html"
    write_atomic(path, html_report(workspace, session, wall_clock()))
    return str(path)
