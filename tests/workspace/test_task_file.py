"""The schema of `autoresearch.toml`: nothing in it is without effect, and what it refuses it explains."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import task_file
from pydantic import BaseModel

from autoresearch.errors import PreconditionError
from autoresearch.statistics.decision import Guard
from autoresearch.workspace.task_file import TaskFile, parse

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "autoresearch"
ASSETS = PACKAGE.parents[1] / "assets"
WHOLE = {"keep", "options", "profile", "guard"}
"""Tables that are taken as a whole: `rules` hands on every key of `keep`, `init` those of a profile."""


def keys(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """Yield every key of the schema as `table.key`."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from keys(inner, f"{path}{name}.")
        else:
            yield f"{path}{name}"


def is_read(key: str, attributes: set[str], programs: list[str]) -> bool:
    """Whether a key is an attribute that the package reads, or a word of a task's own program."""
    table, _, name = key.rpartition(".")
    words = any(re.search(rf"[\"']{name}[\"']", text) for text in programs)
    return table in WHOLE or key in WHOLE or name in attributes or words


def test_every_key_of_the_schema_is_read_by_something() -> None:
    attributes = {
        node.attr
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    programs = [path.read_text("utf-8") for path in ASSETS.rglob("*.py")]
    unread = {key for key in keys(TaskFile) if not is_read(key, attributes, programs)}
    assert unread == {"stop.max_usd"}  # which is refused, see below
    assert not is_read("run.limit_of_nothing", attributes, programs)


def test_a_limit_on_dollars_is_refused_while_nothing_spends_any() -> None:
    with pytest.raises(PreconditionError, match=r"\[stop\] max_usd: nothing spends money yet"):
        parse(task_file(stop={"max_usd": 5}))


def test_guards_are_bounds_of_other_metrics_and_the_old_key_is_one() -> None:
    rules = parse(task_file(keep={"max_memory_mb": 1000}) + "[guard]\naccuracy = { min = 0.5 }\n").rules
    assert rules.guards == (Guard("accuracy", min=0.5), Guard("peak_vram_mb", max=1000))


@pytest.mark.parametrize(
    ("guard", "says"),
    [
        ("accuracy = {}", "give max, min or both"),
        ("accuracy = { most = 1 }", "unknown key; known are max, min"),
        ("accuracy = { min = 20, max = 9 }", "nothing could be kept"),
        ("total_ms = { max = 1 }", "is the metric itself"),
        ('"a b" = { max = 1 }', "should match pattern"),
        ("peak_vram_mb = { max = 1 }", "say the same"),
    ],
)
def test_a_guard_that_means_nothing_is_refused(guard: str, says: str) -> None:
    with pytest.raises(PreconditionError, match=says):
        parse(task_file(keep={"max_memory_mb": 1000}) + f"[guard]\n{guard}\n")
