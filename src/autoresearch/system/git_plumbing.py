"""Commits that nobody made by hand: written to the repository without touching its index, branches or files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from autoresearch.system.git import Git


def commit_on(git: Git, parent: str, files: Mapping[str, bytes | None], message: str) -> str:
    """Return a new commit on `parent` with these files in it (None: without); nothing else of the repository moves.

    Paths are relative to the top; the mode of a file stays what it is in `parent`. The same files on the same parent
    are the same commit, whenever it is made.
    """
    when = git._text("log", "-1", "--format=%ct", parent).strip()
    with tempfile.TemporaryDirectory() as folder:
        env = {"GIT_INDEX_FILE": f"{folder}/index"}
        git._run("read-tree", parent, env=env)
        entries = git._run("ls-tree", "-r", "-z", "--full-tree", parent, "--", *files).stdout.split(b"\0")
        modes = {os.fsdecode(name): about[:6].decode() for about, _, name in (e.partition(b"\t") for e in entries)}
        lines = []
        for path, content in files.items():
            sha = "0" * 40
            if content is not None:
                sha = git._run("hash-object", "-w", "--stdin", input=content).stdout.decode().strip()
            mode = modes.get(path, "100644") if content is not None else "0"
            lines.append(f"{mode} {sha}\t".encode() + os.fsencode(path))
        git._run("update-index", "-z", "--index-info", input=b"".join(line + b"\0" for line in lines), env=env)
        tree = git._run("write-tree", env=env).stdout.decode().strip()
    dates = {"GIT_AUTHOR_DATE": f"{when} +0000", "GIT_COMMITTER_DATE": f"{when} +0000"}
    made = git._run(*git._identity, "-c", "commit.gpgsign=false", "commit-tree", tree, "-p", parent, "-F", "-",
                    input=message.encode("utf-8", "replace"), env=dates)  # fmt: skip
    return made.stdout.decode().strip()


def merged(git: Git, ours: bytes, base: bytes, theirs: bytes) -> bytes | None:
    """Return `ours` with what leads from `base` to `theirs`; None when the two get in each other's way."""
    with tempfile.TemporaryDirectory() as folder:
        names = []
        for name, content in (("ours", ours), ("base", base), ("theirs", theirs)):
            Path(folder, name).write_bytes(content)
            names.append(str(Path(folder, name)))
        done = git._process(["merge-file", "-p", "-q", *names])
    return done.stdout if done.returncode == 0 else None
