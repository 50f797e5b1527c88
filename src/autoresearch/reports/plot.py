"""The progress of a session as one picture."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from autoresearch.errors import PreconditionError
from autoresearch.escaping import one_line
from autoresearch.journal.session import Experiment, Session
from autoresearch.reports.figures import best_so_far, drawn_value, finished, is_disordered, limits, noise_band

GREY, GREEN, RED, INK, FAINT = "#b9bec6", "#1b8a5a", "#c8452f", "#23272e", "#6b7280"
MAX_LABELS = 12
"""More labels than this cannot be read; the largest gains get theirs."""
LABEL_WIDTH = 30
"""Characters of a description beside its point."""
CORNERS = ((-6, 7), (6, -7), (6, 7), (-6, -7))
"""Where a label may stand beside its point, in points, the preferred place first; for a metric that is to grow."""
FONTS = ("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Hiragino Sans", "PingFang SC", "WenQuanYi Zen Hei")
"""The first one comes with matplotlib; the others draw its missing scripts where they are installed."""
WIDTH_IN, HEIGHT_IN, DPI = 11.0, 5.6, 150


def draw(session: Session, path: Path) -> None:
    """Write the experiments of the segment in force as a PNG to `path`; the file is whole or not there.

    Raises `PreconditionError` when matplotlib is not installed, `OSError` when `path` cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise PreconditionError(
            "matplotlib is not installed", "install it with: pip install 'autoresearch[plot]'"
        ) from None
    # A Figure of its own, not pyplot: no global state, no display, and nothing to close.
    figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.085, 0.115, 0.885, 0.745))
    with warnings.catch_warnings():
        # A character that no font here has is drawn as a box, which says enough.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        _fill(axes, session)
        _titles(figure, axes, session)
        _write(figure, path)


def _fill(axes: Any, session: Session) -> None:
    done = finished(session)
    places = {e.number: x for x, e in enumerate(done, 1)} if is_disordered(done) else {e.number: e.number for e in done}
    valued = [e for e in done if e.metric is not None]
    steps = best_so_far(session, done)
    band = noise_band(session)
    if band:
        axes.axhspan(*band, color=GREEN, alpha=0.10, lw=0, zorder=0)
    low, high = limits([drawn_value(e) for e in valued], [value for _, value in steps], band)
    dense = len(done) > 300
    first, last = (min(places.values()), max(places.values())) if places else (1, 1)
    margin = max(0.6, 0.02 * (last - first))
    axes.set_xlim(first - max(0.6, 0.01 * (last - first)), last + margin)
    axes.set_ylim(low, high)
    if steps:
        x = [places[number] for number, _ in steps] + [last + margin]
        y = [value for _, value in steps] + [steps[-1][1]]
        axes.step(x, y, where="post", color=GREEN, lw=1.6, alpha=0.85, zorder=2)

    size = 8 if dense else 22
    others = [e for e in valued if e.status != "keep"]
    inside = [e for e in others if low <= drawn_value(e) <= high]
    axes.scatter(
        [places[e.number] for e in inside],
        [drawn_value(e) for e in inside],
        *(size, GREY),
        lw=0,
        alpha=0.6 if dense else 0.9,
        zorder=1,
    )
    for marker, beyond, edge in (
        ("^", [e for e in valued if drawn_value(e) > high], high),
        ("v", [e for e in valued if drawn_value(e) < low], low),
    ):
        color = [GREEN if e.status == "keep" else GREY for e in beyond]
        x = [places[e.number] for e in beyond]
        axes.scatter(x, [edge] * len(x), size * 1.6, color, marker=marker, lw=0, clip_on=False, zorder=3)
    crashed = [places[e.number] for e in done if e.metric is None]
    # On the bad side: a crash has no value, and must not look like a good one.
    floor = 0.965 if session.metric.direction == "lower" else 0.035
    axes.scatter(
        crashed,
        [floor] * len(crashed),
        12 if dense else 24,
        RED,
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
        GREEN,
        edgecolors="white",
        linewidths=0.9,
        zorder=4,
    )
    crosses = axes.get_xaxis_transform().transform([(x, floor) for x in crashed]) if crashed else []
    _labels(axes, kept, places, session, crosses)


