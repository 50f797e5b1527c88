"""The trial run of `init` as a person sees it: what it took, wrote and opened, and where the metric was found."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from autoresearch.cli.output import remark
from autoresearch.cli.progress import Display
from autoresearch.escaping import one_line
from autoresearch.runs.metric_choice import chosen, lines_of, places_of
from autoresearch.runs.probe import Probe, may_hold_secrets, probe
from autoresearch.system.git import Git
from autoresearch.workspace.init import FindOut
from autoresearch.workspace.init_options import InitOptions
from autoresearch.workspace.task_file import TaskFile
from autoresearch.workspace.workspace import Workspace


def trial(limit_s: float) -> FindOut:
    """Return what `init` asks where a number comes from: it makes a trial run and tells of it on standard error."""

    def find_out(root: Workspace, git: Git, task: TaskFile, options: InitOptions) -> InitOptions:
        with Display() as display:
            shown = probe(root, git, task, limit_s, display.tick)
        for line in lines(shown, task.run.command, limit_s):
            remark(line)
        if options.metric is None and not shown.failed:
            for line in lines_of(shown.candidates):
                remark(line)
        for line in places_of(shown, options):
            remark(line)
        taken, found = chosen(shown, options)
        remark(f"metric     {found.value:.6g}{found.unit} in {found.where}: {one_line(found.line, 120)}")
        if taken.pattern is not None:
            remark(f"pattern    {taken.pattern}")
        return taken

    return find_out


def lines(shown: Probe, command: str, limit_s: float) -> list[str]:
    """Return what a trial run did beside printing numbers."""
    ended = f"was ended after {limit_s:g} s (--probe-limit)" if shown.cut else f"took {shown.seconds:.1f} s"
    told = [f"trial run  {one_line(command, 100)} {ended}"]
    told += [f"wrote      {_few(shown.written)}"] if shown.written else []
    if shown.put_back:
        # The whole name: git takes one of digits alone, which a short one can be, for the number of a stash.
        there = f"; what was there: git stash show -p {shown.aside}" if shown.aside else ""
        told.append(f"put back   {_few(shown.put_back)}: tracked, and changed while it ran{there}")
    told += [f"opened     {_few(shown.links)}: ignored by git, linked into each run"] if shown.links else []
    secret = [path for path in shown.left_out if may_hold_secrets(path)]
    built = [path for path in shown.left_out if path not in secret]
    for paths, what in ((secret, "and may hold secrets"), (built, "and a program, which each run has to build itself")):
        if paths:
            told.append(
                f"opened     {_few(paths)}: ignored by git, {what}; to link it: {shlex.join(['--link', *paths])}"
            )
    if not shown.seen:
        told.append("opened     cannot be seen here; ignored files that a run needs are named with --link")
    told += [f"seed       it prints one: {one_line(shown.seed, 40)}"] if shown.seed else []
    return told


def _few(paths: Sequence[str], most: int = 4) -> str:
    more = f" and {len(paths) - most} more" if len(paths) > most else ""
    return ", ".join(one_line(path, 80) for path in paths[:most]) + more
