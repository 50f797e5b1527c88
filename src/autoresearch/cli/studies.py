"""Commands that look again: `confirm`, `replicate`, `ablate`, `selftest`. They decide nothing on the branch."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from autoresearch.cli import jobs
from autoresearch.cli.output import JsonFlag, emit, here
from autoresearch.cli.progress import Display
from autoresearch.escaping import one_line
from autoresearch.journal.session import Session
from autoresearch.journal.study import LOCKED
from autoresearch.reports import views
from autoresearch.reports.views import number, unit
from autoresearch.workspace.agent_files import OWN_GOAL
from autoresearch.workspace.notes import section
from autoresearch.workspace.workspace import Workspace, find

Number = Annotated[int, typer.Argument(metavar="N", help="Number of the experiment.")]


def register(app: typer.Typer) -> None:
    for command in (confirm, replicate, ablate, selftest):
        app.command()(command)


def confirm(
    seeds: Annotated[
        int | None, typer.Option(min=2, max=64, help="Fresh seeds for each of the two.", show_default="as [keep] says")
    ] = None,
    split: Annotated[
        Literal["locked", "search"] | None,
        typer.Option(help="What is evaluated on.", show_default="locked, where there is an evaluator"),
    ] = None,
    workers: jobs.Workers = "",
    detach: jobs.Flag = False,
    as_json: JsonFlag = False,
) -> None:
    """Take the honest number.

    Runs baseline and best on fresh seeds and evaluates them on the locked split, which no decision was made on.
    That split can be read five times. Each read but the first is told lower than it was measured, by what luck the
    reads before it may have brought; give more seeds, and that is less.

    Example: autoresearch confirm --seeds 5
    """
    from autoresearch.statistics.locked import LockedReads
    from autoresearch.studies.confirm import confirm
    from autoresearch.system.clock import wall_clock

    if detach:
        jobs.detach(find(here()), jobs.words("confirm", seeds=seeds, split=split, workers=workers or None), as_json)
        return
    with Display() as display:
        result, session = confirm(find(here()), seeds, split, wall_clock, tick=display.tick, workers=workers)
    study = session.studies[-1]
    uses = len(session.locked)
    view = {**result.as_result(), "study": study.number, "split": study.split, "locked_uses": uses,
            "locked_left": LockedReads(uses).left, **study.about, "unit": session.metric.unit,
            "disturbed": _disturbed(session), "goal": _goal(find(here()))}  # fmt: skip

    def amount(value: float) -> str:
        return number(session, value, signed=True) + unit(session)

    def side(name: str, mean: float, error: float) -> str:
        return f"{name:<9}  {number(session, mean)}{unit(session)} ± {number(session, error)}"

    share = "" if result.found is None else f", {100 * result.found:.0f} % of the claim"
    low, high = amount(result.low), amount(result.high)
    price = f"; {amount(-result.lowered)} for {uses - 1} earlier read{'s' * (uses > 2)}" if result.lowered else ""
    lines = [
        side("baseline", result.baseline, result.baseline_error) + f"  (experiment {view['baseline']})",
        side("best", result.best, result.best_error)
        + f"  (experiment {view['best']}; ± is a standard error, {len(result.seeds)} fresh seeds)",
        f"gain       {amount(result.gain)}  (95 % interval {low} to {high}, of pairs on the same seed{price})",
        f"claimed    {amount(result.claimed)}  (on the search split{share} found here)",
        "verdict    " + ("the gain holds" if result.holds else "not confirmed: the interval includes no gain"),
        *([f"goal       {view['goal']}"] if view["goal"] else []),
        *disturbed(session),
    ]
    if study.split == LOCKED:
        lines.append(f"split      locked, {views.locked_words(uses)}")
    else:
        lines.append("split      search: the seeds are fresh, the data is what decisions were made on")
    emit(as_json, view, lines)


def _goal(workspace: Workspace) -> str | None:
    """Return what a person wants, in their words; None where they have named no goal."""
    goal = one_line(" ".join(section(workspace, "Goal", 400)), 300)
    return goal if goal and not goal.startswith(OWN_GOAL) else None


def replicate(
    n: Number,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed to run.", show_default="its first")] = None,
    detach: jobs.Flag = False,
    as_json: JsonFlag = False,
) -> None:
    """Run an experiment once more.

    With its own seed, to see whether a run can be reproduced; with another, to know its value better.
    The value is recorded as a repeat, and no verdict changes.

    Example: autoresearch replicate 5 --seed 7
    """
    from autoresearch.studies.replicate import replicate
    from autoresearch.system.clock import wall_clock

    if detach:
        jobs.detach(find(here()), jobs.words("replicate", n, seed=seed), as_json)
        return
    with Display() as display:
        e, session, chosen, value = replicate(find(here()), n, seed, wall_clock, tick=display.tick)
    first = next((run.value for run in e.runs_for("screening", "verdict") if run.seed == chosen), None)
    view = {**views.experiment_view(session, e), "seed": chosen, "replicated": value, "first": first,
            "same": None if first is None else value == first,
            "mean_of_runs": views.mean_of_runs(e)[0], "disturbed": _disturbed(session),
            "noise": {"sd": session.noise.sd, "dof": session.noise.dof}}  # fmt: skip
    lines = [f"experiment {n}, seed {chosen}: {value:.10g}{unit(session)}"]
    if first is not None:
        same = "the same to the last digit" if value == first else f"{value - first:+.3g} from the first run"
        lines.append(f"first run  {first:.10g}{unit(session)}: {same}")
    mean, count = views.mean_of_runs(e)
    if mean is not None:
        left_out = ", without the run that it was chosen by" if count < len(e.by_seed) else ""
        lines.append(
            f"mean       {number(session, mean)}{unit(session)} over {count} seed{'s' if count > 1 else ''}{left_out}"
        )
    lines += views.beside_incumbent(session, e)
    lines += [f"noise      {views.noise_words(session)}", *disturbed(session)]
    emit(as_json, view, lines)


def _disturbed(session: Session) -> list[str]:
    """Return what was seen at the runs of the last study that were made again, as the machine disturbed them."""
    return list(session.studies[-1].result.get("disturbed", []))


def disturbed(session: Session) -> list[str]:
    """Return the same in a line."""
    from autoresearch.experiments.disturbance import made_again

    seen = list(map(str, _disturbed(session)))
    count = made_again(seen)
    runs = "a run was" if count == 1 else f"{count} runs were"
    return [f"disturbed  {runs} made again: {one_line(seen[-1], 120)}"] if seen else []


def ablate(
    seeds: Annotated[
        int | None, typer.Option(min=1, max=64, help="Most seeds for each variant.", show_default="3")
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Let the policy decide on the smaller stack.")] = False,
    workers: jobs.Workers = "",
    detach: jobs.Flag = False,
    as_json: JsonFlag = False,
) -> None:
    """Find out which keeps pay.

    Undoes each kept change on top of the best so far, measures what is left, and then the stack without all that does
    not pay. The branch stays as it is, unless --apply makes that stack an experiment.

    Example: autoresearch ablate --seeds 3
    """
    from autoresearch.studies import ablate
    from autoresearch.system.clock import wall_clock

    workspace = find(here())
    if detach:
        jobs.detach(workspace, jobs.words("ablate", seeds=seeds, apply=apply, workers=workers or None), as_json)
        return
    with Display() as display:
        ablation, session = ablate.ablate(
            workspace, seeds, wall_clock, tick=display.tick, workers=workers, applies=apply
        )
        offer, stack = ablation.offer, ablation.stack
        report = None
        if apply and offer:
            report = ablate.apply(workspace, ablation, wall_clock, tick=display.tick, workers=workers)
    lines = [f"{'undone':<10}  {'verdict':<8}  {'worth':>10}  {'seeds':>5}  why"]
    for change in (*ablation.changes, *([stack] if stack and len(stack.without) > 1 else [])):
        worth = "-" if change.worth is None else number(session, change.worth, signed=True)
        undone = "+".join(map(str, change.without))
        lines.append(
            f"{undone:<10}  {change.verdict:<8}  {worth:>10}  {change.seeds:>5}  {one_line(change.reason, 90)}"
        )
    view = {**ablation.as_result(), "disturbed": _disturbed(session),
            "noise": {"sd": session.noise.sd, "dof": session.noise.dof}, "applied": None}  # fmt: skip
    if offer is None:
        lines.append("Nothing is offered to leave out: every change pays, or these runs cannot tell that it does not.")
    elif report is None:
        what = ", ".join(map(str, offer.without))
        size = "less code" if offer.smaller else "no less code"
        lines.append(f"Without {what} it is not worse within noise ({size}). Make that an experiment: "
                     "autoresearch ablate --apply")  # fmt: skip
    lines += disturbed(session)
    if report is not None:
        view["applied"] = views.verdict_view(report.session, report.experiment, report.last.excerpt, report.remarks)
        lines += ["", *views.verdict_lines(report.session, view["applied"])]
    emit(as_json, view, lines)


def selftest(
    experiments: Annotated[int, typer.Option("--experiments", "-n", min=1, help="Changes of nothing, in all.")] = 20,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew; forget the earlier ones.")] = False,
    workers: jobs.Workers = "",
    detach: jobs.Flag = False,
    as_json: JsonFlag = False,
) -> None:
    """Find out how often luck is kept.

    Runs a session of changes that change nothing, with this task and policy on this machine, in a laboratory of its
    own. Whatever is kept there is a false keep. Called again it goes on; your journal is left alone.

    Example: autoresearch selftest --experiments 20
    """
    from autoresearch.statistics.decision import Rules
    from autoresearch.studies.policy_replay import BASELINE, replayed
    from autoresearch.studies.selftest import selftest
    from autoresearch.system.clock import wall_clock

    if detach:
        words = jobs.words("selftest", experiments=experiments, fresh=fresh, workers=workers or None)
        jobs.detach(find(here()), words, as_json)
        return
    with Display() as display:
        rate, session = selftest(find(here()), experiments, wall_clock, fresh=fresh, tick=display.tick, workers=workers)
    greedy = replayed(session, Rules(policy="greedy"))
    lucky = sum(d.verdict == "keep" and d.reason != BASELINE for d in greedy)
    low, high = rate.interval
    view = {**rate.as_view(), "greedy_false_keeps": lucky, "noise": {"sd": session.noise.sd, "dof": session.noise.dof}}
    emit(
        as_json,
        view,
        [
            f"policy       {rate.policy}: kept {rate.kept} of {rate.experiments} changes that change nothing",
            f"false keeps  {100 * rate.kept / rate.experiments:.0f} % "
            f"(95 % interval {100 * low:.0f} to {100 * high:.0f} %)",
            f"greedy       would have kept {lucky} of the same",
            f"runs         {rate.runs}, {rate.runs / (rate.experiments + 1):.2f} for each experiment",
            f"noise        {views.noise_words(session)}",
        ],
    )
