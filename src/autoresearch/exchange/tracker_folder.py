"""The folder that an export to a tracker makes anew each time, so that a second export has nothing twice."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from autoresearch.errors import PreconditionError, UsageError
from autoresearch.system.extras import install
from autoresearch.system.files import remove_tree, write_atomic

MARK = ".autoresearch-export"
"""A file in a folder that an export has written, and may replace."""


def missing(package: str) -> PreconditionError:
    """Return the error that says that a tracker's own library is not there."""
    return PreconditionError(f"{package} is not installed", f"install it with: {install('trackers')}")


@contextlib.contextmanager
def made_anew(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write in, which takes the place of `folder` when all is written, and not before.

    Raises `UsageError` for a folder with files that no export has written.
    """
    if folder.exists() and not (folder / MARK).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} has files that no export has written", "name another folder with -o")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as building:
        new = Path(building, "new")
        new.mkdir()
        yield new
        write_atomic(new / MARK, json.dumps({"written": "by autoresearch export"}) + "\n")
        if folder.exists():
            folder.rename(Path(building, "old"))
        new.rename(folder)
        remove_tree(Path(building, "old"))


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while: libraries read them when they are imported."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
