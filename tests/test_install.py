"""The wheel, in an environment that has nothing else: what it brings, what it says of what it does not bring.

tests/test_quickstart.py runs a whole session from it.
"""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from test_house import ROOT, tracked
from wheel import installed_wheel

import autoresearch

pytestmark = [pytest.mark.slow, pytest.mark.sampled(0.3)]

Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed_wheel(tmp_path_factory)


@pytest.fixture
def installed(environment: Path, tmp_path: Path) -> Program:
    """Return a function that runs the installed program for a person with an empty home folder."""
    home = tmp_path / "home"
    home.mkdir()
    env = {"HOME": str(home), "PATH": os.pathsep.join([str(environment / "bin"), "/usr/local/bin", "/usr/bin", "/bin"]),
           "AUTORESEARCH_CACHE": str(tmp_path / "cache"), "GIT_CONFIG_GLOBAL": os.devnull}  # fmt: skip

    def run(*words: str, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        command = [str(environment / "bin/autoresearch"), *words]
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)

    return run


def test_the_wheel_makes_a_workspace_of_every_task_with_all_that_a_clone_gives(
    installed: Program, environment: Path, tmp_path: Path
) -> None:
    assert installed("--version").stdout == f"autoresearch {autoresearch.__version__}\n"
    listed = json.loads(installed("tasks", "--json").stdout)["tasks"]
    tasks = sorted(path.parent.name for path in tracked("assets/tasks/*/autoresearch.toml"))
    assert [task["name"] for task in listed] == tasks
    for task in ("pretrain", "sft"):
        made = installed("init", task, "--task", task, "--profile", "tiny", "--no-setup")
        assert made.returncode == 0, made.stderr
        for name in (".agents/skills/autoresearch/SKILL.md", "harness/device.py", "prepare.py", "AGENTS.md"):
            assert (tmp_path / task / name).is_file(), name
    assert str(environment) in (tmp_path / "sft/.claude/settings.json").read_text()
    upgrade = installed("upgrade", "--json", cwd=tmp_path / "sft")
    assert json.loads(upgrade.stdout)["items"] == []


def test_an_extra_that_is_not_there_is_one_line_with_what_installs_it(
    installed: Program, environment: Path, tmp_path: Path
) -> None:
    assert installed("init", "lab", "--task", "pretrain", "--profile", "tiny", "--no-setup").returncode == 0
    lab = tmp_path / "lab"
    for words, extra in ((("baseline",), "ml"), (("doctor", "--gpu"), "ml"), (("plot",), "plot"),
                         (("dashboard",), "dashboard"), (("run", "--agent", "anthropic"), "agents")):  # fmt: skip
        refused = installed(*words, cwd=lab)
        last = refused.stderr.splitlines()[-1]
        assert refused.returncode != 0 and "Traceback" not in refused.stderr, refused
        assert last.endswith(f"uv pip install --python {environment}/bin/python 'autoresearch[{extra}]'"), last


def test_what_install_skill_wrote_is_gone_to_the_byte_when_it_is_taken_away(installed: Program, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".claude").mkdir()
    (home / ".claude/settings.json").write_text('{"model":   "x"}')
    (home / ".gemini").mkdir()

    def contents() -> dict[str, bytes]:
        return {str(path.relative_to(home)): path.read_bytes() if path.is_file() else b"" for path in home.rglob("*")}

    before = contents()
    done = installed("install-skill", "--yes")
    assert done.returncode == 0 and (home / ".claude/skills/autoresearch/SKILL.md").is_file(), done
    assert installed("install-skill", "--remove", "--yes").returncode == 0
    assert contents() == before


def test_the_version_is_that_of_the_package_of_its_tag_and_of_the_list_of_changes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["dynamic"] == ["version"] and "path" in project["tool"]["hatch"]["version"]
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"\n## {autoresearch.__version__}" in changes
    done = subprocess.run(["git", "tag", "--points-at", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    tags = [tag for tag in done.stdout.split() if tag.startswith("v")]
    assert tags in ([], [f"v{autoresearch.__version__}"])
