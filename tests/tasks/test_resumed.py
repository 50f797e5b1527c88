"""A training by hand that is killed in the middle and resumed, by the real trainers, feeders and graders."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from drawn import drawn
from task_programs import TASKS, module

STEPS, LAST = 30, 15
"""Of a training, and the step after which it is killed; checkpoints are then after 4, 7, 10 and 13."""

SMALL = {
    "rl": (r"Profile\(2, 64, 4, 800, 128, .3, 4., 10, 30_000, 1000", "Profile(1, 32, 2, 60, 64, (2, 3), 10, 500, 100"),
    "sft": (r"Profile\(2, 128, 4, 1024, 128, .*, 500, Al", "Profile(1, 32, 2, 300, 64, 10**6, 20, 16, 100, Al"),
}
EDITS = {
    r"(import math\n)": r"\1import os\n",
    r"(        checkpoints\.save\(.*\)\n)": rf"""\1        if step == {LAST} and "KILLED" in os.environ:
            os.killpg(0, {signal.SIGKILL})  # the feeder, too: as when a machine is lost
""",
    r'(\nif __name__ == "__main__":)': r'finish.__globals__["grade_by_hand"] = print\n\1',
}
"""Of train.py. What is left is weights; what they score is another test's."""


def workspace(name: str, folder: Path) -> Path:
    """A workspace of the task, made small and prepared, with a trainer that may be killed."""
    shutil.copytree(TASKS / name, folder)
    shutil.copytree(TASKS.parent / "harness", folder / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    task, prepare, train = (folder / file for file in ("autoresearch.toml", "prepare.py", "train.py"))
    text, count = re.subn(*SMALL[name], prepare.read_text())
    assert count == 1
    prepare.write_text(text)
    text = train.read_text()
    for old, new in EDITS.items():
        text, count = re.subn(old, new, text)
        assert count == 1
    train.write_text(text)
    text = re.sub(r"(?m)^budget = .*$", f"budget = {{ steps = {STEPS} }}", task.read_text(), count=1)
    if name == "sft":
        source = folder / "chats.jsonl"
        asked = ((f"what follows {n}?", f"{n + 1}, I think") for n in range(700))
        chats = ([{"role": "user", "content": a}, {"role": "assistant", "content": b}] for a, b in asked)
        source.write_text("\n".join(json.dumps({"messages": chat}) for chat in chats))
        text = re.sub(r"(?m)^source = .*$", f"source = {json.dumps(str(source))}", text, count=1)
    task.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        module(f"{name}_to_be_killed", prepare).TASK.prepare()
    return folder


def python(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A program of the workspace in a process group of its own."""
    asked: dict[str, Any] = {"cwd": folder, "env": {**os.environ, **env}, "start_new_session": True}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, **asked)


def left(folder: Path) -> dict[str, Any]:
    """What a training has left: its weights, its learning curve, what was rewarded."""
    own = folder / ".autoresearch" / "by-hand"
    curve = [json.loads(line) for line in (own / "curve.jsonl").read_text().splitlines()]
    log = own / "rewards.json"
    return {"weights": torch.load(own / "model.pt"), "curve": curve, "log": log.exists() and log.read_text()}


@pytest.mark.slow
@pytest.mark.sampled(0.2, "end to end")
@pytest.mark.parametrize("name", drawn(["rl", "sft"], 0.5, "checkpoints"))
def test_a_training_that_was_killed_ends_with_the_weights_of_one_that_was_not(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTORESEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = workspace(name, tmp_path / "ws")
    whole = python(folder, "train.py")
    assert whole.returncode == 0, whole
    unbroken = left(folder)

    assert python(folder, "train.py", KILLED="1").returncode == -signal.SIGKILL
    assert not (folder / ".autoresearch/by-hand/model.pt").exists()
    done = python(folder, "train.py", "--resume")

    assert done.returncode == 0 and "resumed   after 13 batches" in done.stdout, done
    resumed = left(folder)
    assert [line["step"] for line in resumed["curve"]] == list(range(1, STEPS + 1))
    assert resumed["curve"] == unbroken["curve"] and resumed["log"] == unbroken["log"]
    assert {*resumed["weights"]} == {*unbroken["weights"]}
    assert all(torch.equal(tensor, unbroken["weights"][name]) for name, tensor in resumed["weights"].items())
    assert not (folder / ".autoresearch/by-hand/checkpoint").exists()
