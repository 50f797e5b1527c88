"""Commands for tables of a session: `export` writes them, `import` reads those of other tools."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from autoresearch.cli import streams
from autoresearch.cli.output import JsonFlag, emit, here, refuse_unheeded, remark
from autoresearch.cli.progress import Display
from autoresearch.cli.targets import exported, target
from autoresearch.errors import NoSession, UsageError
from autoresearch.journal.session import Session
from autoresearch.system.files import write_atomic
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace, find

if TYPE_CHECKING:
    from autoresearch.exchange.trackers import TrackedRun


def register(app: typer.Typer) -> None:
    app.command()(export)
    app.command("import")(import_)


def export(
    context: typer.Context,
    format: Annotated[
        Literal["tsv", "csv", "jsonl", "sqlite", "parquet"],
        typer.Option(
            "--format",
            "-f",
            help="tsv: the field's results.tsv; jsonl: config and run lines; csv: all; sqlite, parquet: tables.",
        ),
    ] = "tsv",
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Where to; - is stdout.")] = "",
    table: Annotated[
        Literal["experiments", "runs", "asi", "segments", "studies", "study_runs", "curves"],
        typer.Option("--table", help="Which table, with parquet."),
    ] = "experiments",
    to: Annotated[
        Literal["tensorboard", "wandb", "mlflow", "trackio"] | None,
        typer.Option("--to", help="Instead: the runs for this tracker, into the folder FILE.", show_default=False),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write the experiments as a table.

    As results.tsv or JSON lines in the habit of the field, everything as CSV, or as a database with tables of
    experiments, runs, notes, studies and learning curves. The metrics that the task names as secondary are columns of
    their own, the last ones. Without -o, a file that is not as an earlier export has left it stays.

    Example: autoresearch export --format csv -o experiments.csv
    """
    from autoresearch.exchange import tables
    from autoresearch.workspace.task_file import secondary_of

    if to is not None:
        refuse_unheeded(context, "with --to", "format", "table")
    if format != "parquet":
        refuse_unheeded(context, "without --format parquet", "table")
    workspace = find(here())
    session = load_session(workspace)
    if to is not None:
        _to_tracker(workspace, session, to, here() / output if output else workspace.root / f"results.{to}", as_json)
        return
    path = None if output == "-" else target(workspace, output, f"results.{format}", table=True)
    if format == "sqlite" or format == "parquet":
        if path is None:
            raise UsageError(f"{format} cannot be written to standard output", "name a file with -o")
        counts = _to_database(workspace, session, path, None if format == "sqlite" else table)
        exported(workspace, path)
        rows = ", ".join(f"{count} {name}" for name, count in counts.items())
        view = {"file": str(path), "experiments": len(session.experiments), "rows": counts}
        emit(as_json, view, [f"wrote {path}: {rows}"])
        return
    write = {"tsv": tables.to_tsv, "csv": tables.to_csv, "jsonl": tables.to_jsonl}[format]
    text = write(session, secondary_of(workspace.root))
    view = {"file": str(path or "-"), "experiments": len(session.experiments)}
    if path is not None:
        write_atomic(path, text)
        exported(workspace, path)
        emit(as_json, view, [f"wrote {path}"])
    elif as_json:
        emit(as_json, {**view, "text": text}, [])
    else:
        failed = streams.put(sys.stdout, text)
        if failed is not None and not streams.is_nobody(failed):
            raise failed


def _to_tracker(workspace: Workspace, session: Session, to: str, folder: Path, as_json: bool) -> None:
    """Write the runs of the segment in force for a tracker."""
    from autoresearch.exchange.trackers import tracked_runs
    from autoresearch.reports.overview import families_of, task_of
    from autoresearch.workspace.agent_files import keep_from_git

    keep_from_git(workspace, folder)
    project, path = session.segment.tag or "session", shlex.quote(str(folder))
    found = [*tracked_runs(workspace, session, families_of(task_of(workspace)))]
    began = time.monotonic()
    with Display() as display:

        def runs() -> Iterator[TrackedRun]:
            for run in found:
                display.tick(f"writing {len(found)} runs for {to}", time.monotonic() - began)
                yield run

        if to == "tensorboard":
            from autoresearch.exchange.to_tensorboard import to_tensorboard

            count, look = to_tensorboard(folder, runs()), f"tensorboard --logdir {path}"
        elif to == "wandb":
            from autoresearch.exchange.to_wandb import to_wandb

            count, look = to_wandb(folder, project, runs()), f"wandb sync {path}/wandb/offline-run-*"
        elif to == "mlflow":
            from autoresearch.exchange.to_mlflow import to_mlflow

            count = to_mlflow(folder, project, runs())
            look = f"mlflow ui --backend-store-uri sqlite:///{path}/mlflow.db"
        else:
            from autoresearch.exchange.to_trackio import to_trackio

            count, look = to_trackio(folder, project, runs()), f"TRACKIO_DIR={path} trackio show"
    emit(as_json, {"folder": str(folder), "runs": count}, [f"wrote {folder}: {count} runs", f"look with: {look}"])


def _to_database(workspace: Workspace, session: Session, path: Path, table: str | None) -> dict[str, int]:
    """Write all tables as SQLite, or one as Parquet; return the number of rows by table."""
    from autoresearch.exchange import rows, table_files
    from autoresearch.reports.overview import families_of, task_of
    from autoresearch.workspace.agent_files import keep_from_git
    from autoresearch.workspace.task_file import secondary_of

    keep_from_git(workspace, path)
    all_of_them = rows.tables(workspace, session, families_of(task_of(workspace)), secondary_of(workspace.root))
    if table is None:
        return table_files.to_sqlite(path, all_of_them)
    return {table: table_files.to_parquet(path, all_of_them[table])}


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A results.tsv, or JSON lines of another tool.")],
    direction: Annotated[
        Literal["lower", "higher"] | None,
        typer.Option(help="Which way is better, where the file does not say.", show_default=False),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The column that counts, where several could.", show_default=False),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="All or nothing: refuse a file with a bad row.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Read the log of another tool.

    Its experiments become a segment of their own, beside those measured here; without a session, they begin one.
    What was imported already is passed over, and so are rows that cannot be read: these are listed. Which column is the
    metric, and which way of it is better, is taken from the file: from what it says, else from whether the kept rows
    moved that way, which a remark tells. Where neither is sure, nothing is read and the option that says it is named.

    Example: autoresearch import ../old/results.tsv
    """
    from autoresearch.exchange.import_log import import_log
    from autoresearch.system.clock import wall_clock

    try:
        root = find(here()).root
    except NoSession as error:
        root = here()
        if "--restore" in error.fix:
            remark(f"this begins another journal: {error}")
    done = import_log(root, here() / file, direction, wall_clock(), metric=metric, strict=strict)
    view = {"file": str(file), "segments": list(done.segments), "added": done.added, "known": done.known}
    view |= {"skipped": list(done.skipped), "remarks": list(done.remarks)}
    known = f", {done.known} were there already" if done.known else ""
    lines = [f"{done.added} experiments imported from {file}{known}; see: autoresearch log"]
    lines += [f"remark  {line}" for line in done.remarks]
    lines += [f"skipped {line}" for line in done.skipped]
    emit(as_json, view, lines)
