"""A class by its dotted path, of this package or of a person's own module."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any


def class_at(path: str) -> Any:
    """Return what is at "module:Class". A module is looked for in the current folder, too, after all other places.

    Raises ImportError for a path without a colon, and whatever importing that module raises.
    """
    module, colon, name = path.partition(":")
    if not colon:
        raise ImportError(f"{path} is no module:Class", name=path)
    here = str(Path.cwd())
    if module.partition(".")[0] != __package__.partition(".")[0] and here not in sys.path:
        sys.path.append(here)  # where the program of an installed command does not look by itself
    return getattr(importlib.import_module(module), name)


def why_not(path: str, error: Exception) -> str:
    """Return in brackets why `class_at` or what it gave has failed; empty where there is no such module."""
    missing = isinstance(error, ImportError) and error.name == path.partition(":")[0]
    return "" if missing else f" ({type(error).__name__}: {error})"
