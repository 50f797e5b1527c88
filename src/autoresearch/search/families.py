"""Families of changes: the kinds that experiments and ideas are sorted by. A task names its own in `[search.families]`.

Pure. A family has words; a word counts where it stands alone, and `*` in it stands for any letters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

Families = Mapping[str, Sequence[str]]
"""Name -> words of a description that point to it; the first family that fits is taken."""

OTHER = "other"

GENERIC: Families = {
    "simplify": ("remov*", "delet*", "drop*", "simplif*", "simpler", "without", "less code", "clean*"),
    "parallel": ("*parallel*", "*thread*", "*process", "*processes", "async*", "concurren*", "*vector*", "simd"),
    "cache": ("*cach*", "memoi*", "reus*", "precomput*", "lookup*", "lazy", "lazily"),
    "memory": ("*alloc*", "memory", "buffer*", "cop*", "in place", "layout", "pool*"),
    "input and output": ("io", "i/o", "read*", "writ*", "disk", "file*", "network", "stream*", "pars*", "serial*"),
    "algorithm": ("algorithm*", "sort*", "hash*", "index*", "search*", "tree*", "heap*", "approximat*"),
    "build": ("compil*", "flag*", "inlin*", "librar*", "version*", "jit"),
    "data": ("data", "dataset*", "sampl*", "shuffl*", "augment*", "feature*", "normali*"),
    "size": ("size*", "larger", "smaller", "bigger", "wider", "narrower", "deeper", "depth", "width", "more", "fewer"),
    "parameter": ("parameter*", "threshold*", "constant*", "rate*", "weight*", "limit*", "interval*", "factor*"),
}  # fmt: skip
"""What a task has that names none: kinds of changes that any measured program knows."""


def family_of(description: str, asi: Mapping[str, Any], families: Families = GENERIC) -> str:
    """Return the family of a change: what its ASI says, else what its description sounds like, else `other`."""
    return sorter(families)(description, asi)


def sorter(families: Families = GENERIC) -> Callable[[str, Mapping[str, Any]], str]:
    """Return `family_of` for these families, to sort many changes: what a description sounds like is kept."""
    sounds_like = _by_words(tuple([(name, tuple(words)) for name, words in families.items()]))

    def family(description: str, asi: Mapping[str, Any]) -> str:
        named = asi.get("family")
        if isinstance(named, str) and (spelled := _spelled(named)):
            return spelled
        return sounds_like(description)

    return family


@lru_cache(maxsize=16)
def _by_words(families: tuple[tuple[str, tuple[str, ...]], ...]) -> Callable[[str], str]:
    patterns = [(name, _pattern(words)) for name, words in families]

    @lru_cache(maxsize=2**14)
    def sounds_like(description: str) -> str:
        text = description.lower()
        return next((name for name, pattern in patterns if pattern.search(text)), OTHER)

    return sounds_like


@lru_cache(maxsize=256)
def _spelled(name: str) -> str:
    return " ".join(name.lower().split())[:24]


@lru_cache(maxsize=256)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    """Return what finds one of the words in a text in lower case."""
    spelled = (re.escape(" ".join(word.lower().split())).replace(r"\*", r"\w*") for word in words)
    return re.compile("|".join(rf"(?<!\w){word}(?!\w)" for word in spelled))
