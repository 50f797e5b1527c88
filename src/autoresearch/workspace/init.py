"""`init`: make a workspace from a task, in a new repository or around an existing one."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from autoresearch.errors import IntegrityError, PreconditionError, UsageError
from autoresearch.journal import file as journal
from autoresearch.journal.events import SegmentDetails, config_line
from autoresearch.journal.fields import Event
from autoresearch.journal.refs import branch_of, branch_ref, tag_folder
from autoresearch.journal.session import Session
from autoresearch.metrics import Metric
from autoresearch.system.file_hashes import hash_files
from autoresearch.system.files import write_atomic
from autoresearch.system.git import Git
from autoresearch.system.git_command import require_git
from autoresearch.system.hardware import detect
from autoresearch.workspace import agent_files, assets, task_file
from autoresearch.workspace.editable import outside, own_file
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.task_file import TaskFile
from autoresearch.workspace.workspace import HELPERS, IGNORED, Workspace

LINKABLE = (".venv", "venv", "node_modules")
"""Installed packages that git ignores and most commands need: linked into snapshots when they are there."""

NEVER_TRACKED = ("__pycache__/", ".venv/", "uv.lock")


@dataclass(frozen=True, slots=True)
class InitOptions:
    """What a person asked `init` for; None and empty mean the task's own value."""

    task: str | None = None
    """None is the task file that is committed in the folder, else `pretrain`."""
    tag: str | None = None
    source: str | None = None
    profile: str | None = None
    command: str | None = None
    metric: str | None = None
    direction: str | None = None
    unit: str | None = None
    mutable: tuple[str, ...] = ()
    immutable: tuple[str, ...] = ()
    checks: str | None = None
    limit_s: float | None = None
    seconds: float | None = None
    """The training budget of one run."""
    steps: int | None = None
    """The same in batches: then a run does the same work on any machine, and can be repeated to the last digit."""
    policy: str | None = None
    seeds: int | None = None
    goal: str | None = None
    """What the person wants, in plain words; for the living document."""


def init(folder: Path, options: InitOptions, now: int) -> Workspace:
    """Make `folder` a workspace and return it; what is there already is neither changed nor committed.

    A new or empty folder becomes a repository of its own. Any other must be in a repository with a commit and without
    changes to tracked files. Raises `PreconditionError` or `UsageError` before anything is written.
    """
    require_git()
    if options.task is None:
        options = replace(options, task="command" if _is_tracked(folder, task_file.NAME) else "pretrain")
    source = assets.task_folder(options.task or "pretrain")
    new = not folder.exists() or all(_ours(path.name) for path in folder.iterdir())
    number = _segment_beside(Workspace(folder.resolve()))
    if new and options.mutable:
        raise PreconditionError(f"{folder} is empty", "go to the repository that has the files to change")
    git = None if new else _existing(folder)
    tag = options.tag or _free_tag(git, now)
    branch = branch_of(tag)
    _check_tag(tag, folder if folder.is_dir() else Path.cwd())
    if git is not None:
        _check_names(git, tag, branch)
    text = _own(folder, options, git) or _configured(source, options, git)
    task = task_file.parse(text)
    ours = _files(source) | (_files(assets.harness_folder(), "harness/") if task.task.harness else {})
    ours[task_file.NAME] = text.encode()
    if git is not None:
        _check_existing(git, folder, ours, task)
    if git is not None:
        task_file.check_command(folder, task.run.command, os.environ.get("PATH", os.defpath))
    git = git or new_repository(folder)
    workspace = Workspace(folder.resolve())
    for name, content in ours.items():
        if not (folder / name).exists():
            write_atomic(folder / name, content)
    agent_files.exclude(git, IGNORED, NEVER_TRACKED if new else ())
    commit = [f"{git.prefix}{name}" for name in ours]
    if new:
        git.commit(commit, f"autoresearch: task {task.task.name}")
    git.create_branch(branch)
    if not new and (len(git.tracked(commit)) < len(commit) or any(c.path in commit for c in git.changes())):
        git.commit(commit, f"autoresearch: task {task.task.name}")
    agent_files.write_helpers(workspace, task, options.goal)
    agent_files.write_for_agents(workspace, git, task)
    untracked = {c.path for c in git.changes() if c.untracked}
    theirs = untracked - set(outside(git, task, untracked))
    workspace.state.mkdir(exist_ok=True)
    hashes = hash_files(workspace.root, task.files.immutable)
    leave_alone(git, IGNORED)
    journal.append(workspace.journal, segment_line(task, number, hashes, branch, tag, theirs, now))
    return workspace


