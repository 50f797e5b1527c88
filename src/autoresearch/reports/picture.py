"""The paper that pictures are drawn on with matplotlib: colours, size, text that it can bear, how it is written."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoresearch.errors import PreconditionError, UsageError
from autoresearch.escaping import one_line
from autoresearch.system.extras import install
from autoresearch.system.files import replaced_atomic

FORMATS = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
"""Suffix -> what of the file's own data is left out: the same session gives the same file."""
LABEL_WIDTH = 30
"""Characters of a description beside its point."""
FONTS = ("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Hiragino Sans", "PingFang SC", "WenQuanYi Zen Hei")
"""The first one comes with matplotlib; the others draw its missing scripts where they are installed."""
DPI = 150


@dataclass(frozen=True, slots=True)
class Look:
    """Colours and size of a picture."""

    paper: str = "#ffffff"
    ink: str = "#23272e"
    faint: str = "#6b7280"
    rule: str = "#d4d7dc"
    grid: str = "#eceef1"
    grey: str = "#b9bec6"
    good: str = "#1b8a5a"
    bad: str = "#c8452f"
    lines: tuple[str, ...] = ("#1a5fb4", "#c8452f", "#1b8a5a", "#8a4fbf", "#b07d00", "#007a8a", "#b0307a", "#6b7280")
    width_in: float = 11.0
    height_in: float = 5.6

    @property
    def is_narrow(self) -> bool:
        """Whether title and legend do not fit side by side; then the legend is below."""
        return self.width_in < 10

    def card(self) -> Look:
        """Return the same in the shape of a preview card: 1200 x 675 pixels."""
        return replace(self, width_in=8.0, height_in=4.5)


LIGHT = Look()
DARK = Look("#16191d", "#e6e8eb", "#a2a9b3", "#363b43", "#262b31", "#6d7580", "#4cc38a", "#ff8a75",
            ("#78b0f5", "#ff8a75", "#4cc38a", "#c49bf0", "#e0b050", "#52c4d4", "#f08ac0", "#a2a9b3"))  # fmt: skip


@contextmanager
def picture(look: Look, path: Path) -> Iterator[tuple[Any, Any]]:
    """Give a figure and its axes to draw on, and write the picture to `path`; the file is whole or not there.

    Raises `UsageError` for a suffix that is no format, `PreconditionError` when matplotlib is not installed, `OSError`
    when `path` cannot be written.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path.name} has no format that can be drawn", f"end it in {', '.join(FORMATS)}")
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise PreconditionError("matplotlib is not installed", f"install it with: {install('plot')}") from None
    # A Figure of its own, not pyplot: no global state, no display, and nothing to close.
    figure = Figure(figsize=(look.width_in, look.height_in), dpi=DPI, facecolor=look.paper)
    FigureCanvasAgg(figure)
    left = 0.935 / look.width_in
    axes = figure.add_axes((left, 0.644 / look.height_in, 0.97 - left, 1 - 1.428 / look.height_in))
    axes.set_facecolor(look.paper)
    with warnings.catch_warnings(), rc_context({"svg.hashsalt": "autoresearch"}):
        # A character that no font here has is drawn as a box, which says enough.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield figure, axes
        write(figure, path)


def title(figure: Any, look: Look, text: str, *below: str) -> None:
    """Write what the picture shows above it, and a line with as many of the parts `below` as there is room for."""
    left, height = 0.935 / look.width_in, look.height_in
    figure.text(left, 1 - 0.308 / height, text, fontsize=13, fontweight="bold", color=look.ink, va="center")
    parts = [part for part in below if part]
    line = figure.text(left, 1 - 0.599 / height, "", fontsize=9.5, color=look.faint, va="center", fontfamily=fonts(),
                       parse_math=False)  # fmt: skip
    for many in range(len(parts), 0, -1):
        line.set_text(" · ".join(parts[:many]))
        if many == 1 or line.get_window_extent(figure.canvas.get_renderer()).x1 <= 0.976 * figure.bbox.width:
            break


def plain_axes(axes: Any, look: Look) -> None:
    """Take away what is not needed to read the numbers."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(look.rule)
    axes.grid(axis="y", color=look.grid, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=look.faint, labelsize=9, length=0, pad=6)


def safe(text: str, width: int = LABEL_WIDTH) -> str:
    """Return text that the plain font can draw: one line, cut, and without characters outside the basic plane."""
    plain = "".join(c for c in one_line(text, 10_000) if ord(c) < 0x10000)
    return one_line(plain, width)


def fonts() -> list[str]:
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return [name for name in FONTS if name in installed]


def write(figure: Any, path: Path) -> None:
    """Write the picture, so that nobody ever reads half of one."""
    suffix = path.suffix.lower()
    with replaced_atomic(path) as new, new.open("wb") as stream:
        figure.savefig(stream, format=suffix[1:], metadata=FORMATS[suffix])
