"""Which Python a run gets, and what it imports: what the person's shell would use, and the commit that is measured."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from lab import TAG, Lab, Repo

from autoresearch.workspace.python import project_variables, python_of, redirected, search_path
from autoresearch.workspace.task_file import TaskFile, parse
from autoresearch.workspace.workspace import Workspace

pytestmark = pytest.mark.slow

UV = shutil.which("uv")


def environment(root: Path) -> Path:
    (root / "bin").mkdir(parents=True)
    (root / "bin/python").symlink_to(sys.executable)
    return root


def first(root: Path) -> str:
    return search_path(Workspace(root)).split(os.pathsep)[0]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_an_activated_environment_comes_before_our_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    theirs = environment(tmp_path / "theirs")
    assert first(tmp_path) == str(Path(sys.executable).parent)
    monkeypatch.setenv(variable, str(theirs))
    assert first(tmp_path) == str(Path(sys.executable).parent), "it is named, and not on the PATH"
    monkeypatch.setenv("PATH", f"{theirs}/bin:/usr/bin:/bin")
    assert first(tmp_path) == f"{theirs}/bin"
    environment(tmp_path / ".venv")
    assert first(tmp_path) == f"{tmp_path}/.venv/bin", "the workspace's own comes first"


def test_of_two_the_one_that_the_shell_finds_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conda, inner = environment(tmp_path / "conda"), environment(tmp_path / "inner")
    monkeypatch.setenv("CONDA_PREFIX", str(conda))
    monkeypatch.setenv("VIRTUAL_ENV", str(inner))
    monkeypatch.setenv("PATH", f"{inner}/bin:{conda}/bin:/usr/bin")
    assert first(tmp_path) == f"{inner}/bin"
    monkeypatch.setenv("PATH", f"{conda}/bin:{inner}/bin:/usr/bin")
    assert first(tmp_path) == f"{conda}/bin"


def test_with_a_harness_it_is_what_this_program_was_installed_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = environment(tmp_path / "theirs")
    (tmp_path / "harness").mkdir()
    monkeypatch.setenv("VIRTUAL_ENV", str(theirs))
    monkeypatch.setenv("PATH", f"{theirs}/bin:/usr/bin")
    assert first(tmp_path) == str(Path(sys.executable).parent)


# --- a package that is installed from the workspace ---

FINDER = """
import importlib.util, sys
MAPPING = {"pack": %r}

class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name in MAPPING:
            return importlib.util.spec_from_file_location(name, MAPPING[name] + "/__init__.py")

sys.meta_path.append(Finder)
"""
"""What setuptools writes for a package that lies beside other things, in short."""


@pytest.fixture
def project(tmp_path: Path) -> Lab:
    """A repository with a package, and an environment of its own in which nothing is installed."""
    repo = Repo(tmp_path / "project")
    repo.root.mkdir()
    repo.git("init", "-q", "-b", "main")
    repo.git("config", "user.name", "A Person")
    repo.git("config", "user.email", "person@example.org")
    repo.write("src/pack/__init__.py", "VALUE = 10\n")
    repo.write("pyproject.toml", '[project]\nname = "pack"\nversion = "1"\n')
    repo.write("bench.py", "import pack\nprint(f'METRIC total_ms={pack.VALUE}')\n")
    repo.write(".gitignore", ".venv\n__pycache__\n")
    repo.commit()
    return Lab(repo.root)


def make_environment(root: Path) -> Path:
    """Make an environment as `python -m venv` does, and return its folder of packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root], check=True)
    return next((root / "lib").glob("python*/site-packages"))


