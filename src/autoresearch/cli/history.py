"""Commands that read a session and annotate it: `status`, `log`, `show`, `resume`, `check`, `note`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from autoresearch.cli import streams
from autoresearch.cli.asi import AsiOption, pairs
from autoresearch.cli.messages import emit_with_messages
from autoresearch.cli.output import JsonFlag, emit, here, refuse_unheeded, remark
from autoresearch.errors import AutoresearchError, PreconditionError, UsageError
from autoresearch.escaping import one_line
from autoresearch.journal.events import note_line
from autoresearch.journal.session import Experiment, Session
from autoresearch.journal.statuses import STATUSES
from autoresearch.reports import costs, views
from autoresearch.reports.log_table import log_lines, log_view
from autoresearch.reports.time_left import running_words
from autoresearch.workspace.lock import current_runs, is_locked, lock, loop_runs
from autoresearch.workspace.session_journal import append, load_session
from autoresearch.workspace.workspace import Workspace, find

Number = Annotated[int, typer.Argument(metavar="N", help="Number of the experiment.")]


def register(app: typer.Typer) -> None:
    for command in (status, log, show, resume, check, note):
        app.command()(command)


def status(as_json: JsonFlag = False) -> None:
    """Tell where the session is.

    Best, baseline, noise, what runs, and what to type next.

    Example: autoresearch status --json
    """
    from autoresearch.reports.brief import problem, tell_stop
    from autoresearch.system.clock import wall_clock
    from autoresearch.workers.board import workers_view
    from autoresearch.workspace.task_file import TaskFile, load, rules_of

    workspace = find(here())
    session = load_session(workspace)
    runs = current_runs(workspace)
    running = runs[0] if runs else None
    view = views.status_view(session, running, rules_of(workspace.root))
    view["slots"] = [{**{key: run.get(key) for key in ("experiment", "seed", "since")}, "words": running_words(run)}
                     for run in runs]  # fmt: skip
    view["workers"] = workers_view(workspace)
    idle = running is None and not is_locked(workspace)
    wrong = problem(workspace, session) if idle else None
    view["wrong"] = wrong and str(wrong)
    if wrong is not None:
        view["next"] = wrong.command or wrong.fix
    if not idle:  # also between two runs, and while a selftest measures elsewhere
        view |= {"next": "autoresearch wait", "interrupted": None}
    if view["loop"] is not None:
        view["loop"]["running"] = loop_runs(workspace)
    if view["loop"] is not None and view["loop"]["running"] and running is None and wrong is None:
        view["next"] = "autoresearch log"
    task: TaskFile | None = None
    with contextlib.suppress(AutoresearchError):  # a journal alone is enough
        task = load(workspace.root)
    tell_stop(view, workspace, session, task, wall_clock(), idle=idle and wrong is None)
    lines = views.status_lines(session, view)
    lines[-1:-1] = [f"wrong        {wrong}"] if wrong is not None else []
    lines[-1:-1] = [f"stopped      {view['stop']}"] if view["stop"] else []
    emit_with_messages(workspace, session, as_json, view, lines)


def log(
    last: Annotated[int, typer.Option(min=1, help="How many of the latest to show.")] = 20,
    status: Annotated[str, typer.Option(metavar="STATUS", help=f"Only these: {', '.join(STATUSES)}.")] = "",
    policy: Annotated[
        Literal["confirm", "greedy"] | None,
        typer.Option(help="Show what this policy would have kept, from the values that were measured."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Print the table of experiments.

    The latest comes last. The secondary metrics of the task are columns; what is the same in all runs is told once
    below, and so are the proposals of run that were not measured, and why. Commits are told by show, and with --json.
    With --policy beside each verdict the one that another policy would have given; where that policy needs a run that
    was never made, it says so.

    Example: autoresearch log --last 50 --status keep
    """
    if status and status not in STATUSES:
        raise UsageError(f"there is no status {status!r}", f"choose one of: {', '.join(STATUSES)}")
    workspace = find(here())
    session = load_session(workspace)
    chosen = [e for e in session.experiments if not status or e.status == status]
    if policy is not None:
        from autoresearch.reports.policies import policy_lines, policy_view

        view = policy_view(workspace, session, policy, {e.number for e in chosen[-last:]})
        emit(as_json, view, policy_lines(session, view))
        return
    from autoresearch.workspace.task_file import secondary_of

    secondary = secondary_of(workspace.root)
    rows = [log_view(session, e, secondary) for e in chosen[-last:]]
    dropped = [] if status else costs.dropped(session, last)
    lines = [*log_lines(session, rows), *costs.dropped_lines(dropped)]
    emit(as_json, {"experiments": rows, "total": len(chosen), "dropped": dropped}, lines)


