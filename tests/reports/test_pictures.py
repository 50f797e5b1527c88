"""The formats and shapes of pictures, learning curves of several experiments, and the metric over the speed."""

from __future__ import annotations

import struct
from pathlib import Path
from xml.etree import ElementTree

import pytest
from lab import call

from autoresearch.workspace.workspace import Workspace


def plot(night: Workspace, path: Path, *options: str) -> bytes:
    done = call("plot", "-o", str(path), *options, cwd=night.root)
    assert done.code == 0, done
    return path.read_bytes()


@pytest.mark.slow
def test_each_suffix_is_written_as_what_it_says_and_the_same_each_time(
    finished_night: Workspace, tmp_path: Path
) -> None:
    for suffix, begins in ((".svg", b"<?xml"), (".pdf", b"%PDF-")):
        first, second = (plot(finished_night, tmp_path / f"{n}{suffix}") for n in "ab")
        assert first.startswith(begins) and first == second
    drawn = {element.tag.rpartition("}")[2] for element in ElementTree.parse(tmp_path / "a.svg").iter()}
    assert "path" in drawn and not drawn & {"script", "img", "image", "foreignObject"}


def test_a_card_is_1200_by_675_and_dark_is_dark(finished_night: Workspace, tmp_path: Path) -> None:
    from matplotlib.image import imread

    plot(finished_night, tmp_path / "card.png", "--card", "--dark")
    png = (tmp_path / "card.png").read_bytes()
    assert struct.unpack(">II", png[16:24]) == (1200, 675)
    assert max(imread(tmp_path / "card.png")[0, 0, :3]) < 0.2


def test_curves_and_speed_are_drawn_of_what_runs_left(finished_night: Workspace, tmp_path: Path) -> None:
    curves = plot(finished_night, tmp_path / "c.svg", "--curves", "4,9")
    speed = plot(finished_night, tmp_path / "s.svg", "--speed")
    assert curves != speed
    # Five kept and discarded experiments have values, two of them a speed: three runs of the baseline, one repeat of 9.
    assert speed.count(b"<use") > 2


@pytest.mark.parametrize(("options", "code", "says"), [
    (("-o", "x.gif"), 2, ".png, .svg, .pdf"),
    (("--curves", "4,99"), 2, "no experiment 99"),
    (("--curves", "x"), 2, "no list of experiments"),
    (("--curves", "5,6,7,8"), 5, "none of these experiments"),
    (("--curves", "4", "--key", "nothing"), 2, "choose one of: train"),
    (("--key", "train"), 2, "--curves"),
    (("--curves", "4", "--speed"), 2, "two pictures"),
])  # fmt: skip
def test_what_cannot_be_drawn_is_said(
    finished_night: Workspace, tmp_path: Path, options: tuple[str, ...], code: int, says: str
) -> None:
    where = () if "-o" in options else ("-o", str(tmp_path / "p.png"))
    done = call("plot", *where, *options, cwd=finished_night.root)
    assert done.code == code and says in done.err and not [*tmp_path.iterdir()]