def install(lab: Lab, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = make_environment(lab.root / ".venv")
    if how == "a path":
        (packages / "pack.pth").write_text(f"{lab.root}/src\n")
    elif how == "a finder":
        (packages / "pack_finder.py").write_text(FINDER % f"{lab.root}/src/pack")
        (packages / "pack.pth").write_text("import pack_finder\n")
    else:
        monkeypatch.setenv("PYTHONPATH", f"{lab.root}/src")


def begin(lab: Lab, command: str) -> None:
    done = lab.call("init", ".", "--no-probe", "--command", command, "--metric", "total_ms", "--tag", TAG,
                    "--direction", "lower", "--mutable", "src", "--policy", "greedy")  # fmt: skip
    assert done.code == 0, done
    assert f"python     {sys.version.split()[0]} at " in done.out and "/.venv/bin/python" in done.out


def test_what_is_measured_is_the_commit_though_the_package_is_installed_from_the_workspace(
    project: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(project, "a path", monkeypatch)
    begin(project, "python bench.py")
    assert project.call("baseline").code == 0
    project.write("src/pack/__init__.py", "VALUE = 5\n")
    assert "KEEP" in project.call("try", "-m", "half").out
    assert project.session.best is not None and project.session.best.metric == 5
    again = project.call("replicate", "1", "--seed", "9", "--json").json
    assert again["replicated"] == 10, "the folder has 5 now; the baseline's commit has 10"


def test_an_isolated_python_that_imports_the_workspace_is_told(project: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    install(project, "a path", monkeypatch)
    project.write("bench.sh", "cd /\nexec python -B -I $OLDPWD/bench.py\n")
    project.commit("by a script")
    what = "`python -B -I` imports from the workspace (src), not from the commit that is measured"
    done = project.call("init", ".", "--no-probe", "--command", "bash bench.sh", "--metric", "total_ms", "--tag", TAG,
                        "--direction", "lower", "--mutable", "src", "--policy", "greedy")  # fmt: skip
    assert done.code == 0 and f"{what}: leave out" in done.err, done
    told = project.call("baseline")
    assert told.code == 0 and what in told.out + told.err, told
    assert what in project.call("doctor").out
    project.write("bench.sh", "python bench.py\n")
    project.commit("without")
    assert project.call("segment").code == 0 and what not in project.call("doctor").out


def test_installed_packages_that_lead_into_the_repository_lead_into_the_commit(project: Lab) -> None:
    project.write("bench.sh", "(cd node_modules/@ours/pack && echo METRIC total_ms=$(cat $(pwd -P)/value))\n"
                  "echo tool $(cat node_modules/plain/value node_modules/.bin/tool)\n")  # fmt: skip
    project.write("src/pack/value", "10\n")
    project.write(".gitignore", "node_modules\n")
    project.commit("packages")
    project.write("node_modules/plain/value", "installed\n")
    project.write("node_modules/.cache/x", "")
    (project.root / "node_modules/@ours").mkdir()
    (project.root / "node_modules/@ours/pack").symlink_to("../../src/pack")
    (project.root / "node_modules/.bin").mkdir()
    (project.root / "node_modules/.bin/tool").symlink_to("../@ours/pack/value")
    done = project.call("init", ".", "--no-probe", "--command", "bash bench.sh", "--metric", "total_ms", "--tag", TAG,
                        "--direction", "lower", "--mutable", "src", "--policy", "greedy")  # fmt: skip
    assert done.code == 0 and "linked     node_modules" in done.out, done
    assert project.call("baseline").code == 0
    project.write("src/pack/value", "5\n")
    assert "KEEP" in project.call("try", "-m", "half").out
    assert project.call("replicate", "1", "--seed", "9", "--json").json["replicated"] == 10, "the folder has 5 now"
    [log] = (project.root / ".autoresearch/studies").rglob("run.log")
    assert "tool installed 10" in log.read_text().splitlines()
    assert (project.root / "node_modules/@ours/pack").is_symlink()


@pytest.mark.parametrize("how", ["a path", "a finder", "a PYTHONPATH"])
def test_whatever_finds_the_package_in_the_workspace_finds_it_in_the_snapshot(
    project: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    install(project, how, monkeypatch)
    snapshot = shutil.copytree(project.root, tmp_path / "snapshot", ignore=shutil.ignore_patterns(".*"))
    (snapshot / "src/pack/__init__.py").write_text("VALUE = 7\n")
    elsewhere = tmp_path / "elsewhere"
    given = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), "relative", str(elsewhere)]))
    python = python_of(project.workspace, task("python bench.py"))
    assert python is not None and python.path == f"{project.root}/.venv/bin/python"

    def value(more: Mapping[str, str]) -> str:
        env = {**os.environ, "PYTHONPATH": given, **more}
        return subprocess.run([python.path, "bench.py"], cwd=snapshot, env=env, capture_output=True, text=True).stdout

    moved = redirected(python, project.workspace, snapshot, {"PYTHONPATH": given})
    assert value({}) == "METRIC total_ms=10\n" and value(moved) == "METRIC total_ms=7\n"
    assert moved["PYTHONPATH"].split(os.pathsep) == [f"{snapshot}/src", "relative", str(elsewhere)]


