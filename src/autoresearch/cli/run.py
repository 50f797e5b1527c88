"""Commands of the loop without a person: `run`, and what steers it meanwhile: `pause`, `continue`, `skip`, `steer`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoresearch.cli import jobs
from autoresearch.cli.output import JsonFlag, emit, finite, here, remark
from autoresearch.cli.progress import Display
from autoresearch.errors import UsageError
from autoresearch.escaping import one_line
from autoresearch.journal.loop_events import steer_line
from autoresearch.journal.session import Session
from autoresearch.reports import costs, views
from autoresearch.search import strategies
from autoresearch.search.ideas import families_of
from autoresearch.workspace.lock import loop_runs
from autoresearch.workspace.session_journal import append, load_session
from autoresearch.workspace.workspace import Workspace, find

if TYPE_CHECKING:
    from autoresearch.experiments.result import ExperimentResult
    from autoresearch.loop.options import Ended

MOST_GOAL = 2000
"""Characters of a goal."""


def register(app: typer.Typer) -> None:
    app.command("run")(run)
    app.command("pause")(pause)
    app.command("continue")(continue_)
    app.command("skip")(skip)
    app.command("steer")(steer)


def run(
    agent: Annotated[
        str, typer.Option(metavar="NAME[,NAME...]", help="Who proposes; the next one while the first must rest.")
    ] = "sampler",
    max_experiments: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="End after so many.", show_default="as [stop] says")
    ] = None,
    max_hours: Annotated[
        float | None,
        typer.Option(min=0, metavar="H", help="End after so long.", show_default="as [stop] says", callback=finite),
    ] = None,
    max_usd: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="X", help="Spend no more US dollars.", show_default="as [stop] says", callback=finite
        ),
    ] = None,
    strategy: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help=f"One of {', '.join(strategies.STRATEGIES)}, or module:Class.",
            show_default="best for the sampler, else balanced",
        ),
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Another one draws other proposals.")] = 0,
    workers: jobs.Workers = "",
    aa_every: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="After N experiments, put the best code through a verdict against itself.",
            show_default="20 with several workers, else 0: never",
        ),
    ] = None,
    detach: jobs.Flag = False,
    as_json: JsonFlag = False,
) -> None:
    """Research without a person.

    An agent proposes an edit, it is measured and decided on as by try, and so on, until a stop condition of the
    task or an option holds, the file STOP is there, or Ctrl-C is pressed. After Ctrl-C or a kill the same command goes
    on, with what is left of its limits; with other limits they begin anew.

    Agents: sampler (no model), claude, codex, gemini (their programs), anthropic, openai (their API), hybrid,
    replay:FILE (a list of edits), or module:Class.

    Example: autoresearch run --agent claude,sampler --max-experiments 50 --max-usd 5

    Example: autoresearch run --agent sampler --max-hours 8 --detach
    """
    workspace = find(here())
    if detach:
        line = jobs.words("run", agent=agent, strategy=strategy or None, seed=seed or None, workers=workers or None)
        line += jobs.words("", **{"max-experiments": max_experiments, "max-hours": max_hours, "max-usd": max_usd})[1:]
        line += jobs.words("", **{"aa-every": aa_every})[1:]
        jobs.detach(workspace, line, as_json)
        return
    from autoresearch.loop.driver import Driver
    from autoresearch.loop.options import Options
    from autoresearch.loop.registry import agents_of

    if strategy:
        strategies.load(strategy)
    options = Options(max_experiments, max_hours, max_usd, strategy, seed, workers, aa_every, agent)
    agents = agents_of(agent)
    with Display() as display:

        def tell(result: ExperimentResult) -> None:
            display.say(_told(result))

        ended = Driver(workspace, agents, options, tick=display.tick, say=display.say, tell=tell).run()
    view = _view(ended)
    emit(as_json, view, _lines(ended, view))


def _told(result: ExperimentResult) -> str:
    session, e = result.session, result.experiment
    value = views.number(session, e.metric)
    return f"{e.number:>5}. {one_line(e.description, 90)}: {value}, {e.status} ({one_line(e.reason, 200)})"


def _view(ended: Ended) -> dict[str, Any]:
    session = ended.session
    rows = [views.brief_view(session, e) for e in session.experiments if e.number in ended.measured]
    return {
        "reason": ended.reason,
        "experiments": rows,
        "kept": [row["experiment"] for row in rows if row["status"] == "keep"],
        "best": views.status_view(session, None)["best"],
        "gain": session.gain,
        "spent": costs.spent_view(session),
        "next": "autoresearch log",
    }


def _lines(ended: Ended, view: dict[str, Any]) -> list[str]:
    session, best = ended.session, view["best"]
    count = len(view["experiments"])
    done = f"{count} experiment{'' if count == 1 else 's'}, {len(view['kept'])} kept"
    lines = [f"ended  {ended.reason}", f"done   {done}"]
    if best:
        what = f"experiment {best['experiment']}: {one_line(best['description'], 80)}"
        lines.append(f"best   {views.number(session, best['value'])}{views.unit(session)}  ({what})")
    lines += [f"spent  {line}" for line in costs.spent_lines(session)]
    return [*lines, f"next   {view['next']}"]


# --- steering ---


def pause(as_json: JsonFlag = False) -> None:
    """Pause the loop.

    What is being measured gets its verdict; nothing is proposed until autoresearch continue. Hours stand still.

    Example: autoresearch pause
    """
    _steer("pause", as_json, "paused; what is being measured gets its verdict first")


def continue_(as_json: JsonFlag = False) -> None:
    """Let a paused loop go on.

    Example: autoresearch continue
    """
    _steer("continue", as_json, "goes on")


def skip(as_json: JsonFlag = False) -> None:
    """Give up what is being proposed or measured now.

    The agent that is at work, or the run, is ended, nothing is decided, and the loop goes on with another proposal. An
    A/A candidate that is being measured is ended likewise.

    Example: autoresearch skip
    """
    workspace = find(here())
    if loop_runs(workspace):
        said = "what is being proposed or measured is given up"
    elif load_session(workspace).waiting:
        said = "the proposal that waits to be measured is given up"
    else:
        said = "nothing is given up: what try measures gets its verdict"
    _steer("skip", as_json, said)


def steer(
    ban: Annotated[str, typer.Option(metavar="FAMILY", help="Propose no change of this family.")] = "",
    allow: Annotated[str, typer.Option(metavar="FAMILY", help="Lift the ban of this family.")] = "",
    ask: Annotated[str, typer.Option(metavar="FAMILY", help="Propose changes of this family.")] = "",
    any_: Annotated[bool, typer.Option("--any", help="Lift all bans, and ask for no family.")] = False,
    goal: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What agents are to aim at from now on; empty for none.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Steer the loop while it runs.

    In force with the next proposal. Without an option, tells what is in force.

    Example: autoresearch steer --ban "learning rate"

    Example: autoresearch steer --goal "the smallest model below 1.3 bits per byte"
    """
    workspace = find(here())
    known = families_of(workspace)
    named = [(what, " ".join(text.lower().split())) for what, text in (("ban", ban), ("allow", allow), ("ask", ask))]
    for _, family in named:
        if family and family not in known:
            raise UsageError(f"there is no family {family!r} in this task", f"choose one of: {', '.join(known)}")
    if goal is not None and len(goal) > MOST_GOAL:
        raise UsageError(f"the goal has more than {MOST_GOAL} characters", "say it shorter")
    if any_:
        _append(workspace, "any")
    for what, family in named:
        if family:
            _append(workspace, what, family)
    if goal is not None:
        _append(workspace, "goal", " ".join(goal.split()))
    if any_ or goal is not None or any(family for _, family in named):
        _tell_who_heeds(workspace)
    _emit(load_session(workspace), as_json, [])


def _steer(what: str, as_json: bool, said: str) -> None:
    workspace = find(here())
    _append(workspace, what)
    _tell_who_heeds(workspace)
    _emit(load_session(workspace), as_json, [said])


def _tell_who_heeds(workspace: Workspace) -> None:
    """Say where nobody is steered: a coding agent that works by itself hears messages alone."""
    if not loop_runs(workspace):
        remark(
            'no loop is at work here, only `autoresearch run` heeds this; a coding agent hears: autoresearch tell "..."'
        )


def _append(workspace: Workspace, what: str, text: str = "") -> None:
    from autoresearch.system.clock import wall_clock

    append(workspace, steer_line(what, wall_clock(), text))


def _emit(session: Session, as_json: bool, lines: list[str]) -> None:
    steering = session.loop.steering
    view = {
        "paused": steering.paused,
        "banned": list(steering.banned),
        "asked": steering.asked or None,
        "goal": steering.goal or None,
    }
    if not lines:
        lines = [f"{name:<8}{_words(value)}" for name, value in view.items()]
    emit(as_json, view, lines)


def _words(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "-"
    return "-" if value is None else "no" if value is False else "yes" if value is True else str(value)
