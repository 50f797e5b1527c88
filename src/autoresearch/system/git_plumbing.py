"""The objects of a repository, read and written without its index, its branches or its files: trees, files, commits."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from autoresearch.errors import MachineError
from autoresearch.system.git_command import GitCommand


def missing_commits(git: GitCommand, commits: Iterable[str]) -> set[str]:
    """Return those of `commits` that are not in the repository."""
    out = git.run("cat-file", "--batch-check", input="".join(f"{c}\n" for c in commits).encode()).stdout.decode()
    return {line.removesuffix(" missing") for line in out.splitlines() if line.endswith(" missing")}


def files_of(git: GitCommand, commit: str, paths: Sequence[str]) -> dict[str, bytes]:
    """Return path -> content for every file of `commit` under `paths`, all relative to the top."""
    names = {path: name for mode, name, path in tree_of(git, commit, paths) if not mode.startswith(("4", "16"))}
    blobs = zip(names, git.reader.read_all([*names.values()]), strict=True)
    files = {path: blob.content for path, blob in blobs if blob is not None}
    if len(files) < len(names):
        raise MachineError(f"a file of commit {commit[:12]} cannot be read from the repository", "see: git fsck")
    return files


def tree_of(git: GitCommand, commit: str, paths: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield (mode, hash, path) of what `commit` has under `paths`, and of the trees on the way to it."""
    yield from _below(git, f"{commit}^{{tree}}", "", tuple(paths))


def _below(git: GitCommand, tree: str, base: str, roots: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    for mode, sha, name in _tree(git, tree):
        path = base + name
        inside = any(root == "." or path == root or path.startswith(f"{root}/") for root in roots)
        folder = mode.startswith("4")
        if inside or (folder and any(root.startswith(f"{path}/") for root in roots)):
            yield mode, sha, path
            if folder:
                yield from _below(git, sha, f"{path}/", roots)


def _tree(git: GitCommand, tree: str) -> Iterator[tuple[str, str, str]]:
    """Yield (mode, hash, name) of the entries of one tree."""
    root = git.reader.read(tree)
    if root is None:
        raise MachineError(f"the tree {tree} cannot be read from the repository", "see: git fsck")
    content, at, length = root.content, 0, len(root.name) // 2
    while at < len(content):
        end = content.index(b"\0", at)
        mode, _, name = content[at:end].partition(b" ")
        at = end + 1 + length
        yield mode.decode(), content[end + 1 : at].hex(), os.fsdecode(name)


def changed_between(git: GitCommand, old: str, new: str) -> list[tuple[str, str | None, str | None]] | None:
    """Return (path, old mode, new mode) of what differs between two commits; None when one cannot be read."""
    try:
        return [*_between(git, f"{old}^{{tree}}", f"{new}^{{tree}}", "")]
    except MachineError:
        return None


def _between(
    git: GitCommand, old: str | None, new: str | None, base: str
) -> Iterator[tuple[str, str | None, str | None]]:
    before = {name: (mode, sha) for mode, sha, name in _tree(git, old)} if old else {}
    after = {name: (mode, sha) for mode, sha, name in _tree(git, new)} if new else {}
    for name in before.keys() | after.keys():
        (mode1, sha1), (mode2, sha2) = before.get(name, (None, None)), after.get(name, (None, None))
        if (mode1, sha1) == (mode2, sha2):
            continue
        tree1 = sha1 if mode1 and mode1.startswith("4") else None
        tree2 = sha2 if mode2 and mode2.startswith("4") else None
        if tree1 or tree2:
            yield from _between(git, tree1, tree2, f"{base}{name}/")
        if (mode1 and not tree1) or (mode2 and not tree2):
            yield base + name, mode1, mode2


def object_names(git: GitCommand, commit: str, paths: Sequence[str]) -> list[str]:
    """Return the names of the root tree of a commit, and of all trees and files in it under `paths`."""
    listed = [sha for mode, sha, _ in tree_of(git, commit, paths) if not mode.startswith("16")]
    return [f"{commit}^{{tree}}", *listed]


def read_objects(git: GitCommand, names: Sequence[str]) -> dict[str, tuple[str, bytes] | None]:
    """Return full name -> (kind, content), None for what cannot be read; nothing is checked by git."""
    objects: dict[str, tuple[str, bytes] | None] = {}
    done = git.process(["cat-file", "--batch"], input="".join(f"{name}\n" for name in names).encode())
    out, at = done.stdout, 0
    for asked in names:
        end = out.find(b"\n", at)
        words = out[at:end].split() if end >= 0 else []
        if len(words) != 3 or not words[2].isdigit():  # `missing`, or git gave up on a damaged one
            objects[asked] = None
            at = end + 1 if end >= 0 else len(out)
            continue
        size = int(words[2])
        objects[words[0].decode()] = (words[1].decode(), out[end + 1 : end + 1 + size])
        at = end + size + 2
    return objects


def write_object(git: GitCommand, kind: str, content: bytes) -> None:
    """Write an object of a kind (`blob`, `tree`, `commit`) into the repository."""
    git.run("hash-object", "-w", "--stdin", "-t", kind, input=content)


def object_name(kind: str, content: bytes | memoryview, like: str) -> str:
    """Return the name that git gives an object, by the algorithm of the name `like`."""
    digest = hashlib.new("sha256" if len(like) == 64 else "sha1", f"{kind} {len(content)}\0".encode())
    digest.update(content)
    return digest.hexdigest()


def tree_content(entries: Mapping[str, tuple[str, str]]) -> bytes:
    """Return the content of a tree from name -> (mode, hash), in the order that git wants."""
    names = sorted(entries, key=lambda name: os.fsencode(name) + b"/" * entries[name][0].startswith("4"))
    lines = ((*entries[name], os.fsencode(name)) for name in names)
    return b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(sha) for mode, sha, name in lines)


