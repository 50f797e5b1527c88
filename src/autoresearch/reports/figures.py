"""What is drawn of a session, as numbers: the same for the plot, the report and the page. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from statistics import quantiles
from typing import Any

from autoresearch.experiments.evidence import run_noise
from autoresearch.journal.session import Experiment, Session

Figure = dict[str, Any]
"""Plain data: `kind` is `progress`, `lines` or `bars`, and says what else is in it. `whole`: x is counted."""

MARKS = {"keep": "k", "discard": "d", "crash": "f", "checks_failed": "f"}
"""Status -> the letter that stands for it in a figure of many experiments: kept, discarded, failed."""

POINTS = 1500
"""Most points of one line; more cannot be told apart on a screen."""


def progress(session: Session) -> Figure:
    """Return all experiments of the segment in force, the best so far, and the noise as a band.

    `y` has None where a run gave no value. `x` is the experiment's number, or its place where numbers run backwards;
    then `numbers` has them. Values are rounded to what a screen can show, 7 digits.
    """
    done = finished(session)
    disordered = is_disordered(done)
    x = [*range(1, len(done) + 1)] if disordered else [e.number for e in done]
    valued = [e for e in done if e.metric is not None]
    steps, band = best_so_far(session, done), noise_band(session)
    place = dict(zip([e.number for e in done], x, strict=True))
    name, direction = session.metric.name, session.metric.direction
    unit = f" ({session.metric.unit})" if session.metric.unit and not name.endswith(session.metric.unit) else ""
    return {
        "kind": "progress",
        "label": f"{name}{unit}, {direction} is better",
        "direction": direction,
        "whole": 1,
        "x": x,
        "y": [None if e.metric is None else _short(drawn_value(e)) for e in done],
        "marks": "".join(MARKS[e.status] for e in done if e.status is not None),
        "numbers": [e.number for e in done] if disordered else None,
        "best": [[place[number], _short(value)] for number, value in steps],
        "band": [_short(value) for value in band] or None,
        "limits": [*limits([drawn_value(e) for e in valued], [value for _, value in steps], band)],
    }


def finished(session: Session) -> list[Experiment]:
    """Return the experiments of the segment in force that have a verdict."""
    return [e for e in session.current if e.status is not None]


def is_disordered(done: Sequence[Experiment]) -> bool:
    """Whether numbers do not serve as places because they run backwards, as in a journal of another tool."""
    return any(b <= a for a, b in pairwise([e.number for e in done]))


def drawn_value(e: Experiment) -> float:
    """Return where an experiment that has a value stands, within what an axis can scale."""
    value = e.reference if e.status == "keep" else e.metric
    assert value is not None
    return max(-1e300, min(1e300, value))


def best_so_far(session: Session, done: Sequence[Experiment]) -> list[tuple[int, float]]:
    """Return (experiment, value) of the best kept experiment at each one that improved on it."""
    steps: list[tuple[int, float]] = []
    for e in done:
        if e.status != "keep" or e.reference is None:
            continue
        if not steps or session.metric.better(drawn_value(e), steps[-1][1]):
            steps.append((e.number, drawn_value(e)))
    return steps


def noise_band(session: Session) -> list[float]:
    """Return one standard deviation of a run around the best value; empty where the noise is not known."""
    best, noise = session.best, run_noise(session)
    if best is None or best.reference is None or not noise or not math.isfinite(noise):
        return []
    return [best.reference - noise, best.reference + noise]


def limits(values: Sequence[float], must: Sequence[float], band: Sequence[float]) -> tuple[float, float]:
    """Return y-limits that show the bulk of `values`, the path `must` to the best one, and the noise `band`.

    An exploded value must not flatten the rest: what lies far outside is drawn at the edge instead.
    """
    if not values:
        return 0.0, 1.0
    shown = list(values)
    if len(values) >= 4:
        lower, middle, upper = quantiles(values, n=4, method="inclusive")
        # An exploded baseline is no part of the story, a long way down from a poor one is.
        reach = 50 * (upper - lower)
        must = [value for value in must[:-1] if not reach or abs(value - middle) <= reach] + list(must[-1:])
        # Where most values are equal the quartiles say nothing, and what was kept tells the scale.
        spread = max(upper - lower, (max(must) - min(must)) / 3 if must else 0.0, band[1] - band[0] if band else 0.0)
        if spread > 0:
            shown = [value for value in values if lower - 2.5 * spread <= value <= upper + 2.5 * spread]
    low, high = min(*shown, *must, shown[0]), max(*shown, *must, shown[0])
    if band:
        low, high = min(low, band[0]), max(high, band[1])
    pad = (high - low) * (0.1 if len(values) > 1 else 1.0) or abs(high) * 0.01 or 1.0
    return low - pad, high + pad


def speed_points(session: Session) -> list[tuple[Experiment, float, float]]:
    """Return (experiment, steps in a second, value) where the task reports its steps: the mean pace of its runs."""
    points = []
    for e in finished(session):
        paces = [speed.pace for speed in e.speeds if speed.pace]
        if paces and e.metric is not None:
            points.append((e, math.fsum(paces) / len(paces), drawn_value(e)))
    return points


def duration(session: Session) -> Figure | None:
    """Return the time since the beginning, and that in which something was measured, over the experiments.

    None without two experiments that have times.
    """
    timed = [e for e in finished(session) if e.started is not None and e.finished is not None]
    if len(timed) < 2:
        return None
    spans = [(e.started or 0, e.finished or 0) for e in timed]
    begin, x = spans[0][0], [*range(1, len(spans) + 1)]
    last = max(end for _, end in spans) - begin
    name, seconds = ("hours", 3600) if last > 7200 else ("minutes", 60) if last > 120 else ("seconds", 1)
    passed = [(end - begin) / seconds for _, end in spans]
    measuring = [*accumulate((end - start) / seconds for start, end in spans)]
    lines = [_line("since the beginning", x, passed), _line("measuring", x, measuring)]
    return {"kind": "lines", "label": name, "under": "experiments", "whole": 1, "lines": lines}


def bars(label: str, counts: Iterable[tuple[str, float]]) -> Figure | None:
    """Return a bar for each (name, number); None without one."""
    pairs = [*counts]
    return {"kind": "bars", "label": label, "bars": [[name, number] for name, number in pairs]} if pairs else None


def curves(label: str, under: str, runs: Mapping[str, tuple[Sequence[float], Sequence[float | None]]]) -> Figure:
    """Return the learning curves of several runs, name -> (x, y), each thinned to `POINTS`."""
    return {"kind": "lines", "label": label, "under": under, "lines": [_line(name, *xy) for name, xy in runs.items()]}


def thinned(
    x: Sequence[float], y: Sequence[float | None], most: int = POINTS
) -> tuple[list[float], list[float | None]]:
    """Return at most about `most` points of a line: the lowest and the highest of each stretch, for no peak to be lost.

    Of a stretch without a value one point without one stays: a gap is seen as a gap.
    """
    if len(x) <= most:
        return [*x], [*y]
    size = math.ceil(2 * len(x) / most)
    kept: list[int] = []
    for begin in range(0, len(x), size):
        known = [(value, i) for i in range(begin, min(begin + size, len(x))) if (value := y[i]) is not None]
        kept += sorted({min(known)[1], max(known)[1]}) if known else [begin]
    return [x[i] for i in kept], [y[i] for i in kept]


def _line(name: str, x: Sequence[float], y: Sequence[float | None]) -> dict[str, Any]:
    thin_x, thin_y = thinned(x, y)
    return {"name": name, "x": thin_x, "y": [None if value is None else _short(value) for value in thin_y]}


def _short(value: float) -> float:
    """Return a value as exactly as anything is drawn."""
    return float(f"{value:.7g}")
