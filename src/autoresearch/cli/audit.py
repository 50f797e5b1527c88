"""The command that says what a log is worth: `audit`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from autoresearch.cli import jobs
from autoresearch.cli.output import JsonFlag, emit, finite, here, refuse_unheeded
from autoresearch.cli.progress import Display
from autoresearch.cli.targets import named
from autoresearch.escaping import one_line
from autoresearch.reports.views import number
from autoresearch.workspace.workspace import find

if TYPE_CHECKING:
    from autoresearch.exchange.audit import AuditedLog

STEPS = 12
"""Kept changes that are listed, the last ones; all are in the JSON and on the page."""
REMARKS = 6


def register(app: typer.Typer) -> None:
    app.command("audit")(audit)


def audit(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="A log, or a folder of them.")],
    noise: Annotated[
        float | None,
        typer.Option(
            metavar="SIGMA", help="Standard deviation of one run.", show_default="from the log", callback=finite
        ),
    ] = None,
    metric: Annotated[str, typer.Option(metavar="NAME", help="The metric, where two could be meant.")] = "",
    direction: Annotated[
        Literal["lower", "higher"] | None, typer.Option(help="Which way is better.", show_default="from the log")
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Write a page with all of it instead.")] = False,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Where to, with --html.")
    ] = "audit.html",
    replay: Annotated[
        bool, typer.Option("--replay", help="Run the doubtful changes again, in a workspace that has their commits.")
    ] = False,
    max_hours: Annotated[
        float | None, typer.Option("--max-hours", metavar="H", help="Of --replay.", show_default="until all is run")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Say how much of a log's claimed gain is true.

    Reads what import reads, results tables and JSON lines of any tool, and our own journal; no workspace is needed.
    Each kept change gets the gain that is expected of it and the probability that it is one; the whole chain what of
    its claim will be found again, with a 90 % interval; and the re-runs that would settle what is doubtful.

    With --replay it runs the doubtful ones, each beside the one it was kept over on the same seeds, the cheapest first.
    The workspace's task file says how; nothing on its branch is decided.

    Example: autoresearch audit results.tsv

    Example: autoresearch audit results.tsv --replay --max-hours 2

    Example: autoresearch audit results.tsv --noise 0.0005 --html -o audit.html
    """
    from autoresearch.exchange.audit import audit_files, audit_view
    from autoresearch.reports.audit_page import audit_page
    from autoresearch.system.files import write_atomic

    if replay:
        refuse_unheeded(context, "with --replay", "html")
    else:
        refuse_unheeded(context, "without --replay", "max_hours")
    if not html:
        refuse_unheeded(context, "without --html", "output")
    logs, unread = audit_files(here() / path, noise, metric or None, direction)
    if replay:
        words = jobs.words("audit", path, noise=noise, metric=metric or None, direction=direction, replay=True)
        _replay(logs, path, shlex.join(["autoresearch", *words]), max_hours, as_json)
        return
    views = [audit_view(log) for log in logs]
    lines: list[str] = []
    if html:
        page = named(output, "audit.html")
        write_atomic(page, audit_page(views, unread))
        emit(as_json, {"file": str(page), "logs": views, "unread": unread}, [f"wrote {page}"])
        return
    for view in views:
        lines += [*([""] if lines else []), *lines_of(view)]
    lines += [f"{'no log':<10}  {one_line(text, 200)}" for text in unread]
    emit(as_json, {"logs": views, "unread": unread}, lines)


def _replay(logs: Sequence[AuditedLog], path: Path, again: str, max_hours: float | None, as_json: bool) -> None:
    """Run the doubtful changes of one log again and say what was found."""
    from autoresearch.exchange.audit_replay import one_log, remeasure
    from autoresearch.system.clock import wall_clock

    with Display() as display:
        found, session = remeasure(find(here()), one_log(logs, path), again, max_hours, wall_clock, tick=display.tick)
    lines = [f"{'experiment':>10}  {'against':>7}  {'pairs':>7}  {'gain':>10}  {'90 %':^24}  verdict"]
    for c in found.comparisons:
        low, mean, high = (number(session, value, signed=True) for value in (c.low, c.mean, c.high))
        interval = f"{low} to {high}" if c.low is not None else ""
        said = f"{c.verdict}{f' ({one_line(c.reason, 160)})' if c.reason else ''}"
        lines.append(
            f"{c.experiment:>10}  {c.against:>7}  {f'{len(c.gains)}/{c.pairs}':>7}  {mean:>10}  {interval:^24}  {said}"
        )
    noise = found.noise.sd
    lines.append(
        f"noise       {number(session, noise)} of a run, from {found.runs} runs" if noise else "noise       none seen"
    )
    lines += [f"{'next':<10}  {again}"] if found.stopped else []
    view = {"study": session.studies[-1].number, "comparisons": [c.as_view() for c in found.comparisons],
            "noise": {"sd": noise, "dof": found.noise.dof}, "runs": found.runs, "stopped": found.stopped,
            "again": again if found.stopped else None}  # fmt: skip
    emit(as_json, view, lines)


def lines_of(view: dict[str, Any]) -> list[str]:
    """Return one audit as text."""
    many = "" if view["experiments"] == 1 else "s"
    counts = f"{view['experiments']} experiment{many}, {view['kept']} kept, {view['failed']} failed"
    lines = [f"{view['file']}: {view['metric']}, {view['direction']} is better; {counts}"]
    lines += [f"{'remark':<10}  {text}" for text in view["remarks"][:REMARKS]]
    more = len(view["remarks"]) - REMARKS
    lines += [f"{'':<10}  {more} more in --json"] if more > 0 else []
    if view["result"] is None:
        lines.append(f"{'nothing':<10}  {view['reason']}")
        if view["noise_from"] == "not identifiable":
            lines.append(f"{'next':<10}  run the last kept code some times, then give their spread: --noise SIGMA")
        return lines
    lines += [f"{what:<10}  {text}" for what, text in view["facts"]]
    lines.append(f"{'experiment':>10}  {'claimed':>10}  {'expected':>10}  {'90 %':^24}  {'a gain':>6}  description")
    for step in view["steps"][-STEPS:]:
        lines.append(
            f"{step['experiment']:>10}  {step['claimed_text']:>10}  {step['mean_text']:>10}  "
            f"{step['interval_text']:^24}  {step['real_text']:>6}  {one_line(step['description'], 60)}"
        )
    return lines
