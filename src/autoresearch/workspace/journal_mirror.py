"""The mirror of the journal: a copy in the repository, under a ref of the session, for when the file is lost.

The ref points at a tree: the journal in pieces of `PIECE` bytes, named 00000, 00001 and so on, the folder of the
workspace in the repository, and the pages beside the journal that git ignores as well. The journal only grows, so a
verdict writes the last piece and the tree anew and nothing else. There is no history: what an earlier tree had, the
next one has, and git collects the earlier one.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from autoresearch.errors import AutoresearchError, IntegrityError
from autoresearch.journal import file as journal
from autoresearch.journal.events import type_of
from autoresearch.journal.import_events import IMPORTED
from autoresearch.journal.refs import earlier_mirror_ref, mirror_ref
from autoresearch.journal.session import Session
from autoresearch.system.git import Git
from autoresearch.system.git_plumbing import object_name, tree_content, tree_of, write_objects
from autoresearch.workspace.lock import changing_git
from autoresearch.workspace.session_journal import content_of
from autoresearch.workspace.workspace import HELPERS, Workspace

PIECE = 2**16
"""Bytes: on average half of it is written at each verdict."""

NOTES = ("autoresearch.md", "autoresearch.ideas.md")
"""What was learned: these stay in the mirror when they are gone from the folder."""

PAGES = (*NOTES, *HELPERS)
"""What else of a session is in no commit, and small; the scripts in `HOOKS` too."""

HOOKS = "autoresearch.hooks"

MOST_OF_A_PAGE = 2**18
"""Bytes; a longer page is not mirrored."""

MIRRORED_AT_ONCE = ("run", IMPORTED, "config", "study_end")
"""Lines after which the mirror is brought up; the others are in it with the next of these, or with a note."""

Relation = Literal["same", "goes on", "shorter", "differs"]
"""How a journal is to its mirror: it has more lines, or only the first of them, or others."""

_FOLDER = "folder"
_IS_PIECE = re.compile(r"[0-9]{5,}")
_IS_HOOK = re.compile(re.escape(HOOKS) + r"/(?!\.)[\w.-]+")


@dataclass(frozen=True, slots=True)
class Mirror:
    """What one mirror has."""

    tree: str
    """The name of its tree."""
    entries: Mapping[str, tuple[str, str]]
    """Name -> (mode, hash), pages included."""
    pieces: tuple[str, ...]
    """The hashes of the journal's pieces."""
    last: bytes
    """The last piece."""

    @property
    def size(self) -> int:
        """Bytes of the journal."""
        return PIECE * (len(self.pieces) - 1) + len(self.last)

    def relation(self, git: Git, content: bytes, names: Sequence[str] | None = None) -> Relation:
        """Return how the whole lines of a journal are to this mirror; `names` are those of its pieces, if known."""
        whole = min(len(content) // PIECE, len(self.pieces) - 1)
        if whole and (names or piece_names(content, self.tree))[:whole] != self.pieces[:whole]:
            return "differs"
        if len(content) >= self.size:
            begins = content.startswith(self.last, whole * PIECE)
            return "differs" if not begins else "same" if len(content) == self.size else "goes on"
        with contextlib.suppress(IntegrityError):  # what is damaged has nothing that could be brought back
            return "shorter" if self.journal(git).startswith(content) else "differs"
        return "differs"

    def journal(self, git: Git) -> bytes:
        """Return the journal; raise `IntegrityError` when a piece is not what its name says."""
        return b"".join(_read(git, name) for name in self.pieces)

    def folder(self, git: Git) -> str:
        """Return the folder of the workspace from the top of the repository: empty, or ending in a slash.

        Raises `IntegrityError` for one that is not in the repository: a mirror may have been fetched from anywhere.
        """
        folder = _read(git, self.entries[_FOLDER][1]).decode("utf-8", "surrogateescape")
        parts = folder.split("/")[:-1]
        if folder and ("" in parts or {".", "..", ".git"} & {part.lower() for part in parts} or folder[-1] != "/"):
            raise IntegrityError(f"the mirror of a journal names the folder {folder!r}", "see who has made it")
        return folder

    def pages(self, git: Git) -> dict[str, tuple[bool, bytes]]:
        """Return path -> (whether it is a program, content) of what is beside the journal."""
        pages = {name: about for name, about in self.entries.items() if name in PAGES or _IS_HOOK.fullmatch(name)}
        return {name: (mode == "100755", _read(git, sha)) for name, (mode, sha) in pages.items()}


_named: tuple[bytes, tuple[int, int], tuple[str, ...]] = (b"", (0, 0), ())
"""The last journal that was named, how (bytes of a piece, length of a name), and the names of its whole pieces."""


def piece_names(content: bytes, like: str) -> tuple[str, ...]:
    """Return the names of the pieces of a journal, by the algorithm of the name `like`. Where it goes on from the one
    that was asked for last, only what was added is hashed."""
    global _named
    before, how, names = _named
    if how != (PIECE, len(like)) or not content.startswith(before):
        names = ()
    view = memoryview(content)  # a long journal is not copied
    pieces = (view[n : n + PIECE] for n in range(len(names) * PIECE, len(view), PIECE))
    names += tuple(object_name("blob", piece, like) for piece in pieces)
    _named = content, (PIECE, len(like)), names[: len(content) // PIECE]
    return names


def read_mirror(git: Git, name: str) -> Mirror | None:
    """Return the mirror of a ref, or of a tree; None when there is none, or when it cannot be read."""
    tree = git.reader.read(f"{name}^{{tree}}")
    if tree is None:
        return None
    with contextlib.suppress(AutoresearchError):
        entries = {path: (mode, sha) for mode, sha, path in tree_of(git, tree.name, ["."])}
        pieces = tuple(sha for path, (_, sha) in sorted(entries.items()) if _IS_PIECE.fullmatch(path))
        if pieces and _FOLDER in entries:
            return Mirror(tree.name, entries, pieces, _read(git, pieces[-1]))
    return None


def mirror_of(git: Git, session: Session) -> Mirror | None:
    """Return the mirror of a session, as `read_mirror` does."""
    return read_mirror(git, mirror_ref(session.segment.tag))


def whole_lines(workspace: Workspace) -> bytes:
    """Return what the journal has, without a last line that has no end."""
    content = content_of(workspace.journal)
    return content[: content.rfind(b"\n") + 1]


def keep_up(workspace: Workspace, git: Git, session: Session) -> list[str]:
    """Bring the mirror up to the journal; return what a person should know, a sentence each.

    Two git processes, none where nothing is missing. Called by who holds the lock, outside of any run. A mirror that
    the journal does not go on from is kept under another ref. What goes wrong is told and has no other consequence: the
    journal itself is there, and the next call does it.
    """
    if session.segment.branch is None:
        return []  # another tool's journal: no session was begun
    try:
        return _keep_up(workspace, git, session.segment.tag)
    except (AutoresearchError, OSError) as error:
        what = error.message if isinstance(error, AutoresearchError) else str(error)
        return [f"the journal is not mirrored: {what}; the next verdict tries again"]


def _keep_up(workspace: Workspace, git: Git, tag: str | None) -> list[str]:
    ref = mirror_ref(tag)
    content, before = whole_lines(workspace), read_mirror(git, ref)
    if not content:
        return []
    like = before.tree if before is not None else git.head() or ""
    objects: dict[str, tuple[str, bytes]] = {}

    def named(kind: str, content: bytes) -> str:
        name = object_name(kind, content, like)
        objects[name] = (kind, content)
        return name

    entries = {_FOLDER: ("100644", named("blob", git.prefix.encode("utf-8", "surrogateescape")))}
    known = {sha for _, sha in before.entries.values()} if before is not None else set[str]()
    pieces = piece_names(content, like)
    for number, name in enumerate(pieces):
        entries[f"{number:05}"] = ("100644", name)
        if name not in known:
            objects[name] = ("blob", content[number * PIECE : (number + 1) * PIECE])
    if before is not None:
        entries |= {name: before.entries[name] for name in NOTES if name in before.entries}
    hooks: dict[str, tuple[str, str]] = {}
    for name, mode, page in _pages(workspace):
        into = hooks if name.startswith(f"{HOOKS}/") else entries
        into[name.removeprefix(f"{HOOKS}/")] = (mode, named("blob", page))
    if hooks:
        entries[HOOKS] = ("40000", named("tree", tree_content(hooks)))
    tree = named("tree", tree_content(entries))
    if before is not None and tree == before.tree:
        return []
    known |= _intact(git, objects) if before is None else set()
    told = []
    with changing_git(workspace):
        write_objects(git, [made for name, made in objects.items() if name not in known], like)
        if before is not None and before.relation(git, content, pieces) in ("shorter", "differs"):
            kept = earlier_mirror_ref(tag, before.tree)
            git.update_ref(kept, before.tree)
            told = [f"the journal does not go on from its mirror; what that had is kept under {kept}"]
        git.update_ref(ref, tree)
    return told


def missing_verdict(content: bytes, mirror: Mirror | None) -> bool:
    """Whether the whole lines of the journal have one that should have been mirrored at once, as after a kill; or there
    is no mirror."""
    if mirror is None:
        return True
    added = content[mirror.size :].splitlines()
    return any((event := journal.parsed(line)) is not None and type_of(event) in MIRRORED_AT_ONCE for line in added)


def check_mirror(workspace: Workspace, git: Git, session: Session, *, whole: bool = False) -> IntegrityError | None:
    """Return what is wrong between journal and mirror, or None; with `whole` every piece of the mirror is read, too."""
    mirror = mirror_of(git, session)
    if session.segment.branch is None:
        return None
    if mirror is None:  # an older session has none before the next command that changes something
        damaged = whole and git.targets(mirror_ref(session.segment.tag))
        what = "the mirror of the journal is damaged"
        return IntegrityError(what, "write it anew: autoresearch resume") if damaged else None
    tag, content = session.segment.tag or "session", whole_lines(workspace)
    relation = mirror.relation(git, content)
    if relation == "shorter":
        return lost_lines(git, mirror, content, tag)
    if relation == "differs":
        kept = mirror.journal(git)
        lines = next(n for n, (a, b) in enumerate(_lines(content, kept), 1) if a != b)
        what = f"line {lines} of the journal is not what it was when it was mirrored"
        aside = f"mv {journal.NAME} changed.jsonl && autoresearch resume --restore {shlex.quote(tag)}"
        return IntegrityError(what, f"if that was not meant, go back to the mirror: {aside}")
    if whole:
        try:
            mirror.journal(git)
        except IntegrityError as error:
            return IntegrityError(error.message, f"write it anew: git update-ref -d {mirror_ref(tag)} && {error.fix}")
    return None


def lost_lines(git: Git, mirror: Mirror, content: bytes, tag: str | None) -> IntegrityError:
    """Return the error for a journal that is shorter than its mirror."""
    lines = mirror.journal(git)[len(content) :].count(b"\n")
    what = f"the journal has lost {lines} line{'s' if lines > 1 else ''} that its mirror in the repository has"
    return IntegrityError(what, f"bring them back: autoresearch resume --restore {shlex.quote(tag or 'session')}")


def _lines(one: bytes, other: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the lines of both, side by side; empty where one has no more."""
    mine, theirs = one.split(b"\n"), other.split(b"\n")
    for number in range(max(len(mine), len(theirs))):
        yield b"".join(mine[number : number + 1]), b"".join(theirs[number : number + 1])


def _pages(workspace: Workspace) -> Iterator[tuple[str, str, bytes]]:
    """Yield (path, mode, content) of the pages that are there."""
    hooks = workspace.root / HOOKS
    scripts = sorted(hooks.iterdir()) if hooks.is_dir() and not hooks.is_symlink() else []
    for path in (*(workspace.root / name for name in PAGES), *scripts):
        with contextlib.suppress(OSError):
            named = path.parent == workspace.root or _IS_HOOK.fullmatch(f"{HOOKS}/{path.name}")
            if named and path.is_file() and not path.is_symlink() and path.stat().st_size <= MOST_OF_A_PAGE:
                mode = "100755" if path.stat().st_mode & 0o100 else "100644"
                yield path.relative_to(workspace.root).as_posix(), mode, path.read_bytes()


def _intact(git: Git, objects: Mapping[str, tuple[str, bytes]]) -> set[str]:
    """Return the names of those objects that are in the repository; what is damaged is taken out of the way."""
    found = git.reader.read_all([*objects])
    intact = {o.name for o in found if o is not None and objects[o.name] == (o.kind, o.content)}
    for name in objects.keys() - intact:
        (git.object_dir / name[:2] / name[2:]).unlink(missing_ok=True)
    return intact


def _read(git: Git, name: str) -> bytes:
    found = git.reader.read(name)
    if found is None or object_name(found.kind, found.content, name) != name:
        raise IntegrityError(f"the mirror of the journal is damaged: the git object {name[:12]}", "autoresearch resume")
    return found.content
