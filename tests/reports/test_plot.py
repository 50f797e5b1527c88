from __future__ import annotations

import builtins
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import pytest

from autoresearch.errors import PreconditionError
from autoresearch.journal.session import Session, replay
from autoresearch.reports import picture, plot
from autoresearch.reports.plot import draw


def session(*runs: tuple[float | None, str, str], direction: str = "lower", **config: Any) -> Session:
    """Return a session of runs given as (metric, status, description)."""
    head = {"type": "config", "metricName": "val_bpb", "bestDirection": direction, **config}
    lines = [
        {"run": n, "commit": "abc", "metric": metric, "status": status, "description": text}
        for n, (metric, status, text) in enumerate(runs, 1)
    ]
    return replay(enumerate([head, *lines], 1))


def long(n: int, direction: str = "lower") -> Session:
    sign = 1 if direction == "lower" else -1
    runs: list[tuple[float | None, str, str]] = [(1.0, "keep", "baseline")]
    for i in range(1, n):
        if i % 11 == 5:
            runs.append((None, "crash", "too big"))
        elif i % 10 == 0:
            runs.append((1.0 - sign * 0.01 * i / n, "keep", f"idea {i}"))
        else:
            runs.append((1.0 + sign * 0.001 * (i % 7), "discard", "no"))
    return session(*runs, direction=direction)


def size(png: bytes) -> tuple[int, int]:
    """Return width and height of a PNG after checking that every chunk of it is whole."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, kinds = 8, []
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        chunk = png[at + 4 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length]) == (zlib.crc32(chunk),)
        kinds.append(chunk[:4])
        at += 12 + length
    assert kinds[0] == b"IHDR" and kinds[-1] == b"IEND"
    width, height = struct.unpack(">II", png[16:24])
    return width, height


@pytest.mark.parametrize(
    ("n", "direction"), [(1, "lower"), (2, "higher"), (5, "lower"), (80, "higher"), (3000, "lower")]
)
def test_any_number_of_experiments_makes_a_whole_picture(n: int, direction: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(long(n, direction), tmp_path / "p.png")
    assert size((tmp_path / "p.png").read_bytes()) == (1650, 840)
    assert [file.name for file in tmp_path.iterdir()] == ["p.png"]


@pytest.mark.parametrize(
    "runs",
    [
        [],
        [(None, "crash", "x")] * 3,
        [(0.0, "keep", "zero")] * 6,
        [(1e308, "keep", "b"), (-1e308, "discard", "c"), (1.0, "keep", "d")],
        [(1e308, "keep", "b"), *[(float(i), "keep", "d") for i in range(9, 0, -1)], (-1.7e308, "discard", "c")],
        [(5e-324, "keep", "tiny"), (0.0, "keep", "less")],
        [(12_345_678.0, "keep", "large"), (12_345_677.0, "keep", "less")],
    ],
)
def test_no_value_stops_the_drawing(runs: list[tuple[float | None, str, str]], tmp_path: Path) -> None:
    draw(session(*runs), tmp_path / "p.png")
    size((tmp_path / "p.png").read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        *("$x^2", "$\\frac{1}{$", "a_b^c {} \\", "$ $ $", "🙂 emoji 👩‍👩‍👧", "日本語 عربى", "\x1b[31mred\x00\x07"),
        *("a\nb\tc\r", "\ud800 lone", "x" * 5000, "", " ", "%s {0} %(a)s", "<b>&amp;"),
    ],
)
def test_no_text_stops_the_drawing(text: str, tmp_path: Path) -> None:
    runs = [(1.0, "keep", text), (0.9, "keep", text), (0.95, "discard", text)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(session(*runs, name=text, metricName=text, metricUnit=text), tmp_path / "p.png")
    size((tmp_path / "p.png").read_bytes())


def axes_of(the_session: Session) -> Any:
    """Return the figure's axes as `draw` fills them."""
    figures: list[Any] = []
    real = picture.write
    try:
        picture.write = lambda figure, path: figures.append(figure)
        draw(the_session, Path("unused.png"))
    finally:
        picture.write = real
    return figures[0].axes[0]


