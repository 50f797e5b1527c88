"""The command line: `autoresearch COMMAND`. Each command is a small function in a module of this folder."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from autoresearch import __version__
from autoresearch.cli import output, streams
from autoresearch.errors import AutoresearchError, PreconditionError, UsageError
from autoresearch.workspace.session_journal import hooks_outdated
from autoresearch.workspace.workspace import find

COMMANDS = {
    "workspaces": ("quickstart", "init", "segment", "doctor", "tasks"),
    "experiments": ("baseline", "try", "wait", "smoke"),
    "studies": ("confirm", "replicate", "ablate", "selftest"),
    "history": ("status", "log", "show", "resume", "check", "note"),
    "search": ("next", "start", "ideas"),
    "exchange": ("export", "import"),
    "audit": ("audit",),
    "sharing": ("finalize", "bundle", "replay"),
    "pages": ("plot", "report", "dashboard"),
    "messages": ("tell",),
    "install": ("install-skill", "upgrade"),
    "run": ("run", "pause", "continue", "skip", "steer"),
    "posttraining": ("generate", "judge"),
}
"""Module of this folder -> the commands that it registers."""


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
    if context.invoked_subcommand is None:  # as the library shows it, the help would be an error's sentence
        streams.say(context.get_help())
        raise typer.Exit(UsageError.exit_code)
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


def program(words: Sequence[str] = ()) -> typer.Typer:
    """Return the command line; with words that call a command of it, only with the commands of the same module.

    To import the other modules, and to build their options, would take longer than many a command itself.
    """
    made = typer.Typer(
        name="autoresearch",
        help="Machine-learning research one experiment at a time: measured honestly, never lost.",
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    made.callback(invoke_without_command=True)(_main)
    called = _command_of(words)
    only = [module for module, commands in COMMANDS.items() if called in commands]
    for module in only or COMMANDS:
        import_module(f"autoresearch.cli.{module}").register(made)
    return made


def _command_of(words: Sequence[str]) -> str | None:
    """Return the first word that is neither an option nor the folder of `-C`."""
    options = iter(words)
    for word in options:
        if word == "-C":
            next(options, None)
        elif not word.startswith("-"):
            return word
    return None


def main() -> NoReturn:
    """Entry point of the program `autoresearch`."""
    streams.mend()
    gc.set_threshold(100_000)  # most of what a command makes lives until its end: to look for garbage often finds none
    try:
        output.run(program(sys.argv[1:]), sys.argv[1:])
    except SystemExit as end:
        # Freeing what a long session holds, object by object, takes longer than the command itself may.
        streams.settle()
        os._exit(end.code if isinstance(end.code, int) else 1)
