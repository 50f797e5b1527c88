"""`replay`: a bundle checked, laid out as a workspace, and its gain measured once more, here.

What is in the file may be a stranger's. It goes to a new folder alone, its journal must fold to what its manifest says,
its refs may be those of its session alone, what its commits unpack to is bounded, and no link of its repository may
lead out of the folder. What it runs is the stranger's code all the same, as everything that is cloned and run.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from autoresearch.errors import AutoresearchError, IntegrityError, PreconditionError
from autoresearch.escaping import one_line
from autoresearch.exchange.archive import MOST_BYTES, MOST_FILES, Archive, open_archive, refused
from autoresearch.exchange.bundle import JOURNAL, REPOSITORY, fold_digest
from autoresearch.experiments.restore import lay_out
from autoresearch.journal.refs import branch_of, branch_ref, tag_folder
from autoresearch.journal.session import Session, hardware_of
from autoresearch.reports import summary
from autoresearch.reports.views import number, unit
from autoresearch.runs.setup import setup_workspace
from autoresearch.runs.spec import Tick
from autoresearch.statistics.confirmation import Confirmation
from autoresearch.studies.confirm import confirm
from autoresearch.studies.study import folder
from autoresearch.system.clock import Clock
from autoresearch.system.files import read_plain
from autoresearch.system.git import Git
from autoresearch.system.git_command import require_git
from autoresearch.system.hardware import detect
from autoresearch.workspace.init import new_repository
from autoresearch.workspace.journal_mirror import NOTES, PAGES
from autoresearch.workspace.python import python_of, python_words
from autoresearch.workspace.session_journal import session_of
from autoresearch.workspace.task_file import NAME, load
from autoresearch.workspace.workspace import Workspace

MOST_RESULT = 2**20
"""Bytes that are read of a run's result."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
"""What is in no name of a metric, and would begin another line wherever one is printed."""

MOST_HEADER = 16 * 2**20
"""Bytes of what a git bundle says of its refs."""
MOST_OBJECT = 2**30
"""Bytes that git takes for one object in memory, as it does for one that is written as a change of another: a few bytes
can tell to repeat any number. What is larger and stands by itself goes through git in pieces."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a bundle says, and what was found here."""

    file: Path
    files: int
    session: Session
    """As it is in the bundle."""
    workspace: Path | None = None
    """Where it was laid out; None where it was only checked."""
    here: Confirmation | None = None
    split: str = ""
    """Which one that is of."""
    data: str = ""
    """Whether the data is that of the bundle."""
    differences: tuple[str, ...] = ()

    @property
    def there(self) -> Mapping[str, Any] | None:
        """What `confirm` had found where the bundle was made."""
        return summary.confirmation(self.session)

    def as_view(self) -> dict[str, Any]:
        there, here = self.there, self.here
        of_there = ("best", "of_the_best", "gain", "interval", "holds", "split")
        return {
            "file": str(self.file),
            "files": self.files,
            "experiments": len(self.session.experiments),
            "workspace": None if self.workspace is None else str(self.workspace),
            "claimed": self.session.gain,
            "confirmed_there": None if there is None else {key: there[key] for key in of_there},
            "confirmed_here": None if here is None else {**here.as_result(), "split": self.split},
            "data": self.data or None,
            "differences": list(self.differences),
        }

    def lines(self) -> list[str]:
        session, there, here = self.session, self.there, self.here

        def amount(value: float) -> str:
            return number(session, value, signed=True) + unit(session)

        name = one_line(session.segment.name, 80) or session.metric.name
        lines = [f"{self.file.name}: {self.files} files are what the manifest says, and the journal folds to "
                 f"{len(session.experiments)} experiments of {name}"]  # fmt: skip
        lines += [f"workspace        {self.workspace}"] if self.workspace is not None else []
        lines += [f"here and there   {one_line(difference, 200)}" for difference in self.differences]
        lines += [f"data             {self.data}"] if self.data else []
        gain = session.gain
        claimed = "nothing: no change was kept" if not _kept(session) or gain is None else amount(gain)
        lines.append(f"claimed          {claimed}")
        if there is not None:
            verdict = "the gain holds" if there["holds"] else "not confirmed"
            within = f"95 % interval {there['interval_text']}, {one_line(there['split'], 20)} split"
            of = "" if there["of_the_best"] else f" for experiment {one_line(str(there['best']), 20)}, not the best"
            lines.append(f"confirmed there  {there['gain_text']}{of}  ({within}): {verdict}")
        elif gain is not None and _kept(session):
            lines.append("confirmed there  no")
        if here is not None:
            verdict = "the gain holds" if here.holds else "not confirmed: the interval includes no gain"
            seeds = f"{len(here.seeds)} fresh seeds"
            low, high = (number(session, end, signed=True) for end in (here.low, here.high))
            interval = f"95 % interval {low} to {high}, {self.split} split, {seeds}"
            lines.append(f"confirmed here   {amount(here.gain)}  ({interval}): {verdict}")
        return lines


