"""The Python of a run: what the command finds as the person's shell would, and what it imports of the workspace.

A run works in a snapshot, which is another folder. Two things go wrong there unless somebody sees to them. A tool such
as `uv run` looks for the environment of the project in the folder that it is in, finds none, and makes one. And a
package that is installed from the workspace itself (`pip install -e .`, or a PYTHONPATH) is imported from the
workspace, whose files are those of the newest edit, whichever commit is measured.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from autoresearch.errors import PreconditionError
from autoresearch.workspace.workspace import Workspace

if TYPE_CHECKING:
    from autoresearch.workspace.task_file import TaskFile

MAKES = {"uv": "uv sync", "poetry": "poetry install", "pdm": "pdm install"}
"""Tool that runs a command in the environment of the project -> what makes that environment."""

HATCH = "hatch"
"""A tool of the same kind, which installs the project anew from whatever folder it is called in."""

ELSEWHERE = {"--isolated", "--no-project", "--script", "-s", "--active"}
"""Options of `uv run` with which it does not take the project's own environment."""

PROBE = """
import json, os, sys
own = os.path.dirname(os.__file__)
found = list(sys.path)
for finder in sys.meta_path:
    module = sys.modules.get(getattr(finder, "__module__", None) or "")
    found += [os.path.dirname(path) for path in getattr(module, "MAPPING", {}).values()]
found = [p for p in found if os.path.isdir(p) and not (p + os.sep).startswith(own + os.sep)]
found = [p for p in found if os.path.basename(p) not in ("site-packages", "dist-packages")]
print(json.dumps([sys.executable, "%d.%d.%d" % sys.version_info[:3], found]))
"""
"""What a Python is asked: which one it is, and where it imports from beside its own library. A package that setuptools
installs from its folder is found by a finder with a MAPPING, not by a path."""

PROBE_S = 20.0

LEAVE_OUT = "leave out the -I or -E in the command, and begin anew: autoresearch segment"

_ISOLATED = re.compile(r"\bpython[\d.]*(?:\s+-[A-DF-HJ-Za-ln-z]\w*)*\s+-(?!-)\w*[IE]\w*")
"""A Python that looks at no PYTHONPATH, in a command or a script."""


@dataclass(frozen=True, slots=True)
class Python:
    """A Python that runs would use."""

    path: str
    """Its program, as it names itself."""
    version: str
    imports: tuple[str, ...] = ()
    """Folders that it imports from, beside its own library."""

    def env(self) -> dict[str, str]:
        """Return what the journal says of it."""
        return {"python": self.version, "python_path": self.path}


def search_path(workspace: Workspace) -> str:
    """Return the PATH of a run: the workspace's own Python first, else that of the environment which is activated in
    the person's shell, else the one that runs this program.

    A workspace with a harness needs what this program was installed with, unless it has an environment of its own.
    """
    path = os.environ.get("PATH", os.defpath)
    folders = [workspace.root / ".venv" / "bin"]
    if not (workspace.root / "harness").is_dir():
        folders += _activated(path)
    python = next((folder for folder in folders if (folder / "python").exists()), Path(sys.executable).parent)
    return f"{python}{os.pathsep}{path}"


def _activated(path: str) -> list[Path]:
    """Return the folders of programs of the virtual and conda environments that are activated: on the PATH, too."""
    roots = [os.environ[name] for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if os.environ.get(name)]
    folders = [Path(root, "bin") for root in roots]
    on_path = [Path(folder) for folder in path.split(os.pathsep) if folder]
    return sorted((folder for folder in folders if folder in on_path), key=on_path.index)


def python_of(workspace: Workspace, task: TaskFile) -> Python | None:
    """Return the Python that the task's command runs, or would find as `python`; None where there is none."""
    words = _words(task.run.command)
    if _tool(words):
        project = project_environment(workspace.root, task.run.command)
        return _asked(project / "bin" / "python") if project is not None else None
    name = words[0] if words and re.fullmatch(r"(.*/)?python[\d.]*", words[0]) else "python"
    if "/" in name:
        return _asked(workspace.root / name)
    found = shutil.which(name, path=search_path(workspace))
    return _asked(Path(found)) if found is not None else None


