"""What a run must not change, held before it starts and compared after it ended; what was changed is put back.

In the sandbox a run cannot write any of this, so a difference is a person's and is left alone. Without it, whoever
changed it: journal, refs, objects and immutable files are put back, and what was found is kept in the run's folder.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from autoresearch.errors import IntegrityError
from autoresearch.journal.refs import branch_ref, folder_of
from autoresearch.journal.session import Session
from autoresearch.runs.isolation import journal_backup
from autoresearch.runs.isolation.git_backup import Held, damaged, false, hold, put_back
from autoresearch.system.files import write_atomic
from autoresearch.system.git import Git
from autoresearch.workspace.init_options import LINKABLE
from autoresearch.workspace.task_file import TaskFile
from autoresearch.workspace.workspace import Workspace

SMALL = 64 * 2**10
"""Bytes up to which a file of an earlier run is held whole; of a larger one only its state is known."""

CACHES = ("__pycache__", ".cache", ".pytest_cache", ".vite")
"""Folders in linked ones that programs write by the way, and no program reads for what it computes."""

MOST_LINKED = 100_000
"""Files of one link that are compared."""

HELD = 16 * 2**20
"""Bytes of such files that are held in all, the newest runs first."""

State = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Fixed:
    """A file as it was: git tells a program from a text, and a link from what it leads to."""

    content: bytes
    program: bool
    link: str | None

    @classmethod
    def of(cls, file: Path) -> Fixed | None:
        """Return what is there; None for no file."""
        if not file.is_file():
            return None
        link = str(file.readlink()) if file.is_symlink() else None
        return cls(file.read_bytes(), bool(file.stat().st_mode & 0o100), link)

    def put_back(self, file: Path) -> None:
        """Make it so again."""
        if self.link is not None:
            if file.is_symlink() or file.exists():
                file.unlink()
            file.symlink_to(self.link)
            file = file.resolve()
        if Fixed.of(file) != Fixed(self.content, self.program, None):
            write_atomic(file, self.content, mode=0o755 if self.program else 0o644)


@dataclass
class TamperCheck:
    """The state of everything that the run of one seed must leave alone."""

    workspace: Workspace
    git: Git
    run_dir: Path
    session: Session
    journal: bytes
    refs: dict[str, str]
    objects: dict[str, Held]
    immutable: dict[str, Fixed]
    runs: dict[Path, State]
    small: dict[Path, bytes]
    touched: dict[str, int] = field(default_factory=dict)
    """Immutable path -> when its entry last changed, which no program can set."""
    linked: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """File in what is linked into the snapshots -> its state."""

    @classmethod
    def of(
        cls, workspace: Workspace, git: Git, task: TaskFile, session: Session, commits: set[str], run_dir: Path
    ) -> TamperCheck:
        """Hold everything as it is now. `commits` are those whose objects must stay as they are."""
        paths = [f"{git.prefix}{path}" for path in (*task.files.mutable, *task.files.immutable)]
        held = {path: Fixed.of(workspace.root / path) for path in _files(workspace.root, task)}
        immutable = {path: fixed for path, fixed in held.items() if fixed is not None}
        runs = dict(_states(workspace, run_dir))
        objects = hold(git, sorted(commits), paths)
        if wrong := false(objects):
            raise IntegrityError(f"the git object {wrong[0][:12]} does not hold what its name says", "see: git fsck")
        return cls(
            workspace, git, run_dir, session,
            journal=workspace.journal.read_bytes(),
            refs=git.targets_again(*_places(session)),  # where a run of the same experiment has just ended: its last
            objects=objects | journal_backup.objects_of_mirror(git, workspace),
            immutable=immutable,
            runs=runs,
            small=_held(runs),
            touched={path: (workspace.root / path).lstat().st_ctime_ns for path in immutable},
            linked=dict(_linked(workspace.root, task.files.link)),
        )  # fmt: skip

    def changes(self) -> tuple[list[str], list[str]]:
        """Compare and put back; return what was changed, and what was written to and is the same, a phrase each."""
        changed = [*self._journal(), *self._immutable(), *self._objects(), *self._refs(), *self._runs()]
        changed = [f"{what} while it ran, and put back" for what in changed]
        changed += [f"{what} while it ran, and is linked into every run" for what in self._linked()]
        same = [
            f"{path} was written to while it ran, and is what it was"
            for path, when in (self.touched if self._here() else {}).items()
            if not any(change.startswith(f"{path} ") for change in changed)
            and (self.workspace.root / path).lstat().st_ctime_ns != when
        ]
        return changed, same

    def _here(self) -> bool:
        """Whether the session's branch is checked out; the files of another one, to which a person went, differ."""
        return self.git.branch() == self.session.segment.branch

    def _journal(self) -> Iterator[str]:
        if journal_backup.put_back(self.workspace, self.journal, self.run_dir / "found"):
            yield "the journal was changed"

    def _immutable(self) -> Iterator[str]:
        for path, fixed in (self.immutable if self._here() else {}).items():
            file = self.workspace.root / path
            now = Fixed.of(file)
            if now != fixed:
                self._keep_aside(path, now.content if now is not None else None)
                fixed.put_back(file)
                yield f"{path} was {'deleted' if now is None else 'changed'}"

    def _objects(self) -> Iterator[str]:
        wrong = damaged(self.git, self.objects)
        for name in wrong:
            put_back(self.git, name, self.objects[name])
        if wrong:
            yield f"{len(wrong)} objects of git were changed"

    def _refs(self) -> Iterator[str]:
        """Put back the refs of experiments, and a branch that lost its commit. What a person commits on top stays."""
        now, branch = self.git.targets(*_places(self.session)), branch_ref(self.session.segment.branch or "")
        self.git.known_targets(_places(self.session), now)  # holds as long as nothing has to be put back
        for ref in {*now, *self.refs}:
            before, after = self.refs.get(ref), now.get(ref)
            if before == after or (ref == branch and before and after and self.git.is_ancestor(before, after)):
                continue
            self.git.set_ref(ref, before)
            yield f"the ref {ref} was {'changed' if before and after else 'made' if after else 'deleted'}"

    def _runs(self) -> Iterator[str]:
        now = dict(_states(self.workspace, self.run_dir))
        wrong = [path for path, state in self.runs.items() if now.get(path) != state]
        new = [path for path in now if path not in self.runs]
        for path in wrong:
            if path in self.small and not (path.is_file() and path.read_bytes() == self.small[path]):
                with contextlib.suppress(OSError):
                    write_atomic(path, self.small[path])
        stays = sum(not self._moved_aside(path) for path in new)
        if wrong or new:
            first = (wrong or new)[0].relative_to(self.workspace.state)
            lost = stays + sum(path not in self.small for path in wrong)
            yield f"files of other runs were changed ({len(wrong) + len(new)}, first {first}; {lost} not put back)"

    def _moved_aside(self, path: Path) -> bool:
        """Take a file that a run has put among those of others to what was found of it, or else away."""
        with contextlib.suppress(OSError):
            aside = self.run_dir / "found" / path.relative_to(self.workspace.state)
            aside.parent.mkdir(parents=True, exist_ok=True)
            path.replace(aside)
            return True
        with contextlib.suppress(OSError):
            path.unlink()
        return not os.path.lexists(path)

    def _linked(self) -> Iterator[str]:
        """Look at what is linked: it is large, so nothing of it is held, and what was changed stays so."""
        now = dict(_linked(self.workspace.root, {path.partition("//")[0] for path in self.linked}))
        wrong = [path for path, state in self.linked.items() if now.get(path) != state]
        if wrong:
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            yield f"{wrong[0].replace('//', '/').rstrip('/')}{more} was changed"

    def _keep_aside(self, name: str, content: bytes | None) -> None:
        """Keep what was found, so that a person's work is not lost when it was a person's."""
        if content is not None:
            with contextlib.suppress(OSError):
                write_atomic(self.run_dir / "found" / name, content)


