"""Commands that measure: `baseline`, `try`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoresearch.commands import views
from autoresearch.commands.display import Display
from autoresearch.commands.edge import JsonFlag, emit, here
from autoresearch.core.errors import UsageError
from autoresearch.io.workspace import find

if TYPE_CHECKING:
    from autoresearch.engine.experiment import Report

AsiOption = Annotated[
    list[str] | None,
    typer.Option(
        "--asi", metavar="KEY=VALUE", help="Actionable side information; may be repeated.", show_default=False
    ),
]


def register(app: typer.Typer) -> None:
    app.command("baseline")(baseline)
    app.command("try")(try_)


def baseline(
    seeds: Annotated[
        int | None, typer.Option(min=1, max=64, help="Runs, each with its own seed.", show_default="by policy")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure the starting point and its noise.

    The commit at the tip becomes experiment 1, run several times.
    Called again with more seeds it measures the missing ones.

    Example: autoresearch baseline --seeds 3
    """
    from autoresearch.engine.experiment import baseline, wall_clock

    with Display() as display:
        report = baseline(find(here()), seeds, wall_clock, tick=display.tick)
    _tell(report, as_json)


def try_(
    message: Annotated[str, typer.Option("-m", "--message", metavar="TEXT", help="What changes, in a line.")] = "",
    asi: AsiOption = None,
    again: Annotated[
        int | None,
        typer.Option("--again", metavar="N", help="Measure the change of experiment N again.", show_default=False),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run one experiment.

    Measures the edit of the mutable files, or the one commit on top, and keeps it or takes it back.

    Example: autoresearch try -m "wider MLP" --asi hypothesis="more capacity pays at this budget"
    """
    from autoresearch.engine.experiment import attempt, wall_clock

    with Display() as display:
        report = attempt(find(here()), message.strip(), pairs(asi), wall_clock, again=again, tick=display.tick)
    _tell(report, as_json)


def pairs(given: list[str] | None) -> dict[str, Any]:
    """Return KEY=VALUE pairs as a dict; a value that is JSON (a number, true, a list) is taken as such."""
    found: dict[str, Any] = {}
    for pair in given or ():
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--asi {pair!r} is not KEY=VALUE", 'write it as: --asi hypothesis="..."')
        try:
            found[key.strip()] = json.loads(value, parse_constant=lambda name: name)
            json.dumps(found, allow_nan=False)  # 1e999 reads as infinity, which the journal cannot hold
        except (ValueError, RecursionError):
            found[key.strip()] = value
    return found


def _tell(report: Report, as_json: bool) -> None:
    view = views.verdict_view(report.session, report.experiment, report.last.excerpt, report.remarks)
    emit(as_json, view, views.verdict_lines(report.session, view))
