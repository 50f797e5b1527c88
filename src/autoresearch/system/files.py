"""Files written whole or not at all, files that are read whatever they are, and folders that are surely gone."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MOST_READ = 64 * 2**20
"""Bytes of a file that a run may have written; one that is longer is not read."""


def read_plain(path: Path, most: int = MOST_READ) -> bytes:
    """Return what is in a file that a run may have written, or put something else in the place of.

    Raises `OSError` for what cannot be read, for a link, for a pipe, a device or a folder, which reading might never
    come back from, and for more than `most` bytes.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "it is no file", str(path))
        if about.st_size > most:
            raise OSError(errno.EFBIG, f"it has {about.st_size} bytes, of which at most {most} are read", str(path))
        return file.read(most)


def write_atomic(path: Path, text: str | bytes, *, durable: bool = True, mode: int = 0o644) -> None:
    """Write a file so that a reader sees the old content or the new, never half of it; `durable`, also after the
    machine has stopped. `mode` is who may read it, and whether it is a program."""
    content = text.encode("utf-8") if isinstance(text, str) else text
    path.parent.mkdir(parents=True, exist_ok=True)
    with _about(path):
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replaced_atomic(path: Path) -> Iterator[Path]:
    """Give the name of a new file to write, which takes the place of `path` when the context ends well.

    For what is written by a library; a reader sees the old content or the new, also after the machine has stopped.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _about(path):
        made = tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.")
    with made as folder:
        new = Path(folder, path.name)
        yield new
        with new.open("rb") as file:
            os.fsync(file.fileno())
        new.chmod(0o644)
        new.replace(path)


@contextlib.contextmanager
def _about(path: Path) -> Iterator[None]:
    """Let the error of a temporary file that cannot be made name the file that it is for, which a person knows."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


class Held(Exception):
    """Another process holds a lock."""


@contextlib.contextmanager
def held_by_us(path: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock file, which the system lets go when this process ends; raise `Held` when another does after the wait.

    The file stays where it is: to delete it would leave two holders of two files of one name.
    """
    deadline = time.monotonic() + wait_s
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Held from None
                time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def remove_tree(folder: Path) -> None:
    """Delete a folder that we made, also when a run took away the permission to, or nested thousands in it."""
    opened = False

    def allow(function: Any, path: str, _error: Any) -> None:
        nonlocal opened
        with contextlib.suppress(OSError):
            for each in (Path(path).parent, Path(path)):
                found = each.lstat().st_mode
                if stat.S_ISDIR(found) and found & 0o700 != 0o700:
                    each.chmod(0o700)
                    opened = True  # what failed is to be tried once more, from the top
            if function in (os.unlink, os.rmdir):
                function(path)

    left = 3
    for _ in range(100):  # folders within folders, each of which has to be opened first
        if not left or not folder.exists():
            return
        opened = False
        try:
            shutil.rmtree(folder, onerror=allow)
        except RecursionError:
            subprocess.run(["rm", "-rf", "--", os.fspath(folder)], check=False, capture_output=True)
        if not opened and folder.exists():
            left -= 1
            time.sleep(0.05)  # something may still be closing its files in there


def remove(path: Path) -> None:
    """Delete what is there, if anything: a file, a link, or a folder that we made."""
    if is_folder(path) and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)


def is_folder(path: Path) -> bool:
    """Whether a folder can be seen there: `Path.is_dir` raises for a name too long, and for one that is barred."""
    with contextlib.suppress(OSError):
        return path.is_dir()
    return False


def is_there(path: Path) -> bool:
    """Whether something is there that can be seen; likewise."""
    with contextlib.suppress(OSError):
        return path.exists()
    return False


def users_tmp() -> Path | None:
    """Return the folder in /tmp that is this user's alone, made where it is missing, for what needs a short path; None
    where there cannot be one."""
    folder = Path(f"/tmp/autoresearch-{os.getuid()}")
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
    except OSError:
        return None
    alone = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return folder if alone else None
