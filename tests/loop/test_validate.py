"""What is wrong with an edit is found before it costs a run, and what was there before is no fault of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab import task_file

from autoresearch.loop.validate import problem
from autoresearch.workspace.task_file import TaskFile, parse
from autoresearch.workspace.workspace import Workspace

BEFORE = "import math\nimport subprocess\n\ndef build_model():\n    return math.pi\n\nsubprocess.run(['true'])\n"


def task(**tables: dict[str, object]) -> TaskFile:
    return parse(task_file(**{"search": {"required": ["build_model"]}, **tables}))


def wrong(root: Path, after: str, before: str = BEFORE, **tables: dict[str, object]) -> str | None:
    (root / "train.py").write_text(after)
    files = {"train.py": before.encode()}, {"train.py": after.encode()}
    return problem(*files, Workspace(root), task(**tables), root)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ("def build_model(:\n", "it does not parse: train.py line 1"),
        ("def build(): pass\n", "build_model is not defined at the top level of train.py any more"),
        ("class A:\n    def build_model(self): pass\n", "build_model is not defined"),
        (BEFORE + "import os\nos.system('ls')\n", "line 9 calls os.system()"),
        (BEFORE + "from os import system as s\ns('ls')\n", "line 9 calls os.system()"),
        (BEFORE + "import os as o\no._exit(0)\n", "line 9 calls os._exit()"),
        (BEFORE + "input()\n", "line 8 calls input()"),
        (BEFORE + "import no_such_module\n", "train.py line 8 imports no_such_module, which is not installed"),
        (BEFORE + "import json.no_such_part\n", "imports json.no_such_part"),
        (BEFORE + "from email.nowhere import x\n", "imports email.nowhere"),
        (BEFORE + "def f():\n    import no_such_module\n", "imports no_such_module"),
    ],
)
def test_what_cannot_run_is_named(tmp_path: Path, edit: str, says: str) -> None:
    assert says in (wrong(tmp_path, edit) or "")


@pytest.mark.parametrize(
    "edit",
    [
        BEFORE,
        BEFORE + "subprocess.run(['ls'])\n",
        BEFORE + "try:\n    import no_such_module\nexcept ImportError:\n    pass\n",
        BEFORE + "import json.decoder, email.mime.text, zipimport, helper, psutil\nfrom helper import x\n",
        BEFORE + "model = 1\nmodel.eval()\nclass A:\n    def input(self): return self.input()\n",
        "from helper import build_model\n",
        "build_model = lambda: 1\n",
        BEFORE + "from . import sibling\n",
        "if 1:\n    def build_model(): pass\nelse:\n    def build_model(): pass\n",
        "try:\n    build_model, other = 1, 2\nexcept NameError:\n    pass\n",
    ],
)
def test_what_may_run_passes(tmp_path: Path, edit: str) -> None:
    (tmp_path / "helper.py").write_text("raise SystemExit('it was executed')\n")
    assert wrong(tmp_path, edit) is None


def test_what_the_parent_does_is_no_fault_of_the_edit(tmp_path: Path) -> None:
    before = BEFORE + "import no_such_module, os, socket\nos.system('ls')\n"
    assert wrong(tmp_path, before + "x = 1\nos.system('ls')\n", before, run={"network": False}) is None


def test_a_name_that_the_parent_has_not_either_is_no_fault_of_the_edit(tmp_path: Path) -> None:
    before = "globals().update(build_model=print)\nx = 1\n"
    assert wrong(tmp_path, before.replace("1", "2"), before) is None


def test_a_network_is_named_where_a_run_has_none(tmp_path: Path) -> None:
    edit = BEFORE + "from urllib.request import urlopen\n"
    assert wrong(tmp_path, edit) is None
    assert "imports urllib, and a run has no network" in (wrong(tmp_path, edit, run={"network": False}) or "")


def test_a_task_says_what_is_banned(tmp_path: Path) -> None:
    edit = BEFORE + "math.sin(1)\n"
    search = {"required": [], "banned": ["math.sin"]}
    assert "calls math.sin()" in (wrong(tmp_path, edit, search=search) or "")
    assert wrong(tmp_path, "import os\nos.system('ls')\n", search=search) is None


def test_modules_are_looked_for_in_the_python_of_a_run(tmp_path: Path) -> None:
    """A workspace with an environment of its own has other packages than this program."""
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\ncat > /dev/null\necho '[\"psutil\"]'\n")
    python.chmod(0o755)
    assert "imports psutil, which is not installed" in (wrong(tmp_path, BEFORE + "import psutil\n") or "")
    python.write_text("#!/bin/sh\nexit 1\n")
    assert wrong(tmp_path, BEFORE + "import psutil\n") is None, "nothing is said where nobody can be asked"
