"""The output of every command: one way to print, one place where errors become a line and an exit code."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from autoresearch.errors import AutoresearchError, UsageError
from autoresearch.escaping import printable
from autoresearch.system.files import write_atomic

JsonFlag = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on standard output.")]


REPORT = "AUTORESEARCH_RUN_REPORT"
"""Environment variable of a detached command: the file for what it has to say. No run inherits it."""


def _report(told: dict[str, Any]) -> None:
    path = os.environ.get(REPORT)
    if path:
        write_atomic(Path(path), json.dumps(told, allow_nan=False))


def emit(as_json: bool, view: dict[str, Any], lines: Sequence[str]) -> None:
    """Print a result: the object on stdout with `--json`, else the lines."""
    _report({"view": view, "lines": [*lines]})
    if as_json:
        sys.stdout.write(_object(view) + "\n")
    else:
        for line in lines:
            sys.stdout.write(printable(line) + "\n")
    sys.stdout.flush()


def _object(view: dict[str, Any]) -> str:
    """Return a view as JSON that standard output can carry: escaped where its encoding, or a file name, needs that."""
    text = json.dumps(view, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(view, allow_nan=False)
    return text


def remark(text: str) -> None:
    """Print prose on stderr."""
    print(printable(text), file=sys.stderr, flush=True)


def here() -> Path:
    """Return the folder that the command works on: the current one, which `-C` has set."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise UsageError("the current folder does not exist any more", "cd to another one") from None


def run(app: typer.Typer, argv: list[str]) -> NoReturn:
    """Run the command line and leave with the exit code of the contract; no traceback for what a user can cause."""
    as_json = "--json" in argv
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows few characters is no error
    command = typer.main.get_command(app)
    try:
        code = command.main(args=argv, prog_name="autoresearch", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except AutoresearchError as error:
        _fail(error, as_json)
    except KeyboardInterrupt:
        _fail(AutoresearchError("interrupted", "see: autoresearch resume"), as_json)
    except BrokenPipeError:
        # The reader of our output is gone, as with `| head`: there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        what = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
        _fail(AutoresearchError(what, "correct that and try again; autoresearch resume repairs a session"), as_json)
    except Exception as error:
        if _is_usage(error):
            _fail(_as_usage(error), as_json)
        raise


def _fail(error: AutoresearchError, as_json: bool) -> NoReturn:
    _report({"error": error.as_dict()})
    if as_json:
        print(_object({"error": error.as_dict()}), flush=True)
    remark(f"autoresearch: {error}")
    sys.exit(error.exit_code)


def _is_usage(error: Exception) -> bool:
    # typer carries its own copy of click or uses the package, by version: the class is found through typer.
    return any(isinstance(error, kind) for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def _as_usage(error: Any) -> UsageError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "autoresearch"
    return UsageError(error.format_message().rstrip("."), f"see: {path} --help")
