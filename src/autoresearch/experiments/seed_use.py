"""Whether a command uses its seed: runs of different seeds that are equal say no. Then where seeds are written in the
files that ran, and what to write instead."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from autoresearch.escaping import one_line
from autoresearch.experiments.code_review import SEEDERS
from autoresearch.journal.experiment import Experiment
from autoresearch.runs.spec import SEED
from autoresearch.workspace.init_options import own_words
from autoresearch.workspace.task_file import NAME, TaskFile

MOST_FILES = 100
MOST_BYTES = 2**20
MOST_PLACES = 3
"""Places that are named; one changed line is enough mostly."""

_HAS_OS = re.compile(r"^\s*import\b.*\bos\b", re.MULTILINE)

VARIABLE = 'int(os.environ.get("AUTORESEARCH_SEED", {}))'

_NAMES = re.compile(r"^(?:\w+_)?(?:seed|random_state)$", re.IGNORECASE)
_IN_COMMAND = re.compile(r"(seed[=\s]\s*)\d+\b", re.IGNORECASE)
_IN_TEXT = re.compile(r"^\W*(?:[\w.]+[._-])?(?:seed|random_state)['\"]?\s*[:=]\s*\d+\b", re.IGNORECASE)
_OPTION = re.compile(
    r"""add_argument\(\s*(?:['"]-\w['"],\s*)?['"](--(?:\w+[_-])?seed)['"]|option\(\s*['"](--seed)['"]"""
)


@dataclass(frozen=True, slots=True)
class Place:
    """A line that has a seed as a number."""

    path: str
    line: int
    text: str
    better: str = ""
    """The same line with the seed of the run; empty where that is not known."""


def without_seed(task: TaskFile, values: Mapping[int, float]) -> bool:
    """Whether runs (seed -> value) are all the same, and the task does not say that they must be."""
    return not task.metric.exact and len(values) > 1 and len({*values.values()}) == 1


def measured_without_seed(task: TaskFile, baseline: Experiment | None) -> bool:
    """The same of a baseline."""
    return baseline is not None and without_seed(task, baseline.by_seed)


def told(root: Path, task: TaskFile, count: int) -> list[str]:
    """Return what to say of a baseline whose `count` runs were equal, a sentence each."""
    files = files_that_run(root, task)
    places = [place for path, content in files.items() for place in seeds_in(path, content)]
    option = next((m[1] or m[2] for content in files.values() if (m := _OPTION.search(content))), None)
    head = f"the command does not use its seed: {count} runs with different seeds gave the same value, so every better"
    lines = [f"{head} number is one draw, and may be luck"]
    for place in places[:MOST_PLACES]:
        better = f"; instead: {place.better}" if place.better else ""
        lines.append(f"{place.path} line {place.line} has the seed as a number: {place.text}{better}")
    better = _IN_COMMAND.sub(rf"\g<1>{SEED}", task.run.command)
    if better == task.run.command and SEED not in better and option is not None:
        better = f"{better} {option} {SEED}"
    if better != task.run.command:
        lines.append(f"the command can have it: command = {json.dumps(one_line(better, 160))} in {NAME}")
    again = f"let it use AUTORESEARCH_SEED, or {SEED} in the command; commit that, then: autoresearch segment"
    lines.append(f"{again}. Where equal runs are right (bytes, counts), say exact = true in [metric]")
    return lines


def seeds_in(path: str, content: str) -> list[Place]:
    """Return the lines of a file that have a seed as a number, in their order."""
    lines = content.split("\n")
    if not path.endswith(".py"):
        return [Place(path, n, one_line(line, 120)) for n, line in enumerate(lines, 1) if _IN_TEXT.match(line)]
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found: dict[int, Place] = {}
    missing = "" if _HAS_OS.search(content) else ", and import os"
    for node in ast.walk(tree):
        for number in _seeds_of(node):
            at, line = number.lineno, lines[number.lineno - 1]
            written = line.encode()[number.col_offset : number.end_col_offset or 0].decode("utf-8", "replace")
            before = line.encode()[: number.col_offset].decode("utf-8", "replace")
            better = before + VARIABLE.format(written) + line[len(before) + len(written) :]
            found.setdefault(at, Place(path, at, one_line(line, 120), one_line(better, 200) + missing))
    return [found[at] for at in sorted(found)]


def files_that_run(root: Path, task: TaskFile) -> dict[str, str]:
    """Return path -> text of what the command surely runs: the files that it names, what experiments change, and what
    of the workspace those import."""
    waiting = [word for word in own_words(task.run.command) if (root / word).is_file()]
    for path in task.files.mutable:
        inner = sorted((root / path).rglob("*.py")) if (root / path).is_dir() else [root / path]
        waiting += [file.relative_to(root).as_posix() for file in inner if file.is_file()]
    found: dict[str, str] = {}
    while waiting and len(found) < MOST_FILES:
        path = PurePosixPath(waiting.pop(0)).as_posix()
        if path in found or (root / path).stat().st_size > MOST_BYTES:
            continue
        found[path] = (root / path).read_text(encoding="utf-8", errors="replace")
        waiting += _imported(root, path, found[path])
    return found


def _seeds_of(node: ast.AST) -> Iterator[ast.Constant]:
    """Yield the whole numbers that a piece of code takes for a seed."""
    values: list[ast.expr] = []
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        values += node.args[:1] if name in SEEDERS else []
        values += [each.value for each in node.keywords if each.arg and _NAMES.match(each.arg)]
    elif isinstance(node, ast.Assign):
        names = [getattr(target, "id", getattr(target, "attr", "")) for target in node.targets]
        values += [node.value] if any(map(_NAMES.match, names)) else []
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        values += [node.value] if _NAMES.match(getattr(node.target, "id", "")) else []
    for value in values:
        sides = [value.left, value.right] if isinstance(value, ast.BinOp) else [value]
        for side in sides:
            if isinstance(side, ast.Constant) and type(side.value) is int:
                yield side


def _imported(root: Path, path: str, content: str) -> Iterator[str]:
    """Yield the files of the workspace that a Python file imports."""
    if not path.endswith(".py"):
        return
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    folders = [*dict.fromkeys([PurePosixPath(path).parent, PurePosixPath()])]
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            names = [base, *(f"{base}.{alias.name}".lstrip(".") for alias in node.names)]
        for name in names:
            for folder in folders:
                stem = folder.joinpath(*name.split("."))
                for file in (f"{stem}.py", f"{stem}/__init__.py"):
                    if name and (root / file).is_file():
                        yield file
