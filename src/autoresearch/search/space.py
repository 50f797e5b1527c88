"""The search space of a program: named constants of its mutable files, with what a comment says of their ranges.

    MATRIX_LR = 0.02  # of the matrices; [0.005, 0.08] log        a range in which factors count
    MOMENTUM = 0.95  # [0.8, 0.995] log1m                         the same for the distance from 1
    WARMDOWN = 0.6  # [0.1, 0.9]                                  a range; whole numbers, if all three are
    WIDTH = 256  # [64, 1024] pow2                                powers of two
    HEADS = 4  # {1, 2, 4}                                        one of these: numbers, strings, True, False
    EPS = 1e-8  # fixed                                           not tuned

A positive fraction without such a comment has a range of its own; any other constant without one is left alone. Of
`{"full": 15.0, "tiny": 5.0}[PROFILE]` the entry counts that the option `profile` of the task names.
"""

from __future__ import annotations

import ast
import hashlib
import io
import math
import re
import tokenize
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Value = float | int | str | bool

Scale = Literal["linear", "log", "log1m", "choice"]

Options = Mapping[str, Value]
"""Options of the task, by which a dict of constants is read."""

_NUMBER = r"[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"\[\s*({_NUMBER})\s*,\s*({_NUMBER})\s*\](?:\s*(log1m|log|pow2)\b)?")
_CHOICES = re.compile(r"\{([^{}:]*)\}")
_FIXED = re.compile(r"(?:^|;)\s*fixed\s*(?:;|$)")

FEW = 32
"""Whole numbers of a range without a scale that are taken one by one."""

FACTOR = 4.0
"""How far the range of a positive number without a comment reaches, up and down."""

REMEMBERED = 10_000
"""Versions of files."""

STEPS = 100
"""A value is written with the fewest digits that say it to this part of its range."""


@dataclass(frozen=True, slots=True)
class Knob:
    """A named constant that may be tuned."""

    file: str
    name: str
    value: Value
    scale: Scale
    lower: float = 0.0
    upper: float = 1.0
    whole: bool = False
    """Whether only whole numbers are meant."""
    choices: tuple[Value, ...] = ()
    """For the scale `choice` all there is; numbers in their order."""
    about: str = ""
    """What else the comment says."""

    @property
    def key(self) -> tuple[str, str]:
        return self.file, self.name

    @property
    def ordered(self) -> bool:
        """Whether its choices are numbers, of which one is nearer than another."""
        return all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in self.choices)

    def position(self, value: Value) -> float | None:
        """Return where a value lies in the range, from 0 to 1; for choices their index; None outside of it."""
        if self.scale == "choice":
            same = [i for i, choice in enumerate(self.choices) if choice == value and type(choice) is type(value)]
            return float(same[0]) if same else None
        if isinstance(value, str | bool):
            return None
        try:
            low, here, high = (_scaled(x, self.scale) for x in (self.lower, value, self.upper))
        except ValueError:
            return None
        where = (here - low) / (high - low)
        return min(1.0, max(0.0, where)) if -1e-9 <= where <= 1 + 1e-9 else None

    def at(self, position: float) -> Value:
        """Return the value at a position, in few digits."""
        if self.scale == "choice":
            return self.choices[round(position)]
        low, high = _scaled(self.lower, self.scale), _scaled(self.upper, self.scale)
        exact = min(max(_unscaled(low + position * (high - low), self.scale), self.lower), self.upper)
        if self.whole:
            return round(exact)
        for digits in range(1, 17):
            value = 1 - float(f"{1 - exact:.{digits}g}") if self.scale == "log1m" else float(f"{exact:.{digits}g}")
            value = float(f"{value:.12g}")  # 1 - 0.07 is 0.93, not 0.9299999999999999
            there = self.position(value)
            if there is not None and abs(there - position) <= 1 / STEPS:
                return value
        return exact

    def range_text(self) -> str:
        """Return the range as a comment would say it."""
        if self.scale == "choice" and not self.whole:
            return "{" + ", ".join(map(repr, self.choices)) + "}"
        ends = ", ".join(f"{round(end)}" if self.whole else f"{end:.6g}" for end in (self.lower, self.upper))
        return f"[{ends}]" + ("" if self.scale in ("linear", "choice") else f" {self.scale}")


@dataclass(frozen=True, slots=True)
class _Literal:
    """The value of a named constant, and where it is written."""

    name: str
    value: Value
    line: int
    """From 1."""
    start: int
    end: int
    """Columns, in bytes."""
    last_line: int
    """Where the whole statement ends."""
    alone: bool
    """Whether it is the whole right side, and no entry of a dict."""


Space = tuple[Knob, ...]


def read_space(files: Mapping[str, bytes], options: Options) -> Space:
    """Return the knobs of the Python files among `files` (path -> content) in their order; none of one that does not
    parse."""
    return tuple(found for found in _found(files, options) if isinstance(found, Knob))


