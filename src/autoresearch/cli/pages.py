"""Commands that show a session: `plot`, `report`, `dashboard`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autoresearch.cli.output import JsonFlag, emit, here
from autoresearch.cli.targets import target
from autoresearch.errors import UsageError
from autoresearch.system.files import write_atomic
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import find


def register(app: typer.Typer) -> None:
    for command in (plot, report, dashboard):
        app.command()(command)


def plot(
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to: .png, .svg or .pdf.",
            show_default="progress.png in the workspace",
        ),
    ] = "",
    dark: Annotated[bool, typer.Option("--dark", help="Light on dark.")] = False,
    card: Annotated[bool, typer.Option("--card", help="The shape of a preview card: 1200 x 675 pixels.")] = False,
    curves: Annotated[
        str, typer.Option(metavar="N,N", help="Instead: the learning curves of these experiments.", show_default=False)
    ] = "",
    key: Annotated[
        str, typer.Option(metavar="NAME", help="What of the curves.", show_default="the first that they have")
    ] = "",
    speed: Annotated[bool, typer.Option("--speed", help="Instead: the metric over the steps in a second.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Draw a picture of the session.

    All experiments with the best so far and the noise; or the learning curves of several experiments, or the metric
    over the speed.

    Example: autoresearch plot -o card.png --card --dark
    """
    from autoresearch.reports.picture import DARK, LIGHT

    if key and not curves:
        raise UsageError("--key is about curves", "name experiments, too: --curves 1,4")
    if curves and speed:
        raise UsageError("--curves and --speed are two pictures", "ask for one of them")
    workspace = find(here())
    session = load_session(workspace)
    look = DARK if dark else LIGHT
    look = look.card() if card else look
    path = target(workspace, output, "progress.png")
    if curves:
        from autoresearch.reports.plot_lines import draw_curves

        draw_curves(workspace, session, _numbers(curves), path, look, key or None)
    elif speed:
        from autoresearch.reports.plot_lines import draw_speed

        draw_speed(session, path, look)
    else:
        from autoresearch.reports.plot import draw

        draw(session, path, look)
    emit(as_json, {"file": str(path)}, [f"wrote {path}"])


def _numbers(words: str) -> list[int]:
    try:
        return [int(word) for word in words.split(",")]
    except ValueError:
        raise UsageError(f"{words!r} is no list of experiments", "write it like this: --curves 1,4") from None


def report(
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="FILE", help="Where to.", show_default="report.html in the workspace"),
    ] = "",
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
    path = target(workspace, output, "report.html")
    text = html_report(workspace, session, wall_clock())
    write_atomic(path, text)
    view = {"file": str(path), "bytes": len(text.encode()), "experiments": len(session.current)}
    emit(as_json, view, [f"wrote {path}"])


def dashboard(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="[DIR]...", help="Workspaces to show.", show_default="this one")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; 0 is a free one.")] = 0,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show the session as a live page.

    On this machine alone (from another one: ssh -L), read-only, until it is interrupted. The URL has a token, which the
    browser needs once.

    Example: autoresearch dashboard --open
    """
    from autoresearch.reports.dashboard.server import prepare

    shown = [here() / folder for folder in folders or [Path()]]
    gone = next((folder for folder in shown if not folder.exists()), None)
    if gone is not None:  # else its parent might be a workspace, and another one than was meant
        raise UsageError(f"there is no folder {gone}", "name the folders of workspaces: autoresearch dashboard DIR")
    url, serve = prepare(shown, port)
    emit(as_json, {"url": url}, [url, "interrupt it with Ctrl-C"])
    if open_:
        import webbrowser

        webbrowser.open(url)
    serve()