def _ours(name: str) -> bool:
    """Whether a name in a folder is of what a session writes there, as `import` does before there is a session."""
    return name in IGNORED or f"{name}/" in IGNORED


def _segment_beside(workspace: Workspace) -> int:
    """Return the number of the segment that begins here: 0, or one beside what another tool or `import` has written.

    Raises `PreconditionError` when a session was begun here already, or when the journal cannot be read.
    """
    if not workspace.journal.exists():
        return 0
    try:
        session = load_session(workspace)
    except IntegrityError as error:
        raise PreconditionError(
            f"{error.message}, so no session can begin beside it",
            f"put it aside, and read it later with import: git mv {journal.NAME} other.jsonl && git commit -m aside"
            if _is_tracked(workspace.root, journal.NAME)
            else f"put it aside, and read it later with import: mv {journal.NAME} other.jsonl",
        ) from None
    if session.segment.branch is not None:
        raise PreconditionError(f"{workspace.root} has a session already", "see it with: autoresearch status")
    return next_segment(session) if workspace.journal.stat().st_size else 0


def _is_tracked(folder: Path, name: str) -> bool:
    """Whether git tracks a file of this name in a folder."""
    if not (folder / name).is_file():
        return False
    try:
        git = Git(folder)
    except PreconditionError:
        return False
    return bool(git.tracked([f"{git.prefix}{name}"]))


def next_segment(session: Session) -> int:
    """Return the number of a new segment; imported logs have numbers, too."""
    used = {segment.number for segment in session.segments} | {e.segment for e in session.experiments}
    return 1 + max(used)


def leave_alone(git: Git, names: Iterable[str]) -> None:
    """Tell git that those of our own files that it tracks are ours alone: another tool's journal may be committed.

    They stay tracked, and as they are in the folder: no `git switch`, `stash` or `reset --hard` takes back what the
    session writes into them.
    """
    git.skip_worktree(git.tracked([f"{git.prefix}{name.rstrip('/')}" for name in names]))


def segment_line(
    task: TaskFile,
    number: int,
    hashes: dict[str, str],
    branch: str | None,
    tag: str | None,
    untracked: Iterable[str],
    now: int,
) -> Event:
    """Return the line that begins segment `number` of a session of this task.

    `hashes` are those of its immutable files, `untracked` the paths in the mutable folders that are a person's.
    """
    metric = Metric(task.metric.name, task.metric.direction, task.metric.unit)
    details: SegmentDetails = {
        "task": {"name": task.task.name, "options": task.options, "policy": task.keep.policy},
        "sha256": hashes,
        "branch": branch,
        "tag": tag,
        "keep_untracked": sorted(untracked),
    }
    return config_line(number, task.task.title or task.task.name, metric, now, details)


def _existing(folder: Path) -> Git:
    git = Git(folder)
    if git.head() is None:
        raise PreconditionError(
            "the repository has no commit yet", 'make one first: git add . && git commit -m "start"'
        )
    if git.branch() is None:
        raise PreconditionError("HEAD is detached", "go to a branch first: git switch NAME")
    operation = git.unfinished_operation()
    if operation:
        raise PreconditionError(
            f"a git {operation} is not finished here", f"end it: git {operation} --continue or --abort"
        )
    return git


