"""The progress of a session as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoresearch.experiments.evidence import run_noise
from autoresearch.journal.session import Experiment, Session
from autoresearch.reports.figures import best_so_far, drawn_value, finished, is_disordered, limits, noise_band
from autoresearch.reports.picture import LIGHT, Look, fonts, picture, plain_axes, safe, title
from autoresearch.reports.views import number

MAX_LABELS = 12
"""More labels than this cannot be read; the largest gains get theirs."""
CORNERS = ((-6, 7), (6, -7), (6, 7), (-6, -7))
"""Where a label may stand beside its point, in points, the preferred place first; for a metric that is to grow."""


def draw(session: Session, path: Path, look: Look = LIGHT) -> None:
    """Write the experiments of the segment in force to `path`, as a PNG, SVG or PDF by its suffix; whole or not at all.

    Raises `PreconditionError` when matplotlib is not installed, `OSError` when `path` cannot be written.
    """
    with picture(look, path) as (figure, axes):
        _fill(axes, session, look)
        _titles(figure, axes, session, look)


def _fill(axes: Any, session: Session, look: Look) -> None:
    done = finished(session)
    places = {e.number: x for x, e in enumerate(done, 1)} if is_disordered(done) else {e.number: e.number for e in done}
    valued = [e for e in done if e.metric is not None]
    steps = best_so_far(session, done)
    band = noise_band(session)
    if band:
        axes.axhspan(*band, color=look.good, alpha=0.10, lw=0, zorder=0)
    low, high = limits([drawn_value(e) for e in valued], [value for _, value in steps], band)
    dense = len(done) > 300
    first, last = (min(places.values()), max(places.values())) if places else (1, 1)
    margin = max(0.6, 0.02 * (last - first))
    axes.set_xlim(first - max(0.6, 0.01 * (last - first)), last + margin)
    axes.set_ylim(low, high)
    if steps:
        x = [places[number] for number, _ in steps] + [last + margin]
        y = [value for _, value in steps] + [steps[-1][1]]
        axes.step(x, y, where="post", color=look.good, lw=1.6, alpha=0.85, zorder=2)

    size = 8 if dense else 22
    others = [e for e in valued if e.status != "keep"]
    inside = [e for e in others if low <= drawn_value(e) <= high]
    axes.scatter(
        [places[e.number] for e in inside],
        [drawn_value(e) for e in inside],
        *(size, look.grey),
        lw=0,
        alpha=0.6 if dense else 0.9,
        zorder=1,
    )
    for marker, beyond, edge in (
        ("^", [e for e in valued if drawn_value(e) > high], high),
        ("v", [e for e in valued if drawn_value(e) < low], low),
    ):
        color = [look.good if e.status == "keep" else look.grey for e in beyond]
        x = [places[e.number] for e in beyond]
        axes.scatter(x, [edge] * len(x), size * 1.6, color, marker=marker, lw=0, clip_on=False, zorder=3)
    crashed = [places[e.number] for e in done if e.metric is None]
    # On the bad side: a crash has no value, and must not look like a good one.
    floor = 0.965 if session.metric.direction == "lower" else 0.035
    axes.scatter(
        crashed,
        [floor] * len(crashed),
        12 if dense else 24,
        look.bad,
        marker="x",
        lw=0.6 if dense else 1.3,
        alpha=0.8,
        transform=axes.get_xaxis_transform(),
        clip_on=False,
        zorder=3,
    )
    kept = [e for e in valued if e.status == "keep" and low <= drawn_value(e) <= high]
    axes.scatter(
        [places[e.number] for e in kept],
        [drawn_value(e) for e in kept],
        24 if dense else 46,
        look.good,
        edgecolors=look.paper,
        linewidths=0.9,
        zorder=4,
    )
    crosses = axes.get_xaxis_transform().transform([(x, floor) for x in crashed]) if crashed else []
    _labels(axes, kept, places, session, crosses, look)


def _labels(
    axes: Any, kept: Sequence[Experiment], places: dict[int, int], session: Session, crosses: Any, look: Look
) -> None:
    """Name the kept experiments, the largest gains first, where no label covers another or a mark that matters."""
    from matplotlib.patheffects import withStroke

    figure = axes.figure
    renderer = figure.canvas.get_renderer()
    frame = axes.get_window_extent(renderer)
    gains: dict[int, float] = {}
    previous: float | None = None
    for e in kept:
        gains[e.number] = float("inf") if previous is None else session.metric.gain(drawn_value(e), previous)
        previous = drawn_value(e)
    best = session.best
    order = sorted(kept, key=lambda e: (best is not None and e.number == best.number, gains[e.number]), reverse=True)
    points = [axes.transData.transform((places[e.number], drawn_value(e))) for e in kept] + list(crosses)
    taken: list[Any] = []
    installed, halo = fonts(), [withStroke(linewidth=2.5, foreground=look.paper)]
    for e in order:
        if len(taken) >= MAX_LABELS:
            break
        text = safe(e.description) or f"#{e.number}"
        bold = best is not None and e.number == best.number
        for dx, away in CORNERS:
            dy = away if session.metric.direction == "higher" else -away
            note = axes.annotate(
                text,
                (places[e.number], drawn_value(e)),
                xytext=(dx, dy),
                textcoords="offset points",
                ha="left" if dx > 0 else "right",
                va="bottom" if dy > 0 else "top",
                fontsize=8,
                color=look.ink,
                fontweight="bold" if bold else "normal",
                fontfamily=installed,
                parse_math=False,
                path_effects=halo,
                zorder=5,
            )
            box = note.get_window_extent(renderer).expanded(1.02, 1.15)
            free = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if free and not any(box.overlaps(other) for other in taken) and not any(box.contains(*p) for p in points):
                taken.append(box)
                break
            note.remove()


def _titles(figure: Any, axes: Any, session: Session, look: Look) -> None:
    from matplotlib.ticker import MaxNLocator

    counts, metric, best, gain = session.counts, session.metric, session.best, session.gain
    name = safe(metric.name) or "metric"
    unit = f" ({safe(metric.unit)})" if metric.unit and not metric.name.endswith(metric.unit) else ""
    axes.set_ylabel(f"{name}{unit}, {metric.direction} is better", color=look.ink, fontsize=10, parse_math=False)
    axes.set_xlabel("experiment", color=look.ink, fontsize=10, loc="left" if look.is_narrow else "center")
    total, first = sum(counts.values()), int(session.baseline is not None)
    failed = counts["crash"] + counts["checks_failed"]
    tried, kept = total - first, counts["keep"] - first
    parts = [f"{kept} kept", f"{counts['discard']} discarded"] + ([f"{failed} failed"] if failed else [])
    summary = f"{tried} experiment{'' if tried == 1 else 's'}: " + ", ".join(parts) if tried else "the baseline"
    below = []
    if best is not None and best.reference is not None:
        better = f", {number(session, gain)} better than the baseline" if gain is not None and gain > 0 else ""
        below.append(f"best {number(session, best.reference)} (#{best.number}){better}")
        if noise := run_noise(session):
            below.append(f"band: the noise of one run (±{noise:.2g})")
    below.append(safe(session.segment.name, 60))
    title(figure, look, summary, *below)
    if total:
        _legend(figure, axes, session, failed, look)
    else:
        axes.text(0.5, 0.5, "no experiment has ended yet", transform=axes.transAxes, ha="center", color=look.faint)
        axes.set_xticks([])
        axes.set_yticks([])
    plain_axes(axes, look)
    if total:
        axes.ticklabel_format(axis="y", useOffset=False, style="sci", scilimits=(-4, 7))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))


def _legend(figure: Any, axes: Any, session: Session, failed: int, look: Look) -> None:
    from matplotlib.lines import Line2D

    low, high = axes.get_ylim()
    values = [drawn_value(e) for e in session.current if e.metric is not None]
    kinds = [("kept", look.good, "o", 7), ("discarded", look.grey, "o", 5)]
    if any(not low <= value <= high for value in values):
        kinds.append(("off the scale", look.grey, "^" if max(values) > high else "v", 5))
    if failed:
        kinds.append(("failed", look.bad, "x", 5))
    entries = [
        Line2D([], [], color=color, marker=marker, lw=0, markersize=size, label=label, markeredgewidth=marker == "x")
        for label, color, marker, size in kinds
    ]
    figure.legend(
        handles=entries,
        loc="center right",
        bbox_to_anchor=(0.976, 0.32 / look.height_in if look.is_narrow else 1 - 0.308 / look.height_in),
        ncols=len(entries),
        frameon=False,
        fontsize=9,
        labelcolor=look.faint,
        handletextpad=0.1,
        columnspacing=1.2,
    )
