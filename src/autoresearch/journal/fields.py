"""Typed reading of the fields of a journal line. What cannot be understood is a `ValueError` that names the key.

Standard library and Python 3.8 only: the builders of lines, which the shell helpers use, lie beside the readers.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import isfinite
from operator import itemgetter
from typing import Any, Dict  # noqa: UP035

Event = Dict[str, Any]  # noqa: UP006

TEXT = (str, type(None))
"""The types of a text that may be left out."""


class NewerSchema(ValueError):
    """A line that a newer version of this program wrote in a way that this one does not know."""


def whole_at(event: Event, key: str) -> int:
    value = event.get(key)
    return value if type(value) is int else whole(key, value)


def whole(key: str, value: object) -> int:
    if type(value) is not int:
        raise ValueError(f"{key} is {value!r}; it must be a whole number")
    return value


def number_at(event: Event, key: str) -> float:
    value = event.get(key)
    return value if type(value) is float and isfinite(value) else finite(key, value)


def finite(key: str, value: object) -> float:
    if type(value) is float or type(value) is int:
        number = float(value)
        if isfinite(number):
            return number
    raise ValueError(f"{key} is {value!r}; it must be a finite number")


def list_at(event: Event, key: str) -> list[Any]:
    value = event.get(key)
    if value is not None and not isinstance(value, list):
        raise ValueError(f"{key} is {value!r}; it must be a list")
    return value or []


def strings_at(event: Event, key: str) -> tuple[str, ...]:
    values = list_at(event, key)
    return tuple(map(str, values)) if values else ()


def finite_all(key: str, values: list[Any]) -> list[float]:
    # Nearly always they are numbers as they should be: a look at each makes no other list.
    for value in values:
        if type(value) is not float or not isfinite(value):
            return [finite(key, value) for value in values]
    return values


def whole_all(key: str, values: list[Any]) -> list[int]:
    for value in values:
        if type(value) is not int:
            whole(key, value)
    return values


def numbers(metrics: dict[str, Any]) -> dict[str, float]:
    """Return the metrics that have a value; other tools write null for one that was not measured."""
    for value in metrics.values():
        if type(value) is not float or not isfinite(value):
            return {name: finite(f"metrics.{name}", value) for name, value in metrics.items() if value is not None}
    return metrics


def rows_at(event: Event, key: str) -> list[dict[str, float]]:
    """Return an object of lists, name -> number or null for each place, as an object for each place."""
    columns = mapping_at(event, key, {})
    count = max([len(list_at(columns, name)) for name in columns], default=0)
    return [numbers({name: column[at] for name, column in columns.items() if at < len(column)}) for at in range(count)]


def text_at(event: Event, key: str) -> str | None:
    value = event.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{key} is {value!r}; it must be text")
    return value


def texts_at(event: Event, *keys: str) -> list[str | None]:
    """Return what `text_at` does for each of some keys, in less time."""
    values: list[Any] = [*map(event.get, keys)]
    return values if _TEXTS.issuperset(map(type, values)) else [text_at(event, key) for key in keys]


_TEXTS = frozenset(TEXT)


def of_types(**types: tuple[type, ...]) -> Callable[[Event], tuple[Any, ...] | None]:
    """Return a function that returns these fields of a line, or None where one is missing or of none of its types.

    It looks at all of them at once, in a fraction of the time that the readers of one field take; these are asked where
    it returns None, and say what is wrong, or what is taken for a field that is missing.
    """
    values_of, usual = itemgetter(*types), frozenset(product(*types.values()))

    def fields(event: Event) -> tuple[Any, ...] | None:
        try:
            values: tuple[Any, ...] = values_of(event)
        except KeyError:
            return None
        return values if (*map(type, values),) in usual else None

    return fields


LAST = 253402300799
"""The last second of the year 9999, since 1970; what is later is no date to any library."""


def seconds_at(event: Event) -> int | None:
    """Return the timestamp in whole seconds, None for no date; other tools write milliseconds, which no date in seconds
    reaches."""
    given = event.get("timestamp")
    if type(given) is int and 0 <= given <= 10**11:
        return given
    if given is None:
        return None
    value = given if type(given) is int else int(number_at(event, "timestamp"))
    value = value // 1000 if value > 10**11 else value
    return value if abs(value) <= LAST else None


def mapping_at(event: Event, key: str, default: dict[str, Any] | None = None) -> dict[str, Any]:
    value = event.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, dict):
        raise ValueError(f"{key} is {value!r}; it must be an object")
    return value
