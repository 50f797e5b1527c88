"""The command line is built from the one module that a command needs, or whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from lab import call

from autoresearch.cli import output
from autoresearch.cli.app import COMMANDS, program


def commands(*words: str) -> set[str]:
    return set(typer.main.get_command(program(words)).commands)  # type: ignore[attr-defined]


def test_every_command_is_listed_beside_the_module_that_registers_it() -> None:
    assert commands() == {name for names in COMMANDS.values() for name in names}
    for names in COMMANDS.values():
        for name in names:
            assert commands(name) == set(names), name


@pytest.mark.parametrize(
    ("words", "module"),
    [
        (("status", "--json"), "history"),
        (("-C", "next", "tell", "status"), "messages"),
        (("--version", "export"), "exchange"),
    ],
)
def test_the_module_is_that_of_the_command_which_is_called(words: tuple[str, ...], module: str) -> None:
    assert commands(*words) == set(COMMANDS[module])


@pytest.mark.parametrize("words", [(), ("--help",), ("stat",), ("-C", "status"), ("-C",)])
def test_without_a_command_it_is_whole(words: tuple[str, ...]) -> None:
    assert commands(*words) == commands()


@pytest.mark.parametrize("words", [(), ("-C", ".")])
def test_without_a_command_the_help_is_shown_and_nothing_else(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = call(*words, cwd=tmp_path)
    assert (done.code, done.out) == (2, "") and done.err == call("--help", cwd=tmp_path).out


def test_a_command_that_reads_imports_nothing_that_measures_or_searches() -> None:
    asked = "import sys; from autoresearch.cli.app import program; program(['status']); print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    heavy = {
        "autoresearch.cli.search",
        "autoresearch.runs.measure",
        "autoresearch.workspace.task_file",
        "psutil",
        "rich",
    }
    assert "autoresearch.cli.history" in done.stdout.split() and not heavy & set(done.stdout.split())


def test_ctrl_c_ends_a_command_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer()

    @app.command()
    def waits() -> None:
        raise KeyboardInterrupt

    @app.command()
    def other() -> None:
        pass

    with pytest.raises(SystemExit) as ended:
        output.run(app, ["waits"])
    assert ended.value.code == 1 and "interrupted" in capsys.readouterr().err
