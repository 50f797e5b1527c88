"""What a number is, the METRIC grammar, patterns that find a number in other words, and the direction of a metric.

This module needs nothing but the standard library and Python 3.8: `scripts/parse-metrics.sh` runs it as a file, and so
does the engine for a pattern, which may take for ever and is ended from outside. One grammar, one parser.
"""

from __future__ import annotations

import io
import json
import math
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal

PREFIX = "METRIC "
MAX_LINE = 4096
"""Characters: a longer line that starts with METRIC is malformed."""

LONGEST = 2**20
"""Bytes: in a longer line no pattern is looked for, and no number before it is taken."""

_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_LINE = re.compile(rf"METRIC ([^\s=]+)=({_NUMBER})[ \t]*")
_ALONE = re.compile(_NUMBER)
_WITH_UNIT = re.compile(rf"({_NUMBER})[ \t]*([^\s\d.,+:/-].*)")
_THOUSANDS = re.compile(r"[-+]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?")
_LINE_END = re.compile(r"\r\n|\r|\n")
_DRAWN_END = re.compile(rb"\r\n|\r|\n|\x08+")
"""Where a line ends that a pattern is looked for in: progress is drawn again after a CR, or after going back."""
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]+[0-~]|[@-_])")

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


def parse_number(text: str, unit: str = "", thousands: bool = False) -> float:
    """Return the number that `text` is, strictly; raise `MetricError` that says why it is none.

    `unit` may stand behind it. With `thousands` commas may stand between groups of three digits.
    """
    told, bare = repr(text[:60]), text.strip()
    if unit and bare.endswith(unit) and bare != unit:
        bare = bare[: -len(unit)].rstrip()
    if thousands and _THOUSANDS.fullmatch(bare):
        bare = bare.replace(",", "")
    if _ALONE.fullmatch(bare):
        value = float(bare)
        if math.isinf(value):
            raise MetricError(f"{told} is not a finite number")
        return value
    if bare.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        raise MetricError(f"{told} is not a finite number")
    if _THOUSANDS.fullmatch(bare):
        raise MetricError(f"{told} has commas, which may stand for two things; say thousands = true")
    other = _WITH_UNIT.fullmatch(bare)
    if other is not None and unit:
        raise MetricError(f"{told} is not in {unit}")
    if other is not None and len(other[2]) < 12:
        raise MetricError(f"{told} has a unit, {other[2]}; name it: unit = {json.dumps(other[2], ensure_ascii=False)}")
    raise MetricError(f"{told} is no number")


def compile_pattern(text: str) -> re.Pattern[str]:
    """Return a pattern that finds a number; raise `MetricError` unless it is one with exactly one group."""
    try:
        pattern = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise MetricError(f"{text[:120]!r} is no regular expression: {error}") from None
    if pattern.groups != 1:
        many = "no group" if not pattern.groups else f"{pattern.groups} groups"
        raise MetricError(f"{text[:120]!r} has {many}; put ( ) around the number alone, and (?: ) around anything else")
    return pattern


def plain(line: str) -> str:
    """Return a line without what steers a terminal."""
    return _TERMINAL.sub("", line) if "\x1b" in line else line


def last_match(pattern: re.Pattern[str], line: str) -> str | None:
    """Return what the group of the last match in a line has; None where there is no match."""
    found = None
    for match in pattern.finditer(line):
        found = match[1] if match[1] is not None else found
    return found


def lines_backward(files: Sequence[BinaryIO], cut: bool = False, block: int = 2**20) -> Iterator[str | None]:
    """Yield the lines of a stream that lies in `files`, the last line first, without what steers a terminal; None for
    one that is longer than `LONGEST`. With `cut` the stream's beginning is gone, and so its first line is left out.
    """
    rest, too_long = b"", False
    for file in reversed(files):
        at = file.seek(0, io.SEEK_END)
        while at > 0:
            size = min(block, at)
            at -= size
            file.seek(at)
            pieces = _DRAWN_END.split(file.read(size) + rest)
            if too_long and len(pieces) > 1:
                pieces.pop()
                too_long = False
            rest = pieces.pop(0)
            for piece in reversed(pieces):
                yield plain(piece.decode("utf-8", "replace")) if len(piece) <= LONGEST else None
            if len(rest) > LONGEST and not too_long:
                yield None
            if len(rest) > LONGEST or too_long:
                rest, too_long = b"", True
    if rest and not too_long and not cut:
        yield plain(rest.decode("utf-8", "replace"))


def last_matches(patterns: Sequence[re.Pattern[str]], lines: Iterable[str | None]) -> list[str | None]:
    """Return what each pattern found last, in lines that begin with the last one; words that are no number where a line
    is too long to tell."""
    found: list[str | None] = [None] * len(patterns)
    left = dict(enumerate(patterns))
    for line in lines:
        for at, pattern in [*left.items()]:
            text = last_match(pattern, line) if line is not None else f"a line of more than {LONGEST} bytes"
            if text is not None:
                found[at] = text
                del left[at]
        if not left:
            break
    return found


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


def _search(request: str) -> int:
    """Print, as JSON, what patterns found last in streams whose files are open: the engine's way to call this."""
    asked = json.loads(request)
    patterns = [compile_pattern(text) for text in asked["patterns"]]
    found = {}
    for name, stream in asked["streams"].items():
        files = [open(descriptor, "rb", closefd=False) for descriptor in stream["files"]]  # noqa: SIM115
        found[name] = last_matches(patterns, lines_backward(files, stream["cut"]))
    print(json.dumps(found))
    return 0


def _by_pattern(text: str, unit: str, given: BinaryIO) -> int:
    """Print the number that a pattern finds last in the output."""
    try:
        pattern = compile_pattern(text)
        lines = (_DRAWN_END.split(line) for line in given)
        drawn = (plain(piece.decode("utf-8", "replace")) for pieces in lines for piece in pieces)
        found = None
        for line in drawn:
            last = last_match(pattern, line)
            found = last if last is not None else found
        if found is None:
            raise MetricError("the pattern matches nothing in the output")
        print(repr(parse_number(found, unit)))
    except MetricError as error:
        print(f"parse-metrics: {error}", file=sys.stderr)
        return 1
    return 0


def _main(argv: list[str]) -> int:
    """Filter standard input: `name=value` lines, or with a name or a pattern as argument that value alone."""
    given = sys.stdin.buffer if sys.stdin is not None else io.BytesIO()
    if len(argv) == 2 and argv[0] == "--search":
        return _search(argv[1])
    if len(argv) in (2, 4) and argv[0] == "--pattern" and argv[2:3] in ([], ["--unit"]):
        return _by_pattern(argv[1], argv[3] if len(argv) == 4 else "", given)
    if len(argv) > 1 or (argv and argv[0].startswith("-")):
        print("usage: parse-metrics.sh [NAME | --pattern REGEX [--unit UNIT]] < output", file=sys.stderr)
        return 2
    try:
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
