"""`init`: make a workspace from a task, in a new repository or around an existing one."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

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
from autoresearch.workspace import agent_files, assets, task_file
from autoresearch.workspace.editable import outside, own_file, unfinished
from autoresearch.workspace.given import remember
from autoresearch.workspace.init_options import (
    InitOptions,
    about_the_task,
    beside_own,
    check_command_given,
    configured,
    own_words,
    parsed,
)
from autoresearch.workspace.journal_mirror import keep_up
from autoresearch.workspace.lost_session import taken
from autoresearch.workspace.orphans import forget, owner_of
from autoresearch.workspace.python import Python, check_project, python_of, search_path
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.task_file import TaskFile
from autoresearch.workspace.task_settings import defaults
from autoresearch.workspace.workspace import HELPERS, IGNORED, KEPT_UP, Workspace, free_name

NEVER_TRACKED = ("__pycache__/", ".venv/", "uv.lock")


FindOut = Callable[[Workspace, Git, TaskFile, InitOptions], InitOptions]
"""Given a task whose metric may not be known yet, runs its command and returns the options with what that has shown."""


def init(folder: Path, options: InitOptions, now: int, find_out: FindOut | None = None) -> Workspace:
    """Make `folder` a workspace and return it; what is there already is neither changed nor committed.

    A new or empty folder becomes a repository of its own. Any other must be in a repository with a commit and without
    changes to tracked files; there `find_out` is asked, once all else is right, where the number of a command comes
    from that no option says. Raises `PreconditionError` or `UsageError` before anything is written.
    """
    require_git()
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", "name a folder for the workspace")
    if options.task is None:
        own_task = options.command is not None or _is_tracked(folder, task_file.NAME)
        if not own_task:
            check_command_given(options)
        options = replace(options, task="command" if own_task else "pretrain")
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
    own = _own(folder, options, git)
    asks = own is None and git is not None and _asks(options) and find_out is not None
    text = configured(source, _draft(options) if asks else options, git) if own is None else own
    task = parsed(text, git) if own is None else task_file.parse(text)
    ours = _files(source) | (_files(assets.harness_folder(), "harness/") if task.task.harness else {})
    ours[task_file.NAME] = text.encode()
    if git is not None:
        _check_existing(git, folder, ours, task)
    if git is not None:
        here = Workspace(folder.resolve())
        correct = "correct --command" if text != own else f"correct [run] command in {task_file.NAME}, and commit that"
        task_file.check_command(folder, task.run.command, search_path(here), f"install it, or {correct}")
        check_project(here, task)
        if asks and find_out is not None:
            options = find_out(here, git, task, options)
            text = configured(source, options, git)
            task = parsed(text, git)
            ours[task_file.NAME] = text.encode()
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
    remember(workspace, {name: content for name, content in ours.items() if name != task_file.NAME}, defaults())
    untracked = {c.path for c in git.changes() if c.untracked}
    theirs = untracked - set(outside(git, task, untracked))
    workspace.state.mkdir(exist_ok=True)
    hashes = hash_files(workspace.root, task.files.immutable)
    leave_alone(git)
    forget(workspace, owner_of(tag, now))
    journal.append(
        workspace.journal, segment_line(task, number, hashes, branch, tag, theirs, now, python_of(workspace, task))
    )
    keep_up(workspace, git, load_session(workspace))
    return workspace


def _asks(options: InitOptions) -> bool:
    """Whether a command is given, and not where its number comes from."""
    return options.task == "command" and options.command is not None and not (options.pattern or options.file)


def _draft(options: InitOptions) -> InitOptions:
    """Return options with a metric, to see whether all else is right before anything runs."""
    return options if options.metric else replace(options, metric="metric", direction=options.direction or "lower")


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
        move = f"mv {journal.NAME} {free_name(workspace.root, 'other.jsonl')}"
        if _is_tracked(workspace.root, journal.NAME):
            move = f"git {move} && git commit -m aside"
        raise PreconditionError(
            f"{error.message}, so no session can begin beside it",
            f"put it aside, and read it later with import: {move}",
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


def leave_alone(git: Git) -> None:
    """Tell git that journal and notes, where it tracks them, are ours alone: another tool's journal may be committed.

    They stay tracked, and as they are in the folder: no `git switch`, `stash` or `reset --hard` takes back what the
    session writes into them.
    """
    git.skip_worktree(git.tracked([f"{git.prefix}{name.rstrip('/')}" for name in KEPT_UP]))


def segment_line(
    task: TaskFile,
    number: int,
    hashes: dict[str, str],
    branch: str | None,
    tag: str | None,
    untracked: Iterable[str],
    now: int,
    python: Python | None,
) -> Event:
    """Return the line that begins segment `number` of a session of this task.

    `hashes` are those of its immutable files, `untracked` the paths in the mutable folders that are a person's,
    `python` is what runs would use now.
    """
    metric = Metric(task.metric.name, task.metric.direction, task.metric.unit)
    details: SegmentDetails = {
        "task": {"name": task.task.name, "options": task.options, "policy": task.keep.policy},
        "sha256": hashes,
        "branch": branch,
        "tag": tag,
        "keep_untracked": sorted(untracked),
    }
    if python is not None:
        details["python"] = {"version": python.version, "path": python.path}
    return config_line(number, task.task.title or task.task.name, metric, now, details)


def _existing(folder: Path) -> Git:
    git = Git(folder)
    if git.head() is None:
        raise PreconditionError(
            "the repository has no commit yet", 'make one first: git add . && git commit -m "start"'
        )
    if git.branch() is None:
        raise PreconditionError("HEAD is detached", "go to a branch first: git switch -c NAME")
    operation = git.unfinished_operation()
    if operation:
        raise unfinished(operation)
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
            fix = f"rename it: {_rename(git, folder, name)}"
            first = ["commit it"] if f"{git.prefix}{name}" in {c.path for c in changes if c.untracked} else []
            first += ["leave out the options"] if task.task.name == "command" else []
            if name == task_file.NAME and first:
                fix = f"{' and '.join(first)} to use it as it is, or {fix}"
            raise PreconditionError(f"{name} is there already and differs", fix)
    untracked = {c.path for c in changes if c.untracked}
    for path in own_words(task.run.command):
        if f"{git.prefix}{path}" in untracked and path not in HELPERS:
            raise PreconditionError(
                f"{path} is not tracked by git, so no run would have it",
                f"{_add(git, path)} && git commit -m {shlex.quote(f'add {path}')}",
            )
    for path in task.files.mutable:
        if path not in ours and not git.tracked([f"{git.prefix}{path}" if path != "." else git.prefix or "."]):
            if not (folder / path).exists():
                raise PreconditionError(f"{path} does not exist", "correct --mutable")
            if (folder / path).is_dir() and not any(file.is_file() for file in (folder / path).rglob("*")):
                raise PreconditionError(f"{path} has no file in it", "put one there, or correct --mutable")
            commit = f"{_add(git, path)} && git commit -m {shlex.quote(f'add {path}')}"
            raise PreconditionError(f"{path} is not tracked by git", f"correct --mutable, or make it so: {commit}")


def _rename(git: Git, folder: Path, name: str) -> str:
    """Return the command that gives a file of ours in a folder another name, in a commit where git knows it."""
    tracked, top = bool(git.tracked([f"{git.prefix}{name}"])), name.partition("/")[0]
    move = f"mv {top} {free_name(folder, f'my-{top}')}"
    return f"git {move} && git commit -m {shlex.quote(f'rename {top}')}" if tracked else move


def _add(git: Git, path: str) -> str:
    """Return the command that makes git track a path of the workspace."""
    forced = "-f " if git.ignored(f"{git.prefix}{path}") else ""
    return f"git add {forced}-- {shlex.quote(path)}"


def new_repository(folder: Path, *options: str) -> Git:
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["git", "init", "-q", "-b", "main", *options, str(folder)], capture_output=True, text=True)
    if done.returncode:
        raise PreconditionError(f"no repository could be made in {folder}: {done.stderr.strip()}", "check who owns it")
    return Git(folder)


def _check_tag(tag: str, folder: Path) -> None:
    command = ["git", "check-ref-format", branch_ref(branch_of(tag))]
    if subprocess.run(command, cwd=folder, capture_output=True).returncode:
        raise UsageError(f"{tag!r} cannot be part of a branch name", "use letters, digits, - and _")


def _check_names(git: Git, tag: str, branch: str) -> None:
    """Refuse a tag whose branch or whose experiments are there, or that no branch can have beside those there are."""
    known = taken(git, tag)
    if known is not None:
        raise known
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
    """Return today's date as the field writes it (`mar5`), with a number behind it when that branch exists, here or as
    far as is known in another clone."""
    today = time.localtime(now)
    tag = f"{time.strftime('%b', today).lower()}{today.tm_mday}"
    names = (tag, *(f"{tag}-{n}" for n in range(2, 1000)))
    if git is None:
        return tag
    theirs = tuple(git.refs("refs/remotes"))
    return next(
        name
        for name in names
        if not git.refs(branch_ref(branch_of(name))) + git.refs(tag_folder(name))
        and not any(ref.endswith(f"/{branch_of(name)}") for ref in theirs)
    )


def _own(folder: Path, options: InitOptions, git: Git | None) -> str | None:
    """Return the task file that a person wrote and committed here; None where there is none, or a command is given.

    Raises `UsageError` where other options would have it say something else, `PreconditionError` where it waits for its
    commit.
    """
    if git is None or options.task != "command":
        return None
    if not git.tracked([f"{git.prefix}{task_file.NAME}"]):
        if options.command is None and (folder / task_file.NAME).is_file():
            commit = f'git add {task_file.NAME} && git commit -m "the task"'
            raise PreconditionError(f"{task_file.NAME} is not committed", f"commit it first: {commit}")
        return None
    given = about_the_task(options)
    if given and options.command is None:
        raise beside_own(options, given)
    if given:
        return None
    task_file.load(folder)
    return (folder / task_file.NAME).read_text(encoding="utf-8")


def _files(source: Path, prefix: str = "") -> dict[str, bytes]:
    """Return name -> content of the files in `source`, which `init` writes and commits."""
    return {
        prefix + path.relative_to(source).as_posix(): path.read_bytes()
        for path in sorted(source.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
