"""The newcomer's first command, for real: data, training, evaluation, verdicts, table and plot."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest
from drawn import drawn
from wheel import installed_wheel

pytestmark = pytest.mark.slow


@pytest.fixture(params=drawn(("checkout", "wheel"), 0.5, "quickstart"))
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python that has the package: that of the tests, or one with nothing but the wheel.

    The second borrows torch and its like from the first, for to install them would take minutes: a path in a .pth file
    gives packages and follows no other .pth, so that ours is still the one of the wheel.
    """
    if request.param == "checkout":
        return sys.executable
    environment = tmp_path_factory.mktemp("quickstart") / "env"
    shutil.copytree(installed_wheel(tmp_path_factory), environment, symlinks=True)
    [packages] = (environment / "lib").glob("python*/site-packages")
    (packages / "borrowed.pth").write_text("\n".join([*site.getsitepackages(), ""]))
    program = environment / "bin/python"
    where = subprocess.run([program, "-c", "import autoresearch; print(autoresearch.__file__)"], capture_output=True,
                           text=True, cwd=environment, check=True).stdout  # fmt: skip
    assert Path(where.strip()).is_relative_to(packages)
    return str(program)


def test_quickstart_ends_with_verdicts_on_real_trainings_and_a_picture(tmp_path: Path, python: str) -> None:
    env = {**os.environ, "AUTORESEARCH_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    command = [python, "-m", "autoresearch", "quickstart", "first", "--experiments", "1"]
    done = subprocess.run(
        [*command, "--seconds", "1", "--json"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    view = json.loads(done.stdout)
    assert view["experiments"] == 2
    assert view["baseline"]["experiment"] == 1
    baseline, *others = view["log"]
    # An untrained model of this vocabulary is at about 3.7 bits per byte, uniform bytes at 8.
    assert 0.5 < baseline["metric"] < 3.7
    assert all(row["status"] in ("keep", "discard", "crash") and row["description"] for row in others)
    assert Path(view["plot"]).read_bytes().startswith(b"\x89PNG")
    curve = Path(view["workspace"], ".autoresearch/runs/1/1/curve.jsonl").read_text().splitlines()
    assert len(curve) > 1
    assert "4/4" in done.stderr
    again = subprocess.run([*command], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert again.returncode == 5
    assert "has a session already" in again.stderr
