"""Draws icon.png: experiments as dots, the best so far as steps that go down.

    python3 .claude-plugin/draw_icon.py [FILE]

Standard library only. The same file is written on every machine with the same zlib.
"""

from __future__ import annotations

import struct
import sys
import zlib
from itertools import pairwise
from pathlib import Path

SIZE, FINE = 512, 2
"""Pixels on a side; the drawing is made so many times larger and then averaged, which makes its edges smooth."""

GROUND, LINE, KEPT, DISCARDED = (22, 27, 34), (87, 171, 90), (126, 231, 135), (99, 110, 123)
KEPT_AT = ((96, 144), (192, 216), (320, 296), (416, 368))
"""Centres of the kept experiments in pixels from the upper left corner; each is better, so lower, than the last."""
DISCARDED_AT = ((144, 112), (240, 152), (272, 184), (368, 232), (448, 312))
DOT, WIDTH = 22, 14
"""Radius of a kept dot, and width of the line, in pixels."""

Colour = tuple[int, int, int]


def drawing() -> list[list[Colour]]:
    """Return the rows of pixels, [SIZE][SIZE]."""
    side = SIZE * FINE
    rows = [[GROUND] * side for _ in range(side)]

    def box(left: int, top: int, right: int, bottom: int, colour: Colour) -> None:
        for row in rows[top * FINE : bottom * FINE]:
            row[left * FINE : right * FINE] = [colour] * ((right - left) * FINE)

    def dot(x: int, y: int, radius: int, colour: Colour) -> None:
        for at in range((y - radius) * FINE, (y + radius) * FINE):
            half = int(((radius * FINE) ** 2 - (at + 0.5 - y * FINE) ** 2) ** 0.5)
            rows[at][x * FINE - half : x * FINE + half] = [colour] * (2 * half)

    for x, y in DISCARDED_AT:
        dot(x, y, DOT - 6, DISCARDED)
    ends = [x for x, _ in KEPT_AT[1:]] + [SIZE - 48]
    for (x, y), end in zip(KEPT_AT, ends, strict=True):
        box(x, y - WIDTH // 2, end, y + WIDTH // 2, LINE)
    for (_, y), (x, lower) in pairwise(KEPT_AT):
        box(x - WIDTH // 2, y - WIDTH // 2, x + WIDTH // 2, lower, LINE)
    for x, y in KEPT_AT:
        dot(x, y, DOT, KEPT)
    return [[_mean(rows, x, y) for x in range(SIZE)] for y in range(SIZE)]


def _mean(rows: list[list[Colour]], x: int, y: int) -> Colour:
    cells = [rows[y * FINE + down][x * FINE + right] for down in range(FINE) for right in range(FINE)]
    if cells.count(cells[0]) == len(cells):
        return cells[0]
    red, green, blue = (sum(cell[part] for cell in cells) // len(cells) for part in range(3))
    return red, green, blue


def png(rows: list[list[Colour]]) -> bytes:
    """Return rows of pixels as a PNG of 8 bits a colour (RFC 2083)."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    lines = b"".join(b"\0" + bytes(part for colour in row for part in colour) for row in rows)
    head = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")


if __name__ == "__main__":
    target = Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).with_name("icon.png")
    target.write_bytes(png(drawing()))
