"""Commands that look again: `confirm`, `replicate`. They decide nothing on the branch."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from autoresearch.commands import views
from autoresearch.commands.display import Display
from autoresearch.commands.edge import JsonFlag, emit, here
from autoresearch.commands.views import number, unit
from autoresearch.core.study import LOCKED
from autoresearch.io.workspace import find

Number = Annotated[int, typer.Argument(metavar="N", help="Number of the experiment.")]


def register(app: typer.Typer) -> None:
    for command in (confirm, replicate):
        app.command()(command)


def confirm(
    seeds: Annotated[
        int | None, typer.Option(min=2, max=64, help="Fresh seeds for each of the two.", show_default="as [keep] says")
    ] = None,
    split: Annotated[
        Literal["locked", "search"] | None,
        typer.Option(help="What is evaluated on.", show_default="locked, where there is an evaluator"),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Take the honest number.

    Runs baseline and best on fresh seeds and evaluates them on the locked split, which no decision was made on.
    Each use of that split is written down: its numbers are worth less with each.

    Example: autoresearch confirm --seeds 5
    """
    from autoresearch.engine.experiment import wall_clock
    from autoresearch.engine.studies import confirm

    with Display() as display:
        found, session = confirm(find(here()), seeds, split, wall_clock, tick=display.tick)
    study = session.studies[-1]
    uses = len(session.locked)
    view = {**found.as_result(), "study": study.number, "split": study.split, "locked_uses": uses, **study.about,
            "unit": session.metric.unit}  # fmt: skip

    def told(value: float) -> str:
        return number(session, value, signed=True) + unit(session)

    share = "" if found.shrinkage is None else f", {100 * found.shrinkage:.0f} % of the claim"
    lines = [
        f"claimed    {told(found.claimed)}  (experiment {view['best']} over {view['baseline']}, on the search split)",
        f"confirmed  {told(found.gain)}  (95 % interval {told(found.low)} to {told(found.high)}, "
        f"{len(found.seeds)} fresh seeds)",
        f"shrinkage  {told(found.claimed - found.gain)}{share}",
        "verdict    " + ("the gain holds" if found.holds else "not confirmed: the interval includes no gain"),
    ]
    if study.split == LOCKED:
        lines.append(f"split      locked, used {uses} time{'s' if uses != 1 else ''} in this session")
    else:
        lines.append("split      search: the seeds are fresh, the data is what decisions were made on")
    emit(as_json, view, lines)


def replicate(
    n: Number,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed to run.", show_default="its first")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run an experiment once more.

    With its own seed, to see whether a run can be reproduced; with another, to know its value better.
    The value is recorded as a repeat, and no verdict changes.

    Example: autoresearch replicate 5 --seed 7
    """
    from autoresearch.engine.experiment import wall_clock
    from autoresearch.engine.studies import replicate

    with Display() as display:
        e, session, chosen, value = replicate(find(here()), n, seed, wall_clock, tick=display.tick)
    first = dict(zip(e.seeds, e.values, strict=False)).get(chosen)
    view = {**views.experiment_view(session, e), "seed": chosen, "replicated": value, "first": first,
            "same": None if first is None else value == first,
            "noise": {"sd": session.noise.sd, "dof": session.noise.dof}}  # fmt: skip
    lines = [f"experiment {n}, seed {chosen}: {value:.10g}{unit(session)}"]
    if first is not None:
        same = "the same to the last digit" if value == first else f"{value - first:+.3g} from the first run"
        lines.append(f"first run  {first:.10g}{unit(session)}: {same}")
    if e.reference is not None:
        lines.append(f"mean       {number(session, views.value(e))}{unit(session)} over {len(e.by_seed)} seeds")
    lines.append(f"noise      {views.noise_words(session)}")
    emit(as_json, view, lines)
