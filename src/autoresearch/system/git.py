"""Git as the engine uses it: the real program, told to run no hooks and to change only what is named."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from autoresearch.errors import AutoresearchError, MachineError, PreconditionError

_INHERITED = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR",
              "GIT_NAMESPACE", "GIT_SHALLOW_FILE", "GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS",
              "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS"}  # fmt: skip
"""Variables that git sets for its hooks, or that change what a path means; with them our commands would act on
another repository or on other files."""

_IDENTITY = {"user.name": "autoresearch", "user.email": "autoresearch@localhost"}


class GitError(MachineError):
    """A git command failed for a reason that is not the user's; the message has what git said."""


@dataclass(frozen=True, slots=True)
class Change:
    """A path that differs from HEAD, relative to the top of the repository."""

    path: str
    staged: bool
    untracked: bool = False


class Git:
    """One repository, seen from a workspace folder in it."""

    def __init__(self, root: Path) -> None:
        """Raises `PreconditionError` when git is missing or `root` is in no repository."""
        require_git()
        self.root = root
        found = self._process(["rev-parse", "--show-toplevel", "--show-prefix"], cwd=root)
        if found.returncode:
            said = found.stderr.decode("utf-8", "replace").strip()
            if "dubious ownership" in said:
                raise PreconditionError(
                    f"git refuses {root}: it belongs to another user",
                    f"git config --global --add safe.directory {root}",
                )
            raise PreconditionError(f"{root} is not in a git repository", "start one with: git init && git commit")
        top, _, prefix = found.stdout.decode("utf-8", "surrogateescape").partition("\n")
        if not top:
            raise PreconditionError(f"{root} is in a bare repository", "go to a work tree of it")
        self.top = Path(top)
        self.prefix = prefix.rstrip("\n")
        """Path of the workspace from the top of the repository: empty, or ending in a slash."""

    # --- asking ---

    def head(self) -> str | None:
        """Return the full hash of HEAD; None before the first commit."""
        return self.resolve("HEAD")

    def resolve(self, revision: str) -> str | None:
        """Return the full hash of a commit, or None when there is none of this name."""
        done = self._process(["rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"])
        return done.stdout.decode().strip() if done.returncode == 0 else None

    def refs(self, folder: str) -> list[str]:
        """Return the refs in `folder`, and the ref of that name itself."""
        return [*self.targets(folder)]

    def targets(self, *folders: str) -> dict[str, str]:
        """Return ref -> what it points at, for the refs in `folders` and those of these names themselves."""
        lines = self._text("for-each-ref", "--format=%(refname) %(objectname)", *folders).splitlines()
        return dict(line.split() for line in lines)

    def is_ancestor(self, old: str, new: str) -> bool:
        return self._process(["merge-base", "--is-ancestor", old, new]).returncode == 0

    def missing(self, commits: Iterable[str]) -> set[str]:
        """Return those of `commits` that are not in the repository."""
        out = self._run("cat-file", "--batch-check", input="".join(f"{c}\n" for c in commits).encode()).stdout.decode()
        return {line.removesuffix(" missing") for line in out.splitlines() if line.endswith(" missing")}

    def branch(self) -> str | None:
        """Return the checked-out branch; None when HEAD is detached."""
        done = self._process(["symbolic-ref", "--quiet", "--short", "HEAD"])
        return done.stdout.decode().strip() if done.returncode == 0 else None

    def parents(self, commit: str) -> list[str]:
        return self._text("rev-list", "--parents", "-n", "1", commit).split()[1:]

    def subject(self, commit: str) -> str:
        return self._text("log", "-1", "--format=%s", commit).strip()

    def changes(self) -> list[Change]:
        """Return what differs from HEAD in the whole repository, untracked files that git does not ignore included."""
        out = self._run(
            "status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=dirty"
        )
        changes = []
        for entry in out.stdout.split(b"\0"):
            if entry:
                code, path = entry[:2].decode(), os.fsdecode(entry[3:])
                changes.append(Change(path, staged=code[0] not in " ?", untracked=code == "??"))
        return changes

    def changed(self, old: str, new: str) -> list[str]:
        """Return the paths that differ between two commits, relative to the top."""
        out = self._run("diff-tree", "-r", "-z", "--name-only", "--no-renames", old, new).stdout
        return [os.fsdecode(path) for path in out.split(b"\0") if path]

    def diff(self, old: str, new: str) -> str:
        """Return the change between two commits as a patch."""
        done = self._run("diff", "--no-color", "--no-ext-diff", "--binary", old, new)
        return done.stdout.decode("utf-8", "replace")

    def files(self, commit: str, paths: Sequence[str]) -> dict[str, bytes]:
        """Return path -> content for every file of `commit` under `paths`, all relative to the top."""
        out = self._run("ls-tree", "-r", "-z", "--full-tree", commit, "--", *paths).stdout
        names, hashes = [], []
        for entry in out.split(b"\0"):
            if entry:
                about, _, name = entry.partition(b"\t")
                kind, sha = about.split()[1:3]
                if kind == b"blob":
                    names.append(os.fsdecode(name))
                    hashes.append(sha)
        return dict(zip(names, self._blobs(hashes), strict=True))

    def objects(self, commit: str, paths: Sequence[str]) -> list[str]:
        """Return the names of the root tree of a commit, and of all trees and files in it under `paths`."""
        out = self._run("ls-tree", "-r", "-t", "-z", "--full-tree", commit, "--", *paths).stdout
        found = (entry.partition(b"\t")[0].split()[1:3] for entry in out.split(b"\0") if entry)
        return [f"{commit}^{{tree}}", *(name.decode() for kind, name in found if kind in (b"blob", b"tree"))]

    def read_objects(self, names: Sequence[str]) -> dict[str, tuple[str, bytes] | None]:
        """Return full name -> (kind, content), None for what cannot be read; nothing is checked by git."""
        found: dict[str, tuple[str, bytes] | None] = {}
        done = self._process(["cat-file", "--batch"], input="".join(f"{name}\n" for name in names).encode())
        out, at = done.stdout, 0
        for asked in names:
            end = out.find(b"\n", at)
            words = out[at:end].split() if end >= 0 else []
            if len(words) != 3 or not words[2].isdigit():  # `missing`, or git gave up on a damaged one
                found[asked] = None
                at = end + 1 if end >= 0 else len(out)
                continue
            size = int(words[2])
            found[words[0].decode()] = (words[1].decode(), out[end + 1 : end + 1 + size])
            at = end + size + 2
        return found

    def write_object(self, kind: str, content: bytes) -> None:
        self._run("hash-object", "-w", "--stdin", "-t", kind, input=content)

    def ignored(self, path: str) -> bool:
        # check-ignore takes no pattern, and fails when it is told so
        return self._process(["--no-literal-pathspecs", "check-ignore", "-q", "--", path]).returncode == 0

    def tracked(self, paths: Sequence[str]) -> list[str]:
        """Return the tracked files under `paths`, relative to the top."""
        out = self._run("ls-files", "-z", "--full-name", "--", *paths).stdout
        return [os.fsdecode(path) for path in out.split(b"\0") if path]

    def path_of(self, name: str) -> Path:
        """Return where git keeps one of its own files (`info/exclude`, `index.lock`) for this work tree."""
        return self.top / self._text("rev-parse", "--git-path", name).strip()

    def unfinished_operation(self) -> str | None:
        """Return the name of a merge, rebase or the like that waits for its end, or None."""
        known = {"MERGE_HEAD": "merge", "rebase-merge": "rebase", "rebase-apply": "rebase",
                 "CHERRY_PICK_HEAD": "cherry-pick", "REVERT_HEAD": "revert"}  # fmt: skip
        folder = self.top / self._text("rev-parse", "--git-dir").strip()
        return next((name for file, name in known.items() if (folder / file).exists()), None)

    # --- changing ---

    def commit(self, paths: Iterable[str], message: str) -> str:
        """Commit exactly `paths` (relative to the top; deleted ones too) on HEAD and return the new commit."""
        listed = b"\0".join(os.fsencode(path) for path in paths)
        self._run("add", "-A", "--pathspec-from-file=-", "--pathspec-file-nul", input=listed)
        self._run(*self._identity, "-c", "commit.gpgsign=false", "commit", "-q", "--no-verify", "--cleanup=verbatim",
                  "-F", "-",
                  input=message.encode("utf-8", "replace"))  # fmt: skip
        return self._text("rev-parse", "HEAD").strip()

    def update_ref(self, ref: str, new: str, old: str | None = None) -> None:
        """Point `ref` at `new`; with `old` only when it points there now."""
        self._run("update-ref", ref, new, *([old] if old else []))

    def set_ref(self, ref: str, target: str | None) -> None:
        """Point `ref` at `target`, or delete it when that is None."""
        self._run("update-ref", *(["-d", ref] if target is None else [ref, target]))

    def create_branch(self, name: str) -> None:
        """Create a branch at HEAD and check it out; work tree and index stay as they are."""
        self._run("switch", "-q", "--no-track", "-c", name)

    def go_back(self, branch: str, commit: str, parent: str, *, after_kill: bool = False) -> list[str]:
        """Set `branch` from `commit` back to `parent` and return the files that were left as they are.

        With the branch checked out, only files that the commit changed are touched, and of these only those whose
        content is still the commit's: whatever was edited since stays in the folder and is returned, and what was
        staged since stays staged. `after_kill` says
        that an earlier call may have been stopped half-way: then the index proves nothing, and a file that holds only
        the beginning of the parent's version was being written by git.
        """
        if self.branch() != branch:
            self.update_ref(f"refs/heads/{branch}", parent, commit)
            return []
        paths = self.changed(parent, commit)
        if after_kill:
            self._on(paths, "reset", "-q", commit)
        staged = self._staged(commit)
        if not staged and self._process(["reset", "-q", "--keep", parent]).returncode == 0:
            return []
        theirs, ours = self._entries(commit, paths), self._entries(parent, paths)
        restore: list[str] = []
        left: list[str] = []
        for path, now in self._on_disk(paths).items():
            if now is None or now == theirs.get(path):
                restore.append(path)
            elif now != ours.get(path):
                half = after_kill and path in ours and self._begins(path, parent)
                (restore if half else left).append(path)
        # The files first and HEAD last: until HEAD has moved, the next command knows that this is still to be done.
        for path in restore:
            if path not in ours:
                self._remove(path)
        for path in [path for path in left if not os.path.lexists(self.top / path)]:
            left.remove(path)  # a folder was in its place, and was the commit's
            restore.append(path)
        self._on([path for path in restore if path in ours], "restore", "-q", f"--source={parent}", "--worktree")
        self._on([path for path in paths if path not in staged], "reset", "-q", parent)
        self.update_ref(f"refs/heads/{branch}", parent, commit)
        return left

    def restore(self, commit: str, paths: Sequence[str]) -> None:
        """Write the files of `commit` under `paths` into the folder, without moving HEAD."""
        self._run("restore", "-q", f"--source={commit}", "--worktree", "--", *paths)

    def export(self, commit: str, folder: Path) -> None:
        """Write the tree of `commit` into the empty `folder`: files as a checkout has them, submodules too.

        Nothing in the repository changes: an index of its own is used, and no work tree is registered.
        """
        folder.mkdir(parents=True, exist_ok=True)
        index = folder.parent / f"{folder.name}.index"
        env = {"GIT_INDEX_FILE": str(index)}
        try:
            self._run("read-tree", commit, env=env)
            self._run("checkout-index", "-q", "-a", "-f", f"--prefix={folder}/", env=env)
        finally:
            index.unlink(missing_ok=True)
        if (self.top / ".gitmodules").exists():
            for sha, path in self._submodules(commit):
                if (self.top / path / ".git").exists():
                    Git(self.top / path).export(sha, folder / path)

    # --- inside ---

    def _on(self, paths: Sequence[str], *args: str) -> None:
        """Run a command on exactly these paths, if there are any."""
        if paths:
            listed = b"\0".join(os.fsencode(path) for path in paths)
            self._run(*args, "--pathspec-from-file=-", "--pathspec-file-nul", input=listed)

    def _staged(self, commit: str) -> set[str]:
        """Return the paths whose version in the index is not the commit's."""
        out = self._run("diff-index", "--cached", "-z", "--name-only", "--no-renames", commit).stdout
        return {os.fsdecode(path) for path in out.split(b"\0") if path}

    def _entries(self, commit: str, paths: Sequence[str]) -> dict[str, tuple[bool, str]]:
        """Return path -> (whether it is a link, hash of its content) for the files of a commit."""
        out = self._run("ls-tree", "-r", "-z", "--full-tree", commit, "--", *paths).stdout
        split = (entry.partition(b"\t") for entry in out.split(b"\0") if entry)
        return {os.fsdecode(name): (about.startswith(b"120"), about.split()[2].decode()) for about, _, name in split}

    def _on_disk(self, paths: Sequence[str]) -> dict[str, tuple[bool, str] | None]:
        """Return the same for the files in the folder, with the line ends that git would store; None for no file."""
        found: dict[str, tuple[bool, str] | None] = {}
        for path in paths:
            file = self.top / path
            if file.is_symlink():
                made = self._run("hash-object", "--stdin", input=os.fsencode(file.readlink()))
            elif file.is_file():
                made = self._run("hash-object", "--", path)
            else:
                found[path] = (False, "a folder") if file.exists() else None
                continue
            found[path] = (file.is_symlink(), made.stdout.decode().strip())
        return found

    def _begins(self, path: str, commit: str) -> bool:
        """Whether a file holds only the beginning of a commit's version: git was writing it when it was killed."""
        file = self.top / path
        return file.is_file() and self.files(commit, [path])[path].startswith(file.read_bytes())

    def _remove(self, path: str) -> None:
        """Delete a file and the folders that are empty without it."""
        file = self.top / path
        with contextlib.suppress(NotADirectoryError):
            file.unlink(missing_ok=True)
        for folder in file.parents:
            if folder == self.top or not folder.is_dir() or any(folder.iterdir()):
                break
            folder.rmdir()

    def _submodules(self, commit: str) -> list[tuple[str, str]]:
        out = self._run("ls-tree", "-r", "-z", "--full-tree", commit).stdout
        entries = (entry.partition(b"\t") for entry in out.split(b"\0") if entry.startswith(b"160000 "))
        return [(about.split()[2].decode(), os.fsdecode(path)) for about, _, path in entries]

    def _blobs(self, hashes: list[bytes]) -> list[bytes]:
        out = self._run("cat-file", "--batch", input=b"".join(sha + b"\n" for sha in hashes)).stdout
        blobs, at = [], 0
        for _ in hashes:
            end = out.index(b"\n", at)
            size = int(out[at:end].split()[2])
            blobs.append(out[end + 1 : end + 1 + size])
            at = end + size + 2
        return blobs

    @cached_property
    def _identity(self) -> list[str]:
        """Options for what the user has not told git about himself; variables of the environment come before them."""
        missing = [key for key in _IDENTITY if not self._process(["config", key]).stdout.strip()]
        return [word for key in missing for word in ("-c", f"{key}={_IDENTITY[key]}")]

    def _text(self, *args: str) -> str:
        return self._run(*args).stdout.decode("utf-8", "surrogateescape")

    def _run(
        self, *args: str, input: bytes | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        done = self._process(args, input=input, env=env)
        if done.returncode:
            raise _explained(args, done.stderr.decode("utf-8", "replace"))
        return done

    def _process(
        self,
        args: Sequence[str],
        *,
        cwd: Path | None = None,
        input: bytes | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        clean = {key: value for key, value in os.environ.items() if key not in _INHERITED}
        clean |= {"LC_ALL": "C.UTF-8", "GIT_TERMINAL_PROMPT": "0", "GIT_EDITOR": "true", **(env or {})}
        if args[0] in ("status", "diff", "diff-tree", "ls-files"):
            clean["GIT_OPTIONAL_LOCKS"] = "0"
        command = ["git", "--literal-pathspecs", "-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false",
                   "-c", "core.fsmonitor=false", "-c", "gc.auto=0", "-c", "submodule.recurse=false", *args]  # fmt: skip
        done = subprocess.run(
            command,
            cwd=cwd or self.top,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            env=clean,
            # A signal from the terminal is for the engine, which ends git's work in order.
            start_new_session=True,
        )
        if done.returncode < 0:  # it has answered nothing: not "no", either
            raise GitError(f"{_name(args)} was killed by signal {-done.returncode}", "autoresearch resume")
        return done


def require_git() -> None:
    """Raise `PreconditionError` when there is no git."""
    if shutil.which("git") is None:
        raise PreconditionError("git is not installed", "install git 2.30 or newer and try again")


def _name(args: Sequence[str]) -> str:
    return "git " + next((a for a in args if not a.startswith("-") and "=" not in a), "")


def _explained(args: Sequence[str], said: str) -> AutoresearchError:
    line = next((line for line in said.splitlines() if line.startswith(("fatal:", "error:"))), said.strip())
    command = _name(args)
    if ".lock" in said and "exists" in said:
        return PreconditionError(f"{command}: another git process holds a lock", "wait for it, or see: git status")
    if "ermission denied" in said:
        return PreconditionError(
            f"{command}: no permission to write in this repository", "check who owns the folder .git"
        )
    if "No space left" in said:
        return MachineError(f"{command}: no space left on the device", "free some space, then: autoresearch resume")
    return GitError(f"{command} failed: {line}", "see: git status")
