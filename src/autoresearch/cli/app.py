"""The command line: `autoresearch COMMAND`. Each command is a small function in a module of this folder."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from autoresearch import __version__
from autoresearch.cli import exchange, experiments, history, messages, output, search, studies, workspaces
from autoresearch.errors import AutoresearchError, PreconditionError
from autoresearch.workspace.session_journal import hooks_outdated
from autoresearch.workspace.workspace import find

app = typer.Typer(
    name="autoresearch",
    help="Machine-learning research one experiment at a time: measured honestly, never lost.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _main(
    context: typer.Context,
    folder: Annotated[Path | None, typer.Option("-C", metavar="DIR", help="Work in DIR.", show_default=False)] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.", is_eager=True)] = False,
) -> None:
    if version:
        print(f"autoresearch {__version__}")
        raise typer.Exit
    if folder is not None:
        try:
            os.chdir(folder)
        except OSError as error:
            raise PreconditionError(f"{folder}: {error.strerror}", "give an existing folder with -C") from None
    context.call_on_close(_keep_hooks_informed)


def _keep_hooks_informed() -> None:
    """After any command: write anew what the hooks of coding agents read, if the session has changed since."""
    try:
        with contextlib.suppress(AutoresearchError, OSError):
            workspace = find(Path.cwd())
            if hooks_outdated(workspace):
                from autoresearch.reports.brief import remember

                remember(workspace, int(time.time()))
    finally:
        git = sys.modules.get("autoresearch.system.git")
        if git is not None:
            git.forget()


for module in (workspaces, experiments, studies, history, search, exchange, messages):
    module.register(app)


def main() -> NoReturn:
    """Entry point of the program `autoresearch`."""
    try:
        output.run(app, sys.argv[1:])
    except SystemExit as end:
        # Freeing what a long session holds, object by object, takes longer than the command itself may.
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
