"""What looks like a metric in the output of a command: names with numbers behind them, and the pattern for each."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autoresearch.metrics import PREFIX, MetricError, last_match, parse_metric_line, parse_number

MOST_LINE = 4000
"""Characters: longer lines are not looked at for names."""

UNITS = frozenset(
    "ns us µs μs ms s sec secs second seconds min minutes h hours B kB KB MB GB KiB MiB GiB bytes % it/s".split()
)
"""What behind a number, and a blank, is its unit."""

_PIECE = r"(?:[^\s,;|)\]}\x22\x27]|,(?=\d))+?"
_END = r"(?=[.:]?(?:[\s;|)\]}\x22\x27]|,(?!\d)|$))"
_VALUE = f"({_PIECE}){_END}"
_VALUE_AND_UNIT = rf"({_PIECE}(?: [\w/%µμ]+)?){_END}"
"""Whatever stands there is taken whole, so that what is no number (nan, None, 12,345.6, 3/7) is refused: nothing is cut
out of it, and no earlier number is taken in its place."""

_TOKEN = re.compile(r"(?<![\w.+-])([-+]?(?:\.?\d|(?:nan|inf)\b)(?:[-+.,:/\w]*\w)?%?)", re.IGNORECASE)
_LABEL = re.compile(
    r"(?<!\w')(?P<name>[A-Za-z_%][\w./@%-]*(?: [A-Za-z_][\w./@%-]*){0,5})"
    r"(?P<between>['\"]?(?:\s*\([^()\n]{0,40}\))?\s*(?:[:=|]|->)?\s*['\"]?)$"
)
_UNIT = re.compile(r"(\D+)$")
_WORDS = re.compile(r"(?<![\d.])\b[A-Za-z_]{2,}")
_FILLERS = frozenset("a an and at by for got had has in is of on the to was with".split())
"""Words of a sentence, which belong to no name."""

WHITE = r"\s+"

MOST_BEFORE = 16
"""Words before a name that its pattern may have."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One place that a number of some name comes from."""

    name: str
    """As it could be a metric's: `val_loss`."""
    value: float | None
    """The last one; None where that is no number."""
    text: str
    """The last one as it was written."""
    where: str
    """In words: `standard output`, or the file."""
    line: str
    """The last line that has it, or where in the file it is."""
    count: int
    """How many lines have it."""
    options: tuple[str, ...] = ()
    """Words of `init` that name this place and no other; none for METRIC lines."""
    unit: str = ""
    row: bool = False
    """Whether other numbers follow it directly, so that it may be any of a row."""

    @property
    def metric(self) -> bool:
        """Whether it is a METRIC line, which needs no option."""
        return not self.options


@dataclass(frozen=True, slots=True)
class _Found:
    """One number with a name in a line."""

    label: str
    between: str
    """What is between name and number."""
    before: str
    """The word before the name, where only a blank is between them."""
    context: tuple[str, ...]
    """The words of the line before the name: places with others are other places."""
    text: str
    unit: str
    spaced: bool
    """Whether the unit stands apart."""
    row: bool
    line: str
    start: int
    """Where in the line the name begins."""


def in_output(stream: str, where: str, lines: Sequence[str]) -> list[Candidate]:
    """Return what one stream (`stdout` or `stderr`) says with a name: each name and place once, as it is told last."""
    places: dict[tuple[str, str, str, tuple[str, ...]], list[_Found]] = {}
    for line in lines:
        for found in _in_line(line):
            between = re.sub(r"\d+", "#", found.between.strip())
            places.setdefault((found.label, between, found.before, found.context), []).append(found)
    candidates = [*_metric_lines(where, lines)] if stream == "stdout" else []
    candidates += _columns(stream, where, lines)
    for group in places.values():
        last = group[-1]
        pattern = _pattern(group)
        value, unit = _value(last)
        options = ("--pattern", pattern, "--stream", stream)
        name = re.sub(r"[^\w.\-/%@:]+", "_", last.label).strip("_")
        candidates.append(Candidate(name, value, last.text, where, last.line, len(group), options, unit, last.row))
    return candidates


def _metric_lines(where: str, lines: Sequence[str]) -> Iterator[Candidate]:
    found: dict[str, list[tuple[float, str]]] = {}
    for line in lines:
        if line.startswith(PREFIX):
            try:
                name, value = parse_metric_line(line)
            except MetricError:
                continue
            found.setdefault(name, []).append((value, line))
    for name, values in found.items():
        value, line = values[-1]
        yield Candidate(name, value, f"{value!r}", where, line, len(values))