def test_a_python_that_imports_nothing_of_the_workspace_gets_no_path_of_ours(project: Lab, tmp_path: Path) -> None:
    make_environment(project.root / ".venv")
    python = python_of(project.workspace, task("python bench.py"))
    assert python is not None and redirected(python, project.workspace, tmp_path, {"PYTHONPATH": "x"}) == {}


# --- tools that run a command in the environment of the project ---


def task(command: str) -> TaskFile:
    return parse(f"""
        [task]
        name = "x"
        [metric]
        name = "total_ms"
        direction = "lower"
        [run]
        command = {json.dumps(command)}
        [files]
        mutable = ["src"]
    """)


@pytest.mark.skipif(UV is None, reason="uv is not installed")
def test_uv_run_uses_the_environment_of_the_workspace_and_leaves_it_as_it_is(
    project: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert UV is not None
    monkeypatch.setenv("PATH", f"{Path(UV).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("UV_OFFLINE", "1")
    words = ("init", ".", "--no-probe", "--command", "uv run bench.py", "--metric", "total_ms")
    refused = project.call(*words, "--direction", "lower", "--mutable", "src")
    assert refused.code == 5 and refused.err.endswith("make it: uv sync\n")
    assert project.git("status", "--porcelain", "--ignored") == ""
    packages = make_environment(project.root / ".venv")
    (packages / "pack.pth").write_text(f"{project.root}/src\n")
    before = {path: path.lstat().st_mtime_ns for path in (project.root / ".venv").rglob("*")}
    begin(project, "uv run bench.py")
    assert project.call("baseline").code == 0
    project.write("src/pack/__init__.py", "VALUE = 5\n")
    assert "KEEP" in project.call("try", "-m", "half").out
    assert project.call("replicate", "1", "--seed", "9", "--json").json["replicated"] == 10
    after = {path: path.lstat().st_mtime_ns for path in (project.root / ".venv").rglob("*")}
    assert {path: at for path, at in after.items() if "__pycache__" not in path.parts} == before
    assert not (project.root / "uv.lock").exists()


def test_what_uv_is_told(project: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert project_variables(project.workspace, task("bash bench.sh")) == {}, "there is no environment yet"
    environment(project.root / ".venv")
    told = {"UV_PROJECT_ENVIRONMENT": f"{project.root}/.venv", "UV_NO_SYNC": "1"}
    assert project_variables(project.workspace, task("bash bench.sh")) == told, "a script may call uv, too"
    (project.root / "member").mkdir()
    assert project_variables(Workspace(project.root / "member"), task("uv run x")) == told, "that of the whole project"
    environment(project.root / "sub/.venv")
    project.write("sub/pyproject.toml", "")
    for command in ("uv --project sub run x", "uv run --directory=sub x"):
        inner = project_variables(project.workspace, task(command))
        assert inner["UV_PROJECT_ENVIRONMENT"] == f"{project.root}/sub/.venv", command
    isolated = project_variables(project.workspace, task("uv run --isolated bench.py"))
    assert isolated == {"UV_PROJECT_ENVIRONMENT": f"{project.root}/.venv"}
    environment(project.root / "gpu")
    monkeypatch.setenv("UV_PROJECT_ENVIRONMENT", "gpu")
    assert project_variables(project.workspace, task("uv run x"))["UV_PROJECT_ENVIRONMENT"] == f"{project.root}/gpu"


@pytest.mark.parametrize(
    "command", ["uv run --no-project bench.py", "uv run own.py", "uv pip list", "uv run --script x"]
)
def test_a_command_that_needs_no_environment_of_the_project_is_not_refused(
    project: Lab, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    standin(project.root.parent / "bin", "uv", "", monkeypatch)
    project.write("own.py", "# /// script\n# dependencies = []\n# ///\nprint('METRIC total_ms=1')\n")
    project.commit()
    words = ("init", ".", "--no-probe", "--command", command, "--metric", "total_ms", "--direction", "lower")
    assert project.call(*words, "--mutable", "src").code == 0


def standin(folder: Path, name: str, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program of this name on the path that knows one answer: tools that no test may install."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n[ '{answer}' ] && echo '{answer}'\n")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.parametrize("tool", ["poetry", "pdm"])
def test_poetry_is_asked_for_its_environment_and_pdm_has_written_it_down(
    project: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tool: str
) -> None:
    env, run = environment(tmp_path / "cache/project-py3"), task(f"{tool} run python bench.py")
    standin(tmp_path / "bin", tool, "", monkeypatch)
    words = ("init", ".", "--no-probe", "--command", run.run.command, "--metric", "total_ms")
    refused = project.call(*words, "--direction", "lower", "--mutable", "src")
    assert refused.code == 5 and refused.err.endswith(f"make it: {tool} install\n"), refused
    if tool == "poetry":
        standin(tmp_path / "bin", tool, str(env), monkeypatch)
    else:
        project.write(".pdm-python", f"{env}/bin/python")
    assert project_variables(project.workspace, run) == {"VIRTUAL_ENV": str(env)}
    python = python_of(project.workspace, run)
    assert python is not None and python.path == f"{env}/bin/python"


def test_hatch_is_refused_before_anything_is_written(
    project: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    standin(tmp_path / "bin", "hatch", "", monkeypatch)
    words = ("init", ".", "--no-probe", "--command", "hatch run python bench.py", "--metric", "total_ms")
    refused = project.call(*words, "--direction", "lower", "--mutable", "src")
    assert refused.code == 5 and "hatch shell" in refused.err
    assert not (project.root / "autoresearch.toml").exists()


# --- which one runs is told ---


def test_another_python_than_at_the_beginning_is_told_and_recorded(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = lab.events("config")[0]["python"]
    assert first["version"] == sys.version.split()[0] and Path(first["path"]).exists()
    assert lab.events("run")[0]["env"]["python_path"] == first["path"]
    assert "changed" not in lab.call("segment").out and lab.call("segment").code == 5
    theirs = environment(tmp_path / "theirs")
    monkeypatch.setenv("VIRTUAL_ENV", str(theirs))
    monkeypatch.setenv("PATH", f"{theirs}/bin:{os.environ['PATH']}")
    done = lab.attempt("echo METRIC total_ms=90\n")
    assert f"note: runs use Python {sys.version.split()[0]} at " in done.out and "theirs/bin/python" in done.out, done
    assert lab.events("run")[-1]["env"]["python_path"] == f"{theirs}/bin/python"
    doctor = next(line for line in lab.call("doctor").out.splitlines() if "run python" in line)
    assert doctor.startswith("-  ") and doctor.endswith("autoresearch segment")
    assert lab.call("segment").code == 0 and lab.session.segment.python["path"] == f"{theirs}/bin/python"
    told = lab.call("baseline").out
    assert "python " in told and "note:" not in told
    doctor = next(line for line in lab.call("doctor").out.splitlines() if "run python" in line)
    assert doctor.startswith("ok ")
