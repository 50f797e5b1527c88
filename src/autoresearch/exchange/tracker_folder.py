"""The folder that an export to a tracker makes anew each time, so that a second export has nothing twice.

Only what an export has left there is replaced: whoever works with such a tracker may have it write into the same
folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from autoresearch.errors import PreconditionError, UsageError
from autoresearch.system.extras import install
from autoresearch.system.files import remove_tree, write_atomic

MARK = ".autoresearch-export"
"""A file in a folder that an export has written: what tells each of its files."""

INDEX = "-shm"
"""End of the name of a file that SQLite makes beside a database for who looks at it; it has nothing of its own."""


def missing(package: str) -> PreconditionError:
    """Return the error that says that a tracker's own library is not there."""
    return PreconditionError(f"{package} is not installed", f"install it with: {install('trackers')}")


@contextlib.contextmanager
def made_anew(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write in, which takes the place of `folder` when all is written, and not before.

    Raises `UsageError` for a folder with files that no export has written, or that were changed since.
    """
    other = strange(folder)
    if other:
        raise UsageError(
            f"{folder} has files that are not as an export has left them, such as {other}",
            "name another folder with -o",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as building:
        new = Path(building, "new")
        new.mkdir()
        yield new
        write_atomic(new / MARK, json.dumps({"written": "by autoresearch export", "files": _contents(new)}) + "\n")
        if folder.exists():
            folder.rename(Path(building, "old"))
        new.rename(folder)
        remove_tree(Path(building, "old"))


def strange(folder: Path) -> str:
    """Return a file of a folder that is not as an export has left it; nothing where there is none.

    An empty one is passed over, since nothing is lost with it: `wandb sync` marks with such what it has sent.
    """
    if not os.path.lexists(folder):
        return ""
    if not folder.is_dir():
        return folder.name
    if not (folder / MARK).is_file():
        return next((path.name for path in folder.iterdir()), "")
    try:
        told = json.loads((folder / MARK).read_bytes())["files"]
    except (ValueError, TypeError, KeyError):  # of an export that did not say yet what it has written
        told = {}
    found = ((name, what) for name, what in _contents(folder).items() if what and not name.endswith(INDEX))
    return next((name for name, what in found if told.get(name) != what), "")


def _contents(folder: Path) -> dict[str, str]:
    """Return what tells each file and link of a folder but the mark, by its path there; nothing of an empty file."""

    def fail(error: OSError) -> None:
        raise error  # else what cannot be seen would be replaced

    found = {}
    for place, folders, files in os.walk(folder, onerror=fail):
        for path in (Path(place, name) for name in (*folders, *files)):
            about = path.lstat()
            name = path.relative_to(folder).as_posix()
            if stat.S_ISLNK(about.st_mode):
                found[name] = f"a link to {path.readlink()}"
            elif stat.S_ISREG(about.st_mode):
                with path.open("rb") as file:
                    found[name] = hashlib.file_digest(file, "sha256").hexdigest() if about.st_size else ""
            elif not stat.S_ISDIR(about.st_mode):
                found[name] = "no file"
    found.pop(MARK, None)
    return found


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
