"""The copy of a workspace that a worker on another machine measures in: one commit, its task, and no history.

A commit travels as a pack of its own objects, so it has the same name there and what git checks out is compared with
it; the rest of the workspace travels as a parcel. A replica belongs to one slot of one session: no two runs are made
in it at once.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from autoresearch.errors import MachineError, PreconditionError
from autoresearch.journal import file as journal
from autoresearch.system.files import remove_tree, write_atomic
from autoresearch.system.git import Git
from autoresearch.system.git_plumbing import submodules
from autoresearch.workers.cluster.task import IN_USE
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.task_file import TaskFile
from autoresearch.workspace.workspace import HELPERS, Workspace

MOST_FILES = 8 * 2**20
"""Bytes of files outside git that a parcel may have: scripts and small tables, no data."""

KEPT_S = 2 * 86_400.0
"""Seconds that a replica stays after its last run: a session that goes on the next day finds it."""

LEFT_S = 60.0
"""Seconds in which a job surely locks the folder that it has made; one that is younger counts as in use."""

MOST_COMMITS = 4
"""Commits that a replica has at once: the one that it was made of, and the last ones that were measured there. Each has
come as a pack of all of its files, and comes again with the next job that is about it."""

ENVIRONMENT = ".venv"

_SETTINGS = ("core.autocrlf", "core.eol", "core.symlinks")
"""What decides beside a commit on the files that git writes for it."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """What a worker on another machine needs of a workspace beside the commit."""

    key: str
    """Tells sessions apart: that of other journals, tasks and files is another one."""
    prefix: str
    """Path of the workspace from the top of its repository: empty, or ending in a slash."""
    config: str
    """The lines of the journal that say what is measured, and which files must not change."""
    files: Mapping[str, str]
    """Path in the workspace -> content in base64, of what git does not have."""
    links: Mapping[str, str]
    """Path in the workspace -> where it is on each machine."""
    settings: Mapping[str, str]

    def as_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def of(cls, workspace: Workspace, git: Git, task: TaskFile) -> Parcel:
        """Return the parcel of a workspace. Raises `PreconditionError` where files are too large for it."""
        root, linked = workspace.root, list(task.files.link)
        events = (line for line in workspace.journal.read_bytes().splitlines(keepends=True))
        lines = [line for line in events if (journal.parsed(line) or {}).get("type") == "config"]
        config = b"".join(lines).decode()
        hashed = [path for path in load_session(workspace).segment.sha256 if not _below(path, linked)]
        known = {*git.tracked([git.prefix + path for path in hashed])} if hashed else set()
        outside = [path for path in hashed if git.prefix + path not in known]
        loose = {path: root / path for path in dict.fromkeys([*HELPERS, *outside]) if (root / path).is_file()}
        if sum(path.stat().st_size for path in loose.values()) > MOST_FILES:
            largest = max(loose, key=lambda path: loose[path].stat().st_size)
            there = f"let [files] link name it, and put it on each machine: {root / largest}"
            raise PreconditionError(f"{largest} is not in git and too large to be sent to other machines", there)
        files = {path: base64.b64encode(file.read_bytes()).decode() for path, file in loose.items()}
        links = {path: str(root / path) for path in [*linked, ENVIRONMENT] if (root / path).exists()}
        asked = {name: git.process(["config", "--get", name]).stdout.decode().strip() for name in _SETTINGS}
        settings = {name: value for name, value in asked.items() if value}
        told = json.dumps([str(root), git.prefix, config, files, links, settings])
        return cls(hashlib.sha256(told.encode()).hexdigest()[:16], git.prefix, config, files, links, settings)


def parcel_of(content: bytes) -> Parcel:
    """Return the parcel that `as_bytes` told."""
    return Parcel(**json.loads(content))


def packed(git: Git, commit: str) -> bytes:
    """Return a pack with a commit and all of its files, without its history.

    Raises `PreconditionError` for one with submodules, whose files are in other repositories.
    """
    inside = submodules(git, commit) if git.entries_of(commit, [".gitmodules"]) else []
    if inside:
        raise PreconditionError(f"{inside[0][1]} is a submodule, and those are not sent to other machines",
                                "measure on this one: --workers local:1")  # fmt: skip
    names = git.run("rev-list", "--objects", "--no-walk", "--no-object-names", commit).stdout
    return git.run("pack-objects", "--stdout", "-q", input=names).stdout


def places() -> Path:
    """Return the folder of all replicas on this machine: on its own disk, and readable for nobody else.

    Raises `MachineError` where another user has made it.
    """
    folder = Path(tempfile.gettempdir()) / f"autoresearch-node-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    about = folder.lstat()
    if about.st_uid != os.getuid() or folder.is_symlink():
        raise MachineError(f"{folder} belongs to somebody else", "let TMPDIR name another folder")
    folder.chmod(0o700)
    return folder


def bring(folder: Path, parcel: Parcel, commit: str, pack: bytes) -> Workspace:
    """Make `folder` a replica that has `commit`, and return the workspace in it.

    One that a kill has left half made is made anew. Nobody else may be at work in it: commits of long ago are dropped.
    Raises `MachineError` for what this machine lacks, or has lost since.
    """
    ready, top = folder / "ready", folder / "tree"
    root, made = top / parcel.prefix, ready.is_file() and ready.read_text() == parcel.key
    if made:
        _fetch(Git(top), commit, pack)
    else:
        remove_tree(folder)
        top.mkdir(parents=True)
        subprocess.run(["git", "init", "-q", str(top)], check=True, capture_output=True, env=_no_git())
        _fetch(Git(top), commit, pack)
        git = Git(top)
        for name, value in parcel.settings.items():
            git.run("config", name, value)
        git.run("checkout", "-q", "--force", "--detach", commit)
        for path, content in parcel.files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(base64.b64decode(content))
            (root / path).chmod(0o755)
    for path, target in parcel.links.items():  # each time: the disk that has it may be gone since
        _link(root / path, Path(target))
    if not made:
        write_atomic(root / journal.NAME, parcel.config)
        write_atomic(ready, parcel.key)
    os.utime(ready)
    return Workspace(root)


def remove_old(folder: Path, now: float | None = None) -> None:
    """Delete replicas in which nothing was measured for long, and the folders of jobs that were given up."""
    now = time.time() if now is None else now
    for path in folder.glob("*/"):
        ready, job = path / "ready", path / IN_USE
        with contextlib.suppress(OSError):  # another job was first
            held, kept_s = (job, LEFT_S) if job.exists() else (path.with_suffix(".lock"), KEPT_S)
            if now - (ready if ready.exists() else path).stat().st_mtime > kept_s and not _in_use(held):
                remove_tree(path)


def _in_use(held: Path) -> bool:
    """Whether a process has a file locked; one that is not there nobody has."""
    if not held.exists():
        return False
    with held.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _fetch(git: Git, commit: str, pack: bytes) -> None:
    """Take in the objects of a commit, unless they are there, and drop those of commits that were not measured lately;
    git then knows that the parents of what it has are elsewhere."""
    packs, shallow = git.git_dir / "objects/pack", git.git_dir / "shallow"
    if git.resolve(commit) is None:
        for left in packs.glob("tmp_*"):  # of a job that was killed
            left.unlink()
        git.run("index-pack", "--stdin", f"--keep={commit}", input=pack)
    found = sorted(packs.glob("*.keep"), key=lambda path: path.stat().st_mtime_ns)
    kept = {path.read_text().strip(): path for path in found}
    if commit in kept:
        os.utime(kept[commit])
    others = [each for each in kept if each not in (commit, git.head())]
    for old in others[: max(0, len(others) - MOST_COMMITS + 2)]:
        for suffix in (".idx", ".rev", ".pack", ".keep"):  # without its index git passes over a pack
            kept[old].with_suffix(suffix).unlink(missing_ok=True)
        del kept[old]
    known = shallow.read_text() if shallow.exists() else ""
    told = "".join(f"{each}\n" for each in kept)
    if told != known:
        write_atomic(shallow, told)
    git.reader.close()  # it may have seen the repository as it was before


def _link(place: Path, target: Path) -> None:
    if not target.exists():
        what = "Python environment" if place.name == ENVIRONMENT else "data that [files] link names"
        raise MachineError(
            f"the {what} is not at {target}", f"put it there, or the workspace on a shared disk: {target}"
        )
    if place.is_symlink() and not place.exists():  # the commit's own, which leads to nothing here
        place.unlink()
    if not os.path.lexists(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target, target_is_directory=target.is_dir())


def _below(path: str, folders: list[str]) -> bool:
    return any(path == each.rstrip("/") or path.startswith(f"{each.rstrip('/')}/") for each in folders)


def _no_git() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
