"""The command that says what a log is worth: `audit`."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from autoresearch.cli.output import JsonFlag, emit, here
from autoresearch.escaping import one_line

if TYPE_CHECKING:
    from autoresearch.exchange.audit import LogAudit

STEPS = 12
"""Kept changes that are listed, the last ones; all are in the JSON."""


def register(app: typer.Typer) -> None:
    app.command("audit")(audit)


def audit(
    path: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="A log, or a folder of them.")],
    noise: Annotated[
        float | None, typer.Option(metavar="SIGMA", help="Standard deviation of one run.", show_default="from the log")
    ] = None,
    metric: Annotated[str, typer.Option(metavar="NAME", help="The metric, where two could be meant.")] = "",
    direction: Annotated[
        Literal["lower", "higher"] | None, typer.Option(help="Which way is better.", show_default="from the log")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Say how much of a log's claimed gain will be there when it is run again.

    Reads what import reads: results tables and JSON lines of any tool, or our own journal; no workspace is needed. Each
    kept change gets the gain that is expected of it and the probability that it is one; the whole chain what of its
    claim will be reproduced, with a 90 % interval; and the runs that would settle what is doubtful.

    Example: autoresearch audit results.tsv

    Example: autoresearch audit results.tsv --noise 0.0005
    """
    from autoresearch.exchange.audit import audits

    place = here() / path
    files = sorted(p for p in place.iterdir() if p.suffix in (".tsv", ".csv", ".jsonl")) if place.is_dir() else [place]
    found = [(file, each) for file in files for each in audits(file, noise, metric or None, direction)]
    views = [view_of(file, each) for file, each in found]
    lines: list[str] = []
    for view in views:
        lines += [*([""] if lines else []), *lines_of(view)]
    emit(as_json, {"logs": views}, lines or [f"{place} has no log"])


def view_of(file: Path, found: LogAudit) -> dict[str, Any]:
    """Return one audit as data."""
    log, result = found.log, found.result
    statuses = [e.status for e in log.experiments]
    view: dict[str, Any] = {
        "file": file.name, "name": log.name, "metric": log.metric.name, "direction": log.metric.direction,
        "experiments": len(statuses), "kept": statuses.count("keep"), "discarded": statuses.count("discard"),
        "failed": len(statuses) - statuses.count("keep") - statuses.count("discard"),
        "skipped": [*found.skipped, *log.skipped], "remarks": list(log.remarks), "noise_from": found.origin or None,
        "logarithmic": found.logarithmic, "reason": found.reason or None, "result": None, "reruns": [],
    }  # fmt: skip
    if result is not None:
        steps = [
            {**asdict(step), "experiment": found.experiments[step.at].number,
             "description": found.experiments[step.at].description}
            for step in result.steps
        ]  # fmt: skip
        view["result"] = {**asdict(result), "steps": steps}
        view["reruns"] = [asdict(rerun) for rerun in found.reruns]
    return view


def lines_of(view: dict[str, Any]) -> list[str]:
    """Return one audit as text."""
    name = f"{view['file']}: {view['metric']}, {view['direction']} is better"
    counts = f"{view['experiments']} experiments, {view['kept']} kept, {view['failed']} failed"
    lines = [name, f"log         {counts}"]
    lines += [f"left out    {one_line(text, 160)}" for text in view["skipped"][:3]]
    result = view["result"]
    if result is None:
        lines.append(f"nothing     {view['reason']}")
        if view["noise_from"] == "not identifiable":
            lines.append("next        run the last kept code three times, then: autoresearch audit FILE --noise SIGMA")
        return lines

    def amount(value: float) -> str:
        return f"{100 * math.expm1(value):+.3g} %" if view["logarithmic"] else f"{value:+.4g}"

    spread = f", between {result['noise_low']:.3g} and {result['noise_high']:.3g}" * (view["noise_from"][0] == "e")
    scale = " of the value" if view["logarithmic"] else ""
    lines.append(f"noise       {result['noise']:.3g}{scale} per run ({view['noise_from']}{spread})")
    share = result["mean"] / result["claimed"] if result["claimed"] > 0 else math.nan
    lines.append(f"claimed     {amount(result['claimed'])}, one run against one run")
    told = f", {100 * share:.0f} % of the claim" if share == share else ""
    lines.append(f"expected    {amount(result['mean'])}{told} (90 %: {amount(result['low'])} to {amount(result['high'])})")
    lines.append(f"no effect   {100 * result['none']:.0f} % of the changes, on average")
    lines.append(f"{'n':>10}  {'claimed':>10}  {'expected':>10}  {'90 %':^24}  a gain  description")
    for step in result["steps"][-STEPS:]:
        within = f"{amount(step['low'])} to {amount(step['high'])}"
        lines.append(
            f"{step['experiment']:>10}  {amount(step['claimed']):>10}  {amount(step['mean']):>10}  {within:^24}  "
            f"{100 * step['real']:>4.0f} %  {one_line(step['description'], 60)}"
        )
    if view["reruns"]:
        cheapest = ", ".join(f"{r['experiment']} ({r['pairs']} pairs)" for r in view["reruns"][:8])
        lines.append(f"to settle   run again beside the one before it: {cheapest}")
    return lines
