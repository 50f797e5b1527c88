"""Rules of the suite itself: nothing is decided by speed, samples are drawn, skips and costs are in their tables."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import allowed_skips
import cpu_budget
import drawn as samples
import pytest
from drawn import dice, drawn
from made_once import made_once
from test_house import tracked

TESTS = Path(__file__).parent
CLOCKS = {"sleep", "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"}
MAY_LOOK_AT_THE_CLOCK = {
    "tests/waiting.py": "waits for events, with the one bound of the suite",
    "tests/cheats/any_task/trains_beyond_the_clock.py": "a trainer, which is what it is about",
    "tests/experiments/kill_hunts.py": "kills at random instants of the time that a command takes",
    "tests/experiments/test_kill.py": "sets a lock's time back by an hour",
}
"""File -> why; no other test sleeps, or asks how long something took."""


def clock_calls(source: str) -> Iterator[str]:
    """Yield each call of a clock or of sleep, and each bound on waiting that is spelled as a number."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr in CLOCKS and ast.unparse(function.value) == "time":
            yield f"line {node.lineno}: time.{function.attr}()"
        bounds = [k.value for k in node.keywords if k.arg == "timeout"]
        if isinstance(function, ast.Attribute) and function.attr in ("wait", "communicate", "join"):
            bounds += node.args
        if any(isinstance(bound, ast.Constant) and isinstance(bound.value, int | float) for bound in bounds):
            yield f"line {node.lineno}: a bound of its own; use PATIENCE_S"


def test_no_test_sleeps_or_decides_by_the_clock() -> None:
    found = {}
    for path in tracked("tests/*.py"):
        name = path.relative_to(TESTS.parent).as_posix()
        if name not in MAY_LOOK_AT_THE_CLOCK and not name.startswith(
            ("tests/cheats/trainers", "tests/cheats/pretrain", "tests/cheats/any_task", "tests/cheats/prompt")
        ):
            found[name] = [*clock_calls(path.read_text("utf-8"))]
    assert {name: calls for name, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    "source", ["time.sleep(1)", "a = time.monotonic() - b", "process.wait(60)", "subprocess.run(c, timeout=5)"]
)
def test_a_look_at_the_clock_is_found(source: str) -> None:
    assert [*clock_calls(source)]


@pytest.mark.parametrize(
    "source", ["process.wait()", "process.wait(PATIENCE_S)", "run(c, timeout=PATIENCE_S)", "datetime.time(1)"]
)
def test_a_wait_with_the_common_bound_passes(source: str) -> None:
    assert not [*clock_calls(source)]


AT_HOME = {"pretrain", "harness", "trainers", "tasks", "any_task", "model_threads.py"}
"""Folders and files of tests that may import torch."""


def test_tests_of_the_engine_never_import_torch() -> None:
    # What trains for real does so in processes of its own; the tests of the tasks are where torch is at home.
    found = []
    for path in tracked("tests/*.py"):
        if not AT_HOME & set(path.relative_to(TESTS).parts):
            tree = ast.walk(ast.parse(path.read_text("utf-8")))
            names = [a.name for node in tree if isinstance(node, ast.Import) for a in node.names]
            tree = ast.walk(ast.parse(path.read_text("utf-8")))
            names += [node.module or "" for node in tree if isinstance(node, ast.ImportFrom)]
            found += [path for name in names if name.split(".")[0] == "torch"]
    assert found == []


# --- samples ---


def test_a_sample_is_the_same_for_the_commit_and_another_for_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "EVERY", False)
    cases = range(100)
    assert drawn(cases, 0.3, "a") == drawn(cases, 0.3, "a") == sorted(drawn(cases, 0.3, "a"))
    assert len(drawn(cases, 0.3, "a")) == 30 and drawn(cases, 0.3, "a") != drawn(cases, 0.3, "b")
    assert dice("a").random() == dice("a").random() != dice("b").random()
    assert drawn([7], 0.01, "a") == [7] and drawn([], 0.5, "a") == []
    monkeypatch.setattr(samples, "COMMIT", "another commit")
    others = drawn(cases, 0.3, "a")
    monkeypatch.undo()
    assert others != samples.drawn(cases, 0.3, "a")


def test_of_tests_that_are_marked_each_file_runs_a_part_and_other_tests_all(monkeypatch: pytest.MonkeyPatch) -> None:
    marked = [(file, f"{file}::{n}", 0.4) for file in ("a.py", "b.py") for n in range(10)]
    marked.append(("c.py", "c.py::alone", 0.1))
    twice = [*marked, *marked]  # a matrix has its function once for each case
    monkeypatch.setattr(samples, "EVERY", False)
    here = samples.chosen(twice)
    assert here == samples.chosen(marked) and "c.py::alone" in here
    assert [sum(test.startswith(file) for test in here) for file in ("a.py", "b.py")] == [4, 4]
    monkeypatch.setattr(samples, "COMMIT", "another commit")
    assert samples.chosen(marked) != here
    monkeypatch.setattr(samples, "EVERY", True)
    assert samples.chosen(marked) == {test for _, test, _ in marked}


