"""Fingerprints of the mutable files, equal for versions that differ in comments and spacing alone."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Mapping

_UNPARSED = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What `ast` raises for text that it cannot take; MemoryError is its parser's word for nested too deeply."""


def _canonical(path: str, content: bytes) -> bytes:
    """Return what must be equal for two versions of one file to count as the same code.

    Python is compared as its syntax tree without docstrings, so comments and spacing do not count. Any other text
    is compared without trailing blanks and empty lines; what is not text, byte by byte.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return content
    if path.endswith(".py"):
        try:
            return ast.dump(_without_docstrings(ast.parse(text))).encode()
        except _UNPARSED:
            pass
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip()).encode()


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def fingerprint(files: Mapping[str, bytes]) -> str:
    """Return a hash of the code in `files` (path -> content) that ignores comments and spacing."""
    digest = hashlib.sha256()
    for path in sorted(files):
        code = _canonical(path, files[path])
        digest.update(f"{path}\0{len(code)}\0".encode("utf-8", "surrogateescape"))
        digest.update(code)
    return digest.hexdigest()


def code_size(files: Mapping[str, bytes]) -> int:
    """Return how much code `files` hold: syntax nodes for Python, words for other text; comments do not count."""
    size = 0
    for path, content in files.items():
        text = content.decode("utf-8", "replace")
        if path.endswith(".py"):
            try:
                size += sum(1 for _ in ast.walk(_without_docstrings(ast.parse(text))))
                continue
            except _UNPARSED:
                pass
        size += len(text.split())
    return size


def syntax_error(path: str, content: bytes) -> str | None:
    """Return what is wrong with a Python file in one line, or None when it parses (or is not Python)."""
    if not path.endswith(".py"):
        return None
    try:
        ast.parse(content, filename=path)
    except SyntaxError as error:
        return f"{path} line {error.lineno}: {error.msg}"
    except ValueError as error:
        return f"{path}: {error}"
    except (RecursionError, MemoryError):
        return f"{path}: nested too deeply for Python's parser"
    return None
