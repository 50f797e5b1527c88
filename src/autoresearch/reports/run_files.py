"""What a run left in its folder: its learning curve and its log.

Trained code wrote them, so they are opened without following a link anywhere below the workspace's folder of runs,
only when they are regular files (a FIFO would never answer), and no more of them is read than is said here.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from autoresearch.escaping import excerpt, one_line
from autoresearch.reports.figures import Figure
from autoresearch.reports.figures import curves as figure_of_curves
from autoresearch.workspace.workspace import Workspace

MAX_CURVE_BYTES = 32 * 2**20
MAX_CURVE_LINES = 200_000
MAX_KEYS = 16
"""Of a curve. What is beyond these is not looked at."""
LOG_BYTES = 2**16
LOG_LINES = 400
MAX_SEEDS = 100
AXES = ("step", "tokens", "progress")
"""What a curve is drawn over, the first that it has."""
CURVE, LOG = "curve.jsonl", "run.log"
LOGS = (LOG, "evaluate.log", "checks.log", "feed.log")
"""What the processes of a run print to."""


@contextlib.contextmanager
def opened(workspace: Workspace, *parts: str) -> Iterator[BinaryIO | None]:
    """Open a regular file below the folder of runs for reading; None where there is none, or a link is on the way."""
    with contextlib.ExitStack() as held:
        file: BinaryIO | None = None
        with contextlib.suppress(OSError, ValueError):
            folder = _folder(workspace, parts[:-1], held)
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(_plain(parts[-1]), flags, dir_fd=folder)
            held.callback(os.close, descriptor)
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                file = held.enter_context(os.fdopen(descriptor, "rb", closefd=False))
        yield file


def _folder(workspace: Workspace, parts: Sequence[str], held: contextlib.ExitStack) -> int:
    """Open a folder below that of the runs, one name after another; `held` closes it. Raises `OSError`."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    folder = os.open(workspace.state / "runs", flags)
    held.callback(os.close, folder)
    for name in parts:
        folder = os.open(_plain(name), flags, dir_fd=folder)
        held.callback(os.close, folder)
    return folder


def _plain(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError(f"{name!r} is no name of a file")
    return name


def seeds_of(workspace: Workspace, experiment: int) -> list[int]:
    """Return the seeds that an experiment has a folder for, in order, at most `MAX_SEEDS`."""
    with contextlib.ExitStack() as held, contextlib.suppress(OSError):
        with os.scandir(_folder(workspace, [str(experiment)], held)) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        return sorted(int(name) for name in names if name.isascii() and name.isdigit() and len(name) < 10)[:MAX_SEEDS]
    return []


@dataclass(slots=True)
class Curve:
    """The learning curve of one run: name -> a value for each line, None where the line has none."""

    columns: dict[str, list[float | None]] = field(default_factory=dict)
    lines: int = 0
    inode: tuple[int, int] = (0, 0)
    offset: int = 0
    """How many bytes have been read: up to the end of the last whole line."""

    def take(self, content: bytes) -> None:
        """Add the whole lines at the beginning of `content`; what is no object, or no number in it, is passed over."""
        import orjson

        end = content.rfind(b"\n") + 1
        self.offset += end
        for line in content[:end].splitlines():
            if self.lines >= MAX_CURVE_LINES:
                break
            try:
                values = orjson.loads(line)
            except ValueError:
                continue
            if not isinstance(values, dict):
                continue
            for name, value in values.items():
                if type(value) in (int, float) and (name in self.columns or len(self.columns) < MAX_KEYS):
                    column = self.columns.setdefault(name, [])
                    column.extend([None] * (self.lines - len(column)))
                    column.append(float(value))
            self.lines += 1
        for column in self.columns.values():
            column.extend([None] * (self.lines - len(column)))

    @property
    def names(self) -> list[str]:
        """What can be drawn: everything but the axes."""
        return [name for name in self.columns if name not in AXES]

    def over(self, name: str, by: str | None = None) -> tuple[str, list[float], list[float | None]]:
        """Return the axis, x and y of one name; over the lines themselves where the curve has no such axis."""
        axes = [by] if by else AXES
        axis = next((axis for axis in axes if axis in self.columns), "line")
        x = self.columns.get(axis) or [float(n) for n in range(1, self.lines + 1)]
        y = self.columns.get(name, [])
        pairs = [(a, b) for a, b in zip(x, y, strict=False) if a is not None]
        return axis, [a for a, _ in pairs], [b for _, b in pairs]


_CURVES: dict[tuple[str, int, int], Curve] = {}
_MOST_CURVES = 8


def curve_of(workspace: Workspace, experiment: int, seed: int) -> Curve | None:
    """Return the learning curve of a run; None without one. What was read before is not read again."""
    with opened(workspace, str(experiment), str(seed), CURVE) as file:
        if file is None:
            return None
        about = os.fstat(file.fileno())
        key = (str(workspace.root), experiment, seed)
        known = _CURVES.pop(key, None)
        if known is None or known.inode != (about.st_dev, about.st_ino) or about.st_size < known.offset:
            known = Curve(inode=(about.st_dev, about.st_ino))
        file.seek(known.offset)
        known.take(file.read(max(0, MAX_CURVE_BYTES - known.offset)))
        while len(_CURVES) >= _MOST_CURVES:
            del _CURVES[next(iter(_CURVES))]
        _CURVES[key] = known
        return known


def log_of(workspace: Workspace, experiment: int, seed: int) -> list[str]:
    """Return the end of what a run printed, each line escaped and cut; empty without a log."""
    with opened(workspace, str(experiment), str(seed), LOG) as file:
        if file is None:
            return []
        file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_BYTES))
        return excerpt(file.read(LOG_BYTES).decode("utf-8", "replace"), lines=LOG_LINES, width=400)


def last_output(workspace: Workspace, experiment: int, lines: int = 20) -> list[str]:
    """Return the end of what the latest process of an experiment printed, escaped and bounded."""
    newest, last = -1.0, b""
    for seed in seeds_of(workspace, experiment):
        for name in LOGS:
            with opened(workspace, str(experiment), str(seed), name) as file:
                if file is not None and (about := os.fstat(file.fileno())).st_mtime > newest:
                    file.seek(max(0, about.st_size - LOG_BYTES))
                    newest, last = about.st_mtime, file.read(LOG_BYTES)
    return excerpt(last.decode("utf-8", "replace"), lines=lines)


def curve_view(
    curves: dict[str, Curve], name: str | None = None, by: str | None = None
) -> tuple[Figure | None, list[str]]:
    """Return the figure of one name over several runs' curves (title -> curve), and every name that could be drawn."""
    names = list(dict.fromkeys(name for curve in curves.values() for name in curve.names))
    if not names:
        return None, []
    chosen = name if name in names else names[0]
    lines, axis = {}, "line"
    for title, curve in curves.items():
        if chosen in curve.columns:
            axis, x, y = curve.over(chosen, by)
            lines[title] = (x, y)
    return figure_of_curves(one_line(chosen, 60), axis, lines), [one_line(name, 60) for name in names]
