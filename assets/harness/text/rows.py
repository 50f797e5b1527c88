"""Files of rows: little-endian uint16 [rows, width] behind a header, read by mapping them into memory."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from harness.errors import TaskError
from harness.files import Progress, written

HEADER, MAGIC = struct.Struct("<8sQQ"), b"arrows02"  # magic, rows, tokens of a row


def open_rows(path: Path) -> np.ndarray:
    """Memory-mapped uint16 [rows, width]. Raises TaskError when the file is not what its header says."""
    with path.open("rb") as file:
        magic, rows, width = HEADER.unpack(file.read(HEADER.size).ljust(HEADER.size))
    if magic != MAGIC or path.stat().st_size != HEADER.size + 2 * rows * width:
        raise TaskError(f"{path} is damaged; make it again with: python prepare.py --force")
    if not rows * width:  # nothing to map
        return np.empty((rows, width), dtype="<u2")
    return np.memmap(path, dtype="<u2", mode="r", offset=HEADER.size, shape=(rows, width))


def write_rows(rows: Iterable[np.ndarray], path: Path, width: int, progress: Progress) -> int:
    """Write rows, uint16 [width], as a file of rows; returns how many."""
    count = 0
    with written(path) as part, part.open("wb", buffering=2**20) as file:
        file.write(HEADER.pack(MAGIC, 0, width))
        for count, row in enumerate(rows, 1):
            file.write(row.data)
            progress.update(f"{path.stem} {count}")
        file.seek(0)
        file.write(HEADER.pack(MAGIC, count, width))
    return count