_PACKED = {"commit": 1, "tree": 2, "blob": 3}
"""Kinds of objects as a pack numbers them."""


def write_objects(git: GitCommand, objects: Sequence[tuple[str, bytes]], like: str) -> None:
    """Write objects, given as (kind, content), into the repository with one process; `like` is any name in it.

    They go as a pack (gitformat-pack(5): version 2, no deltas), which git takes apart.
    """
    pack = bytearray(b"PACK" + (2).to_bytes(4, "big") + len(objects).to_bytes(4, "big"))
    for kind, content in objects:
        size, byte = len(content) >> 4, _PACKED[kind] << 4 | len(content) & 15
        while size:  # seven bits a byte, the lowest first; the high bit says that more follow
            pack.append(byte | 128)
            size, byte = size >> 7, size & 127
        pack.append(byte)
        pack += zlib.compress(content, 1)  # git compresses them anew
    pack += hashlib.new("sha256" if len(like) == 64 else "sha1", pack).digest()
    git.run("unpack-objects", "-q", input=bytes(pack))


def entries(git: GitCommand, commit: str, paths: Sequence[str]) -> dict[str, tuple[bool, str]]:
    """Return path -> (whether it is a link, hash of its content) for the files of a commit."""
    listed = tree_of(git, commit, paths)
    return {path: (mode.startswith("120"), sha) for mode, sha, path in listed if not mode.startswith("4")}


def hashes_on_disk(git: GitCommand, paths: Sequence[str]) -> dict[str, tuple[bool, str] | None]:
    """Return the same for the files in the folder, with the line ends that git would store; None for no file."""
    hashes: dict[str, tuple[bool, str] | None] = {}
    for path in paths:
        file = git.top / path
        if file.is_symlink():
            made = git.run("hash-object", "--stdin", input=os.fsencode(file.readlink()))
        elif file.is_file():
            made = git.run("hash-object", "--", path)
        else:
            hashes[path] = (False, "a folder") if file.exists() else None
            continue
        hashes[path] = (file.is_symlink(), made.stdout.decode().strip())
    return hashes


def submodules(git: GitCommand, commit: str) -> list[tuple[str, str]]:
    """Return (commit, path) of each submodule in a commit."""
    out = git.run("ls-tree", "-r", "-z", "--full-tree", commit).stdout
    entries = (entry.partition(b"\t") for entry in out.split(b"\0") if entry.startswith(b"160000 "))
    return [(about.split()[2].decode(), os.fsdecode(path)) for about, _, path in entries]


def commit_on(git: GitCommand, parent: str, entries: Mapping[str, tuple[str, str] | None], message: str) -> str:
    """Return a new commit on `parent` with these entries in it; nothing else of the repository moves.

    They are given as path -> (mode, hash), relative to the top; None stands for what is gone. The same entries on the
    same parent are the same commit, whenever it is made.
    """
    when = git.text("log", "-1", "--format=%ct", parent).strip()
    with tempfile.TemporaryDirectory() as folder:
        env = {"GIT_INDEX_FILE": f"{folder}/index"}
        git.run("read-tree", parent, env=env)
        lines = []
        # What is gone goes first: a folder may make way for a file of the same name.
        for path, entry in sorted(entries.items(), key=lambda item: item[1] is not None):
            mode, sha = entry or ("0", "0" * max(40, len(parent)))
            lines.append(f"{mode} {sha}\t".encode() + os.fsencode(path))
        git.run("update-index", "-z", "--index-info", input=b"".join(line + b"\0" for line in lines), env=env)
        tree = git.run("write-tree", env=env).stdout.decode().strip()
    dates = {"GIT_AUTHOR_DATE": f"{when} +0000", "GIT_COMMITTER_DATE": f"{when} +0000"}
    return commit_tree(git, tree, parent, message, dates)


def commit_tree(git: GitCommand, tree: str, parent: str, message: str, dates: Mapping[str, str] | None = None) -> str:
    """Return a new commit of a tree; no branch and no file moves."""
    words = [*git.identity, "-c", "commit.gpgsign=false", "commit-tree", tree, "-p", parent, "-F", "-"]
    return git.run(*words, input=message.encode("utf-8", "replace"), env=dates).stdout.decode().strip()


def merged(git: GitCommand, ours: bytes, base: bytes, theirs: bytes) -> bytes | None:
    """Return `ours` with what leads from `base` to `theirs`; None when the two get in each other's way."""
    with tempfile.TemporaryDirectory() as folder:
        names = []
        for name, content in (("ours", ours), ("base", base), ("theirs", theirs)):
            Path(folder, name).write_bytes(content)
            names.append(str(Path(folder, name)))
        done = git.process(["merge-file", "-p", "-q", *names])
    return done.stdout if done.returncode == 0 else None
