"""Commands that measure: `baseline`, `try`; and `wait` for one that measures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoresearch.cli import jobs
from autoresearch.cli.messages import emit_with_messages
from autoresearch.cli.output import JsonFlag, here
from autoresearch.cli.progress import Display
from autoresearch.errors import UsageError
from autoresearch.reports import views
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace, find

if TYPE_CHECKING:
    from autoresearch.experiments.result import ExperimentResult

AsiOption = Annotated[
    list[str] | None,
    typer.Option(
        "--asi", metavar="KEY=VALUE", help="Actionable side information; may be repeated.", show_default=False
    ),
]


WAIT_S = 540.0
"""How long `wait` waits unless told: below the ten minutes that agents give a command."""


def register(app: typer.Typer) -> None:
    app.command("baseline")(baseline)
    app.command("try")(try_)
    app.command("wait")(wait)


def baseline(
    seeds: Annotated[
        int | None, typer.Option(min=1, max=64, help="Runs, each with its own seed.", show_default="by policy")
    ] = None,
    detach: jobs.Flag = False,
    as_json: JsonFlag = False,
) -> None:
    """Measure the starting point and its noise.

    The commit at the tip becomes experiment 1, run several times.
    Called again with more seeds it measures the missing ones.

    Example: autoresearch baseline --seeds 3
    """
    from autoresearch.experiments.baseline import baseline
    from autoresearch.system.clock import wall_clock

    workspace = find(here())
    if detach:
        jobs.detach(workspace, jobs.words("baseline", seeds=seeds), as_json)
        return
    measured = load_session(workspace).baseline
    with Display() as display, jobs.error_kept(workspace, again=measured.number if measured else None):
        report = baseline(workspace, seeds, wall_clock, tick=display.tick)
    _tell(workspace, report, as_json)


def try_(
    message: Annotated[str, typer.Option("-m", "--message", metavar="TEXT", help="What changes, in a line.")] = "",
    asi: AsiOption = None,
    again: Annotated[
        int | None,
        typer.Option("--again", metavar="N", help="Measure the change of experiment N again.", show_default=False),
    ] = None,
    detach: jobs.Flag = False,
    as_json: JsonFlag = False,
) -> None:
    """Run one experiment.

    Measures the edit of the mutable files, or the one commit on top, and keeps it or takes it back.
    With --detach it comes back when the measuring has begun, with the number to wait for.

    Example: autoresearch try -m "wider MLP" --asi hypothesis="more capacity pays at this budget"
    """
    from autoresearch.experiments.attempt import attempt
    from autoresearch.system.clock import wall_clock

    workspace, given = find(here()), pairs(asi)
    if detach:
        pairs_given = [word for pair in asi or () for word in ("--asi", pair)]
        jobs.detach(workspace, [*jobs.words("try", "-m", message, again=again), *pairs_given], as_json)
        return
    with Display() as display, jobs.error_kept(workspace):
        report = attempt(workspace, message.strip(), given, wall_clock, again=again, tick=display.tick)
    _tell(workspace, report, as_json)


def wait(
    n: Annotated[
        int | None,
        typer.Argument(metavar="N", help="Number of the experiment.", show_default="what runs, or ran last"),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long to wait at most.")] = WAIT_S,
    as_json: JsonFlag = False,
) -> None:
    """Wait for an experiment, or for what was detached.

    Prints what its try has printed, or would have, and leaves as it did.
    Past the timeout it leaves with exit code 5, and can be called again.

    Example: autoresearch wait 5 --timeout 540
    """
    workspace = find(here())
    told = jobs.wait(workspace, n, timeout)
    emit_with_messages(workspace, load_session(workspace), as_json, told["view"], told["lines"])


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


def _tell(workspace: Workspace, report: ExperimentResult, as_json: bool) -> None:
    view = views.verdict_view(report.session, report.experiment, report.last.excerpt, report.remarks)
    view["hooks"] = {when: said for when, said in report.hooks.items() if said}
    lines = views.verdict_lines(report.session, view)
    jobs.keep(workspace, report.experiment.number, {"view": view, "lines": lines})
    emit_with_messages(workspace, report.session, as_json, view, lines)