def replay(path: Path, place: Path | None, seeds: int | None, clock: Clock, *, tick: Tick | None = None) -> Replayed:
    """Check a bundle; with `place`, a new or empty folder, make it a workspace and measure baseline and best there.

    Raises `IntegrityError` for a file that is refused, `PreconditionError` where the folder is not empty.
    """
    with open_archive(path) as archive:
        archive.verify()
        session = _session(archive)
        checked = Replayed(path, len(archive.files) + 1, session)
        if place is None:
            return checked
        require_git()
        _check_empty(path, place)
        workspace = _laid_out(archive, session, place)
    try:
        setup_workspace(workspace, tick)
        differences = tuple(_differences(workspace, session))
        if not _kept(session):
            return Replayed(path, checked.files, session, workspace.root, differences=differences)
        found, after = confirm(workspace, seeds, None, clock, tick=tick, elsewhere=True)
    except AutoresearchError as error:
        error.folder = str(workspace.root)
        raise
    data = _data(workspace, session, after)
    split = after.studies[-1].split
    return Replayed(path, checked.files, session, workspace.root, found, split, data, differences)


def _check_empty(path: Path, place: Path) -> None:
    """Raise `PreconditionError` where something is at the place of the new workspace."""
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        again = f"autoresearch replay {shlex.quote(str(path.resolve()))} FOLDER"
        raise PreconditionError(f"{place} is not empty", f"name a new folder: {again}")


def _kept(session: Session) -> bool:
    return session.best is not None and session.best is not session.baseline


def _session(archive: Archive) -> Session:
    """Return the session of a bundle; raise `IntegrityError` where its journal folds to another than was bundled."""
    try:
        session = session_of(archive.read(JOURNAL))
        fold = fold_digest(session)
    except IntegrityError as error:
        raise refused(archive.path, error.message) from None
    except RecursionError:
        raise refused(archive.path, "its journal is nested deeper than anybody writes") from None
    if fold != archive.manifest.get("fold"):
        raise refused(archive.path, "its journal folds to another session than its manifest says")
    if session.segment.branch is None or session.baseline is None:
        raise refused(archive.path, "its journal has no experiment that could be run again")
    metrics = [segment.metric for segment in (*session.segments, *session.imported)]
    if any(_CONTROL.search(text) for metric in metrics for text in (metric.name, metric.unit)):
        raise refused(archive.path, "its metric has a name or a unit with control characters")
    return session


