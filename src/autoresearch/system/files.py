"""Files written whole or not at all, and folders that are surely gone."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any


def write_atomic(path: Path, text: str | bytes, *, durable: bool = True) -> None:
    """Write a file so that a reader sees the old content or the new, never half of it; `durable`, also after the
    machine has stopped."""
    content = text.encode("utf-8") if isinstance(text, str) else text
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def remove_tree(folder: Path) -> None:
    """Delete a folder that we made, also when a run took away the permission to."""

    def allow(function: Any, path: str, _error: Any) -> None:
        with contextlib.suppress(OSError):
            Path(path).parent.chmod(0o700)
            Path(path).chmod(0o700)
            function(path)

    for _ in range(3):
        if not folder.exists():
            return
        shutil.rmtree(folder, onerror=allow)
        if folder.exists():
            time.sleep(0.05)  # something may still be closing its files in there
