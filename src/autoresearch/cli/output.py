"""The output of every command: one way to print, one place where errors become a line and an exit code."""

from __future__ import annotations

import io
import json
import math
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from autoresearch.cli import streams
from autoresearch.cli.job_folders import adopt, detached_as
from autoresearch.errors import AutoresearchError, UsageError
from autoresearch.escaping import printable
from autoresearch.workspace.workspace import find

JsonFlag = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on standard output.")]


LONG_S = 10.0
"""A command that took longer says so in its last line."""

INTERRUPTED = 130
"""What the package of the command line makes of Ctrl-C; the contract has 1."""

Sections = Mapping[str, Sequence[str]]
"""What is printed, in parts that have names: `data` is what a run printed, which may be shortened."""


def emit(as_json: bool, view: dict[str, Any], lines: Sequence[str] | Sections) -> bool:
    """Print a result: the object on stdout with `--json`, else the lines. A detached command leaves it in its job.

    Returns whether somebody could read it. What was done is done when nobody could, and the exit code is its own.
    """
    sections = sections_of(lines)
    job = detached_as()
    if job is not None:
        job.keep({"view": view, "sections": sections})
    text = _object(view) if as_json else "\n".join(printable(line) for line in chain.from_iterable(sections.values()))
    failed = streams.put(sys.stdout, text + "\n" if text else "")
    if failed is not None and not streams.is_nobody(failed):
        remark(f"the output could not be written: {failed.strerror}; what was asked for is done")
    return failed is None


def sections_of(lines: Sequence[str] | Sections) -> dict[str, list[str]]:
    """Return what is printed in its parts; lines that were not divided are one."""
    parts = lines if isinstance(lines, Mapping) else {"report": lines}
    return {name: [*part] for name, part in parts.items()}


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
    streams.say(printable(text))


def finite(value: float | None) -> float | None:
    """Return the number of an option; an infinite one, or none at all, would end in times and lines that are none."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def here() -> Path:
    """Return the folder that the command works on: the current one, which `-C` has set."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise UsageError("the current folder does not exist any more", "go to another one") from None


def run(app: typer.Typer, argv: list[str]) -> NoReturn:
    """Run the command line and leave with the exit code of the contract; no traceback for what a user can cause."""
    as_json = "--json" in argv
    typed_in, began = _current(), time.monotonic()
    adopt(os.environ)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows few characters is no error
    command = typer.main.get_command(app)
    try:
        _check_words(argv)
        code = command.main(args=argv, prog_name="autoresearch", standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        seconds = time.monotonic() - began
        if seconds >= LONG_S:
            remark(f"took {seconds:.0f} s" if seconds < 600 else f"took {seconds / 60:.0f} min")
        streams.settle()
        sys.exit(code if isinstance(code, int) else 0)
    except AutoresearchError as error:
        _fail(error, as_json, typed_in)
    except KeyboardInterrupt:
        _fail(AutoresearchError("interrupted", "see: autoresearch resume"), as_json)
    except BrokenPipeError:
        sys.exit(0)  # the reader of our output is gone, as with `| head`: there is nobody left to tell
    except OSError as error:
        what = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
        _fail(AutoresearchError(what, "correct that and try again; autoresearch resume repairs a session"), as_json)
    except Exception as error:
        if _is_usage(error):
            _fail(_as_usage(error), as_json)
        raise


def _check_words(argv: list[str]) -> None:
    """Raise `UsageError` for a word that is not UTF-8, which no task file can hold. The folder of `-C` may have any
    name."""
    for before, word in zip(["", *argv], argv, strict=False):
        if before != "-C" and word.encode("utf-8", "ignore").decode() != word:
            raise UsageError(f"{word!r} is not UTF-8", "write it in UTF-8, and rename a file of that name")


def refuse_unheeded(context: typer.Context, because: str, *names: str) -> None:
    """Raise `UsageError` where an option of one of these parameters was typed, which is not heeded `because` of others.

    `because` goes on with the sentence: "with --to", "without --html".
    """
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            what = f"{max(parameter.opts, key=len)} has no effect {because}"
            raise UsageError(what, f"leave it out, or see: {context.command_path} --help")


def _fail(error: AutoresearchError, as_json: bool, typed_in: Path | None = None) -> NoReturn:
    job = detached_as()
    if job is not None:  # whoever waits for it does so in a folder of his own
        job.keep({"error": error.as_dict()})
    elif typed_in is not None:
        _place(error, typed_in)
    if as_json:
        streams.put(sys.stdout, _object({"error": error.as_dict()}) + "\n")
    remark(f"autoresearch: {error}")
    sys.exit(error.exit_code)


def _place(error: AutoresearchError, typed_in: Path) -> None:
    """Let the command of a fix, which is meant for the workspace, go there first when it was called from elsewhere."""
    here, command = _current() or typed_in, error.command or ""
    if command.endswith(" --help"):
        return  # the same everywhere, also where the folder is still to be made
    root = Path(error.folder) if error.folder is not None else _root_of(here) or here
    if root == typed_in:
        return
    if command.startswith("autoresearch ") and _root_of(typed_in) == root:
        return  # it finds the workspace from any folder in it
    error.from_folder(shlex.quote(os.path.relpath(root, typed_in)))


def _root_of(folder: Path) -> Path | None:
    try:
        return find(folder).root
    except (AutoresearchError, OSError):
        return None


def _current() -> Path | None:
    try:
        return Path.cwd()
    except OSError:
        return None


def _is_usage(error: Exception) -> bool:
    # typer carries its own copy of click or uses the package, by version: the class is found through typer.
    return any(isinstance(error, kind) for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def _as_usage(error: Any) -> UsageError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "autoresearch"
    said = error.format_message().rstrip(".").replace("Value error, ", "")  # as a library begins its sentence
    return UsageError(said, f"see: {path} --help")
