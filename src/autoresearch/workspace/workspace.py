"""The folder of a session: where its files are, and who may work in it now."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoresearch.errors import IntegrityError, NoSession, PreconditionError
from autoresearch.journal import file as journal
from autoresearch.journal.session import Event, Session, replay

IGNORED = (
    ".autoresearch/",
    "autoresearch.jsonl",
    "autoresearch.md",
    "autoresearch.sh",
    "autoresearch.checks.sh",
    "autoresearch.ideas.md",
    "autoresearch.hooks/",
    "results.tsv",
    "results.csv",
    "results.jsonl",
    "progress.png",
    "STOP",
)
"""What a session writes beside the task's files; git is told to ignore it."""

HELPERS = ("autoresearch.sh", "autoresearch.checks.sh")
"""Scripts of the session that git ignores and a command may call: each snapshot gets a copy."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder with `autoresearch.jsonl`."""

    root: Path

    @property
    def journal(self) -> Path:
        return self.root / journal.NAME

    @property
    def state(self) -> Path:
        return self.root / ".autoresearch"

    @property
    def scratch(self) -> Path:
        """Snapshots of running experiments; emptied by the next command after a kill."""
        return self.state / "scratch"

    @property
    def running(self) -> Path:
        """Says which process measures what right now."""
        return self.state / "running.json"

    @property
    def holder(self) -> Path:
        """Says which process holds the workspace lock, from the guard of an experiment to its verdict."""
        return self.state / "holder.json"

    @property
    def for_hooks(self) -> Path:
        """The brief as of the last command, for the hooks of coding agents, which may not take long."""
        return self.state / "brief.json"

    @property
    def git_marker(self) -> Path:
        """Is there exactly while the engine changes the repository."""
        return self.state / "git-at-work"

    @property
    def stop_file(self) -> Path:
        return self.root / "STOP"

    def run_dir(self, experiment: int, seed: int) -> Path:
        return self.state / "runs" / str(experiment) / str(seed)

    def session(self) -> Session:
        """Return the session that the journal describes; raise `NoSession` or `IntegrityError`."""
        try:
            with _without_gc():
                return replay(journal.read(self.journal))
        except FileNotFoundError:
            raise no_session(self.root) from None
        except journal.JournalError as error:
            raise IntegrityError(str(error), "remove or correct that line; nothing else was touched") from None
        except PermissionError:
            raise PreconditionError(f"{self.journal.name} cannot be read: no permission", "check its owner") from None

    def append(self, event: Event) -> None:
        """Append one event to the journal; raise `PreconditionError` when that is not permitted here."""
        try:
            journal.append(self.journal, event)
        except PermissionError:
            raise PreconditionError(f"no permission to write {self.journal.name}", "check who owns it") from None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the workspace for a command that changes it; raise `PreconditionError` when another one does."""
        from filelock import FileLock, Timeout

        try:
            self.state.mkdir(exist_ok=True)
            if not os.access(self.state, os.W_OK) or not os.access(self.journal, os.W_OK):
                raise PermissionError
            held = FileLock(self.state / "lock", timeout=0)
            held.acquire()
        except Timeout:
            now = self.busy() or {}
            what = f"experiment {now['experiment']} (process {now['pid']})" if now else "another command"
            raise PreconditionError(f"{what} is running here", "wait for it: autoresearch wait") from None
        except FileExistsError:
            raise PreconditionError(
                f"{self.state} is a file", "move it away: the session needs a folder there"
            ) from None
        except PermissionError:
            raise PreconditionError(f"no permission to write in {self.root}", "check who owns the folder") from None
        try:
            with contextlib.suppress(OSError):  # without it, only `wait` knows less
                write_atomic(self.holder, json.dumps(_myself()))
            yield
        finally:
            self.holder.unlink(missing_ok=True)
            held.release()

    @contextlib.contextmanager
    def changing_git(self) -> Iterator[None]:
        """Mark that git is changing the repository for us, so that a later command knows whose lock it finds."""
        was_there = self.git_marker.exists()
        if not was_there:
            self.git_marker.touch()
        try:
            yield
        except PreconditionError:
            if not was_there:  # git has refused, and left nothing behind
                self.git_marker.unlink(missing_ok=True)
            raise
        self.git_marker.unlink(missing_ok=True)

    def busy(self) -> dict[str, Any] | None:
        """Return what `running.json` says, or None when nothing is being measured by a living process."""
        return _of_the_living(self.running)

    def hooks_outdated(self) -> bool:
        """Whether the session has changed since `for_hooks` was written."""
        try:
            written = self.for_hooks.stat().st_mtime_ns
        except OSError:
            return True
        beside = (self.root / name for name in ("autoresearch.md", "autoresearch.ideas.md"))
        return any(path.exists() and path.stat().st_mtime_ns > written for path in (self.journal, *beside))

    def held(self) -> bool:
        """Whether a living process holds the lock, between two runs of an experiment, too."""
        return _of_the_living(self.holder) is not None


def _of_the_living(path: Path) -> dict[str, Any] | None:
    """Return what a file says about a process, or None when that process is gone."""
    try:
        now: dict[str, Any] = json.loads(path.read_text())
        from autoresearch.system.process import alive

        return now if alive(now["pid"], now["created"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _myself() -> dict[str, Any]:
    import psutil

    me = psutil.Process()
    return {"pid": me.pid, "created": me.create_time()}


@contextlib.contextmanager
def _without_gc() -> Iterator[None]:
    """Keep the cycle collector out of reading a long journal: it would go through all of it again and again, and
    there are no cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.freeze()  # a long session is many small objects that live on: later collections need not look at them
            gc.enable()


def find(start: Path) -> Workspace:
    """Return the workspace that `start` is in; raise `NoSession` when there is none up to the root."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / journal.NAME).is_file():
            return Workspace(folder)
    raise no_session(start)


def no_session(folder: Path) -> NoSession:
    return NoSession(f"no autoresearch.jsonl in {folder} or above it", "start with: autoresearch init --task pretrain")


def write_atomic(path: Path, text: str | bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never half of it."""
    content = text.encode("utf-8") if isinstance(text, str) else text
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
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
