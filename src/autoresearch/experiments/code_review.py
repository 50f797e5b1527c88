"""What in a change deserves a second look, by its syntax tree. No verdict: honest code may do all of this."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping

from autoresearch.journal.refs import EXPERIMENTS

NETWORK = {"socket", "ssl", "urllib", "http", "requests", "httpx", "aiohttp", "ftplib", "smtplib", "websockets",
           "paramiko", "boto3", "huggingface_hub"}  # fmt: skip
PROCESSES = {"subprocess", "multiprocessing", "ctypes", "cffi", "signal", "pty", "gc", "inspect", "atexit", "psutil"}
OS_CALLS = {"fork", "forkpty", "system", "popen", "kill", "killpg", "setsid", "abort", "_exit", "nice"}
READERS = {"open", "read_bytes", "read_text", "memmap", "fromfile", "loadtxt", "genfromtxt", "read_csv",
           "read_parquet", "load", "load_file", "rglob", "iterdir", "listdir", "scandir", "walk"}  # fmt: skip
SEEDERS = {"seed", "manual_seed", "manual_seed_all", "seed_all", "default_rng", "RandomState", "PRNGKey", "set_seed"}
INSIDES = {"__globals__", "__code__", "__closure__", "__dict__", "__builtins__", "__subclasses__", "_getframe",
           "settrace", "setprofile", "addaudithook"}  # fmt: skip
FILES = (".bin", ".parquet", "result.json", "clock.json", "summary.json", "autoresearch.jsonl", ".cache", "/proc/",
         EXPERIMENTS)  # fmt: skip
MAX_REMARKS = 12


def remarks(before: Mapping[str, bytes], after: Mapping[str, bytes], immutable: Iterable[str]) -> list[str]:
    """Return what the change from `before` to `after` (path -> content) brings in, a phrase each, at most twelve.

    Only Python is looked at. What was there before, at whatever line, is not named again.
    """
    immutable_modules = {path.removesuffix(".py").rsplit("/", 1)[-1] for path in immutable if path.endswith(".py")}
    known = {what for path in before for _, what in _found(before[path], path, immutable_modules)}
    lines = []
    for path in sorted(after):
        if after[path] != before.get(path):
            for line, what in sorted({*_found(after[path], path, immutable_modules)}):
                if what not in known:
                    known.add(what)
                    lines.append(f"{path}:{line} {what}")
    more = len(lines) - MAX_REMARKS
    return [*lines[:MAX_REMARKS], *([f"and {more} more of this kind"] if more > 0 else [])]


def _found(content: bytes, path: str, immutable_modules: set[str]) -> Iterator[tuple[int, str]]:
    if not path.endswith(".py"):
        return
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    modules = _modules(tree)
    for node in ast.walk(tree):
        for what in _remarks(node, modules, immutable_modules):
            yield getattr(node, "lineno", 0), what


def _modules(tree: ast.Module) -> set[str]:
    """Return the names by which the code calls what it has imported."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def _remarks(node: ast.AST, modules: set[str], immutable_modules: set[str]) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        for root in {name.split(".")[0] for name in names}:
            if root in NETWORK:
                yield f"imports {root} (network)"
            elif root in PROCESSES:
                yield f"imports {root} (processes and their insides)"
            elif root in ("importlib", "builtins"):
                yield f"imports {root} (other ways to import)"
    elif isinstance(node, ast.Call):
        yield from _calls(node)
    elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Delete):
        targets = node.targets if isinstance(node, ast.Assign | ast.Delete) else [node.target]
        for target in targets:
            yield from _assigns(target, modules, immutable_modules)
    elif isinstance(node, ast.Attribute) and node.attr in INSIDES:
        yield f"uses {node.attr} (insides of the interpreter)"
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        for name in FILES:
            if name in node.value and len(node.value) < 200:
                yield f"names {node.value!r} (data or result files)"
                break


def _calls(node: ast.Call) -> Iterator[str]:
    name = _dotted(node.func)
    last = name.rsplit(".", 1)[-1]
    constant = any(isinstance(a, ast.Constant) and isinstance(a.value, int) for a in node.args)
    if last in SEEDERS and constant:
        yield f"sets a seed to a literal: {ast.unparse(node)[:60]}"
    elif last in READERS and name != "self.load":
        yield f"reads files: {name}()"
    elif name.startswith("os.") and (last in OS_CALLS or last.startswith(("exec", "spawn", "posix_spawn"))):
        yield f"calls {name}() (processes)"
    elif name in ("eval", "exec", "compile", "__import__", "globals", "setattr", "delattr"):
        yield f"calls {name}() (changes code while it runs)"
    elif last == "print" and any(
        isinstance(a, ast.Constant | ast.JoinedStr) and "METRIC" in ast.unparse(a) for a in node.args
    ):
        yield "prints METRIC lines itself"


def _assigns(target: ast.expr, modules: set[str], immutable_modules: set[str]) -> Iterator[str]:
    if isinstance(target, ast.Tuple | ast.List):
        for element in target.elts:
            yield from _assigns(element, modules, immutable_modules)
        return
    name = _dotted(target.value if isinstance(target, ast.Subscript) else target)
    root = name.split(".")[0]
    if isinstance(target, ast.Attribute) and root in immutable_modules:
        yield f"patches {name}, which is not to be changed"
    elif isinstance(target, ast.Attribute) and root in modules and "backends" not in name:
        yield f"patches {name}"
    elif isinstance(target, ast.Subscript) and name in ("sys.modules", "os.environ"):
        yield f"changes {name}"


def _dotted(node: ast.expr) -> str:
    """Return `a.b.c` for a chain of names; what is no name is left out."""
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}".lstrip(".")
    if isinstance(node, ast.Call):
        return f"{_dotted(node.func)}()"
    return node.id if isinstance(node, ast.Name) else ""