def show(
    context: typer.Context,
    which: Annotated[str, typer.Argument(metavar="N|best", help="Number of the experiment, or the best.")],
    diff: Annotated[bool, typer.Option("--diff", help="Print the change as a patch, too.")] = False,
    file: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Print this file as the experiment had it, and nothing else."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell all about one experiment.

    With --file it prints a file of it, for instance to edit a copy elsewhere while a try runs; of best the file that
    the next edit begins with, as the last keep left it.

    Example: autoresearch show 5 --diff

    Example: autoresearch show best --file train.py > /tmp/train.py
    """
    from autoresearch.reports.run_files import last_output
    from autoresearch.workspace.task_file import secondary_of

    if file is not None:
        refuse_unheeded(context, "with --file", "diff")
    workspace = find(here())
    session = load_session(workspace)
    experiment = _named(session, which, base=file is not None)
    n = experiment.number
    if file is not None:
        content = _file_of(workspace, experiment, file)
        if as_json or sys.stdout.isatty():
            emit(as_json, {"experiment": n, "path": file, "content": content}, content.splitlines())
        else:
            streams.put(sys.stdout, content)  # to the last byte: it may become a file
        return
    folder = workspace.run_dir(n, 0).parent
    view = views.show_view(session, experiment, secondary_of(workspace.root))
    view["files"] = str(folder) if folder.is_dir() else None
    view["output"] = last_output(workspace, n) if experiment.outcome not in (None, "ok") else []
    lines = views.show_lines(session, {**view, "files": view["files"] and _from_here(folder)})
    if diff:
        view["diff"] = _diff(workspace, experiment.parent, experiment.commit)
        lines += ["", *view["diff"].splitlines()]
    emit(as_json, view, lines)


def _named(session: Session, which: str, base: bool) -> Experiment:
    """Return the experiment of a number, or the best one; raise `UsageError` where there is none.

    The `base` of the next edit is the last keep: one that is simpler at an equal number has no better one.
    """
    if which != "best" and not which.isdecimal():
        raise UsageError(f"N is {which!r}, which is no experiment", "give its number, or best; see: autoresearch log")
    best = session.incumbent if base else session.best
    experiment = best if which == "best" else session.find(int(which))
    if experiment is None:
        what = "nothing was kept yet" if which == "best" else f"there is no experiment {which}"
        raise UsageError(what, "see: autoresearch log")
    return experiment


def _from_here(path: Path) -> str:
    """Return a path as it is typed in the current folder, if it is below that."""
    folder = here().resolve()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _file_of(workspace: Workspace, e: Experiment, path: str) -> str:
    """Return a text file as an experiment had it; the path is as it would be typed in the current folder."""
    from autoresearch.system.git import git_at
    from autoresearch.system.git_plumbing import files_of, missing_commits

    git = git_at(workspace.root)
    if not e.commit or missing_commits(git, {e.commit}):
        raise PreconditionError(
            f"the commit of experiment {e.number} is not in the repository", "see: autoresearch check"
        )
    name = os.path.relpath(here().resolve() / path, git.top.resolve())
    content = files_of(git, e.commit, [name]).get(name)
    if content is None:
        raise UsageError(
            f"experiment {e.number} had no file {path}", f"see: git ls-tree -r --name-only {e.commit[:12]}"
        )
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no text", f"get it with: git show {e.commit[:12]}:./{path} > FILE") from None


def _diff(workspace: Workspace, parent: str | None, commit: str | None) -> str:
    from autoresearch.system.git import git_at
    from autoresearch.system.git_plumbing import missing_commits

    git = git_at(workspace.root)
    if not parent or not commit:
        return ""
    if missing_commits(git, {parent, commit}):
        raise PreconditionError("the commits of this experiment are not in the repository", "see: autoresearch check")
    return git.diff(parent, commit)


def resume(
    short: Annotated[bool, typer.Option("--brief", help="Only what is needed to go on.")] = False,
    lost: Annotated[
        str | None,
        typer.Option(
            "--restore", metavar="TAG", help="First bring back the journal of this session.", show_default=False
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Repair, and tell how to go on.

    Finishes what a kill interrupted, then says what a fresh agent must know. With --restore it brings back a journal
    that was lost, from its mirror in the repository; one that is there and differs is left alone.

    Example: autoresearch resume --brief
    """
    from autoresearch.experiments.recovery import recover
    from autoresearch.reports.brief import brief, brief_lines, remember
    from autoresearch.system.clock import wall_clock
    from autoresearch.system.git import git_at

    done: tuple[str, ...] = ()
    if lost is not None:
        workspace, done = _restored(lost)
    else:
        workspace = find(here())
    if not is_locked(workspace):
        with lock(workspace):
            recovered = recover(workspace, git_at(workspace.root), wall_clock())
        session, done = recovered.session, (*done, *recovered.done)
        # Journal and mirror have just been compared: again only to tell what is lost.
        view = brief(workspace, session, wall_clock(), short=short, mirror=recovered.lost is not None)
        remember(workspace, wall_clock(), session, view if short else None)
    else:
        session = load_session(workspace)
        view = brief(workspace, session, wall_clock(), short=short)
    view = {**view, "repaired": [*done, *view.pop("problems")]}
    repaired_lines = [f"repaired: {one_line(line, 300)}" for line in view["repaired"]]
    emit_with_messages(workspace, session, as_json, view, [*repaired_lines, *brief_lines(session, view, short=short)])


def _restored(tag: str) -> tuple[Workspace, tuple[str, ...]]:
    """Restore a lost session; return its workspace and what was done."""
    from autoresearch.experiments.restore import restore
    from autoresearch.runs.setup import setup_workspace
    from autoresearch.system.clock import wall_clock

    workspace, done = restore(here(), tag, wall_clock())
    if not here().resolve().is_relative_to(workspace.root):
        done.append(f"the session is in {workspace.root}: go there first")
    try:
        setup_workspace(workspace)
    except AutoresearchError as error:  # another machine may lack the data; the session can be read without
        remark(f"the journal is restored, but {error}")
    return workspace, tuple(done)


def check(as_json: JsonFlag = False) -> None:
    """Check that nothing was tampered with.

    Branch, immutable files, journal and commits.

    Example: autoresearch check
    """
    from autoresearch.experiments.preflight import check_all, check_branch
    from autoresearch.system.git import git_at
    from autoresearch.workspace.task_file import load

    workspace = find(here())
    session = load_session(workspace)
    git = git_at(workspace.root)
    check_branch(git, session)  # first: another branch has no task file
    wrong = check_all(workspace, git, session, load(workspace.root))
    if wrong:
        for error in wrong[1:]:
            remark(f"also: {error}")
        raise wrong[0]
    count = len(session.experiments)
    summary = f"{count} experiments; branch, immutable files, journal and commits are as they should be"
    emit(as_json, {"ok": True, "experiments": count}, [summary])


def note(n: Number, asi: AsiOption = None, as_json: JsonFlag = False) -> None:
    """Write down what was learned.

    Notes belong to an experiment and survive a take-back.

    Example: autoresearch note 5 --asi result="diverged after 200 steps" --asi next="half the LR"
    """
    from autoresearch.system.clock import wall_clock

    workspace = find(here())
    given = pairs(asi)
    if not given:
        raise UsageError("nothing to note", 'say it with: --asi result="..."')
    if load_session(workspace).find(n) is None:
        raise UsageError(f"there is no experiment {n}", "see: autoresearch log")
    with _mirrored(workspace):
        append(workspace, note_line(n, given, wall_clock()))
    session: Session = load_session(workspace)
    experiment = session.find(n)
    assert experiment is not None
    emit(as_json, {"experiment": n, "asi": experiment.asi}, [f"experiment {n}: {', '.join(given)} noted"])


@contextlib.contextmanager
def _mirrored(workspace: Workspace) -> Iterator[None]:
    """Mirror what is noted, unless an experiment runs or was interrupted: then that is done with its verdict.

    Raises `IntegrityError` where the journal has lost lines: they would have to be put behind those that are added.
    """
    from autoresearch.system.git import Git, git_at
    from autoresearch.workspace.journal_mirror import keep_up, lost_lines, mirror_of, whole_lines

    session = load_session(workspace)
    git: Git | None = None
    with contextlib.ExitStack() as held:
        if session.segment.branch is not None and not is_locked(workspace) and not workspace.running.exists():
            with contextlib.suppress(AutoresearchError):  # another command came first, or there is no git any more
                held.enter_context(lock(workspace))
                git = git_at(workspace.root)
        mirror, content = (mirror_of(git, session), whole_lines(workspace)) if git is not None else (None, b"")
        if git is not None and mirror is not None and mirror.relation(git, content) == "shorter":
            raise lost_lines(git, mirror, content, session.segment.tag)
        yield
        if git is not None:
            keep_up(workspace, git, load_session(workspace))