def test_one_exploded_value_does_not_flatten_the_rest() -> None:
    usual = [(1.0 - 0.001 * i, "keep", "better") for i in range(10)] + [(1.0, "discard", "no")] * 10
    for exploded in (11.0, 1e30, 1e308):
        low, high = axes_of(session(*usual, (exploded, "discard", "boom"))).get_ylim()
        assert 0.98 < low < 0.991 and 1.0 < high < 1.05
        low, high = axes_of(session((exploded, "keep", "bad baseline"), *usual)).get_ylim()
        assert 0.98 < low < 0.991 and 1.0 < high < 1.05


def test_a_long_way_down_from_a_poor_baseline_is_shown() -> None:
    runs = [(3.0, "keep", "baseline"), (2.0, "keep", "a"), *[(1.0 + 0.1 * (i % 5), "discard", "n") for i in range(30)]]
    low, high = axes_of(session(*runs, (1.0, "keep", "best"))).get_ylim()
    assert low < 1.0 and high > 3.0


@pytest.mark.parametrize(("direction", "side"), [("lower", 1.0), ("higher", 0.0)])
def test_the_axes_say_what_is_measured_and_a_crash_lies_on_the_bad_side(direction: str, side: float) -> None:
    axes = axes_of(session((1.0, "keep", "b"), (None, "crash", "c"), direction=direction, metricUnit="nats"))
    assert axes.get_ylabel() == f"val_bpb (nats), {direction} is better"
    offsets = [xy for collection in axes.collections for xy in collection.get_offsets()]
    assert [abs(float(y) - side) < 0.1 for x, y in offsets if x == 2] == [True]


def test_the_title_counts_and_the_best_is_labelled() -> None:
    axes = axes_of(
        session((1.0, "keep", "base"), (0.9, "keep", "wider $MLP$"), (1.1, "discard", "no"), (None, "crash", ""))
    )
    assert axes.figure.texts[0].get_text() == "3 experiments: 1 kept, 1 discarded, 1 failed", "beside the baseline"
    bold = [text.get_text() for text in axes.texts if text.get_fontweight() == "bold"]
    assert bold == ["wider $MLP$"]
    assert not any(text.get_parse_math() for text in axes.texts)


def test_labels_cover_neither_each_other_nor_a_kept_point() -> None:
    axes = axes_of(session(*[(1.0 - 0.0001 * i, "keep", f"a fairly long description {i}") for i in range(60)]))
    boxes = [text.get_window_extent() for text in axes.texts]
    assert 3 <= len(boxes) <= plot.MAX_LABELS
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_the_noise_band_is_drawn_only_when_it_is_known() -> None:
    config = {"type": "config", "metricName": "m", "bestDirection": "lower"}
    runs = [{"run": 1, "commit": "a", "metric": 1.0, "status": "keep", "values": [0.99, 1.01]}]
    with_noise = axes_of(replay(enumerate([config, *runs], 1)))
    assert len(with_noise.patches) == 1
    assert len(axes_of(session((1.0, "keep", "b"), (0.9, "keep", "c"))).patches) == 0
    runs[0]["values"] = [1e308, -1e308]
    assert len(axes_of(replay(enumerate([config, *runs], 1))).patches) == 0


def test_a_failed_write_leaves_the_old_picture_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    path.write_bytes(b"old")

    class Broken:
        def savefig(self, stream: Any, **_: Any) -> None:
            stream.write(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        picture.write(Broken(), path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["p.png"]
    with pytest.raises(OSError):
        draw(long(3), path / "in-a-file.png")
    draw(long(3), tmp_path / "new" / "folder.png")  # as a report, an export and a bundle make theirs
    assert [*(tmp_path / "new").iterdir()] == [tmp_path / "new" / "folder.png"]


def test_without_matplotlib_the_fix_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PreconditionError) as error:
        draw(long(3), tmp_path / "p.png")
    assert "autoresearch[plot]" in error.value.fix
    assert list(tmp_path.iterdir()) == []


def test_importing_the_module_imports_no_matplotlib() -> None:
    code = "import sys, autoresearch.reports.plot; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
