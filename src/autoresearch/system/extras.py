"""The optional parts of this package: how each is installed where this program runs, and which one a module is of."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

ML = ("torch", "numpy", "tiktoken", "pyarrow", "huggingface_hub", "rustbpe", "kernels")
"""What the ML tasks import, but for their tests."""

_MISSING = re.compile(r"ModuleNotFoundError: No module named '(\w+)")


def install(extra: str) -> str:
    """Return the command that adds an extra to the environment of this program.

    An environment that uv or pipx has made has no pip of its own, and another environment's would install elsewhere.
    """
    package = shlex.quote(f"autoresearch[{extra}]")
    if importlib.util.find_spec("pip") is not None:
        pip = "pip" if _is_activated() else f"{shlex.quote(sys.executable)} -m pip"
        return f"{pip} install {package}"
    if (Path(sys.prefix) / "pipx_metadata.json").is_file():
        return f"pipx runpip autoresearch install {package}"
    return f"uv pip install --python {shlex.quote(sys.executable)} {package}"


def _is_activated() -> bool:
    """Whether the `pip` that a shell would find is that of this program."""
    found = shutil.which("pip")
    return found is not None and Path(found).parent == Path(sys.executable).parent


def missing_ml(root: Path, lines: Iterable[str]) -> str | None:
    """Return the module of the ML tasks that this program's Python could not find, by what a run of a workspace in
    `root` has printed; None where it was none, or where the workspace has a Python of its own."""
    if (root / ".venv").exists():
        return None
    found = (match[1] for line in lines if (match := _MISSING.search(line)))
    return next((name for name in found if name in ML), None)