def problems(files: Mapping[str, bytes], options: Options) -> list[str]:
    """Return a line for each constant whose comment names a range that it cannot have."""
    return [found for found in _found(files, options) if isinstance(found, str)]


def values_of(content: bytes, names: frozenset[str], options: Options) -> dict[str, Value]:
    """Return name -> value of those of the constants `names` that a Python file has, whatever their comments say."""
    return {literal.name: literal.value for literal in _literals(content, options) if literal.name in names}


def blanked(content: bytes, names: frozenset[str], options: Options) -> bytes:
    """Return a Python file with 0 in place of the values of these constants: what is left is their surroundings."""
    return _written(content, dict.fromkeys(names, b"0"), options)


def replaced(content: bytes, values: Mapping[str, Value], options: Options) -> bytes:
    """Return a Python file with these values of its named constants, and every other byte as it was.

    Raises `ValueError` when a constant is not there, or when something else would change.
    """
    names = frozenset(values)
    changed = _written(content, {name: repr(value).encode() for name, value in values.items()}, options)
    if values_of(changed, names, options) != values:
        raise ValueError(f"{', '.join(sorted(names))} cannot be set")
    before, after = (ast.dump(ast.parse(blanked(text, names, options))) for text in (content, changed))
    if before != after:
        raise ValueError(f"to set {', '.join(sorted(names))} would change more than that")
    return changed


# --- the constants of a file ---


def _found(files: Mapping[str, bytes], options: Options) -> Iterator[Knob | str]:
    """Yield the knobs, and a line for each that cannot be one."""
    for path, content in files.items():
        literals = _literals(content, options) if path.endswith(".py") else ()
        comments = _comments(content) if literals else {}
        for literal in literals:
            knob = _knob(path, literal, comments.get(literal.line) or comments.get(literal.last_line, ""))
            if knob is not None:
                yield knob if isinstance(knob, Knob) else f"{path}: {literal.name} = {literal.value!r}: {knob}"


_READ: dict[tuple[bytes, frozenset[tuple[str, Value]]], tuple[_Literal, ...]] = {}
"""What was read already, by hash and options: of a long session every version is asked for again and again."""


def _literals(content: bytes, options: Options) -> tuple[_Literal, ...]:
    """Return the constants `NAME = literal` at the top level that are assigned once; none of a file that cannot be
    read as Python in UTF-8."""
    key = hashlib.sha256(content).digest(), frozenset(options.items())
    if key not in _READ:
        if len(_READ) >= REMEMBERED:
            _READ.clear()
        _READ[key] = tuple(_parsed(content, options))
    return _READ[key]


def _parsed(content: bytes, options: Options) -> Iterator[_Literal]:
    try:
        content.decode("utf-8")
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    if encoding not in ("utf-8", "utf-8-sig") or content.count(b"\r") != content.count(b"\r\n"):
        return  # other encodings, or line ends of an old kind: columns would be elsewhere
    lines = content.splitlines()
    rows = Counter(row for node in tree.body for row in {node.lineno, node.end_lineno})
    names = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load))
    bound = Counter(node.id for node in names)
    target: ast.expr
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            target, right = node.target, node.value
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, right = node.targets[0], node.value
        else:
            continue
        if not isinstance(target, ast.Name) or not target.id.isupper() or bound[target.id] != 1:
            continue
        entry = _entry(right, options)
        value = None if entry is None else _value(entry)
        # Two statements of one line share its comment, so it is nobody's.
        if entry is None or value is None or rows[node.end_lineno] != 1:
            continue
        start, end, last = entry.col_offset, entry.end_col_offset or 0, node.end_lineno or 0
        literal = _Literal(target.id, value, entry.lineno, start, end, last, entry is right)
        if _is_there(lines, literal):
            yield literal


def _entry(right: ast.expr, options: Options) -> ast.expr | None:
    """Return what a right side is made of: itself, or the entry that an option chooses from a dict."""
    if not isinstance(right, ast.Subscript):
        return right
    if not isinstance(right.value, ast.Dict) or not isinstance(right.slice, ast.Name):
        return None
    chosen = options.get(right.slice.id.lower())
    pairs = zip(right.value.keys, right.value.values, strict=True)
    entries = [value for key, value in pairs if isinstance(key, ast.Constant) and key.value == chosen]
    return entries[0] if chosen is not None and len(entries) == 1 else None


def _value(node: ast.expr) -> Value | None:
    """Return the number, string or truth value that is written in one line; None for anything else."""
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    if node.lineno != node.end_lineno or not isinstance(value, float | int | str | bool):
        return None
    return value if isinstance(value, str) or math.isfinite(value) else None


def _is_there(lines: list[bytes], literal: _Literal) -> bool:
    """Whether the value stands where the syntax tree says: line ends of old kinds move it."""
    text = lines[literal.line - 1][literal.start : literal.end] if literal.line <= len(lines) else b""
    try:
        return bool(ast.literal_eval(text.decode()) == literal.value)
    except (ValueError, SyntaxError):
        return False


