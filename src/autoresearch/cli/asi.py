"""Actionable side information, as it is typed: `--asi KEY=VALUE`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from autoresearch.errors import UsageError

AsiOption = Annotated[
    list[str] | None,
    typer.Option(
        "--asi", metavar="KEY=VALUE", help="Actionable side information; may be repeated.", show_default=False
    ),
]


def pairs(given: list[str] | None) -> dict[str, Any]:
    """Return KEY=VALUE pairs as a dict; a value that is JSON (a number, true, a list) is taken as such."""
    values: dict[str, Any] = {}
    for pair in given or ():
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--asi {pair!r} is not KEY=VALUE", 'write it as: --asi hypothesis="..."')
        try:
            values[key.strip()] = json.loads(value, parse_constant=lambda name: name)
            json.dumps(values, allow_nan=False)  # 1e999 reads as infinity, which the journal cannot hold
        except (ValueError, RecursionError):
            values[key.strip()] = value
    return values