def project_variables(workspace: Workspace, task: TaskFile) -> dict[str, str]:
    """Return what to set so that `uv run` and its like use the project's environment from within a snapshot, as it is.

    Without it they would make another one there, or write into the person's own that the project lies in the snapshot.
    """
    commands = [task.run.command, task.run.evaluate, task.run.checks, task.run.feed]
    found = {}
    starts = [_start(workspace.root, _words(command)) for command in filter(None, commands)]
    uv = _uv_environment(next((start for start in starts if start != workspace.root), workspace.root))
    if uv is not None:
        found["UV_PROJECT_ENVIRONMENT"] = str(uv)
        if not any("--isolated" in _words(command or "") for command in commands):
            found["UV_NO_SYNC"] = "1"
    for command in filter(None, commands):
        tool = _tool(_words(command))
        folder = project_environment(workspace.root, command)
        if tool in ("poetry", "pdm") and folder is not None:  # they take the one that is activated
            found["VIRTUAL_ENV"] = str(folder)
    return found


def check_project(workspace: Workspace, task: TaskFile) -> None:
    """Raise `PreconditionError` when the command asks for the environment of a project that has none yet."""
    words = _words(task.run.command)
    if words[:2] == [HATCH, "run"]:
        raise PreconditionError(
            "`hatch run` would install the project from the folder of a run into your environment",
            "go into it with `hatch shell`, and give the command without `hatch run`",
        )
    tool = _tool(words)
    if tool is None or task.run.setup is not None or project_environment(workspace.root, task.run.command) is not None:
        return
    if shutil.which(tool) is None or (tool == "uv" and not _needs_project(workspace.root, words)):
        return
    raise PreconditionError(
        f"`{tool} run` has no environment here yet, and a run must not make one", f"make it: {MAKES[tool]}"
    )


def project_environment(root: Path, command: str) -> Path | None:
    """Return the folder of the environment that a command such as `uv run ...` uses in `root`; None without one."""
    words = _words(command)
    tool = _tool(words)
    if tool is None:
        return None
    if tool == "uv":
        return _uv_environment(_start(root, words)) if _needs_project(root, words) else None
    if tool == "poetry":
        answer = _answer(_home(root), ("poetry", "env", "info", "--path"))
    else:  # pdm would make one if it were asked; it writes down which it uses
        answer = _text(_home(root) / ".pdm-python").removesuffix("/bin/python") or str(_home(root) / ".venv")
    return Path(answer) if answer and (Path(answer) / "bin" / "python").exists() else None


def redirected(python: Python | None, workspace: Workspace, snapshot: Path, env: Mapping[str, str]) -> dict[str, str]:
    """Return a PYTHONPATH with which what would be imported from the workspace is imported from a snapshot of it.

    `snapshot` is the workspace's folder in it. Empty where nothing is imported from the workspace's repository.
    """
    root = Path(os.path.realpath(_home(workspace.root)))
    top = [*_folders(root)][-1]

    def ours(place: str) -> bool:
        real = Path(os.path.realpath(place))
        return real.is_relative_to(top) and not real.is_relative_to(root / workspace.state.name)

    places = [os.path.realpath(place) for place in (python.imports if python is not None else ()) if ours(place)]
    if not places:
        return {}
    moved = [os.path.normpath(snapshot / os.path.relpath(place, root)) for place in places]
    given = [place for place in env.get("PYTHONPATH", "").split(os.pathsep) if place]
    rest = [place for place in given if not (Path(place).is_absolute() and ours(place))]
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys([*moved, *rest]))}


