"""The wheel of this checkout in an environment of its own, for tests of what is installed without a clone."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from made_once import made_once
from test_house import ROOT, tracked


class Unreachable(Exception):
    """The registry of packages cannot be reached."""


def uv(*words: str, cwd: Path = ROOT) -> None:
    """Run uv; raise `Unreachable` where it cannot get what it needs."""
    done = subprocess.run(["uv", *words], cwd=cwd, capture_output=True, text=True, check=False)
    lost = ("error sending request", "Failed to fetch", "Could not connect", "etwork connectivity is disabled")
    if done.returncode and any(words in done.stderr for words in lost):
        raise Unreachable
    assert done.returncode == 0, done.stderr


def installed_wheel(factory: pytest.TempPathFactory) -> Path:
    """Return an environment with the wheel and what it depends on, and no extra; it is made once in a run.

    Skips the test where uv is not installed, or cannot get what a build needs.
    """
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed")

    def make(folder: Path) -> None:
        source = folder / "source"
        for path in tracked():
            target = source / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        try:
            uv("build", "-q", "--wheel", "-o", str(folder), cwd=source)
            uv("venv", "-q", str(folder / "env"))
            [wheel] = folder.glob("*.whl")
            uv("pip", "install", "-q", "--python", str(folder / "env/bin/python"), str(wheel))
        except Unreachable:
            shutil.rmtree(folder / "env", ignore_errors=True)

    environment = made_once(factory, "installed wheel", make) / "env"
    if not environment.is_dir():
        pytest.skip("the registry of packages cannot be reached")
    return environment
