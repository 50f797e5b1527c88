"""What the pages say is what the program does: every command in a tracked page goes through the real parser."""

from __future__ import annotations

import functools
import re
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from test_house import ROOT, tracked

from autoresearch.cli.reference import render

FENCE = re.compile(r"^( *)(`{3,}|~{3,})[^\n]*\n(.*?)^ *\2[`~]* *$", re.M | re.S)
SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.S)
START = re.compile(r"\s*(?:\$ )?(?:uv run )?autoresearch(?:\s+(?P<rest>.*))?$", re.S)
ENDS = {"|", "||", "&&", "&", ";", ">", ">>", "<", "2>", "2>&1", "&>"}


def commands(markdown: str) -> list[tuple[str, bool]]:
    """Return (what follows `autoresearch`, whether in running text) for each command of a page."""
    found = []
    for block in FENCE.findall(markdown):
        lines = iter(block[2].splitlines())
        for line in lines:
            if (match := START.match(line)) and match["rest"]:
                text = match["rest"]
                # A command goes on after a backslash and inside an open quote.
                while text.endswith("\\") or not _closed(text):
                    try:
                        text = text.removesuffix("\\") + "\n" + next(lines)
                    except StopIteration:
                        break
                found.append((text, False))
    for _, span in SPAN.findall(FENCE.sub("", markdown)):
        if (match := START.match(" ".join(span.split()))) and match["rest"] and not span.startswith("$ "):
            found.append((match["rest"], True))
    return found


def _closed(text: str) -> bool:
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return True


def arguments(text: str) -> list[str]:
    """Return the words of a command as a person would type them: one of the choices, a number for N, no brackets."""
    words = []
    for word in shlex.split(text, comments=True):
        if word in ENDS:
            break
        if word == "[OPTIONS]":
            continue
        ends = word.endswith(";")
        bare = word.rstrip(";")
        if " " not in bare:
            bare = bare.replace("[", "").replace("]", "").removesuffix("...").removesuffix("…")
            if re.fullmatch(r"<[^<>]+>", bare):
                bare = bare[1:-1]
            if re.fullmatch(r"[\w-]+(\|[\w-]+)+", bare):
                bare = bare.split("|")[0]
            if re.fullmatch(r"[NKMn]|NUMBER|SECONDS", bare):
                bare = "5"
        if not bare and words and words[-1].startswith("-"):
            bare = word  # the dots stand for a value
        if bare:
            words.append(bare)
        if ends:
            break
    return words


@functools.cache
def parser(app: typer.Typer) -> Any:
    """Return the parser of a program, whose commands do nothing."""
    group = typer.main.get_command(app)

    def silence(command: object) -> None:
        command.callback = lambda **_: None  # type: ignore[attr-defined]
        for inner in getattr(command, "commands", {}).values():
            silence(inner)

    silence(group)
    return group


def complaint(app: typer.Typer, words: list[str]) -> str | None:
    """Return what the parser of `app` says against `words`, or None; no command runs."""
    try:
        parser(app).main(args=words, prog_name="autoresearch", standalone_mode=False)
    except Exception as error:
        # The classes of errors belong to typer's own copy of click or to the package, by version.
        if not hasattr(error, "format_message"):
            raise
        return str(error.format_message())
    return None


def wrong_commands(app: typer.Typer, markdown: str) -> list[str]:
    """Return the commands of a page that the parser refuses, each with its reason."""
    known = set(parser(app).commands)
    wrong = []
    for text, running in commands(markdown):
        try:
            words = arguments(text)
        except ValueError as error:
            wrong.append(f"autoresearch {text}: {error}")
            continue
        if running and len(words) == 1 and words[0] in known:
            continue  # the name of a command, not an example of it
        if (said := complaint(app, words)) is not None:
            wrong.append(f"autoresearch {text}: {said}")
    return wrong