def _check_existing(git: Git, folder: Path, ours: dict[str, bytes], task: TaskFile) -> None:
    """Refuse what would touch a person's files: changes, files of the same name, a mutable path that is not tracked."""
    changes = git.changes()
    changed = [c for c in changes if not c.untracked and not own_file(git, c.path)]
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise PreconditionError(
            f"{changed[0].path}{more} has changes that are not committed", "commit them, or: git stash"
        )
    for name, content in ours.items():
        if (folder / name).exists() and (folder / name).read_bytes() != content:
            fix = f"rename it: git mv {name} my-{name}"
            if name == task_file.NAME and task.task.name == "command":
                fix = f"leave out the options to use it as it is, or {fix}"
            raise PreconditionError(f"{name} is there already and differs", fix)
    untracked = {c.path for c in changes if c.untracked}
    for path in _own_words(task.run.command):
        if f"{git.prefix}{path}" in untracked and path not in HELPERS:
            raise PreconditionError(
                f"{path} is not tracked by git, so no run would have it",
                f"{_add(git, path)} && git commit -m {shlex.quote(f'add {path}')}",
            )
    for path in task.files.mutable:
        if path not in ours and not git.tracked([f"{git.prefix}{path}" if path != "." else git.prefix or "."]):
            what = "is not tracked by git" if (folder / path).exists() else "does not exist"
            raise PreconditionError(
                f"{path} {what}",
                f"{_add(git, path)} && git commit -m {shlex.quote(f'add {path}')}, or correct --mutable",
            )


def _add(git: Git, path: str) -> str:
    """Return the command that makes git track a path of the workspace."""
    forced = "-f " if git.ignored(f"{git.prefix}{path}") else ""
    return f"git add {forced}-- {shlex.quote(path)}"


def new_repository(folder: Path) -> Git:
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["git", "init", "-q", "-b", "main", str(folder)], capture_output=True, text=True)
    if done.returncode:
        raise PreconditionError(f"no repository could be made in {folder}: {done.stderr.strip()}", "check who owns it")
    return Git(folder)


def _check_tag(tag: str, folder: Path) -> None:
    command = ["git", "check-ref-format", branch_ref(branch_of(tag))]
    if subprocess.run(command, cwd=folder, capture_output=True).returncode:
        raise UsageError(f"{tag!r} cannot be part of a branch name", "use letters, digits, - and _")


def _check_names(git: Git, tag: str, branch: str) -> None:
    """Refuse a tag whose branch or whose experiments are there, or that no branch can have beside those there are."""
    other = "choose another name with: --tag NAME"
    parts = branch.split("/")
    for name in ("/".join(parts[:n]) for n in range(1, len(parts) + 1)):
        if git.resolve(branch_ref(name)):
            fix = other if "/" in name else f"rename it: git branch -m {name} my-{name}"
            raise PreconditionError(f"the branch {name} exists", fix)
    for folder in (branch_ref(branch), tag_folder(tag)):
        if git.refs(folder):
            raise PreconditionError(f"there is something of this name already: {git.refs(folder)[0]}", other)


def _free_tag(git: Git | None, now: int) -> str:
    """Return today's date as the field writes it (`mar5`), with a number behind it when that branch exists."""
    today = time.localtime(now)
    tag = f"{time.strftime('%b', today).lower()}{today.tm_mday}"
    names = (tag, *(f"{tag}-{n}" for n in range(2, 1000)))
    return next(
        name for name in names if git is None or not git.refs(branch_ref(branch_of(name))) + git.refs(tag_folder(name))
    )


def _own(folder: Path, options: InitOptions, git: Git | None) -> str | None:
    """Return the task file that a person wrote and committed here, when no option says anything else."""
    given = (value for name, value in asdict(options).items() if name not in ("task", "tag", "goal"))
    if git is None or options.task != "command" or any(given) or not git.tracked([f"{git.prefix}{task_file.NAME}"]):
        return None
    task_file.load(folder)
    return (folder / task_file.NAME).read_text(encoding="utf-8")


