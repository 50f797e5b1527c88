"""Commands that show a session: `plot`, `report`, `dashboard`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autoresearch.cli.output import JsonFlag, emit, here
from autoresearch.system.files import write_atomic
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import find


def register(app: typer.Typer) -> None:
    for command in (plot, report):
        app.command()(command)


def plot(
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Where to.")] = "progress.png",
    as_json: JsonFlag = False,
) -> None:
    """Draw the progress as a PNG.

    All experiments, the kept ones, the best so far.

    Example: autoresearch plot -o progress.png
    """
    from autoresearch.reports import plot

    session = load_session(find(here()))
    path: Path = here() / output
    plot.draw(session, path)
    emit(as_json, {"file": str(path)}, [f"wrote {path}"])


def report(
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Where to.")] = "report.html",
    as_json: JsonFlag = False,
) -> None:
    """Write the report: one HTML file.

    Claimed and confirmed gain, progress, what brought most with its changes, failures, families, time, methods, and the
    whole table. It opens from the disk, without a network, and prints.

    Example: autoresearch report -o report.html
    """
    from autoresearch.reports.report import html_report
    from autoresearch.system.clock import wall_clock

    workspace = find(here())
    session = load_session(workspace)
    text = html_report(workspace, session, wall_clock())
    path: Path = here() / output
    write_atomic(path, text)
    view = {"file": str(path), "bytes": len(text.encode()), "experiments": len(session.current)}
    emit(as_json, view, [f"wrote {path}"])
