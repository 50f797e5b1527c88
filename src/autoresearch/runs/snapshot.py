"""The folder that a run works in: the workspace as a commit has it, in a copy that is gone afterwards."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from autoresearch.runs.spec import RunContext
from autoresearch.system.files import remove_tree
from autoresearch.workspace.workspace import HELPERS


@contextlib.contextmanager
def snapshot(context: RunContext, commit: str, name: str) -> Iterator[Path]:
    """Give the workspace folder as `commit` has it, under `name` in the scratch folder."""
    folder = context.workspace.scratch / name
    remove_tree(folder)
    barrier = context.workspace.scratch / ".git"
    try:
        # Git looks upwards for a repository. It stops here also when a command has cleared its environment.
        barrier.parent.mkdir(parents=True, exist_ok=True)
        barrier.write_text("gitdir: /dev/null\n")
        context.git.export(commit, folder)
        root = folder / context.git.prefix
        for path in context.task.files.link:
            source, target = context.workspace.root / path, root / path
            if source.exists() and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(source, target_is_directory=source.is_dir())
        for script in HELPERS:
            if (context.workspace.root / script).is_file() and not (root / script).exists():
                shutil.copy2(context.workspace.root / script, root / script)
        yield root
    finally:
        remove_tree(folder)
        barrier.unlink(missing_ok=True)
