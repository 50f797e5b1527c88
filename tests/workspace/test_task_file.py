"""The schema of `autoresearch.toml`: nothing in it is without effect, and what it refuses it explains."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from lab import task_file
from pydantic import BaseModel

from autoresearch.errors import PreconditionError
from autoresearch.statistics.decision import Guard
from autoresearch.workspace.init_options import InitOptions, about_the_task
from autoresearch.workspace.task_file import TaskFile, parse

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "autoresearch"
ASSETS = PACKAGE.parents[1] / "assets"
WHOLE = {"options", "profile"}
"""Tables whose keys are a person's own, or chosen by a person's own name."""
ALSO_CALLED = {
    ("stop", "experiments/stop.py"): "rules",
    ("keep", "statistics/decision.py"): "rules",
    ("keep", "statistics/alpha.py"): "rules",
    ("guard", "workspace/task_file.py"): "bounds",
    ("prices", "models/prices.py"): "own",
    ("metric", "runs/reported.py"): "source",
    ("metric", "runs/result_files.py"): "source",
    ("metric.sources", "runs/reported.py"): "source",
    ("metric.sources", "runs/result_files.py"): "source",
}
"""(table, file) -> what a table is called in a file that takes it under another name."""


def keys(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """Yield every key of the schema as `table.key`; of a table with names of a person's own, without the name."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        values = getattr(inner, "__args__", ())[-1:] if getattr(inner, "__origin__", None) is dict else (inner,)
        if name not in WHOLE and values and isinstance(values[0], type) and issubclass(values[0], BaseModel):
            yield from keys(values[0], f"{path}{name}.")
        else:
            yield f"{path}{name}"


def is_read(key: str, sources: Mapping[str, str]) -> bool:
    """Whether a source (file -> text) reads a key from its table: `run.limit_s`, or `["run"]["limit_s"]`."""
    table, _, name = key.rpartition(".")
    owner = table.rpartition(".")[2]
    return any(
        _is_chain(node, {owner, ALSO_CALLED.get((table, file), owner)}, name)
        for file, text in sources.items()
        if name in text
        for node in _nodes(text)
    )


@functools.cache
def _nodes(text: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(text)))


def _is_chain(node: ast.AST, owners: set[str], name: str) -> bool:
    """Whether a node reads `name` of something that is called as one of `owners`; of anything, for a whole table."""
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        return node.attr == name and (owners == {""} or _last_word(node.value) in owners)
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        return _word(node.slice) == name and (owners == {""} or _last_word(node.value) in owners)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
        if node.func.attr not in ("get", "pop"):
            return False
        return _word(node.args[0]) == name and (owners == {""} or _last_word(node.func.value) in owners)
    return False


def _last_word(node: ast.AST) -> str:
    """Return what a value is called: `run` for `run`, `task.run` and `table["run"]`."""
    if isinstance(node, ast.Subscript):
        return _word(node.slice)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _word(node: ast.AST) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else ""


@pytest.mark.slow
def test_every_key_of_the_schema_is_read_from_its_table_by_something() -> None:
    sources = {path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8") for path in PACKAGE.rglob("*.py")}
    sources |= {path.relative_to(ASSETS).as_posix(): path.read_text("utf-8") for path in ASSETS.rglob("*.py")}
    every = {*keys(TaskFile)}
    assert {"run.limit_s", "stop.max_hours", "guard.max", "search.families", "options"} <= every
    assert {key for key in every if not is_read(key, sources)} == set()
    for nowhere in ("run.limit_of_nothing", "task.limit_s", "stop.seeds", "keep.max_hours", "guard.of"):
        assert not is_read(nowhere, sources), nowhere


@pytest.mark.parametrize(
    ("key", "source", "read"),
    [
        ("run.limit_s", "a = task.run.limit_s", True),
        ("run.limit_s", "a = run.limit_s", True),
        ("run.budget", "a = table['run']['budget'].items()", True),
        ("task.title", "a = table['task'].get('title', '')", True),
        ("run.limit_s", "a = task.files.limit_s", False),
        ("run.limit_s", "a = limit_s", False),
        ("run.limit_s", "task.run.limit_s = 3", False),
        ("run.limit_s", "a = 'limit_s'", False),
        ("stop.max_hours", "a = rules.max_hours", False),
    ],
)
def test_a_key_is_read_when_it_is_taken_from_its_own_table(key: str, source: str, read: bool) -> None:
    assert is_read(key, {"runs/x.py": source}) is read


def test_a_limit_on_dollars_is_more_than_nothing() -> None:
    assert parse(task_file(stop={"max_usd": 5})).stop.max_usd == 5
    with pytest.raises(PreconditionError, match=r"\[stop\] max_usd: Input should be greater than 0"):
        parse(task_file(stop={"max_usd": 0}))


@pytest.mark.parametrize("number", ["inf", "-inf", "nan", "1e999"])
@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("[stop]\nmax_hours = ", r"\[stop\] max_hours: Input should be"),
        ("[stop]\ntarget = ", r"\[stop\] target: Input should be a finite number"),
        ("[guard]\nacc.max = ", r"\[guard.acc\] max: Input should be a finite number"),
        ("[prices]\nm.output = 1\nm.input = ", r"\[prices.m\] input: Input should be"),
        ("[options]\nrate = ", r"\[options\]: rate is not a finite number"),
    ],
)
def test_a_number_that_is_not_finite_is_none(key: str, number: str, says: str) -> None:
    with pytest.raises(PreconditionError, match=says):
        parse(f"{task_file()}{key}{number}\n")