def _configured(source: Path, options: InitOptions, git: Git | None) -> str:
    """Return the task's toml with what the person chose in it; comments stay."""
    import tomlkit

    document: Any = tomlkit.parse((source / task_file.NAME).read_text(encoding="utf-8"))
    profiles = document.pop("profile", {})
    table = document.get("options", {})
    if "profile" in table:
        name = options.profile or "auto"
        name = detect().profile() if name == "auto" else name
        if name not in profiles:
            raise UsageError(f"there is no profile {name!r}", f"choose one of: auto, {', '.join(profiles)}")
        table["profile"] = name
        chosen = profiles[name]
        document["run"].update({key: chosen[key] for key in ("budget", "limit_s") if key in chosen})
        table["source"] = _source(options.source or str(chosen.get("source", table["source"])))
    elif options.profile or options.source:
        raise UsageError(f"the task {options.task} has no profiles and no source", "leave out --profile and --source")
    if options.seconds is not None and options.steps is not None:
        raise UsageError("both --seconds and --steps are given", "choose one: a run has one budget")
    if options.seconds is not None:
        document["run"]["budget"] = _inline({"seconds": options.seconds})
    if options.steps is not None:
        document["run"]["budget"] = _inline({"steps": options.steps})
    _set(document, "metric", name=options.metric, direction=options.direction, unit=options.unit)
    if options.command is not None:
        _set(document, "task", title=f"{document['metric']['name']} of {options.command}")
    _set(document, "run", command=options.command, checks=options.checks, limit_s=options.limit_s)
    _set(document, "keep", policy=options.policy, seeds=options.seeds)
    if options.mutable:
        document["files"]["mutable"] = [_relative(path, git) for path in options.mutable]
    if not document["files"]["mutable"]:
        raise UsageError("no file was named that experiments may change", "name it with: --mutable PATH")
    if options.task == "command":
        missing = [f"--{name}" for name in ("command", "metric", "direction") if getattr(options, name) is None]
        if missing:
            raise UsageError(
                f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing", "see: autoresearch init --help"
            )
    if git is not None:
        mutable = tuple(document["files"]["mutable"])
        fixed = [*document["files"]["immutable"], *(_relative(path, git) for path in options.immutable)]
        fixed += [path for path in _named_files(options.command, git) if path not in fixed]
        document["files"]["immutable"] = [path for path in fixed if not task_file.within(path, mutable)]
        linked = [
            name for name in LINKABLE if (git.top / git.prefix / name).exists() and git.ignored(f"{git.prefix}{name}")
        ]
        if linked:
            document["files"]["link"] = linked
    return tomlkit.dumps(document)


def _set(document: Any, table: str, **values: object) -> None:
    document[table].update({key: value for key, value in values.items() if value is not None})


def _inline(values: dict[str, float]) -> Any:
    import tomlkit

    table = tomlkit.inline_table()
    table.update({key: int(value) if value == int(value) else value for key, value in values.items()})
    return table


def _source(source: str) -> str:
    """Return a source as the task reads it: a known name as it is, a path made absolute."""
    if source in ("climbmix", "python"):
        return source
    path = Path(source).expanduser()
    if not path.exists():
        raise PreconditionError(f"there is no {path}", "give --source python, climbmix, or a folder or file of text")
    return str(path.resolve())


def _relative(path: str, git: Git | None) -> str:
    """Return a path that was given from the current folder relative to the workspace."""
    if git is None:
        return path
    root = (git.top / git.prefix).resolve()
    target = Path(os.path.normpath(root / path))
    try:
        return target.relative_to(root).as_posix()
    except ValueError:
        raise UsageError(f"{path} is outside {root}", "name a path inside the workspace") from None


def _named_files(command: str | None, git: Git) -> list[str]:
    """Return the tracked files that a command names: the benchmark itself must not be part of an experiment."""
    root = git.top / git.prefix
    return [w for w in _own_words(command) if (root / w).is_file() and git.tracked([f"{git.prefix}{w}"])]


def _own_words(command: str | None) -> list[str]:
    """Return the words of a command that could be paths inside the workspace."""
    with contextlib.suppress(ValueError):
        words = [word.removeprefix("./") for word in shlex.split(command or "")]
        return [word for word in words if len(word) < 256 and not word.startswith(("-", "/", "../"))]
    return []


def _files(source: Path, prefix: str = "") -> dict[str, bytes]:
    """Return name -> content of the files in `source`, which `init` writes and commits."""
    return {
        prefix + path.relative_to(source).as_posix(): path.read_bytes()
        for path in sorted(source.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