def small_app() -> typer.Typer:
    app = typer.Typer(name="autoresearch", help="Small.", add_completion=False, rich_markup_mode=None)

    @app.callback()
    def _main(folder: Annotated[str | None, typer.Option("-C", metavar="DIR", show_default=False)] = None) -> None:
        """Small."""

    @app.command("try")
    def _try(
        message: Annotated[str, typer.Option("-m", "--message", metavar="TEXT", help="What | changes.")],
        asi: Annotated[list[str] | None, typer.Option("--asi", metavar="KEY=VALUE", show_default=False)] = None,
        seeds: Annotated[int, typer.Option("--seeds", min=1, max=9, help="Runs.")] = 3,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        """Measure one edit.

        Told in two paragraphs.

        Examples:
          autoresearch try -m "wider"
          autoresearch try -m a --seeds 2
        """
        raise AssertionError("a command ran")

    @app.command()
    def show(
        number: Annotated[int, typer.Argument(metavar="N", help="Its number.")],
        side: Annotated[Literal["lower", "higher"], typer.Option(help="Which.")] = "lower",
        files: Annotated[list[str] | None, typer.Argument(metavar="[FILE]", help="Which files.")] = None,
    ) -> None:
        """Show one."""

    @app.command(hidden=True)
    def secret() -> None:
        """Not told."""

    return app


GOOD = """
Type `autoresearch try -m "..."`, or `autoresearch show N`; `autoresearch show` takes a number. Not `autoresearch/x`,
not `autoresearch.toml`, not `uv run train.py`. Wrapped: `autoresearch show
5 --side higher`.

```sh
autoresearch try -m "a # b" --asi k=v --asi "x=y z"   # a comment
$ autoresearch show 5 --side lower|higher | head -3
uv run autoresearch try -m TEXT [--seeds N] [--json] > out.json
autoresearch try \\
    -m "two lines" \\
    --seeds 5
autoresearch -C DIR show <N> && autoresearch nothing
autoresearch try -m "over
two lines"
autoresearch: an error that a run printed
```

  ~~~
  autoresearch show 5 a.py b.py [FILE...]
  ~~~
"""


def test_commands_that_the_parser_takes_pass() -> None:
    assert len(commands(GOOD)) == 11
    assert wrong_commands(small_app(), GOOD) == []


@pytest.mark.parametrize(
    ("markdown", "says"),
    [
        ("`autoresearch gone`", "gone"),
        ("`autoresearch try --seeds 3`", "message"),
        ("```\nautoresearch try\n```", "message"),
        ("```\nautoresearch show\n```", "N"),
        ("```\nuv run autoresearch try -m x --sseeds 3\n```", "--sseeds"),
        ("```\n$ autoresearch try -m x --seeds 12\n```", "12"),
        ("```\n$ uv run autoresearch show five\n```", "five"),
        ("```sh\nautoresearch show 5 --side up\n```", "up"),
        ("```sh\nautoresearch show 5 \\\n  --wat\n```", "--wat"),
        ("~~~~\nautoresearch -X show 5\n~~~~", "-X"),
        ('```\nautoresearch try -m "never closed\n```', "quot"),
        ("```\nautoresearch show 5 \\\n```", "escaped"),
        ("text ``autoresearch show `5` x``", "5"),
    ],
)
def test_a_command_that_the_parser_refuses_is_found(markdown: str, says: str) -> None:
    (wrong,) = wrong_commands(small_app(), markdown)
    assert says in wrong


def test_every_command_in_a_tracked_page_parses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from autoresearch.cli.app import program

    app = program()
    pages = [page for page in tracked("*.md") if "tests" not in page.relative_to(ROOT).parts]
    monkeypatch.chdir(tmp_path)
    found = {str(page.relative_to(ROOT)): wrong_commands(app, page.read_text("utf-8")) for page in pages}
    assert {page: wrong for page, wrong in found.items() if wrong} == {}
    assert list(tmp_path.iterdir()) == []


def test_the_command_reference_is_what_the_program_says() -> None:
    page = ROOT / "docs" / "commands.md"
    assert page.read_text("utf-8") == render(), "run: python -m autoresearch.cli.reference > docs/commands.md"


def test_the_reference_of_a_small_program() -> None:
    assert render(small_app()).split("\n", 4)[4] == (
        """Small.

Options:

- `-C DIR`

## `autoresearch try`

Measure one edit.

Told in two paragraphs.

```text
autoresearch try [OPTIONS]
```

Options:

- `-m, --message TEXT`: What | changes. (required)
- `--asi KEY=VALUE`
- `--seeds SEEDS`: Runs. (default: 3; from 1 to 9)
- `--json`: Print JSON.

Examples:

```sh
autoresearch try -m "wider"
autoresearch try -m a --seeds 2
```

## `autoresearch show`

Show one.

```text
autoresearch show [OPTIONS] N [FILE...]
```

Arguments:

- `N`: Its number.
- `[FILE...]`: Which files.

Options:

- `--side lower|higher`: Which. (default: lower)
"""
    )


def test_the_reference_does_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    before = render()
    for name, value in (("COLUMNS", "20"), ("TERMINAL_WIDTH", "20"), ("LC_ALL", "C"), ("FORCE_COLOR", "1")):
        monkeypatch.setenv(name, value)
    assert render() == before


def test_every_command_has_an_example_in_its_help() -> None:
    missing = [part.split("`")[1] for part in render().split("\n## ")[1:] if "\nExample" not in part]
    assert missing == []
