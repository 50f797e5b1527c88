"""The trial run of `init`: the command runs once in the workspace, to see what it prints, writes and opens."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from autoresearch.errors import PreconditionError
from autoresearch.escaping import excerpt, one_line
from autoresearch.metrics import MetricError, parse_number, plain
from autoresearch.runs.candidates import Candidate, in_output
from autoresearch.runs.left_out import outermost
from autoresearch.runs.outcome import ended_badly
from autoresearch.runs.reported import WORDS
from autoresearch.runs.result_files import keys_in
from autoresearch.runs.spec import RunSpec, Tick, environment, seeded
from autoresearch.runs.withheld import missed, withheld
from autoresearch.system.command_output import KeptStream
from autoresearch.system.files import remove_tree, write_atomic
from autoresearch.system.git import Git
from autoresearch.system.opened_files import opened_files
from autoresearch.system.process import Exit, run_limited, signals_interrupt
from autoresearch.workspace.init_options import LINKABLE
from autoresearch.workspace.python import project_variables
from autoresearch.workspace.task_file import TaskFile, within
from autoresearch.workspace.workspace import IGNORED, Workspace

READ = 8 * 2**20
"""Bytes of the end of each stream in which names are looked for."""

MOST_FILES = 100_000
"""Files of a workspace whose state is compared; what lies beyond is not seen."""

MOST_READ = 50
"""Written files that are looked into."""

SEED = 1

PRINTED_SEED = re.compile(r"\bseed\b\W{0,4}(?:is\W+|to\W+)?\d+", re.IGNORECASE)

NOT_OURS = (".git", ".autoresearch", "__pycache__", *LINKABLE)

State = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Probe:
    """What one run of the command has shown."""

    seconds: float
    cut: bool
    """Whether it was ended at its limit."""
    failed: str
    """Why it failed, in a sentence; empty when it ended well, or at its limit."""
    candidates: tuple[Candidate, ...]
    streams: Mapping[str, KeptStream]
    written: tuple[str, ...] = ()
    """Paths that it wrote, but for those of `put_back`."""
    put_back: tuple[str, ...] = ()
    """Tracked files that changed while it ran; they are again what they were."""
    aside: str = ""
    """The commit that has them as they were found; empty where git made none."""
    links: tuple[str, ...] = ()
    """Paths that git ignores and it opened: a snapshot has them only when they are linked."""
    left_out: tuple[str, ...] = ()
    """The same, but for keys and passwords: linked only when a person says so."""
    seen: bool = True
    """Whether it could be seen what it opens."""
    seed: str = ""
    """The words in which it told its seed."""


LEFT = "what a trial run of autoresearch left"
"""Message of the commit that has it."""


def probe(root: Workspace, git: Git, task: TaskFile, limit_s: float, tick: Tick | None = None) -> Probe:
    """Run the task's command once in the workspace itself, for `limit_s` seconds at most.

    Tracked files that change meanwhile are put back: to the commit, and those that had changes before, as the session's
    own files may, to what they were. What was found in them is kept in a commit of its own.
    """
    folders, before = _files(root.root)
    own = {path: _held(git.top / path) for path in _changed(git)}
    scratch = Path(tempfile.mkdtemp(prefix="autoresearch-"))
    try:
        with opened_files(folders) as opened, signals_interrupt():

            def inform(seconds: float) -> None:
                opened.read()
                if tick is not None:
                    tick("trial run", seconds)

            # What runs get, and no more: else it would find what they miss.
            env = environment(root, RunSpec("", 0, SEED, scratch), "probe") | project_variables(root, task)
            kept = withheld(env, task.run.secrets)
            ended = run_limited(
                seeded(task.run.command, SEED), cwd=root.root, log=scratch / "run.log", limit_s=limit_s,
                env={name: value for name, value in env.items() if name not in kept}, tick=inform, keep=scratch,
            )  # fmt: skip
        failed = _failure(ended, limit_s, scratch)
        failed += missed(ended.tail, kept) if failed else ""
    except BaseException:
        with contextlib.suppress(PreconditionError):
            _, aside = _put_back(git, own)
            if aside:  # nobody is told of it now, and it is in `git stash list`
                git.process(["stash", "store", "-m", LEFT, aside])
        raise
    finally:
        remove_tree(scratch)
    written = [path for path, state in _files(root.root)[1].items() if before.get(path) != state]
    lines = drawn_lines(ended.kept)
    candidates = [each for name in lines for each in in_output(name, WORDS[name], lines[name])]
    candidates += in_files(root.root, written, before)
    changed, aside = _put_back(git, own)
    links, left_out = _ignored(root.root, git, [*opened.paths], {*before} - {*written}, written)
    seed = next((m[0] for name in lines for line in lines[name] if (m := PRINTED_SEED.search(line))), "")
    back = [path.removeprefix(git.prefix) for path in changed]
    return Probe(
        ended.seconds, ended.timed_out, failed, tuple(candidates), ended.kept,
        tuple(path for path in written if path not in back), tuple(back), aside, tuple(links), tuple(left_out),
        opened.seen, seed,
    )  # fmt: skip


def _changed(git: Git) -> list[str]:
    return sorted(change.path for change in git.changes() if not change.untracked)


PROGRAMS = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
"""How the file of a compiled program begins, on Linux and on macOS."""

Held = tuple[int, bytes] | str | None
"""Mode and content of a file, where a link leads, or None where there is neither."""


def _held(path: Path) -> Held:
    if path.is_symlink():
        return str(path.readlink())
    return (stat.S_IMODE(path.stat().st_mode), path.read_bytes()) if path.is_file() else None


def _put_back(git: Git, own: Mapping[str, Held]) -> tuple[list[str], str]:
    """Put back the tracked files that are not as they were, those of `own` (path -> what it was) to what is held there;
    return their paths from the top, and the commit that has what was found in them. Raises `PreconditionError` where
    git cannot keep it: then the others stay as they are found."""
    known = sorted({*_changed(git), *own})
    changed = [path for path in known if path not in own or _held(git.top / path) != own[path]]
    found = {*_changed(git)}  # what is as HEAD has it now is in no need of a copy
    aside = git.found_here(LEFT) if found & {*changed} else ""
    for path in changed:
        if path not in own:
            continue
        before = own[path]
        (git.top / path).unlink(missing_ok=True)
        if isinstance(before, str):
            (git.top / path).symlink_to(before)
        elif before is not None:
            mode, content = before
            write_atomic(git.top / path, content, mode=mode)
    committed = [path for path in changed if path not in own]
    if committed and not aside:
        raise PreconditionError(
            f"the trial run changed {one_line(', '.join(committed), 120)}, and git could not keep a copy of that",
            "put it back, as git diff shows it, and type the same again",
        )
    if committed:
        git.restore("HEAD", committed)
    return changed, aside


def _failure(ended: Exit, limit_s: float, folder: Path) -> str:
    """Return why a run is a failure; its limit is none."""
    bad = None if ended.timed_out else ended_badly(ended, limit_s, folder)
    if bad is None:
        return ""
    last = excerpt(ended.tail, lines=1)
    return bad.reason + (f": {last[0]}" if last else "")


def drawn_lines(streams: Mapping[str, KeptStream]) -> dict[str, list[str]]:
    """Return stream -> its lines: of one that was drawn again and again, what was drawn last."""
    found = {}
    for name, stream in streams.items():
        content = b""
        for file in stream.files:
            file.seek(0)
            content += file.read()
        text = content[-READ:].decode("utf-8", "replace")
        if stream.cut or len(content) > READ:
            text = text.partition("\n")[2]
        drawn = [[piece for piece in re.split(r"\r|\x08+", line) if piece.strip()] for line in text.split("\n")]
        found[name] = [plain(pieces[-1]) for pieces in drawn if pieces]
    return found


def _files(root: Path) -> tuple[list[Path], dict[str, State]]:
    """Return the folders of a workspace, and its files with their states; those of git, packages and ours left out."""
    folders, files, waiting = [root], dict[str, State](), [root]
    real = {root.resolve()}
    while waiting and len(files) < MOST_FILES:
        try:
            with os.scandir(waiting.pop()) as listing:
                entries = [entry for entry in listing if entry.name not in NOT_OURS]
        except OSError:
            continue
        for entry in entries:
            path = Path(entry.path)
            try:
                if entry.is_dir():
                    if (target := path.resolve()) not in real:
                        real.add(target)
                        folders.append(path)
                        waiting.append(path)
                else:
                    about = entry.stat()
                    name = path.relative_to(root).as_posix()
                    files[name] = (about.st_ino, about.st_size, about.st_mtime_ns)
            except OSError:
                continue
    return folders, files


def in_files(root: Path, written: Sequence[str], before: Mapping[str, State]) -> Iterator[Candidate]:
    """Yield what the written files have that looks like a number."""
    for path in written[:MOST_READ]:
        name = path if path in before else "/".join(_general(part) for part in path.split("/"))
        for key, value in keys_in(root / path).items():
            number = _number(value)
            if number is not None:
                place = ("--file", name, *(("--key", key) if key else ()))
                title = key or PurePosixPath(path).stem
                yield Candidate(title, number, str(value).strip(), path, f"{key or path}: {value}", 1, place)


def _general(part: str) -> str:
    """Return the name of a file or folder with `*` for what is another in the next run."""
    if part.startswith(("events.out.tfevents.", "offline-run-")):
        return "events.out.tfevents.*" if part.startswith("events") else "offline-run-*"
    if part.endswith(".wandb"):
        return "run-*.wandb"
    stem, dot, suffix = part.partition(".")
    return re.sub(r"\d{4,}[\w-]*|(?<=version_)\d+$", "*", stem) + dot + suffix


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return parse_number(str(value))
    except MetricError:
        return None


def _ignored(
    root: Path, git: Git, opened: Sequence[Path], known: set[str], written: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return what to link of the files that were opened, the whole ignored folder where nothing in it was written;
    and what a person should decide on."""
    paths = [path.relative_to(root).as_posix() for path in opened]
    paths = [path for path in paths if path in known and not within(path, tuple(name.rstrip("/") for name in IGNORED))]
    through = {path: link for path in paths if (link := _link_on_the_way(root, path)) is not None}
    plain_paths = [f"{git.prefix}{path}" for path in paths if path not in through]
    ignored = {path.removeprefix(git.prefix) for path in git.ignored_files(plain_paths)} if plain_paths else set()

    @functools.cache
    def is_ignored(path: str) -> bool:
        return git.ignored(f"{git.prefix}{path}")

    @functools.cache
    def is_whole(folder: str) -> bool:
        mixed = any(within(each, (folder,)) for each in written) or bool(git.tracked([f"{git.prefix}{folder}"]))
        return is_ignored(folder) and not mixed

    links: dict[str, None] = {}
    left_out: dict[str, None] = {}
    for path in paths:
        link = through.get(path)
        if link is not None and is_ignored(link):
            links[link] = None
        elif path in ignored:
            place = outermost(path, is_whole)
            apart = may_hold_secrets(path) or (place == path and _is_program(root / path))
            (left_out if apart else links)[place] = None
    return [*links], [path for path in left_out if path not in links]


def may_hold_secrets(path: str) -> bool:
    """Whether a file has the name of those that keys are kept in."""
    return PurePosixPath(path).name.startswith(".env")


def _is_program(path: Path) -> bool:
    """Whether a file is a compiled program, as a command builds it: one that is linked is run in place of what the
    code of an experiment would build, when it is newer."""
    try:
        with path.open("rb") as file:
            return file.read(4) in PROGRAMS and os.access(path, os.X_OK) and ".so" not in path.suffixes
    except OSError:
        return False


def _link_on_the_way(root: Path, path: str) -> str | None:
    """Return the first symbolic link on the way to a path, that path left out."""
    parts = PurePosixPath(path).parts
    ways = (PurePosixPath(*parts[:n]).as_posix() for n in range(1, len(parts)))
    return next((way for way in ways if (root / way).is_symlink()), None)