TEN_SLOW_TESTS = """
import pytest

@pytest.mark.slow
@pytest.mark.parametrize("case", range(2))
{}

def test_quick():
    pass
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("every", "options", "ran"),
    [("", [], 13), ("", ["tests/a"], 21), ("1", [], 21), ("", ["-m", "not slow"], 1), ("", ["-k", "slow"], 20)],
)
def test_of_slow_tests_a_run_of_all_draws_three_of_five_and_a_named_folder_has_all(
    tmp_path: Path, every: str, options: list[str], ran: int
) -> None:
    (tmp_path / "tests" / "a").mkdir(parents=True)
    slow = "\n\n@pytest.mark.slow\n@pytest.mark.parametrize('case', range(2))\n".join(
        f"def test_slow_{n}(case):\n    pass" for n in range(10)
    )
    (tmp_path / "tests" / "a" / "test_it.py").write_text(TEN_SLOW_TESTS.format(slow))
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = tests\nmarkers = slow\n    sampled\n")
    command = [sys.executable, "-m", "pytest", "-p", "drawn", "-p", "no:cacheprovider", *options]
    given = {**os.environ, "PYTHONPATH": str(TESTS), "AUTORESEARCH_EVERY": every}
    done = subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True)
    assert f"{ran} passed" in done.stdout, done.stdout


def test_everything_is_tried_on_demand() -> None:
    code = "import drawn; print(len(drawn.drawn(range(50), 0.1, 'x')))"
    for value, count in (("", "5"), ("1", "50")):
        env = {**os.environ, "AUTORESEARCH_EVERY": value}
        done = subprocess.run([sys.executable, "-c", code], cwd=TESTS, env=env, capture_output=True, text=True)
        assert done.stdout.strip() == count, done.stderr


# --- costs and skips ---


def test_the_shares_add_up_to_the_budget_and_every_folder_has_one() -> None:
    assert sum(whole for whole, _ in cpu_budget.SHARES.values()) <= cpu_budget.ALL
    assert sum(quick for _, quick in cpu_budget.SHARES.values()) <= cpu_budget.QUICK
    folders = {path.parent.relative_to(TESTS.parent).as_posix() for path in tracked("tests/*test_*.py")}
    assert folders <= {*cpu_budget.SHARES}
    assert all(quick <= whole for whole, quick in cpu_budget.SHARES.values())


SUITE_IN_A_FOLDER = """
import subprocess, sys
import pytest

def test_costs():
    subprocess.run([sys.executable, "-c", "sum(range(10**7))"], check=True)

@pytest.mark.skip(reason="REASON")
def test_skips():
    pass
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reason", "installed", "code"),
    [
        ("needs a CUDA device", "", 0),
        ("Codex is not installed", "claude", 0),
        ("Codex is not installed", "claude codex", 1),
        ("too slow today", "", 1),
    ],
)
def test_a_skip_that_is_not_in_the_table_fails_the_run(tmp_path: Path, reason: str, installed: str, code: int) -> None:
    done = inner_run(tmp_path, reason, AUTORESEARCH_INSTALLED=installed)
    assert done.returncode == code, done.stdout
    assert f"1  {reason}" in done.stdout and ("not in the table" in done.stdout) == bool(code)


def test_a_folder_past_its_share_fails_the_run(tmp_path: Path) -> None:
    done = inner_run(tmp_path, "needs a CUDA device", folder="tests/unknown")
    assert done.returncode == 1 and "past its share" in done.stdout
    spent = re.search(r"^tests/unknown +([\d.]+)", done.stdout, re.M)
    assert spent is not None and float(spent[1]) > 0  # the child's seconds


@pytest.mark.parametrize("quick", [False, True])
def test_the_sum_and_each_folder_are_held_to_what_the_table_says(quick: bool) -> None:
    config = SimpleNamespace(getoption=lambda name: {"markexpr": "not slow" if quick else ""}[name])
    meter = cpu_budget.Meter(cast("pytest.Config", config))
    for folder, own in cpu_budget.SHARES.items():
        meter.spent[folder] = own[quick]
    assert meter.over() == []
    meter.spent["tests"] += 1
    meter.spent["none of the table"] = cpu_budget.QUICK if quick else cpu_budget.ALL
    assert meter.over() == ["tests", "none of the table", "all"]


def inner_run(
    tmp_path: Path, reason: str, folder: str = "tests/statistics", **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a suite of two tests under the plugins of this one."""
    target = tmp_path / folder
    target.mkdir(parents=True)
    (target / "test_it.py").write_text(SUITE_IN_A_FOLDER.replace("REASON", reason))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    plugins = ["-p", "cpu_budget", "-p", "allowed_skips", "-p", "no:cacheprovider"]
    given = {**os.environ, "PYTHONPATH": str(TESTS), **env}
    command = [sys.executable, "-m", "pytest", *plugins, folder]
    return subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True)


def test_what_is_made_once_is_not_made_again(tmp_path_factory: pytest.TempPathFactory) -> None:
    made = []
    for _ in range(2):
        folder = made_once(tmp_path_factory, f"of {os.getpid()}", lambda folder: made.append(folder))
    assert made == [folder] and folder.is_dir()
    assert allowed_skips.allowed("needs a CUDA device: cuda:0", set())


def test_every_breakage_of_the_teeth_is_still_one_line_of_the_code() -> None:
    rows = tomllib.loads((TESTS.parent / "benchmarks" / "teeth.toml").read_text("utf-8"))["tooth"]
    lost = [row["breaks"] for row in rows if (TESTS.parent / row["file"]).read_text("utf-8").count(row["old"]) != 1]
    assert len(rows) >= 40 and lost == []
    for name in {name for row in rows for name in row["test"].split()}:
        path, _, node = name.partition("::")
        test = node.rpartition("::")[2].partition("[")[0]
        assert (TESTS.parent / path).exists() and (
            not node or f"def {test}(" in (TESTS.parent / path).read_text("utf-8")
        )
