"""Pictures beside the progress: learning curves of several experiments, and speed against the metric."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoresearch.errors import PreconditionError, UsageError
from autoresearch.journal.experiment import Experiment
from autoresearch.journal.session import Session
from autoresearch.reports.figures import MARKS, limits, speed_points
from autoresearch.reports.picture import LIGHT, Look, picture, plain_axes, safe, title
from autoresearch.reports.run_files import Curve, curve_of, curve_view, seeds_of
from autoresearch.workspace.workspace import Workspace

MOST_CURVES = 8
"""Of one picture; more cannot be told apart."""


def experiments_with(session: Session, numbers: Sequence[int]) -> list[Experiment]:
    """Return the experiments with these numbers; raise `UsageError` when one is missing, or when they are too many."""
    if len(numbers) > MOST_CURVES:
        raise UsageError(f"{len(numbers)} experiments are too many to tell apart", f"name at most {MOST_CURVES}")
    chosen = [session.find(number) for number in dict.fromkeys(numbers)]
    missing = [number for number, e in zip(dict.fromkeys(numbers), chosen, strict=True) if e is None]
    if missing:
        raise UsageError(f"there is no experiment {missing[0]}", "see: autoresearch log")
    return [e for e in chosen if e is not None]


def first_curves(workspace: Workspace, chosen: Sequence[Experiment]) -> dict[str, Curve]:
    """Return the curve of the first seed of each experiment that has one, by a title that names both."""
    found: dict[str, Curve] = {}
    for e in chosen:
        for seed in seeds_of(workspace, e.number):
            curve = curve_of(workspace, e.number, seed)
            if curve is not None and curve.names:
                found[f"experiment {e.number}, seed {seed}"] = curve
                break
    return found


def draw_curves(
    workspace: Workspace,
    session: Session,
    numbers: Sequence[int],
    path: Path,
    look: Look = LIGHT,
    name: str | None = None,
) -> list[str]:
    """Draw one value over the training of several experiments; return the names that could be drawn.

    Raises as `picture` does, `UsageError` for an experiment or a name that is not there, and `PreconditionError` when
    none of them left a curve.
    """
    curves = first_curves(workspace, experiments_with(session, numbers))
    figure, names = curve_view(curves, name)
    if figure is None:
        raise PreconditionError("none of these experiments left a learning curve", "a run writes it to curve.jsonl")
    if name is not None and name not in names:
        raise UsageError(f"no curve has {name!r}", f"choose one of: {', '.join(names)}")
    with picture(look, path) as (canvas, axes):
        lines: list[dict[str, Any]] = figure["lines"]
        for index, line in enumerate(lines):
            y = [float("nan") if value is None else value for value in line["y"]]
            style = "--" if index % 2 else "-"
            axes.plot(line["x"], y, style, color=look.lines[index % 8], lw=1.5, label=line["name"])
        title(canvas, look, f"{safe(figure['label'])} over the training", safe(session.segment.name, 60))
        axes.set_xlabel(safe(figure["under"]), color=look.ink, fontsize=10, parse_math=False)
        axes.set_ylabel(safe(figure["label"]), color=look.ink, fontsize=10, parse_math=False)
        axes.legend(frameon=False, fontsize=9, labelcolor=look.faint)
        plain_axes(axes, look)
    return names


def draw_speed(session: Session, path: Path, look: Look = LIGHT) -> int:
    """Draw the metric over the speed; return how many experiments have both.

    Raises as `picture` does, and `PreconditionError` when the task reports no steps.
    """
    points = speed_points(session)
    if not points:
        raise PreconditionError("no experiment has both a value and a speed", "a run reports its steps as a metric")
    metric = session.metric
    with picture(look, path) as (canvas, axes):
        for mark, word, colour, size in (("d", "discarded", look.grey, 22), ("k", "kept", look.good, 46)):
            mine = [(pace, value) for e, pace, value in points if e.status and MARKS[e.status] == mark]
            if mine:
                axes.scatter(*zip(*mine, strict=True), size, colour, lw=0, label=word, zorder=3)
        best = session.best
        for e, pace, value in points:
            if best is not None and e.number == best.number:
                axes.annotate(safe(e.description) or f"#{e.number}", (pace, value), xytext=(6, 6), fontsize=8,
                              textcoords="offset points", color=look.ink, parse_math=False)  # fmt: skip
        axes.set_ylim(*limits([value for _, _, value in points], [], []))
        title(canvas, look, "Speed and score", safe(session.segment.name, 60))
        axes.set_xlabel("steps in a second (or millions of tokens), mean of its runs", color=look.ink, fontsize=10)
        label = f"{safe(metric.name)}, {metric.direction} is better"
        axes.set_ylabel(label, color=look.ink, fontsize=10, parse_math=False)
        axes.legend(frameon=False, fontsize=9, labelcolor=look.faint)
        plain_axes(axes, look)
    return len(points)
