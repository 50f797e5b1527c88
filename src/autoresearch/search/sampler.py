"""A small sampler: propose a change of one named number in the mutable file, for a session without a model."""

from __future__ import annotations

import ast
import random
from dataclasses import dataclass

FACTORS = (0.5, 0.7, 1.4, 2.0)
"""Steps worth measuring on a log scale: smaller ones drown in the noise of short runs."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A line `NAME = number` at the top level of a file."""

    name: str
    value: float | int
    line: int
    """From 1."""
    start: int
    end: int
    """Columns of the number."""


@dataclass(frozen=True, slots=True)
class SampledChange:
    """A change of one constant: what to write, and what to call it."""

    name: str
    description: str
    source: str


def constants(source: str) -> list[Constant]:
    """Return the named floating-point constants of a Python file: upper case, top level, a plain positive literal.

    Whole numbers are left alone: they are shapes, and most changes of one shape alone do not run. So are seconds
    (`..._S`): they say how often to print, not how to train.
    """
    listed = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign):
            targets, value = [node.target], node.value
        elif isinstance(node, ast.Assign):
            targets, value = node.targets, node.value  # type: ignore[assignment]
        else:
            continue
        if len(targets) != 1 or not isinstance(targets[0], ast.Name) or not isinstance(value, ast.Constant):
            continue
        name, number = targets[0].id, value.value
        if not name.isupper() or name.endswith("_S") or value.lineno != value.end_lineno:
            continue
        if type(number) is float and number > 0:
            listed.append(Constant(name, number, value.lineno, value.col_offset, value.end_col_offset or 0))
    return listed


def propose(source: str, tried: set[str], rng: random.Random) -> SampledChange | None:
    """Return a change of one constant that is not among the `tried` descriptions; None when all are used up."""
    choices = [
        (constant, factor, description)
        for constant in constants(source)
        for factor in FACTORS
        if (description := f"{constant.name} {constant.value:g} -> {_scaled(constant, factor):g}") not in tried
    ]
    if not choices:
        return None
    constant, factor, description = rng.choice(choices)
    return SampledChange(constant.name, description, _replaced(source, constant, _scaled(constant, factor)))


def _scaled(constant: Constant, factor: float) -> float:
    scaled = constant.value * factor
    # A fraction stays one: a momentum of 0.95 moves by its distance from 1.
    if 0.5 < constant.value < 1:
        scaled = 1 - (1 - constant.value) / factor
    return float(f"{scaled:.3g}")


def _replaced(source: str, constant: Constant, value: float) -> str:
    lines = source.splitlines(keepends=True)
    line = lines[constant.line - 1].encode()
    text = repr(value)
    lines[constant.line - 1] = (line[: constant.start] + text.encode() + line[constant.end :]).decode()
    return "".join(lines)