def _comments(content: bytes) -> dict[int, str]:
    """Return line -> comment; what comes before a mistake of the tokenizer counts."""
    comments = {}
    try:
        for token in tokenize.tokenize(io.BytesIO(content).readline):
            if token.type == tokenize.COMMENT:
                comments[token.start[0]] = token.string.lstrip("#").strip()
    except (tokenize.TokenError, SyntaxError, ValueError):
        pass
    return comments


def _written(content: bytes, texts: Mapping[str, bytes], options: Options) -> bytes:
    """Return the content with other texts for these constants."""
    lines = content.splitlines(keepends=True)
    for literal in _literals(content, options):
        if literal.name in texts:
            line = lines[literal.line - 1]
            lines[literal.line - 1] = line[: literal.start] + texts[literal.name] + line[literal.end :]
    return b"".join(lines)


# --- what a comment says ---


def _knob(path: str, literal: _Literal, comment: str) -> Knob | str | None:
    """Return the knob that a constant is; why it is none, though its comment names a range; None without one."""
    name, value = literal.name, literal.value
    if _FIXED.search(comment):
        return None
    span, listed = _RANGE.search(comment), _CHOICES.search(comment)
    if span is not None:
        try:
            low, high = (ast.literal_eval(end.lstrip("+")) for end in span.groups()[:2])
        except (ValueError, SyntaxError):
            return "its range is not made of two numbers"
        return _ranged(path, name, value, low, high, span[3], _rest(comment, span))
    if listed is not None:
        choices = _choices(listed[1])
        if choices:
            return _chosen(path, name, value, choices, _rest(comment, listed))
    if type(value) is not float or value <= 0 or not literal.alone or name.endswith("_S"):
        return None  # seconds say how often to print, not how to train
    if 0.5 < value < 1:
        distance = 1 - value
        return Knob(path, name, value, "log1m", 1 - min(FACTOR * distance, 0.9), 1 - distance / FACTOR, about=comment)
    upper = FACTOR * value if value >= 1 else min(FACTOR * value, 1.0)
    return Knob(path, name, value, "log", value / FACTOR, upper, about=comment) if upper > value else None


def _ranged(
    path: str, name: str, value: Value, low: float | int, high: float | int, scale: str | None, about: str
) -> Knob | str:
    if isinstance(value, str | bool):
        return "a range is for numbers"
    if not -math.inf < low < high < math.inf:
        return "the range is empty"
    if scale == "pow2":
        if min(low, value) <= 0 or not all(type(number) is int for number in (low, high, value)):
            return "powers of two are whole numbers from 1 on"
        powers = {2**k for k in range(high.bit_length()) if low <= 2**k <= high}  # type: ignore[union-attr]
        listed = tuple(sorted(powers | {value}))
        if len(listed) == 1:
            return "there is no other power of two in the range"
        return Knob(path, name, value, "choice", choices=listed, about=about)
    low, high = min(low, value), max(high, value)  # what is in force was measured, so it belongs to the range
    if scale == "log" and low <= 0:
        return "a range with log is for positive numbers"
    if scale == "log1m" and high >= 1:
        return "a range with log1m is for numbers below 1"
    whole = scale != "log1m" and all(type(number) is int for number in (low, high, value))
    kind: Scale = "log" if scale == "log" else "log1m" if scale == "log1m" else "linear"
    choices: tuple[Value, ...] = ()
    if whole and kind == "linear" and high - low < FEW:
        kind, choices = "choice", tuple(range(int(low), int(high) + 1))
    return Knob(path, name, value, kind, low, high, whole, choices, about)


def _choices(text: str) -> list[Value]:
    """Return what is listed between braces; nothing, when it is no list of values."""
    try:
        listed = ast.literal_eval(f"[{text}]")
    except (ValueError, SyntaxError):
        return []
    fine = all(isinstance(item, float | int | str | bool) for item in listed)
    return listed if fine and all(isinstance(item, str) or math.isfinite(item) for item in listed) else []


def _chosen(path: str, name: str, value: Value, listed: list[Value], about: str) -> Knob | str:
    numbers = [isinstance(item, int | float) and not isinstance(item, bool) for item in (*listed, value)]
    if type(value) is float and all(numbers):
        listed = [float(item) for item in listed]
    same = {(type(item), item): item for item in (*listed, value)}
    choices = tuple(same.values())
    if all(numbers):
        choices = tuple(sorted(choices))
    return Knob(path, name, value, "choice", choices=choices, about=about) if len(choices) > 1 else "one choice is none"


def _rest(comment: str, found: re.Match[str]) -> str:
    parts = (comment[: found.start()], comment[found.end() :])
    return "; ".join(text for part in parts if (text := part.strip(" ;,")))


def _scaled(value: float, scale: Scale) -> float:
    """Return where a number lies on its scale; raise `ValueError` where it has none."""
    return math.log(value) if scale == "log" else -math.log(1 - value) if scale == "log1m" else float(value)


def _unscaled(where: float, scale: Scale) -> float:
    return math.exp(where) if scale == "log" else 1 - math.exp(-where) if scale == "log1m" else where
