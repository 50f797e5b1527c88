"""The command reference, made from the command line itself: `python -m autoresearch.cli.reference`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any, get_args

import typer

HEAD = """# Commands

Good for: looking up a command. Made by `python -m autoresearch.cli.reference > docs/commands.md`; do not edit it.
"""


def render(app: typer.Typer | None = None) -> str:
    """Return the reference of every command of `app` (default: the program itself) as markdown.

    The text depends on neither the terminal nor the version of typer: it is made from what the commands declare.
    """
    if app is None:
        from autoresearch.cli.app import program

        app = program()
    root = typer.main.get_command(app)
    context = _context(root, root.name or "autoresearch", None)
    parts = [HEAD, _clean(root.help), *_parameters(root, context)]
    parts += [part for command, inner in _commands(root, context) for part in _section(command, inner)]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _context(command: Any, name: str, parent: Any) -> Any:
    # typer carries its own copy of click or uses the package, by version: its classes are reached through objects.
    return command.context_class(command, info_name=name, parent=parent)


def _commands(group: Any, context: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each visible command with its context, those of inner groups after their group."""
    for name, command in getattr(group, "commands", {}).items():
        if not command.hidden:
            inner = _context(command, name, context)
            yield command, inner
            yield from _commands(command, inner)


def _section(command: Any, context: Any) -> Iterator[str]:
    # A group's own options do not belong into the path of its commands.
    path = " ".join(part for part in context.command_path.split() if not part.startswith("["))
    yield f"## `{path}`"
    prose, examples = _split(command.help)
    yield prose
    arguments = [_label(parameter) for parameter in command.params if parameter.param_type_name == "argument"]
    yield _fence([" ".join([path, "[OPTIONS]", *arguments])], "text")
    yield from _parameters(command, context)
    if examples:
        yield ("Example:" if len(examples) == 1 else "Examples:") + "\n\n" + _fence(examples, "sh")


def _split(text: str | None) -> tuple[str, list[str]]:
    """Return a help text without its examples, and the examples, one command each."""
    prose, examples = [], []
    for paragraph in _clean(text).split("\n\n"):
        head, colon, rest = paragraph.partition(":")
        if colon and head.strip() in ("Example", "Examples"):
            examples += [line.strip() for line in rest.splitlines() if line.strip()]
        else:
            prose.append(paragraph)
    return "\n\n".join(prose), examples


def _parameters(command: Any, context: Any) -> Iterator[str]:
    for title, kind in (("Arguments", "argument"), ("Options", "option")):
        lines = [
            f"- `{_label(parameter)}`" + "".join(f": {text}" for text in [_help(parameter)] if text)
            for parameter in command.params
            if parameter.param_type_name == kind and not getattr(parameter, "hidden", False)
        ]
        if lines:
            yield f"{title}:\n\n" + "\n".join(lines)


def _label(parameter: Any) -> str:
    """Return how a parameter is typed: `-m, --message TEXT`, `[DIR]`, `--json`."""
    choices = _choices(parameter)
    value = parameter.metavar or "|".join(choices) or str(parameter.name).upper()
    if parameter.param_type_name == "argument":
        value = value.removesuffix("...").removeprefix("[").removesuffix("]")
        value += "..." if parameter.nargs == -1 else ""
        return value if parameter.required else f"[{value}]"
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    return names if parameter.is_flag else f"{names} {value}"


def _help(parameter: Any) -> str:
    """Return the help of a parameter with its default and its range."""
    facts = []
    if parameter.required and parameter.param_type_name == "option":
        facts.append("required")
    shown, default = parameter.show_default, parameter.default
    if isinstance(shown, str):
        facts.append(f"default: {shown}")
    elif shown and default not in (None, False, "", [], ()) and not callable(default):
        facts.append(f"default: {default}")
    low, high = _bound(parameter, "min"), _bound(parameter, "max")
    if low is not None and high is not None:
        facts.append(f"from {low} to {high}")
    elif low is not None:
        facts.append(f"at least {low}")
    elif high is not None:
        facts.append(f"at most {high}")
    text = " ".join((parameter.help or "").split())
    return f"{text} ({'; '.join(facts)})".strip() if facts else text


def _choices(parameter: Any) -> list[str]:
    declared = getattr(parameter, "type", None)
    choices = getattr(declared, "choices", None)
    if choices is None:
        choices = get_args(getattr(getattr(parameter, "type_descriptor", None), "annotation", None))
    return [choice for choice in choices if isinstance(choice, str)]


def _bound(parameter: Any, side: str) -> float | None:
    bound: float | None = getattr(parameter, side, None)
    return getattr(getattr(parameter, "type", None), side, None) if bound is None else bound


def _clean(text: str | None) -> str:
    # \b and \f steer the wrapping of help in a terminal.
    return inspect.cleandoc(text or "").split("\f")[0].replace("\b\n", "").strip()


def _fence(lines: list[str], language: str) -> str:
    return "\n".join([f"```{language}", *lines, "```"])


if __name__ == "__main__":
    sys.stdout.buffer.write(render().encode("utf-8"))
