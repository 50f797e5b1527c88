"""The folder that a run works in: the workspace as a commit has it, in a slot that is kept for the next run."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from autoresearch.runs.linking import Linking
from autoresearch.runs.slot import Slot, forget
from autoresearch.runs.spec import RunContext
from autoresearch.system.file_hashes import state_of
from autoresearch.workspace.workspace import HELPERS


@contextlib.contextmanager
def snapshot(context: RunContext, commit: str, *names: str) -> Iterator[Path]:
    """Give the workspace folder as `commit` has it, in the slot's folder of each of `names` (`train`, `evaluate`,
    `checks`); the last of them is returned.

    Each name has a folder of its own: what evaluates was touched by nothing that trains.
    """
    slots = context.workspace.slot
    # Git looks upwards for a repository. It stops here also when a command has cleared its environment.
    for path in (slots.parent, slots, slots / ".git"):
        if path.is_symlink():  # a run without a sandbox may have put it there
            path.unlink()
    slots.mkdir(parents=True, exist_ok=True)
    (slots / ".git").write_text("gitdir: /dev/null\n")
    brought = [(slot, slot.bring(context.git, commit)) for slot in (Slot(slots / name) for name in names)]
    sealed = _records(slots)
    try:
        for slot, _ in brought:
            root = slot.folder / context.git.prefix
            _complete(context, root, slot.folder)
        yield root
    finally:
        # Where there is no sandbox, a run may have written into the records: those say nothing any more.
        for record, state in _records(slots).items():
            if sealed.get(record) != state:
                forget(Slot(record.with_suffix("")))
        for slot, entries in brought:
            slot.clean(entries)


def _complete(context: RunContext, root: Path, whole: Path) -> None:
    """Add to a snapshot what git does not have and a run needs; `whole` is the repository's folder in it."""
    linking = Linking(context.git.top, whole)
    for linked in context.task.files.link:
        source, target = context.workspace.root / linked, root / linked
        if source.exists() and not target.exists():
            if target.is_symlink():  # the commit's own, which leads out of the repository, and from here to nothing
                target.unlink()
            linking.link(source, target)
    for script in HELPERS:
        if (context.workspace.root / script).is_file() and not (root / script).exists():
            shutil.copy2(context.workspace.root / script, root / script)


def _records(slots: Path) -> dict[Path, tuple[int, ...]]:
    found = {}
    for path in slots.glob("*.record"):
        with contextlib.suppress(OSError):
            found[path] = state_of(path.lstat())
    return found