def past_the_snapshot(workspace: Workspace, task: TaskFile, python: Python | None) -> str | None:
    """Return that a run would import a package from the workspace and not from the commit that is measured, which
    `python -I` and `-E` do with one that is installed from there; None where that is not so."""
    given = [os.path.realpath(place) for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    if python is not None:  # of a PYTHONPATH such a Python sees nothing
        python = replace(python, imports=tuple(p for p in python.imports if os.path.realpath(p) not in given))
    moved = redirected(python, workspace, Path(), {})
    if not moved:
        return None
    words = _words(task.run.command)
    texts = [task.run.command, *(_text(workspace.root / word) for word in words if not word.endswith(".py"))]
    found = next((match for text in texts if (match := _ISOLATED.search(text))), None)
    if found is None:
        return None
    places = ", ".join(dict.fromkeys(moved["PYTHONPATH"].split(os.pathsep)))
    return (
        f"`{found[0].strip()}` imports from the workspace ({places}), not from the commit that is measured: {LEAVE_OUT}"
    )


def differs(then: Mapping[str, str], now: Python | None) -> str | None:
    """Return that another Python runs than at the beginning of the segment; None where it is the same, or not known."""
    if not then or now is None or (then.get("version"), then.get("path")) == (now.version, now.path):
        return None
    here = python_words({"version": now.version, "path": now.path})
    return f"runs use Python {here}; when the session began it was {python_words(then)}"


def python_words(about: Mapping[str, str], most: int = 70) -> str:
    """Return `version` and `path` of a Python for reading: the home folder as `~`, a long path without its middle."""
    path, home = str(about.get("path", "?")), str(Path.home())
    text = f"~{path[len(home) :]}" if path.startswith(f"{home}/") else path
    text = text if len(text) <= most else f"{text[: most // 3]}...{text[-(most - most // 3 - 3) :]}"
    return f"{about.get('version', '?')} at {text}"


def _words(command: str) -> list[str]:
    """Return the words of a command without the variables before it."""
    try:
        words = shlex.split(command)
    except ValueError:
        return []
    while words and re.match(r"\w+=", words[0]):
        words = words[1:]
    return words


def _start(root: Path, words: list[str]) -> Path:
    """Return the folder from which `uv` looks for the project: the workspace, or what an option names."""
    for word, value in zip(words, [*words[1:], ""], strict=True):
        option, _, same = word.partition("=")
        if words[0] == "uv" and option in ("--project", "--directory"):
            return root / (same or value)
    return root


def _tool(words: list[str]) -> str | None:
    """Return the tool of a command that it runs in the environment of a project."""
    before = words[1 : words.index("run")] if "run" in words[1:] else ["no run"]
    options = all(
        word.startswith("-") or known.startswith("--") for word, known in zip(before, ["", *before], strict=False)
    )
    return words[0] if words and words[0] in MAKES and options else None


def _needs_project(root: Path, words: list[str]) -> bool:
    """Whether `uv run` takes the environment of a project: there is one, and no script brings its own."""
    start = _start(root, words)
    if ELSEWHERE & {*words} or not any((folder / "pyproject.toml").is_file() for folder in _folders(start)):
        return False
    return not any(re.search(r"^# /// script$", _text(root / word), re.M) for word in words if word.endswith(".py"))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _uv_environment(root: Path) -> Path | None:
    folders = [*_folders(root)]
    if not any((folder / "pyproject.toml").is_file() for folder in folders):
        return None
    name = os.environ.get("UV_PROJECT_ENVIRONMENT") or ".venv"
    return next((folder / name for folder in folders if (folder / name / "bin" / "python").exists()), None)


def _home(root: Path) -> Path:
    """Return the workspace whose project it is: that of a laboratory, which lies in its state, is the outer one's."""
    inside = next((folder for folder in root.parents if folder.name == Workspace(root).state.name), None)
    return inside.parent if inside is not None else root


def _folders(root: Path) -> Iterator[Path]:
    """Yield the workspace and the folders above it, up to the top of its repository."""
    home = _home(root)
    for folder in (home, *home.parents):
        yield folder
        if (folder / ".git").exists():
            return


_ANSWERS: dict[tuple[Path, tuple[str, ...]], str] = {}
"""What tools have said about a project: some of them take a second for it."""


def _answer(root: Path, command: tuple[str, ...]) -> str:
    """Return what a tool says about the project in `root`, in a line; empty when it knows nothing yet."""
    known = _ANSWERS.get((root, command))
    if known is not None:
        return known
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        # Our own environment is that of the project only where the tool would say so by itself.
        env = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV" or value != sys.prefix}
        done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=PROBE_S)
        if done.returncode == 0 and done.stdout.strip():
            _ANSWERS[root, command] = done.stdout.strip()
            return _ANSWERS[root, command]
    return ""


def _asked(program: Path) -> Python | None:
    try:
        changed = program.stat().st_mtime_ns
    except OSError:
        return None
    return _probe(str(program), changed, os.environ.get("PYTHONPATH", ""))


@functools.cache
def _probe(program: str, changed: int, pythonpath: str) -> Python | None:
    """Ask a Python about itself; None when it does not answer."""
    with contextlib.suppress(OSError, ValueError, IndexError, TypeError, subprocess.TimeoutExpired):
        done = subprocess.run([program, "-c", PROBE], cwd="/", capture_output=True, text=True, timeout=PROBE_S)
        path, version, imports = json.loads(done.stdout.splitlines()[-1])
        return Python(path, version, tuple(imports))
    return None
