"""Commands about what to try: `next`, `ideas`."""

from __future__ import annotations

import getpass
import os
from typing import Annotated

import typer

from autoresearch.cli.output import JsonFlag, emit, here, refuse_unheeded, remark
from autoresearch.errors import PreconditionError
from autoresearch.escaping import one_line
from autoresearch.journal.session import Session
from autoresearch.reports.views import View, number
from autoresearch.search import ideas as backlog
from autoresearch.search import strategies
from autoresearch.search.history import step
from autoresearch.search.sampler import propose as sample
from autoresearch.search.sampler import spelled
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace, find

IDEAS = 3
"""Ideas that a proposal comes with."""


def register(app: typer.Typer) -> None:
    app.command("next")(next_)
    app.command("start")(start)
    app.command("ideas")(ideas)


def next_(
    context: typer.Context,
    strategy: Annotated[
        str, typer.Option(metavar="NAME", help=f"One of {', '.join(strategies.STRATEGIES)}, or module:Class.")
    ] = "balanced",
    knobs: Annotated[
        bool, typer.Option("--knobs", help="Instead, the constants that can be tuned, and a new point.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Propose where to look next.

    From which experiment to start and what kind of change to make; the change itself is yours.

    Example: autoresearch next

    Example: autoresearch next --knobs
    """
    from autoresearch.experiments.preflight import check_stop
    from autoresearch.system.clock import wall_clock
    from autoresearch.workspace.task_file import load

    if knobs:
        refuse_unheeded(context, "with --knobs", "strategy")
    workspace = find(here())
    session = load_session(workspace)
    if session.incumbent is None:
        raise PreconditionError("there is no baseline yet", "measure it first: autoresearch baseline")
    check_stop(workspace, session, load(workspace.root).stop, wall_clock())
    if knobs:
        view = _knobs(workspace, session)
        emit(as_json, view, _knob_lines(session, view))
        return
    families = backlog.families_of(workspace)
    proposal = strategies.propose(session, strategy, families)
    listed = strategies.fitting(proposal, backlog.read(workspace, families), IDEAS)
    parent = strategies.parent_of(session, proposal)
    start = None if parent is session.incumbent else f"autoresearch start {parent.number}"
    say = '-m "what changes" --asi hypothesis="why it should help"'
    view = {
        "strategy": strategy,
        "mode": proposal.mode,
        "parent": proposal.parent,
        "reason": proposal.reason,
        "families": list(proposal.families),
        "ideas": [{"number": idea.number, "text": idea.text, "family": idea.family} for idea in listed],
        "start": start,
        "next": f"autoresearch try {say} --asi parent={proposal.parent}",
    }
    emit(as_json, view, _lines(session, view, parent.description, number(session, step(session, parent), signed=True)))


def start(
    n: Annotated[int, typer.Argument(metavar="N", help="Number of the experiment.")], as_json: JsonFlag = False
) -> None:
    """Begin with the code of an experiment.

    Writes the mutable files as experiment N had them into the folder, to go on from there. Edits that were not measured
    are not overwritten.

    Example: autoresearch start 5
    """
    from autoresearch.experiments.candidate import start_from

    workspace = find(here())
    experiment = start_from(workspace, n)
    then = f'autoresearch try -m "what changes" --asi parent={n}'
    what = f"the mutable files are those of experiment {n}: {one_line(experiment.description, 100)}"
    emit(
        as_json,
        {"experiment": n, "description": experiment.description, "next": then},
        [what, f"next  edit, then: {then}"],
    )


def _knobs(workspace: Workspace, session: Session) -> View:
    """Return the search space with what was tried of it, and a point that the sampler proposes."""
    from autoresearch.search.measured import measured_points, tried_values
    from autoresearch.search.sources import mutable_files, source_reader
    from autoresearch.search.space import problems, read_space
    from autoresearch.system.git import Git
    from autoresearch.workspace.task_file import load

    task = load(workspace.root)
    files, options = mutable_files(workspace.root, task), task.options
    git = Git(workspace.root)
    source_of = source_reader(git, task)
    space = read_space(files, options)
    known = measured_points(session, space, files, source_of, options)
    change = sample(session, files, source_of, options, seed=0, prefix=git.prefix)
    rows = [
        {"file": knob.file, "name": knob.name, "value": knob.value, "range": knob.range_text(), "scale": knob.scale,
         "tried": tried.times, "best": tried.best, "gain": tried.gain}
        for knob, tried in zip(space, tried_values(session, space, known), strict=True)
    ]  # fmt: skip
    steps = change.steps if change else ()
    moves = [{"file": s.knob.file, "name": s.knob.name, "from": s.knob.value, "to": s.value} for s in steps]
    measured = sum(m.state != "running" for m in known)
    return {"knobs": rows, "measured": measured, "proposal": moves, "problems": problems(files, options)}


def _knob_lines(session: Session, view: View) -> list[str]:
    """Return a table of the knobs, what is wrong with comments, and the proposed point."""
    if not view["knobs"]:
        return [*view["problems"], "no constant to tune: a name in upper case at the top level, a comment like [1, 8]"]
    rows = [("constant", "value", "range", "tried", "best try")]
    for knob in view["knobs"]:
        best = "" if knob["gain"] is None else f"{spelled(knob['best'])} ({number(session, knob['gain'], signed=True)})"
        rows.append((knob["name"], spelled(knob["value"]), knob["range"], str(knob["tried"]), best))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    change = ", ".join(f"{move['name']} {spelled(move['from'])} -> {spelled(move['to'])}" for move in view["proposal"])
    return [*lines, *view["problems"], f"next  {change or 'nothing is left near the present values'}"]


def _lines(session: Session, view: View, description: str, gained: str) -> list[str]:
    best = session.incumbent is not None and session.incumbent.number == view["parent"]
    parent = "the incumbent" if best else f"{gained} against its parent's mean"
    lines = [
        f"mode    {view['mode']}: {view['reason']}",
        f"from    experiment {view['parent']}, {parent}: {one_line(description, 100)}",
    ]
    lines += [f"change  one of: {', '.join(view['families'])}"] if view["families"] else []
    lines += [f"idea {idea['number']:>2} {one_line(idea['text'], 120)}" for idea in view["ideas"]]
    lines += [f"start   {view['start']}"] if view["start"] else []
    return [*lines, f"next    {view['next']}"]


def ideas(
    context: typer.Context,
    add: Annotated[str, typer.Option(metavar="TEXT", help="Add an idea to the backlog.")] = "",
    family: Annotated[str, typer.Option(metavar="NAME", help="Its family of changes, such as schedule.")] = "",
    done: Annotated[int | None, typer.Option(metavar="K", help="Mark idea K as done.", show_default=False)] = None,
    claim: Annotated[
        int | None, typer.Option(metavar="K", help="Take idea K, so that no other agent does.", show_default=False)
    ] = None,
    by: Annotated[
        str, typer.Option(metavar="NAME", help="Who claims it.", show_default="the agent's session, or you")
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Show the backlog, add to it, or claim from it.

    The ideas are in autoresearch.ideas.md, which can be edited by hand, too. A change shows the idea that it was about.

    Example: autoresearch ideas --add "try a shorter warmdown" --family schedule

    Example: autoresearch ideas --claim 2 --by ada
    """
    if not add:
        refuse_unheeded(context, "without --add", "family")
    if claim is None:
        refuse_unheeded(context, "without --claim", "by")
    workspace = find(here())
    if add:
        earlier = backlog.like(load_session(workspace), add)
        backlog.add(workspace, add, family)
        if earlier is not None:
            verdict = f"{earlier.status or 'unfinished'}: {one_line(earlier.description, 100)}"
            remark(f"experiment {earlier.number} was like it, {verdict}")
    if done is not None:
        backlog.mark_done(workspace, done)
    if claim is not None:
        backlog.claim(workspace, claim, by or _who())
    listed = backlog.read(workspace, backlog.families_of(workspace))
    view = {
        "ideas": [
            {"number": i.number, "text": i.text, "done": i.done, "family": i.family, "by": i.by or None} for i in listed
        ]
    }
    changed = {done, claim, len(listed) if add else None} - {None}
    lines = [
        f"{i.number:>3}  {'done  ' if i.done else ''}{one_line(i.text, 300)}"
        + (f"  (claimed by {i.by})" if i.by and not i.done else "")
        for i in listed
        if not changed or i.number in changed
    ]
    emit(as_json, view, lines or ['no ideas yet; add one with: autoresearch ideas --add "..."'])


def _who() -> str:
    """Return a name for a claim: the agent's session if there is one, else the person."""
    agent = os.environ.get("AUTORESEARCH_AGENT") or os.environ.get("CLAUDE_CODE_SESSION_ID", "")[:8]
    try:
        return agent or getpass.getuser()
    except (KeyError, OSError):
        return "somebody"
