"""The mutable files: of a folder, and of earlier experiments by way of the repository."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from autoresearch.errors import AutoresearchError
from autoresearch.search.measured import SourceOf, Version
from autoresearch.system.git import Git
from autoresearch.system.git_plumbing import files_of
from autoresearch.workspace.editable import mutable_paths
from autoresearch.workspace.task_file import TaskFile


def mutable_files(folder: Path, task: TaskFile) -> dict[str, bytes]:
    """Return path -> content of the mutable files in a folder that is laid out as the workspace."""
    found: dict[str, bytes] = {}
    for path in task.files.mutable:
        place = folder / path
        inside = sorted(place.rglob("*")) if place.is_dir() else [place]
        for file in inside:
            if "__pycache__" in file.parts:
                continue
            if file.is_symlink():
                found[file.relative_to(folder).as_posix()] = os.fsencode(file.readlink())  # as git has it
            elif file.is_file():
                found[file.relative_to(folder).as_posix()] = file.read_bytes()
    return found


def source_reader(git: Git, task: TaskFile) -> SourceOf:
    """Return what reads the mutable files of an experiment, or of a proposal, from the repository."""
    roots = mutable_paths(git, task)

    def source_of(version: Version) -> Mapping[str, bytes] | None:
        if not version.commit:
            return None
        try:
            files = files_of(git, version.commit, roots)
        except AutoresearchError:
            return None  # a commit that is gone teaches nothing
        return {path.removeprefix(git.prefix): content for path, content in files.items()}

    return source_of
