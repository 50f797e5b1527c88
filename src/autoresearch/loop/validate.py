"""What is wrong with an agent's edit, found before a run costs anything: by its syntax trees, without running it.

What the parent's version does already is no fault of the edit. Only Python is looked at.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from autoresearch.experiments.code_fingerprint import syntax_error
from autoresearch.experiments.code_review import NETWORK
from autoresearch.workspace.python import search_path
from autoresearch.workspace.task_file import TaskFile
from autoresearch.workspace.workspace import Workspace

FIND_S = 20.0
"""How long the run's Python may take to look for modules; where it takes longer, nothing is said against them."""

FIND = r"""
import importlib.machinery, importlib.util, json, sys
folders, names = json.loads(sys.stdin.read())
sys.path[:] = folders + [path for path in sys.path if path]
def there(name):
    first, path = True, None
    here = ""
    for part in name.split("."):
        here = f"{here}.{part}" if here else part
        if first and here in sys.stdlib_module_names:
            spec = importlib.machinery.PathFinder.find_spec(here)
            if spec is None:
                return True  # built in
        else:
            spec = importlib.util.find_spec(here) if first else importlib.machinery.PathFinder.find_spec(here, path)
        first = False
        if spec is None:
            return False
        if spec.submodule_search_locations is None:
            return True  # a module, not a package: what is in it shows only when it runs
        path = list(spec.submodule_search_locations)
    return True
print(json.dumps([n for n in names if not there(n)]))
"""
"""Finds modules as an import would, and executes none of them: not even the packages that they are in."""


def problem(
    before: Mapping[str, bytes], after: Mapping[str, bytes], workspace: Workspace, task: TaskFile, top: Path
) -> str | None:
    """Return what is wrong with the change from `before` to `after` (path -> content), in a sentence, or None.

    `top` has the files of `after` and all others of the repository, so that their own modules are found.
    """
    changed = sorted(path for path in after if path.endswith(".py") and after[path] != before.get(path))
    for path in changed:
        wrong = syntax_error(path, after[path])
        if wrong is not None:
            return f"it does not parse: {wrong}"
    trees = {path: _tree(after[path]) for path in changed}
    old = [tree for path in before if path.endswith(".py") and (tree := _tree(before[path])) is not None]
    new = [tree for tree in trees.values() if tree is not None]
    return (
        _missing_names(before, after, task)
        or _banned_calls(old, new, task)
        or _network(old, new, task)
        or _missing_modules(old, trees, workspace, top)
    )


def _tree(content: bytes) -> ast.Module | None:
    try:
        return ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


# --- what the task needs ---


def _missing_names(before: Mapping[str, bytes], after: Mapping[str, bytes], task: TaskFile) -> str | None:
    """Name a required definition that was there and that no file has any more."""
    there, had = _defined(after), _defined(before)
    lost = [name for name in task.search.required if name in had and name not in there]
    if not lost:
        return None
    file = next((f" of {path}" for path in before if lost[0] in _defined({path: before[path]})), "")
    return f"{lost[0]} is not defined at the top level{file} any more, and the task needs it"


def _defined(files: Mapping[str, bytes]) -> set[str]:
    """Return the names that Python files define at their top level, or import there, also under a condition."""
    names: set[str] = set()
    for path, content in files.items():
        tree = _tree(content) if path.endswith(".py") else None
        waiting: list[ast.AST] = [tree] if tree is not None else []
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.Name):
                names |= {node.id} if isinstance(node.ctx, ast.Store) else set()
            elif not isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
                waiting += ast.iter_child_nodes(node)  # `if`, `try`, `with`, and what an assignment unpacks into
    return names


# --- what no run should do ---


def _banned_calls(old: list[ast.Module], new: list[ast.Module], task: TaskFile) -> str | None:
    known = {name for tree in old for name, _ in _calls(tree)}
    for tree in new:
        for name, line in _calls(tree):
            if name in task.search.banned and name not in known:
                return f"line {line} calls {name}(), which no edit may bring in"
    return None


def _calls(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield (name, line) of each call, by the name that the called thing has where it is defined: `os.system`."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update({alias.asname: alias.name for alias in node.names if alias.asname})
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            first, dot, rest = _dotted(node.func).partition(".")
            if first:
                yield names.get(first, first) + dot + rest, node.lineno


def _dotted(node: ast.expr) -> str:
    """Return `a.b.c` for a chain of names; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return ""


def _network(old: list[ast.Module], new: list[ast.Module], task: TaskFile) -> str | None:
    if task.run.network:
        return None
    known = {name.partition(".")[0] for tree in old for name, _, _ in _imports(tree)}
    for tree in new:
        for name, line, _ in _imports(tree):
            root = name.partition(".")[0]
            if root in NETWORK and root not in known:
                return f"line {line} imports {root}, and a run has no network"
    return None


# --- modules that are not there ---


def _missing_modules(
    old: list[ast.Module], trees: Mapping[str, ast.Module | None], workspace: Workspace, top: Path
) -> str | None:
    """Name a module that an edit brings in and that the Python of a run does not find."""
    known = {name for tree in old for name, _, _ in _imports(tree)}
    wanted: dict[str, tuple[str, int]] = {}
    for path, tree in trees.items():
        for name, line, surely in _imports(tree) if tree is not None else ():
            if surely and name not in known:
                wanted.setdefault(name, (path, line))
    if not wanted:
        return None
    parents = {parent for path, _ in wanted.values() for parent in PurePosixPath(path).parents}
    folders = [str(top / parent) for parent in sorted(parents, key=lambda parent: -len(parent.parts))]
    for name in _not_found([*wanted], folders, workspace):
        path, line = wanted[name]
        return f"{path} line {line} imports {name}, which is not installed where runs are made"
    return None


def _imports(tree: ast.Module) -> Iterator[tuple[str, int, bool]]:
    """Yield (module, line, whether it must be there) for each import; one in a `try` may be missing."""
    tried = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.Try)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, node not in tried
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.lineno, node not in tried


def _not_found(names: list[str], folders: list[str], workspace: Workspace) -> list[str]:
    """Return the modules that the Python of a run does not find; none where that cannot be asked."""
    env = {**os.environ, "PATH": search_path(workspace), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            ["python", "-c", FIND],
            input=json.dumps([folders, names]).encode(),
            capture_output=True,
            env=env,
            cwd="/",
            timeout=FIND_S,
            start_new_session=True,
        )
        missing = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return []
    return [name for name in names if name in missing] if isinstance(missing, list) else []