def _columns(stream: str, where: str, lines: Sequence[str]) -> Iterator[Candidate]:
    """Yield the columns of tables: a head of names, blanks between them, and rows of as many words under it."""
    found: dict[tuple[str, int, int], list[str]] = {}
    head: list[str] = []
    for line in lines:
        cells = line.split()
        if len(line) > MOST_LINE or len(cells) < 2:
            head = []
        elif len(cells) == len(head) and 2 * sum(map(_is_number, cells)) >= len(cells):
            for at, name in enumerate(head):
                found.setdefault((name, at, len(head)), []).append(line)
        else:
            names = re.split(r"\s{2,}|\t", line.strip())
            head = names if len(names) > 1 and all(re.fullmatch(r"[A-Za-z_][^\d:=|]*", name) for name in names) else []
    for (name, at, count), rows in found.items():
        text = rows[-1].split()[at]
        before = rf"(?:\S+\s+){{{at}}}" if at else ""
        after = rf"(?:\s+\S+){{{count - at - 1}}}" if at < count - 1 else ""
        options = ("--pattern", rf"^\s*{before}(\S+){after}\s*$", "--stream", stream)
        value = parse_number(text) if _is_number(text) else None
        yield Candidate(re.sub(r"\W+", "_", name).strip("_"), value, text, where, rows[-1], len(rows), options)


def _is_number(text: str) -> bool:
    try:
        parse_number(text)
    except MetricError:
        return False
    return True


def _in_line(line: str) -> Iterator[_Found]:
    if len(line) > MOST_LINE or line.startswith(PREFIX):
        return
    end = 0
    tokens = [*_TOKEN.finditer(line)]
    for at, token in enumerate(tokens):
        before, after = line[end : token.start()], line[token.end() :]
        end = token.end()
        label = _LABEL.search(before[-200:])
        if label is None:
            continue
        words = label["name"].split(" ")
        fillers = [n for n, word in enumerate(words) if word.lower() in _FILLERS]
        kept = words[fillers[-1] + 1 :] if fillers else words
        if not kept:
            continue
        name = " ".join(kept)
        start = token.start() - len(label["between"]) - len(name)
        follows = re.match(r" ?([\w/%µμ]+)", after)
        spaced = follows is not None and after.startswith(" ") and follows[1] in UNITS
        inner = _UNIT.search(token[1])
        unit = follows[1] if spaced and follows is not None else inner[1] if inner and inner[1] in UNITS else ""
        row = at + 1 < len(tokens) and not line[token.end() : tokens[at + 1].start()].strip()
        yield _Found(
            name, label["between"], words[fillers[-1]] if fillers else "",
            tuple(_WORDS.findall(line[:start])), token[1], unit, spaced, row, line, start,
        )  # fmt: skip


def _value(found: _Found) -> tuple[float | None, str]:
    """Return the number, and the unit that is written with it."""
    try:
        value = parse_number(found.text, found.unit)
    except MetricError:
        return None, found.unit
    return (value if math.isfinite(value) else None), found.unit


def _pattern(group: Sequence[_Found]) -> str:
    """Return the pattern for one place: the whole line up to the number, where all its lines begin so; else its name
    and no word before that."""
    last = group[-1]
    edge = r"(?<![\w./-])" if re.match(r"\w", last.label) else ""
    name = " ".join(re.escape(word) for word in last.label.split(" "))
    apart = [re.sub(r"\d+", lambda _: r"\d+", re.escape(word)) for word in last.between.split()]
    between = r"\s*".join(["", *apart, ""]) if apart else r"\s+"
    rest = f"{name}{between}{_VALUE_AND_UNIT if last.spaced else _VALUE}"
    words = re.split(r"(\s+)", last.line[: last.start])
    if len(words) <= 2 * MOST_BEFORE:
        before = "".join(r"\s+" if word.isspace() else _word(word) for word in words if word)
        whole = rf"^\s*{before.removeprefix(WHITE)}{'' if before.endswith(WHITE) or not before else edge}{rest}"
        pattern = re.compile(whole)
        if all(last_match(pattern, found.line) is not None for found in group):
            return whole
    return f"{edge}{re.escape(last.before)} {rest}" if last.before else f"{edge}(?<![A-Za-z] ){rest}"


def _word(word: str) -> str:
    """Return the pattern of a word before a name: itself, unless it has a number in it, or is drawn."""
    drawn = len(word) > 3 and not re.search(r"[A-Za-z]", word)
    return r"\S+" if drawn or re.search(r"\d", word) or not word.isascii() else re.escape(word)
