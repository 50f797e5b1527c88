"""Commands that hand a session on: `finalize` for review, `bundle` as an archive, `replay` of one."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from autoresearch.cli import jobs
from autoresearch.cli.output import JsonFlag, emit, here
from autoresearch.cli.progress import Display
from autoresearch.cli.targets import target
from autoresearch.escaping import one_line
from autoresearch.reports.views import number, unit
from autoresearch.workspace.workspace import find


def register(app: typer.Typer) -> None:
    for command in (finalize, bundle, replay):
        app.command()(command)


def finalize(
    apply: Annotated[bool, typer.Option("--apply", help="Make the branches; without it they are only shown.")] = False,
    by: Annotated[
        Literal["keep", "family"],
        typer.Option(help="A branch for each kept change, or for those of each family together."),
    ] = "keep",
    leave_out: Annotated[
        Literal["hurts", "unclear", "nothing"],
        typer.Option("--leave-out", help="What the last ablate said of the changes that are left out."),
    ] = "hurts",
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the stack.", show_default="that of the session")
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=2, max=64, help="Fresh seeds, where the stack is measured.", show_default="as [keep] says"),
    ] = None,
    detach: jobs.Flag = False,
    as_json: JsonFlag = False,
) -> None:
    """Make branches for review of what was kept.

    A stack of branches on the baseline, each with one commit that says what was gained, on which seeds, beside which
    noise, and what confirm and ablate found. What ablate found to hurt is left out, and the stack without it is
    measured on fresh seeds first. Folder, index, stash and HEAD stay as they are; nothing is pushed.

    Example: autoresearch finalize --apply
    """
    from autoresearch.exchange.finalize import Chosen, finalize
    from autoresearch.system.clock import wall_clock

    workspace = find(here())
    if detach:
        words = jobs.words("finalize", apply=apply, by=by, name=name, seeds=seeds)
        jobs.detach(workspace, [*words, "--leave-out", leave_out], as_json)
        return
    chosen = Chosen(by, leave_out, name or None, seeds)
    with Display() as display:
        stack, session = finalize(workspace, wall_clock, chosen, apply=apply, tick=display.tick)
    branches = [
        {"name": b.name, "experiments": list(b.experiments), "subject": b.subject, "gains": list(b.gains),
         "files": list(b.files), "commit": b.commit, "made": apply or b.there}
        for b in stack.branches
    ]  # fmt: skip
    study = stack.measured
    measured = None if study is None else {**study.result, "study": study.number, "split": study.split}
    view = {
        "base": {"experiment": stack.base.number, "commit": stack.base.commit},
        "tip": {"experiment": stack.tip.number, "without": list(stack.without)},
        "branches": branches,
        "left_out": [{"experiment": n, "why": why} for n, why in stack.left_out],
        "measured": measured,
        "remarks": list(stack.remarks),
        "applied": apply,
    }
    word = "made" if apply else "would make"
    many = f"{len(branches)} branch{'' if len(branches) == 1 else 'es'}"
    base = f"experiment {stack.base.number} ({(stack.base.commit or '')[:7]})"
    lines = [f"{word} {many} on {base}, each on the one above:"]
    width = max(len(b.name) for b in stack.branches)
    for b in stack.branches:
        numbers, files = ", ".join(map(str, b.experiments)), one_line(", ".join(b.files), 60)
        there = " (is there)" if b.there and not apply else ""
        lines.append(f"  {b.name:<{width}}  {numbers}: {', '.join(b.gains)}  {files}{there}")
    lines += [f"left out  {n}: {one_line(why, 120)}" for n, why in stack.left_out]
    of = f"experiment {stack.tip.number}" + (f" without {', '.join(map(str, stack.without))}" if stack.without else "")
    lines.append(f"files     of the last branch: those of {of}")
    if study is not None:
        gained = f"{number(session, study.result['gain'], signed=True)}{unit(session)}"
        verdict = "the gain holds" if study.result["holds"] else "not confirmed"
        lines.append(f"measured  {gained} over the baseline on fresh seeds: {verdict}")
    lines += [f"remark    {remark}" for remark in stack.remarks]
    if apply:
        lines.append(f"next      git log --stat {shlex.quote(stack.branches[-1].name)}")
    else:
        first = "; it measures the stack first, since it is no experiment" if stack.unmeasured else ""
        lines.append(f"next      {chosen.command}{first}")
    emit(as_json, view, lines)


def bundle(
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Where to.", show_default="autoresearch.zip in the workspace"
        ),
    ] = "",
    logs: Annotated[bool, typer.Option("--logs", help="With what the runs printed.")] = False,
    trust: Annotated[
        bool, typer.Option("--trust-repository", help="What looks like a secret in its files is known to be none.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Pack the session so that others can run it again.

    One zip with the journal, the commits of all experiments, results and curves of the runs, environment, hardware, the
    hashes of the data, the report, and a list with the SHA-256 of each. The same session makes the same file. Secrets
    and the paths of home folders are taken out of everything but the commits; a secret in those is refused.

    Example: autoresearch bundle -o night.zip
    """
    from autoresearch.exchange.bundle import bundle
    from autoresearch.system.clock import wall_clock
    from autoresearch.workspace.agent_files import keep_from_git

    workspace = find(here())
    path = target(workspace, output, "autoresearch.zip")
    keep_from_git(workspace, path)
    again = shlex.join(["autoresearch", *jobs.words("bundle", output=output, logs=logs)])
    done = bundle(workspace, path, wall_clock(), again, logs=logs, trust=trust)
    view: dict[str, Any] = {"file": str(path), "bytes": done.size, "files": done.files, "taken_out": done.taken_out,
                            "remarks": list(done.remarks)}  # fmt: skip
    lines = [f"wrote {path}: {done.files} files, {done.size} bytes"]
    lines += [f"taken out  {count} x {what}" for what, count in sorted(done.taken_out.items())]
    lines += [f"remark     {remark}" for remark in done.remarks]
    typed = shlex.quote(output or os.path.relpath(path, here()))
    emit(as_json, view, [*lines, f"next       autoresearch replay {typed} FOLDER"])


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A bundle.")],
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="FOLDER", help="A new or empty folder.", show_default="named like the file"),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=2, max=64, help="Fresh seeds for each of the two.", show_default="as [keep] says")
    ] = None,
    verify_only: Annotated[bool, typer.Option("--verify-only", help="Check the file; write and run nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run a bundled session again.

    Checks every hash, makes a workspace of the bundle, prepares the data, and runs baseline and best on fresh seeds:
    what was claimed, what was confirmed there, what is confirmed here. It runs the programs of whoever made the bundle,
    the experiments in a sandbox where there is one.

    Example: autoresearch replay night.zip again
    """
    from autoresearch.exchange.replay import replay
    from autoresearch.system.clock import wall_clock

    path: Path = here() / file
    place: Path = here() / (folder or Path(file.stem))
    with Display() as display:
        done = replay(path, None if verify_only else place, seeds, wall_clock, tick=display.tick)
    emit(as_json, done.as_view(), done.lines())