def _places(session: Session) -> tuple[str, ...]:
    """Return the folder of the session's refs, and its branch."""
    return (folder_of(session), *([branch_ref(session.segment.branch)] if session.segment.branch else []))


def _files(root: Path, task: TaskFile) -> list[str]:
    """Return the immutable files, those in immutable folders included."""
    paths = []
    for path in task.files.immutable:
        target = root / path
        files = sorted(target.rglob("*")) if target.is_dir() else [target]
        paths += [f.relative_to(root).as_posix() for f in files if f.is_file() and "__pycache__" not in f.parts]
    return paths


def _states(workspace: Workspace, own: Path) -> Iterator[tuple[Path, State]]:
    """Yield (path, its size, time and number) of every file in the folders of other runs."""
    for folder, folders, files in os.walk(workspace.state / "runs"):
        here = Path(folder)
        folders[:] = [name for name in folders if here / name != own]
        for name in files:
            with contextlib.suppress(OSError):
                about = (here / name).lstat()
                yield here / name, (about.st_size, about.st_mtime_ns, about.st_ino)


def _linked(root: Path, links: Iterable[str]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield (link, `//` and the path in it; its state) of every file in what is linked. Of installed packages the time
    of the entry does not count: a package manager that links the same file elsewhere changes it."""
    for link in sorted(links):
        top = (root / link).resolve()
        files = [top] if top.is_file() else []
        for folder, folders, names in os.walk(top):
            folders[:] = [name for name in folders if name not in CACHES]
            files += [Path(folder, name) for name in names]
        for path in files[:MOST_LINKED]:
            with contextlib.suppress(OSError):
                about = path.lstat()
                times = (about.st_mtime_ns,) if link in LINKABLE else (about.st_mtime_ns, about.st_ctime_ns)
                inside = path.relative_to(top).as_posix() if path != top else ""
                yield f"{link}//{inside}", (about.st_ino, about.st_size, *times)


def _held(runs: dict[Path, State]) -> dict[Path, bytes]:
    """Return the content of the small files, the newest first, as much as may be held."""
    held: dict[Path, bytes] = {}
    total = 0
    for path, (size, _, _) in sorted(runs.items(), key=lambda item: -item[1][1]):
        if size <= SMALL and total + size <= HELD:
            with contextlib.suppress(OSError):
                held[path] = path.read_bytes()
                total += size
    return held
