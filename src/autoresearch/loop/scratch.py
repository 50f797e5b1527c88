"""The folder that an agent edits, and what is taken from it: the mutable files alone, as they would be committed.

It lies in `.autoresearch/proposal/`: `files` has the commit's whole tree as a checkout does, `index` is git's own
record of it, and `edit.json` is there as soon as an agent has answered, so that a kill loses no answer that was paid.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoresearch.errors import AutoresearchError
from autoresearch.escaping import one_line
from autoresearch.system.files import remove_tree, write_atomic
from autoresearch.system.git import Git
from autoresearch.workspace.editable import mutable_paths
from autoresearch.workspace.task_file import TaskFile, within
from autoresearch.workspace.workspace import Workspace

MOST_BYTES = 4 * 2**20
"""Of one file; code is smaller, and what is larger would be in the repository for ever."""

MOST_FILES = 200
"""That one edit may change."""


class Refused(AutoresearchError):
    """An edit cannot be measured; the message says why, in words for the agent that made it."""

    kind = "refused"

    def __init__(self, message: str, *, afresh: bool = False) -> None:
        super().__init__(message)
        self.afresh = afresh
        """Whether no second edit may begin from the folder as it is: it has links, pipes or the like, and who writes
        to one of those writes elsewhere, or waits for ever; or far too much."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What an agent has changed, relative to the top of the repository."""

    changed: tuple[str, ...]
    remarks: tuple[str, ...]
    """What else it did, and that it was ignored, a sentence each."""


class Scratch:
    """The one folder of a workspace for the proposal that is being made."""

    def __init__(self, workspace: Workspace, git: Git, task: TaskFile) -> None:
        self.git, self.task = git, task
        self.home = workspace.state / "proposal"
        self.top = self.home / "files"
        """What the top of the repository is to the workspace."""
        self.index = self.home / "index"
        self.roots = tuple(mutable_paths(git, task))

    @property
    def folder(self) -> Path:
        """What the workspace's folder is in it."""
        return self.top / self.git.prefix

    def begin(self, commit: str) -> None:
        """Make the folder hold the files of a commit, and nothing else."""
        self.remove()
        self.top.mkdir(parents=True)
        # Whoever asks for a repository in there must not find the workspace's.
        (self.home / ".git").write_text("gitdir: /dev/null\n")
        self.git.checkout(commit, self.top, self.index)
        self.git.export_submodules(commit, self.top)

    def remove(self) -> None:
        remove_tree(self.home)

    # --- an answer ---

    def keep(self, answer: Mapping[str, Any]) -> None:
        """Write down what an agent has answered."""
        write_atomic(self.home / "edit.json", json.dumps(answer, allow_nan=False))

    def forget(self) -> None:
        """Take the answer away: it is in the journal, or another one is asked for."""
        (self.home / "edit.json").unlink(missing_ok=True)

    def kept(self) -> dict[str, Any] | None:
        """Return the answer that a kill has left here; None when there is none."""
        with contextlib.suppress(OSError, ValueError):
            answer = json.loads((self.home / "edit.json").read_text(encoding="utf-8"))
            return answer if isinstance(answer, dict) and self.index.exists() else None
        return None

    def tidy(self, taken: Collection[str | None]) -> None:
        """Remove what a kill has left here, unless it is an answer that is none of those `taken`, by reservation."""
        answer = self.kept()
        if answer is None or answer.get("reservation") in taken:
            self.remove()

    # --- what is taken from it ---

    def taken(self) -> Taken:
        """Return what was changed in the mutable files; raise `Refused` for what cannot be committed as code.

        Files that git ignores are no change. What lies outside the mutable files is left where it is.
        """
        listed = self._listed("-m", "-d", "-o", "--exclude-standard")
        paths = sorted({path for path in listed if "__pycache__" not in path})
        mine = [path for path in paths if within(path.rstrip("/"), self.roots)]
        foreign = [path for path in paths if path not in mine]
        remarks = [f"ignored {', '.join(map(_name, foreign[:3]))}: not a file that may be changed"] if foreign else []
        if len(mine) > MOST_FILES:
            raise Refused(f"{len(mine)} files are changed; at most {MOST_FILES} may be", afresh=True)
        for path in mine:
            self._check(path)
        for path in self._odd():
            raise Refused(f"{_name(path)} is neither a file nor a folder", afresh=True)
        return Taken(tuple(mine), tuple(remarks))

    def tree(self, changed: Sequence[str]) -> str:
        """Return the tree of this folder with its changed files; other files in it are as they were."""
        gone = [path for path in changed if not (self.top / path).is_file()]
        there = [path for path in changed if path not in gone]
        # In a copy: the index says what is changed, also to whoever goes on here after a kill.
        edited = self.home / "index.edited"
        shutil.copy2(self.index, edited)
        for how, paths in (("--force-remove", gone), ("--add", there)):
            if paths:
                self._git("update-index", how, "--replace", "-z", "--stdin", input=_joined(paths), index=edited)
        tree: str = self._git("write-tree", index=edited).stdout.decode().strip()
        return tree

    def _check(self, path: str) -> None:
        """Refuse what is at a changed path unless it is a file of a sensible size, or nothing any more."""
        name = _name(path)
        if path.endswith("/"):
            raise Refused(f"{name} is a repository of its own; write plain files", afresh=True)
        file = self.top / path
        inside = Path(path).parents
        link = next((p for p in (path, *map(str, inside)) if (self.top / p).is_symlink()), None)
        if link is not None:
            raise Refused(f"{_name(link)} is a symbolic link; write plain files", afresh=True)
        try:
            about = file.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise Refused(f"{name} cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(about.st_mode):
            if stat.S_ISDIR(about.st_mode):
                return  # its files are listed by themselves
            raise Refused(f"{name} is not a plain file", afresh=True)
        if about.st_size > MOST_BYTES:
            size = f"{about.st_size / 2**20:.1f} MiB"
            raise Refused(f"{name} has {size}; at most {MOST_BYTES / 2**20:g} may be", afresh=True)
        if not os.access(file, os.R_OK):
            raise Refused(f"{name} cannot be read: no permission")

    def _odd(self) -> list[str]:
        """Return FIFOs, sockets and devices under the mutable paths, which git passes over; at most one."""
        for root in self.roots:
            for folder, _, files in os.walk(self.top / root):
                for name in files:
                    path = Path(folder, name)
                    mode = path.lstat().st_mode
                    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
                        return [path.relative_to(self.top).as_posix()]
        return []

    def _listed(self, *options: str) -> list[str]:
        out = self._git("ls-files", "-z", "--full-name", *options).stdout
        return [os.fsdecode(path) for path in out.split(b"\0") if path]

    def _git(self, *args: str, input: bytes | None = None, index: Path | None = None) -> Any:
        """Run git with this folder as the work tree and its own index, or a copy of that."""
        env = {
            "GIT_INDEX_FILE": str(index or self.index),
            "GIT_WORK_TREE": str(self.top),
            "GIT_DIR": str(self.git.git_dir),
        }
        return self.git.run("-c", "core.bare=false", *args, input=input, env=env, cwd=self.top)


def _joined(paths: Iterable[str]) -> bytes:
    return b"".join(os.fsencode(path) + b"\0" for path in paths)


def _name(path: str) -> str:
    return one_line(path, 120)