def _laid_out(archive: Archive, session: Session, place: Path) -> Workspace:
    """Make the workspace in a folder beside `place`, which it becomes when it is whole.

    A folder that is there gets what is in it, and stays the folder that it is: somebody may stand in it.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    inside = _inside(archive)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}.") as building:
        top = Path(building, secrets.token_hex(8))  # no link leads back into it by a name that is known before
        heads = archive.manifest.get("heads")
        if not isinstance(heads, dict):
            raise refused(archive.path, "its manifest names no commits")
        sha256 = any(len(str(name)) == 64 for name in heads.values())
        git = new_repository(top, *(["--object-format=sha256"] if sha256 else []))
        _fetch(archive, session, git, heads)
        git.run("switch", "-q", session.segment.branch or "")
        _check_links(archive.path, top)
        root = top / inside
        if not (root / NAME).is_file() or root.resolve() != root.parent.resolve() / root.name:
            raise refused(archive.path, f"there is no {NAME} in {inside or 'it'}")
        names = {name.removeprefix("beside/"): name for name in archive.files if name.startswith("beside/")}
        pages = {name: (name not in NOTES, archive.read(names[name])) for name in PAGES if name in names}
        lay_out(Workspace(root), Git(root), archive.read(JOURNAL), pages)
        git.reader.close()
        if place.exists():
            _check_empty(archive.path, place)
            for part in [*top.iterdir()]:
                part.rename(place / part.name)
        else:
            top.rename(place)
    return Workspace((place / inside).resolve())


def _inside(archive: Archive) -> str:
    """Return the folder of the workspace from the top of the repository, as the manifest says it."""
    inside = archive.manifest.get("folder")
    parts = PurePosixPath(inside).parts if isinstance(inside, str) else ("..",)
    if {"..", "/", "."} & {*parts} or any(part.lower() == ".git" or "\0" in part for part in parts):
        raise refused(archive.path, "its workspace is outside of its repository")
    return "/".join(parts)


def _fetch(archive: Archive, session: Session, git: Git, told: Mapping[str, Any]) -> None:
    """Bring the commits and refs of the bundle into a new repository; no ref but those of the session."""
    tag, branch = session.segment.tag or "session", session.segment.branch or ""
    file = git.git_dir / REPOSITORY
    archive.copy(REPOSITORY, file)
    with file.open("rb") as content:
        if b"\n\n" not in content.read(MOST_HEADER):
            raise refused(archive.path, f"{REPOSITORY} is not that of its session")
    listed = git.process(["bundle", "list-heads", str(file)])
    lines = (line.partition(" ") for line in listed.stdout.decode("utf-8", "replace").splitlines())
    heads = {ref: name for name, _, ref in lines}
    ours = re.compile(rf"{re.escape(branch_ref(branch))}|{re.escape(tag_folder(tag))}/[\w./-]+")
    if listed.returncode or not heads or heads != told or branch != branch_of(tag):
        raise refused(archive.path, f"{REPOSITORY} is not that of its session")
    for ref in heads:
        if not ours.fullmatch(ref) or git.process(["check-ref-format", ref]).returncode:
            raise refused(archive.path, f"{REPOSITORY} has a ref that is not of its session")
    words = ["fetch", "-q", "--no-tags", str(file), *(f"+{ref}:{ref}" for ref in sorted(heads))]
    done = git.process(words, env={"GIT_ALLOC_LIMIT": str(MOST_OBJECT)})
    file.unlink()
    (git.git_dir / "FETCH_HEAD").unlink(missing_ok=True)
    if done.returncode:
        raise refused(archive.path, f"{REPOSITORY} cannot be read by git")
    known = {ref: git.resolve(ref) for ref in heads}
    if known != heads:
        raise refused(archive.path, f"{REPOSITORY} has other commits than it says")
    for commit in sorted({*heads.values()}):
        _check_size(archive.path, git, commit)


def _check_size(path: Path, git: Git, commit: str) -> None:
    """Refuse a commit of more files, or larger ones, than any bundle may have: a folder that is in many others, or a
    file of zeros, takes no room in git, and fills a disk where it is checked out."""
    left = MOST_BYTES
    with contextlib.closing(git.lines("ls-tree", "-r", "-t", "-l", commit)) as lines:
        for count, line in enumerate(lines, 1):
            size = line.split(None, 4)[3]
            left -= int(size) if size.isdigit() else 0  # folders and submodules have none
            if left < 0 or count > MOST_FILES:
                most = f"{MOST_BYTES // 2**30} GiB" if left < 0 else f"{MOST_FILES} files"
                raise refused(path, f"a commit of {REPOSITORY} unpacks to more than {most}")


def _check_links(path: Path, top: Path) -> None:
    """Refuse a repository with a link to a place outside of it, or to what git keeps: our own files would go there.

    What a link says must stay inside word by word, too: `../again/x` is inside of a folder that is called `again`.
    """
    real = os.path.realpath(top)
    for folder_, folders, files in os.walk(top):
        if folder_ == os.fspath(top):
            folders.remove(".git")
        for name in (*folders, *files):
            place = Path(folder_, name)
            if place.is_symlink():
                target = Path(os.path.realpath(place))
                said = Path(os.path.normpath(place.parent.relative_to(top) / place.readlink()))
                out = said.is_absolute() or said.parts[:1] == ("..",) or not target.is_relative_to(real)
                if out or target.is_relative_to(Path(real, ".git")):
                    raise refused(path, f"its repository has a link that leads out of it: {one_line(name, 80)}")


def _differences(workspace: Workspace, session: Session) -> list[str]:
    """Return what is another machine or Python here than there, a sentence each."""
    found = []
    here = hardware_of(detect().env())
    if session.hardware and here != session.hardware:
        found.append(f"measured there on {session.hardware}, here on {here}")
    python, then = python_of(workspace, load(workspace.root)), session.segment.python
    if python is not None and then and then.get("version") != python.version:
        found.append(f"Python there was {python_words(then)}, here it is {python.version}")
    return found


def _data(workspace: Workspace, session: Session, after: Session) -> str:
    """Return whether the runs here read the data of those there, as their results say; empty where they do not say."""
    best, study = session.best, after.studies[-1]
    place = folder(workspace, study, best.commit or "") if best is not None else None
    told = set[str]()
    for path in sorted(place.glob("*/result.json")) if place is not None else ():
        with contextlib.suppress(OSError, ValueError, AttributeError, RecursionError):
            manifest = json.loads(read_plain(path, MOST_RESULT)).get("manifest")
            told |= {manifest} if isinstance(manifest, str) else set()
    if best is None or not best.manifest or not told:
        return ""
    return "the same as there" if told == {best.manifest} else "other data than there: the numbers cannot be compared"