def _labels(axes: Any, kept: Sequence[Experiment], places: dict[int, int], session: Session, crosses: Any) -> None:
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
    fonts, halo = _fonts(), [withStroke(linewidth=2.5, foreground="white")]
    for e in order:
        if len(taken) >= MAX_LABELS:
            break
        text = _safe(e.description) or f"#{e.number}"
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
                color=INK,
                fontweight="bold" if bold else "normal",
                fontfamily=fonts,
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


def _safe(text: str, width: int = LABEL_WIDTH) -> str:
    """Return text that the plain font can draw: one line, cut, and without characters outside the basic plane."""
    plain = "".join(c for c in one_line(text, 10_000) if ord(c) < 0x10000)
    return one_line(plain, width)


def _fonts() -> list[str]:
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return [name for name in FONTS if name in installed]


def _titles(figure: Any, axes: Any, session: Session) -> None:
    from matplotlib.ticker import MaxNLocator

    counts, metric, best, gain = session.counts, session.metric, session.best, session.gain
    name = _safe(metric.name) or "metric"
    unit = f" ({_safe(metric.unit)})" if metric.unit and not metric.name.endswith(metric.unit) else ""
    axes.set_ylabel(f"{name}{unit}, {metric.direction} is better", color=INK, fontsize=10, parse_math=False)
    axes.set_xlabel("experiment", color=INK, fontsize=10)
    total = sum(counts.values())
    failed = counts["crash"] + counts["checks_failed"]
    parts = [f"{counts['keep']} kept", f"{counts['discard']} discarded"] + ([f"{failed} failed"] if failed else [])
    title = f"{total} experiment{'' if total == 1 else 's'}: " + ", ".join(parts)
    figure.text(0.085, 0.945, title, fontsize=13, fontweight="bold", color=INK, va="center")
    subtitle = _safe(session.segment.name, 60)
    if best is not None and best.reference is not None:
        digits = session.noise.digits()
        subtitle += (" · " if subtitle else "") + f"best {best.reference:.{digits}f} (#{best.number})"
        if gain is not None and gain > 0:
            subtitle += f", {gain:.{digits}f} better than the baseline"
        if session.noise.sd:
            subtitle += f" · band: ±{session.noise.sd:.2g}, one standard deviation of a run"
    figure.text(0.085, 0.893, subtitle, fontsize=9.5, color=FAINT, va="center", fontfamily=_fonts(), parse_math=False)
    if total:
        _legend(figure, axes, session, failed)
    else:
        axes.text(0.5, 0.5, "no experiment has ended yet", transform=axes.transAxes, ha="center", color=FAINT)
        axes.set_xticks([])
        axes.set_yticks([])
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#d4d7dc")
    axes.grid(axis="y", color="#eceef1", lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=FAINT, labelsize=9, length=0, pad=6)
    if total:
        axes.ticklabel_format(axis="y", useOffset=False, style="sci", scilimits=(-4, 7))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))


def _legend(figure: Any, axes: Any, session: Session, failed: int) -> None:
    from matplotlib.lines import Line2D

    low, high = axes.get_ylim()
    values = [drawn_value(e) for e in session.current if e.metric is not None]
    kinds = [("kept", GREEN, "o", 7), ("discarded", GREY, "o", 5)]
    if any(not low <= value <= high for value in values):
        kinds.append(("off the scale", GREY, "^" if max(values) > high else "v", 5))
    if failed:
        kinds.append(("failed", RED, "x", 5))
    entries = [
        Line2D([], [], color=color, marker=marker, lw=0, markersize=size, label=label, markeredgewidth=marker == "x")
        for label, color, marker, size in kinds
    ]
    figure.legend(
        handles=entries,
        loc="center right",
        bbox_to_anchor=(0.976, 0.945),
        ncols=len(entries),
        frameon=False,
        fontsize=9,
        labelcolor=FAINT,
        handletextpad=0.1,
        columnspacing=1.2,
    )


def _write(figure: Any, path: Path) -> None:
    """Write the PNG beside `path` and move it there, so that nobody ever reads half a picture."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            figure.savefig(stream, format="png", metadata={"Software": None})
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
