"""Numbers in the files of other tools, read by the tools' own readers, which are imported only for that."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from autoresearch.metrics import MetricError

HEAD, BLOCK, FULL, LAST = b":W&B", 2**15, 1, 4
"""Of the files of W&B: their first bytes, the size of a block, kinds of pieces of records."""


def tensorboard(path: Path, told: str) -> list[dict[str, float]]:
    """Return the last value of each scalar, tag -> value, for each run in TensorBoard's event files: one of them, or a
    folder with those of several runs.

    Raises `MetricError` when the package tensorboard is not installed, or a file is not whole.
    """
    try:
        accumulator = import_module("tensorboard.backend.event_processing.event_accumulator")
        arrays = import_module("tensorboard.util.tensor_util")
    except ImportError:
        raise _needs("tensorboard", told) from None
    runs = sorted({file.parent for file in path.rglob("*tfevents*")}) if path.is_dir() else [path]
    found = []
    for run in runs:
        events = accumulator.EventAccumulator(str(run), size_guidance={"scalars": 0, "tensors": 0})
        try:
            events.Reload()
            tags = events.Tags()
            values = {tag: float(events.Scalars(tag)[-1].value) for tag in tags.get("scalars", [])}
            for tag in tags.get("tensors", []):
                array = arrays.make_ndarray(events.Tensors(tag)[-1].tensor_proto)
                if array.size == 1 and array.dtype.kind in "fiu":
                    values.setdefault(tag, float(array.reshape(())))
        except Exception as error:  # whatever a reader stumbles over in a file that is not whole
            raise MetricError(f"{told} cannot be read by tensorboard: {error or type(error).__name__}") from None
        found.append(values)
    return found


def wandb(path: Path, told: str) -> dict[str, Any]:
    """Return the summary of a run of W&B that was kept offline, from its `run-*.wandb`: records in the framing of
    LevelDB's log, which the package's own messages read.

    Raises `MetricError` when the package wandb is not installed, or the file is not whole.
    """
    try:
        messages = import_module("wandb.proto.wandb_internal_pb2")
    except ImportError:
        raise _needs("wandb", told) from None
    logged: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    try:
        for content in _records(path.read_bytes()):
            record = messages.Record()
            record.ParseFromString(content)
            for item in record.history.item:
                logged[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
            for item in record.summary.update:
                summary[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
    except Exception as error:  # likewise
        raise MetricError(f"{told} cannot be read by wandb: {error or type(error).__name__}") from None
    return {**logged, **summary}


def _records(content: bytes) -> Iterator[bytes]:
    """Yield the records of a W&B file. Raises `ValueError` where it is not whole."""
    if content[:4] != HEAD:
        raise ValueError("it does not begin as W&B's files do")
    at, pieces = 7, []
    while at < len(content):
        left = BLOCK - at % BLOCK
        if left < 7:  # what is too short for a head is filled with zeros
            at += left
            continue
        checksum, length, kind = struct.unpack_from("<IHB", content, at)
        piece = content[at + 7 : at + 7 + length]
        if len(piece) < length or zlib.crc32(piece, zlib.crc32(bytes([kind]))) != checksum:
            raise ValueError("a record is not whole")
        pieces.append(piece)
        at += 7 + length
        if kind in (FULL, LAST):
            yield b"".join(pieces)
            pieces = []
    if pieces:
        raise ValueError("its last record is not whole")


def _needs(package: str, told: str) -> MetricError:
    return MetricError(f"to read {told}, {package} is needed beside autoresearch: pip install {package}")
