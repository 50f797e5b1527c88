"""The METRIC grammar and the direction of a metric.

This module needs nothing but the standard library and Python 3.8, because `scripts/parse-metrics.sh` runs it as a
file: one grammar, one parser.
"""

from __future__ import annotations

import io
import math
import re
import sys
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

PREFIX = "METRIC "
MAX_LINE = 4096
"""Characters: a longer line that starts with METRIC is malformed."""

_LINE = re.compile(r"METRIC ([^\s=]+)=([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)[ \t]*")
_LINE_END = re.compile(r"\r\n|\r|\n")

NAMES = "letters, digits and _ . - / % @ :"
"""What the name of a metric is made of."""

Direction = Literal["lower", "higher"]


class MetricError(ValueError):
    """A line starts with METRIC and is not `METRIC name=number`."""


@dataclass(frozen=True)
class Metric:
    """What is measured, and which way is better."""

    name: str
    direction: Direction
    unit: str = ""

    def better(self, a: float, b: float) -> bool:
        """Whether `a` is strictly better than `b`."""
        return self.gain(a, b) > 0

    def gain(self, new: float, old: float) -> float:
        """How much better `new` is than `old`, in the metric's unit; positive is better."""
        return old - new if self.direction == "lower" else new - old


def is_name(name: str) -> bool:
    """Whether a metric can have this name: letters and digits of any script, with their marks, and `_.-/%@:`."""
    kinds = [unicodedata.category(char)[0] for char in name if char not in "_.-/%@:"]
    return any(kind in "LN" for kind in kinds) and all(kind in "LNM" for kind in kinds)


def parse_metric_line(line: str) -> tuple[str, float]:
    """Return name and value of one METRIC line; raise `MetricError` that quotes the line when it is malformed."""
    match = _LINE.fullmatch(line.rstrip("\r\n")) if len(line) <= MAX_LINE else None
    if match is not None and not is_name(match[1]):
        raise MetricError(f"not the name of a metric: {line[:120]!r}; name it with {NAMES}")
    if match is None:
        raise MetricError(f"not a metric: {line[:120]!r}; print METRIC name=number with nothing after it")
    value = float(match[2])
    if not math.isfinite(value):
        raise MetricError(f"not a finite number: {line[:120]!r}")
    return match[1], value


def parse_metrics(lines: str | Iterable[str]) -> dict[str, float]:
    """Return the METRIC values a run printed; a repeated name keeps its last value.

    `lines` is the whole output, or its lines. In a whole output a line ends where a text file's does (LF, CRLF or
    CR), and at no other character. Raises `MetricError` naming the first malformed METRIC line.
    """
    metrics: dict[str, float] = {}
    for line in _LINE_END.split(lines) if isinstance(lines, str) else lines:
        if line.startswith(PREFIX):
            name, value = parse_metric_line(line)
            metrics[name] = value
    return metrics


def read_metrics(lines: Iterable[str], needed: Iterable[str]) -> tuple[dict[str, float], list[str]]:
    """Return the METRIC values of a run, and what to say of the lines that were passed over.

    Raises `MetricError` only for a line that is about one of the `needed` metrics: a slip in any other value is no
    reason to lose these.
    """
    metrics: dict[str, float] = {}
    remarks: dict[str, None] = {}
    for line in lines:
        try:
            name, value = parse_metric_line(line)
        except MetricError as error:
            if any(_is_about(line, name) for name in needed):
                raise
            remarks[f"passed over, {error}"] = None
        else:
            metrics[name] = value
    return metrics, [*remarks]


def _is_about(line: str, name: str) -> bool:
    """Whether a malformed METRIC line begins with this name, and not with one that is longer."""
    rest = line[len(PREFIX) :].lstrip()
    behind = rest[len(name) : len(name) + 1]
    return rest.startswith(name) and not (behind and is_name(f"a{behind}"))


def _main(argv: list[str]) -> int:
    """Filter standard input: `name=value` lines, or with a name as argument that value alone."""
    if len(argv) > 1 or (argv and argv[0].startswith("-")):
        print("usage: parse-metrics.sh [NAME] < output", file=sys.stderr)
        return 2
    try:
        given = sys.stdin.buffer if sys.stdin is not None else io.BytesIO()
        metrics = parse_metrics(io.TextIOWrapper(given, encoding="utf-8", errors="replace"))
    except MetricError as error:
        print(f"parse-metrics: {error}", file=sys.stderr)
        return 1
    wanted = {argv[0]: metrics.get(argv[0])} if argv else metrics
    missing = [name for name, value in wanted.items() if value is None]
    if missing or not wanted:
        what = f"no line METRIC {missing[0]}=..." if missing else "no METRIC line"
        print(f"parse-metrics: {what} in the output", file=sys.stderr)
        return 1
    for name, value in wanted.items():
        print(f"{value!r}" if argv else f"{name}={value!r}")
    return 0


if __name__ == "__main__":
    status = _main(sys.argv[1:])
    try:
        if sys.stdout is not None:
            sys.stdout.close()
    except OSError:  # as with `| head`
        pass
    sys.exit(status)
