"""Git as the engine uses it: asking about commits and changes, committing, going back, exporting a tree."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from autoresearch.journal.refs import branch_ref
from autoresearch.system.git_command import GitCommand
from autoresearch.system.git_plumbing import commit_tree, entries, files_of, hashes_on_disk, submodules, tree_of
from autoresearch.system.git_refs import targets_in_files


@dataclass(frozen=True, slots=True)
class Change:
    """A path that differs from HEAD, relative to the top of the repository."""

    path: str
    staged: bool
    untracked: bool = False


class Git(GitCommand):
    """One repository, seen from a workspace folder in it."""

    # --- asking ---

    def head(self) -> str | None:
        """Return the full hash of HEAD; None before the first commit."""
        return self.resolve("HEAD")

    def resolve(self, revision: str) -> str | None:
        """Return the full hash of a commit, or None when there is none of this name."""
        target = self.reader.read(f"{revision}^{{commit}}")
        return target.name if target else None

    def refs(self, folder: str) -> list[str]:
        """Return the refs in `folder`, and the ref of that name itself."""
        return [*self.targets(folder)]

    def targets(self, *folders: str) -> dict[str, str]:
        """Return ref -> what it points at, for the refs in `folders` and those of these names themselves."""
        found = targets_in_files(self.object_dir.parent, folders)
        if found is not None:
            return found
        lines = self.text("for-each-ref", "--format=%(refname) %(objectname)", *folders).splitlines()
        return dict(line.split() for line in lines)

    def targets_again(self, *folders: str) -> dict[str, str]:
        """Return what `targets` does; not asked again when `known_targets` were told and we have changed nothing since.

        For two looks that follow one another at once: what somebody else did in between is seen by the next one.
        """
        known, self._known_targets = self._known_targets, None
        if known is not None and known[:2] == (self.commands_that_change, folders):
            return known[2]
        return self.targets(*folders)

    def known_targets(self, folders: tuple[str, ...], targets: dict[str, str]) -> None:
        """Say what `targets` has just returned, for one `targets_again`."""
        self._known_targets = (self.commands_that_change, folders, targets)

    _known_targets: tuple[int, tuple[str, ...], dict[str, str]] | None = None

    def is_ancestor(self, old: str, new: str) -> bool:
        return old in self.parents(new) or self.process(["merge-base", "--is-ancestor", old, new]).returncode == 0

    def branch(self) -> str | None:
        """Return the checked-out branch; None when HEAD is detached."""
        with contextlib.suppress(OSError):
            head = (self.git_dir / "HEAD").read_bytes().rstrip(b"\n")
            if head.startswith(b"ref: refs/heads/") and head != b"ref: refs/heads/.invalid":
                return os.fsdecode(head.removeprefix(b"ref: refs/heads/"))
            if len(head) in (40, 64):
                return None
        # Refs that are not kept as files, or an old HEAD that is a link.
        done = self.process(["symbolic-ref", "--quiet", "--short", "HEAD"])
        return done.stdout.decode().strip() if done.returncode == 0 else None

    def parents(self, commit: str) -> list[str]:
        """Return the full hashes of a commit's parents."""
        target = self.reader.read(f"{commit}^{{commit}}")
        lines = target.content.partition(b"\n\n")[0].splitlines() if target else []
        return [line.split()[1].decode() for line in lines if line.startswith(b"parent ")]

    def subject(self, commit: str) -> str:
        return self.text("log", "-1", "--format=%s", commit).strip()

    def changes(self) -> list[Change]:
        """Return what differs from HEAD in the whole repository, untracked files that git does not ignore included."""
        out = self.run(
            "status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=dirty"
        )
        changes = []
        for entry in out.stdout.split(b"\0"):
            if entry:
                code, path = entry[:2].decode(), os.fsdecode(entry[3:])
                changes.append(Change(path, staged=code[0] not in " ?", untracked=code == "??"))
        self._known_staged = self.commands_that_change, {change.path for change in changes if change.staged}
        return changes

    _known_staged: tuple[int, set[str]] | None = None
    """How many commands had changed something, and what was staged, when it was last asked for."""

    def edited_submodules(self, paths: Sequence[str]) -> list[str]:
        """Return the submodules under `paths` in which tracked files were edited and not committed."""
        if not (self.top / ".gitmodules").exists():
            return []
        out = self.text("status", "--porcelain=v2", "-z", "--untracked-files=no", "--ignore-submodules=untracked",
                        "--", *paths)  # fmt: skip
        # `1 XY S.M. ...`: a submodule (S) in which something was modified (M)
        words = [entry.split(" ", 8) for entry in out.split("\0") if entry.startswith("1 ")]
        return [word[8] for word in words if word[2].startswith("S") and word[2][2] == "M"]

    def changed(self, old: str, new: str) -> list[str]:
        """Return the paths that differ between two commits, relative to the top."""
        out = self.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", old, new).stdout
        return [os.fsdecode(path) for path in out.split(b"\0") if path]

    def diff(self, old: str, new: str) -> str:
        """Return the change between two commits as a patch."""
        done = self.run("diff", "--no-color", "--no-ext-diff", "--binary", old, new)
        return done.stdout.decode("utf-8", "replace")

    def ignored(self, path: str) -> bool:
        # check-ignore takes no pattern, and fails when it is told so
        return self.process(["--no-literal-pathspecs", "check-ignore", "-q", "--", path]).returncode == 0

    def ignored_files(self, paths: Sequence[str]) -> list[str]:
        """Return the files under `paths` that are not tracked and that git ignores, relative to the top."""
        out = self.run("ls-files", "-z", "--full-name", "-o", "-i", "--exclude-standard", "--", *paths).stdout
        return [os.fsdecode(path) for path in out.split(b"\0") if path]

    def tracked(self, paths: Sequence[str]) -> list[str]:
        """Return the tracked files under `paths`, relative to the top."""
        out = self.run("ls-files", "-z", "--full-name", "--", *paths).stdout
        return [os.fsdecode(path) for path in out.split(b"\0") if path]

    def path_of(self, name: str) -> Path:
        """Return where git keeps one of its own files (`info/exclude`, `index.lock`) for this work tree."""
        return self.top / self.text("rev-parse", "--git-path", name).strip()

    def unfinished_operation(self) -> str | None:
        """Return the name of a merge, rebase or the like that waits for its end, or None."""
        known = {"MERGE_HEAD": "merge", "rebase-merge": "rebase", "rebase-apply": "rebase",
                 "CHERRY_PICK_HEAD": "cherry-pick", "REVERT_HEAD": "revert"}  # fmt: skip
        return next((name for file, name in known.items() if (self.git_dir / file).exists()), None)

    # --- changing ---

    def commit(self, paths: Iterable[str], message: str) -> str:
        """Commit exactly `paths` (relative to the top; deleted ones too) on HEAD and return the new commit.

        Whatever else is staged is a person's: it is not in the commit, and stays staged.
        """
        paths, known = [*paths], self._known_staged
        staged = known[1] if known is not None and known[0] == self.commands_that_change else None
        self._stage(paths)
        parent = self.head()
        if parent is not None and not (self._staged(parent) if staged is None else staged) <= {*paths}:
            commit, subject = commit_tree(self, self._tree_with(paths), parent, message), message.partition("\n")[0]
            self.run("update-ref", "-m", f"commit: {subject}", "HEAD", commit, parent)
            return commit
        words = ["-c", "commit.gpgsign=false", "commit", "-q", "--no-verify", "--cleanup=verbatim", "-F", "-"]
        text = message.encode("utf-8", "replace")
        # Most people have told git who they are, so nobody asks before: git refuses when it would have to guess.
        done = self.process(["-c", "user.useConfigOnly=true", *words], input=text)
        if done.returncode:
            self.run(*self.identity, *words, input=text)
        head = self.head()
        assert head is not None
        self._index_of = (head, self._index_digest())
        return head

    def move_to(self, commit: str) -> None:
        """Move the branch that is checked out, index and files to a commit; raises where an edit is in the way."""
        self.run("reset", "-q", "--keep", commit)
        self._index_of = (commit, self._index_digest())

    _index_of: tuple[str, bytes | None] | None = None
    """A commit, and what the index was when we had made it hold that commit and nothing else, the last time."""

    def update_ref(self, ref: str, new: str, old: str | None = None) -> None:
        """Point `ref` at `new`; with `old` only when it points there now."""
        self.run("update-ref", ref, new, *([old] if old else []))

    def set_ref(self, ref: str, target: str | None) -> None:
        """Point `ref` at `target`, or delete it when that is None."""
        self.run("update-ref", *(["-d", ref] if target is None else [ref, target]))

    def entries_with(self, paths: Iterable[str], roots: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Return path -> (mode, hash) of what HEAD has under `roots` with these paths as they are in the folder.

        As a commit of them would have it: with modes, links, submodules, and the line ends that git stores.
        """
        return self.entries_of(self._tree_with(paths), roots)

    def entries_of(self, tree: str, roots: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Return path -> (mode, hash) of the files, links and submodules of a commit or tree under `roots`."""
        return {path: (mode, sha) for mode, sha, path in tree_of(self, tree, roots) if not mode.startswith("4")}

    def move_submodules(self, old: str, new: str) -> None:
        """Check out the submodules of `new` where the folder has those of `old`, and nothing was edited in them."""
        before = {path: sha for sha, path in self.submodules_here(old)}
        for sha, path in self.submodules_here(new):
            if before.get(path, sha) != sha:
                module = Git(self.top / path)
                if module.head() == before[path]:
                    module.process(["checkout", "-q", "--detach", sha])  # it refuses where edits would be lost

    def skip_worktree(self, paths: Sequence[str]) -> None:
        """Tell git to leave these tracked files in the folder as they are, whatever it is told to restore."""
        if paths:
            self.run("update-index", "--skip-worktree", "-z", "--stdin", input=b"\0".join(map(os.fsencode, paths)))

    def create_branch(self, name: str) -> None:
        """Create a branch at HEAD and check it out; work tree and index stay as they are."""
        self.run("switch", "-q", "--no-track", "-c", name)

    def go_back(self, branch: str, commit: str, parent: str, *, after_kill: bool = False) -> list[str]:
        """Set `branch` from `commit` back to `parent` and return the files that were left as they are.

        With the branch checked out, only files that the commit changed are touched, and of these only those whose
        content is still the commit's: whatever was edited since stays in the folder and is returned, and what was
        staged since stays staged. `after_kill` says that an earlier call may have been stopped half-way: then the index
        proves nothing, and a file that holds only the beginning of the parent's version was being written by git.
        """
        if self.branch() != branch:
            self.update_ref(branch_ref(branch), parent, commit)
            return []
        if after_kill:
            self._on(self.changed(parent, commit), "reset", "-q", commit)
        index = self._index_digest()
        # Byte for byte what we left: nothing was staged since.
        staged = set[str]() if index is not None and self._index_of == (commit, index) else self._staged(commit)
        if not staged and self.process(["reset", "-q", "--keep", parent]).returncode == 0:
            self.move_submodules(commit, parent)
            return []
        paths = self.changed(parent, commit)
        theirs, ours = entries(self, commit, paths), entries(self, parent, paths)
        restore: list[str] = []
        left: list[str] = []
        modules = {path for _, path in self.submodules_here(commit)}
        for path, now in hashes_on_disk(self, [path for path in paths if path not in modules]).items():
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
        self.update_ref(branch_ref(branch), parent, commit)
        self.move_submodules(commit, parent)
        return left

    def found_here(self, message: str) -> str:
        """Keep what the tracked files hold now in a commit that no branch has, as `git stash create` makes it; return
        its name, or nothing where git makes none. Git forgets it after two weeks at the earliest."""
        made = self.process(["-c", "user.useConfigOnly=true", "stash", "create", message])
        if made.returncode:
            made = self.process([*self.identity, "stash", "create", message])
        return made.stdout.decode().strip() if made.returncode == 0 else ""

    def restore(self, commit: str, paths: Sequence[str]) -> None:
        """Write the files of `commit` under `paths` into the folder, without moving HEAD."""
        self.run("restore", "-q", f"--source={commit}", "--worktree", "--", *paths)

    def checkout(self, commit: str, folder: Path, index: Path, *, known: str | None = None) -> None:
        """Make `folder` hold the files of `commit` as a checkout has them; what `index` says is there is not written.

        Where the folder is known to hold the files of another commit, and no others, only what differs between both is
        looked at. Nothing in the repository changes: the index is one of its own, and no work tree is registered.
        """
        env = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(folder), "GIT_DIR": str(self.git_dir)}
        settings = ("core.trustctime=true", "core.checkStat=default", "core.ignoreStat=false", "core.splitIndex=false",
                    "core.untrackedCache=false", "core.bare=false")  # fmt: skip
        words = [word for setting in settings for word in ("-c", setting)]
        trees = [commit] if known is None else [known, commit]
        self.run(*words, "read-tree", "--reset", "-u", "--no-sparse-checkout", *trees, env=env)

    def export(self, commit: str, folder: Path) -> None:
        """Write the tree of `commit` into the empty `folder`: files as a checkout has them, submodules too."""
        folder.mkdir(parents=True, exist_ok=True)
        index = folder.parent / f"{folder.name}.index"
        try:
            self.checkout(commit, folder, index)
        finally:
            index.unlink(missing_ok=True)
        self.export_submodules(commit, folder)

    def export_submodules(self, commit: str, folder: Path) -> list[list[str]]:
        """Write the submodules of `commit` that are here into `folder`; return (commit, path) of each."""
        exported = self.submodules_here(commit)
        for sha, path in exported:
            Git(self.top / path).export(sha, folder / path)
        return exported

    def submodules_here(self, commit: str) -> list[list[str]]:
        """Return (commit, path) of each submodule of `commit` that is checked out in the folder."""
        if not (self.top / ".gitmodules").exists():
            return []
        return [[sha, path] for sha, path in submodules(self, commit) if (self.top / path / ".git").exists()]

    # --- inside ---

    def _tree_with(self, paths: Iterable[str]) -> str:
        """Return the tree of HEAD with these paths as they are in the folder; the index stays as it is."""
        with tempfile.TemporaryDirectory() as folder:
            env = {"GIT_INDEX_FILE": f"{folder}/index"}
            self.run("read-tree", "HEAD", env=env)
            self._stage(paths, env)
            return self.run("write-tree", env=env).stdout.decode().strip()

    def _stage(self, paths: Iterable[str], env: Mapping[str, str] | None = None) -> None:
        """Make the index say of these paths what the folder does, whatever git knows of them.

        `git add` refuses a path that is neither in the index nor in the folder (after `git rm` or `git mv`), and one
        that lies in an ignored folder though it is tracked.
        """
        gone, there = list[str](), list[str]()
        for path in paths:
            (there if self._is_there(path) else gone).append(path)
        # What is gone goes first: a folder may have made way for a file, or for a link, of the same name.
        for how, names in (("--force-remove", gone), ("--add", there)):
            if names:
                listed = b"".join(os.fsencode(name) + b"\0" for name in names)
                self.run("update-index", how, "--replace", "-z", "--stdin", input=listed, env=env)

    def _is_there(self, path: str) -> bool:
        """Whether a file, a link or a submodule is at this place, and not behind a link."""
        file = self.top / path
        if any((self.top / folder).is_symlink() for folder in PurePosixPath(path).parents):
            return False
        return file.is_symlink() or file.is_file() or (file / ".git").exists()

    def _on(self, paths: Sequence[str], *args: str) -> None:
        """Run a command on exactly these paths, if there are any."""
        if paths:
            listed = b"\0".join(os.fsencode(path) for path in paths)
            self.run(*args, "--pathspec-from-file=-", "--pathspec-file-nul", input=listed)

    def _staged(self, commit: str) -> set[str]:
        """Return the paths whose version in the index is not the commit's."""
        words = ("--cached", "-z", "--name-only", "--no-renames", "--ignore-submodules=none")
        out = self.run("diff-index", *words, commit).stdout
        return {os.fsdecode(path) for path in out.split(b"\0") if path}

    def _index_digest(self) -> bytes | None:
        """Return a hash of the index as it is now; None when it cannot be read."""
        with contextlib.suppress(OSError):
            return hashlib.sha256((self.git_dir / "index").read_bytes()).digest()
        return None

    def _begins(self, path: str, commit: str) -> bool:
        """Whether a file holds only the beginning of a commit's version: git was writing it when it was killed."""
        file = self.top / path
        return file.is_file() and files_of(self, commit, [path])[path].startswith(file.read_bytes())

    def _remove(self, path: str) -> None:
        """Delete a file and the folders that are empty without it."""
        file = self.top / path
        with contextlib.suppress(NotADirectoryError):
            file.unlink(missing_ok=True)
        for folder in file.parents:
            if folder == self.top or not folder.is_dir() or any(folder.iterdir()):
                break
            folder.rmdir()


_KNOWN: dict[Path, Git] = {}
"""The repositories of the command that runs."""


def git_at(root: Path) -> Git:
    """Return the repository that `root` is in; asked for again in one command, it is the one that is known.

    Raises as `Git` does.
    """
    known = _KNOWN.get(root)
    if known is None or not known.git_dir.is_dir():
        known = _KNOWN[root] = Git(root)
    return known


def forget() -> None:
    """End what the command has left waiting for questions."""
    while _KNOWN:
        _KNOWN.popitem()[1].reader.close()
