"""What holds for every task that we ship on the harness."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from lab import call
from task_programs import NAMES, TASKS

from autoresearch.errors import PreconditionError, UsageError
from autoresearch.workspace import task_file
from autoresearch.workspace.init_options import InitOptions, configured

WITH_HARNESS = (*NAMES, "pretrain")
OWN = {"rl": ("problems.py", "rewards.py"), "sft": ("bases.py", "chat_ids.py", "pairs.py")}
"""Files of a task beside the usual ones."""
RANGE = re.compile(r"\[\S+, \S+\](?: log| pow2)?|\{[^{}]+\}|fixed")


def constants(name: str) -> dict[str, tuple[str, str]]:
    """Constant of a task's train.py -> its value and the comment behind it."""
    lines = (TASKS / name / "train.py").read_text().splitlines()
    found = (re.fullmatch(r"([A-Z][A-Z0-9_]*) = (.*?)  # (.*)", line) for line in lines)
    return {m[1]: (m[2], m[3]) for m in found if m}


@pytest.mark.parametrize("name", NAMES)
def test_a_task_is_made_of_short_files(name: str) -> None:
    sizes = {path.name: len(path.read_text().splitlines()) for path in (TASKS / name).iterdir() if path.is_file()}
    usual = {"autoresearch.toml", "prepare.py", "program.md", "pyproject.toml", "train.py"}
    assert {*sizes} == usual | {*OWN.get(name, ())}
    assert sizes["program.md"] <= 80 and all(size <= 250 for file, size in sizes.items() if file.endswith(".py"))


@pytest.mark.parametrize("name", NAMES)
def test_the_ranges_of_the_constants_hold_what_they_are(name: str) -> None:
    known = constants(name)
    searched = {key: pair for key, pair in known.items() if RANGE.fullmatch(pair[1])}
    assert len(searched) >= 8 and "LEARNING_RATE" in searched
    for key, (text, where) in searched.items():
        if where == "fixed":
            continue
        table = re.match(r"(\{.*\})\[PROFILE\]", text)
        values = (
            [*ast.literal_eval(table[1]).values()] if table else [] if "SOURCE" in text else [ast.literal_eval(text)]
        )
        ends = ast.literal_eval(where.split("] ")[0] + "]" * ("] " in where) if where[0] == "[" else f"[{where[1:-1]}]")
        for value in values:
            assert ends[0] <= value <= ends[1] if where[0] == "[" else value in ends, (name, key)


@pytest.mark.parametrize("name", NAMES)
def test_every_constant_of_a_range_is_of_a_family(name: str) -> None:
    families = task_file.parse((TASKS / name / "autoresearch.toml").read_text()).search.families
    assert len(families) >= 8 and "learning rate" in families and "simplify" in families


def made_of(name: str, **options: Any) -> task_file.TaskFile:
    """The task file that `init` would write."""
    return task_file.parse(configured(TASKS / name, InitOptions(task=name, **options), None))


@pytest.mark.parametrize("name", WITH_HARNESS)
def test_a_profile_brings_its_budget_and_its_source(name: str) -> None:
    profiles = tomllib.loads((TASKS / name / "autoresearch.toml").read_text())["profile"]
    for profile, own in profiles.items():
        made = made_of(name, profile=profile)
        assert made.options["profile"] == profile and made.options.get("source", "") == own.get("source", "")
        assert made.run.budget is not None and made.run.budget.seconds == own["budget"]["seconds"]
        assert not made.profile and made.task.harness and not made.run.network
    assert {*profiles} == {"full", "small", "tiny"}


def test_a_source_is_a_name_of_the_task_or_a_path(tmp_path: Path) -> None:
    for name, source in (
        ("images", "cifar10"),
        ("shakespeare", "shakespeare"),
        ("pretrain", "climbmix"),
        ("rl", "gsm8k"),
        ("prompt", "Qwen/Qwen3-0.6B"),
    ):
        assert made_of(name, profile="tiny", source=source).options["source"] == source
    assert made_of("images", profile="tiny", source=str(tmp_path)).options["source"] == str(tmp_path)
    with pytest.raises(PreconditionError, match="there is no climbmix"):
        made_of("images", profile="tiny", source="climbmix")
    for source in ("hub", "Qwen", "a/b/c"):
        with pytest.raises(PreconditionError, match=f"there is no {source}"):
            made_of("prompt", profile="tiny", source=source)
    with pytest.raises(UsageError, match="makes its own data"):
        made_of("mazes", profile="tiny", source="python")


def test_a_base_is_a_path_an_id_of_the_hub_or_what_set_up_trains(tmp_path: Path) -> None:
    weights, folder = tmp_path / "model.pt", tmp_path / "model"
    weights.touch()
    folder.mkdir()
    with pytest.raises(PreconditionError, match=r"has no config\.json of a model"):
        made_of("sft", profile="tiny", base=str(folder))
    (folder / "config.json").write_text("{}")
    for base in (str(weights), str(folder), "HuggingFaceTB/SmolLM2-135M-Instruct"):
        assert made_of("sft", profile="tiny", base=base).options["base"] == base
    assert made_of("sft", profile="tiny").options["base"] == "trained"
    for base in ("runs/model.pt", "model"):
        with pytest.raises(PreconditionError, match="there are no weights at"):
            made_of("sft", profile="tiny", base=base)


def test_two_tasks_beside_each_other_have_a_session_each(tmp_path: Path) -> None:
    for name in ("images", "mazes"):
        done = call("init", name, "--task", name, "--profile", "tiny", "--no-setup", cwd=tmp_path)
        assert done.code == 0, done
        (tmp_path / name / "train.py").write_text(f"# {name}\n")
    for name in ("images", "mazes"):
        journal = (tmp_path / name / "autoresearch.jsonl").read_text().splitlines()
        assert [json.loads(line)["task"]["name"] for line in journal] == [name]
        assert (tmp_path / name / "train.py").read_text() == f"# {name}\n"


def test_tasks_lists_metric_budget_sizes_and_needs(tmp_path: Path) -> None:
    listed = {row["name"]: row for row in json.loads(call("tasks", "--json", cwd=tmp_path).out)["tasks"]}
    assert {*WITH_HARNESS, "command", "prompt"} == {*listed}
    assert listed["mazes"]["metric"] == "route_error" and listed["mazes"]["direction"] == "lower"
    assert listed["images"]["sizes"][1] == {"profile": "small", "budget": "60 s", "source": "fashion"}
    assert listed["prompt"]["sizes"][2] == {"profile": "tiny", "budget": "2.5e+10 flops", "source": "trained"}
    assert all(listed[name]["needs"] and listed[name]["title"] for name in WITH_HARNESS)
    text = call("tasks", cwd=tmp_path).out
    assert "tiny 30 s on python" in text and "needs  torch, numpy; it makes its own data" in text