def test_guards_are_bounds_of_other_metrics_and_the_old_key_is_one() -> None:
    rules = parse(task_file(keep={"max_memory_mb": 1000}) + "[guard]\naccuracy = { min = 0.5 }\n").rules
    assert rules.guards == (Guard("accuracy", min=0.5, direction="higher"), Guard("peak_vram_mb", max=1000))


@pytest.mark.parametrize(
    ("guard", "expected"),
    [
        ("accuracy = { worse_by = 0.005 }", Guard("accuracy", worse_by=0.005, direction="higher")),
        ("val_loss = { worse_by = 0 }", Guard("val_loss", worse_by=0, direction="lower")),
        ('a = { worse_by = 1, direction = "higher" }', Guard("a", worse_by=1, direction="higher")),
        ('rss_mb = { max = 9, worse_by = 1, against = "incumbent" }',
         Guard("rss_mb", max=9, worse_by=1, against="incumbent")),
    ],
)  # fmt: skip
def test_a_guard_that_compares_knows_which_way_is_better(guard: str, expected: Guard) -> None:
    rules = parse(task_file() + f"[guard]\n{guard}\n").rules
    assert rules.guards == rules.relative == (expected,)


@pytest.mark.parametrize(
    ("guard", "says"),
    [
        ("accuracy = {}", "give max, min or worse_by"),
        ("accuracy = { most = 1 }", "unknown key; known are against, direction, max, min, worse_by"),
        ("accuracy = { worse_by = -1 }", "greater than or equal to 0"),
        ("score = { worse_by = 1 }", "which way is better"),
        ("bytes_saved = { worse_by = 1 }", "which way is better"),
        ('accuracy = { max = 1, against = "incumbent" }', "direction and against say how worse_by is meant"),
        ('accuracy = { worse_by = 1, against = "best" }', "against: .*baseline"),
        ("accuracy = { min = 20, max = 9 }", "nothing could be kept"),
        ("total_ms = { max = 1 }", "is the metric itself"),
        ('"a b" = { max = 1 }', "is no name of a metric"),
        ("peak_vram_mb = { max = 1 }", "say the same"),
    ],
)
def test_a_guard_that_means_nothing_is_refused(guard: str, says: str) -> None:
    with pytest.raises(PreconditionError, match=says):
        parse(task_file(keep={"max_memory_mb": 1000}) + f"[guard]\n{guard}\n")


@pytest.mark.parametrize(
    ("families", "says"),
    [
        ("io = []", "at least 1 item"),
        ('io = ["*"]', "should match pattern"),
        ('io = "read"', "it is a list, written with brackets"),
        ('"In Out" = ["read"]', "lower case"),
    ],
)
def test_a_family_of_changes_has_a_name_and_words(families: str, says: str) -> None:
    with pytest.raises(PreconditionError, match=says):
        parse(task_file() + f"[search.families]\n{families}\n")


def test_families_keep_their_order_and_a_task_without_them_has_none() -> None:
    named = parse(task_file() + '[search.families]\nsize = ["wider"]\n"input" = ["read*"]\nback = ["undo"]\n')
    assert [*named.search.families.items()] == [("size", ("wider",)), ("input", ("read*",)), ("back", ("undo",))]
    assert parse(task_file()).search.families == {}


def test_an_option_of_zero_is_an_option() -> None:
    """It was passed over beside a task file that is committed, where every other one is refused."""
    assert about_the_task(InitOptions(seconds=0.0, tag="t", goal="g")) == ["--seconds"]
    assert about_the_task(InitOptions(task="command", mutable=("src",))) == ["--mutable"]
