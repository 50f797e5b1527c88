"""Commands that write a session out: `export`, `plot`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from autoresearch.commands.edge import JsonFlag, emit, here
from autoresearch.io.workspace import find, write_atomic


def register(app: typer.Typer) -> None:
    app.command()(export)
    app.command()(plot)


def export(
    format: Annotated[
        Literal["tsv", "csv"], typer.Option("--format", "-f", help="tsv is the field's results.tsv.")
    ] = "tsv",
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Where to; - is stdout.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Write the experiments as a table.

    As results.tsv in the habit of the field, or everything as CSV.

    Example: autoresearch export --format csv -o experiments.csv
    """
    from autoresearch.commands import tables

    workspace = find(here())
    session = workspace.session()
    text = tables.to_tsv(session) if format == "tsv" else tables.to_csv(session)
    if output == "-" and not as_json:
        sys.stdout.write(text)
        return
    path = here() / output if output and output != "-" else workspace.root / f"results.{format}"
    write_atomic(path, text)
    emit(as_json, {"file": str(path), "experiments": len(session.experiments)}, [f"wrote {path}"])


def plot(
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Where to.")] = "progress.png",
    as_json: JsonFlag = False,
) -> None:
    """Draw the progress as a PNG.

    All experiments, the kept ones, the best so far.

    Example: autoresearch plot -o progress.png
    """
    from autoresearch.commands import drawing

    session = find(here()).session()
    path: Path = here() / output
    drawing.draw(session, path)
    emit(as_json, {"file": str(path)}, [f"wrote {path}"])
