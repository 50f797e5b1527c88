"""The tasks that we ship, in tests: their programs as modules, and a grader that asks a model of the test's own."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from harness import kept, weights
from harness.grader import grade
from model_threads import in_threads

TASKS = Path(__file__).resolve().parents[2] / "assets" / "tasks"
NAMES = ("images", "mazes", "rl", "sft", "shakespeare")
CLOCK = {"seconds": 10.0, "finished_after": 10.5, "steps": 20, "tokens": 20, "load": 0.0}
"""Of a training so slow that no machine is too busy to score as fast."""


def prepare_of(task: str) -> ModuleType:
    """assets/tasks/TASK/prepare.py as a module."""
    return module(f"{task}_prepare", TASKS / task / "prepare.py")


@contextmanager
def train_of(task: str, prepare: ModuleType) -> Iterator[ModuleType]:
    """assets/tasks/TASK/train.py as a module, which finds that prepare.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "prepare", prepare)
        yield module(f"{task}_train", TASKS / task / "train.py")


def module(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


def graded(
    patch: pytest.MonkeyPatch, task: Any, model: torch.nn.Module, run: Path, split: str = "search"
) -> dict[str, float]:
    """What the real grader makes of this model."""
    run.mkdir(exist_ok=True)
    torch.save(model.state_dict(), run / "model.pt")
    (run / "clock.json").write_text(json.dumps(CLOCK))
    (run / "summary.json").write_text("{}")
    in_threads(patch, lambda: model)
    return grade(task, run, split)


def kept_of_pretrain(folder: Path, length: int = 64) -> tuple[Path, torch.nn.Module]:
    """(weights, model) of a run in a workspace of pretrain that is made in `folder`: rows of `length` bytes."""
    lab = folder / "lab"
    shutil.copytree(TASKS / "pretrain", lab)
    (folder / "text.txt").write_text("\n\n".join(f"{n} times {n * n % 97}, said the clerk." for n in range(3000)))
    told = (lab / "autoresearch.toml").read_text().partition("\n# What `init --profile NAME` applies")[0]
    own = f'\n[options]\ntokenizer = "byte"\nseq_len = {length}\nprofile = "tiny"\nsource = "{folder / "text.txt"}"\n'
    (lab / "autoresearch.toml").write_text(told.partition("\n[options]")[0] + own)
    weights = lab / ".autoresearch" / "runs" / "1" / "1" / "model.pt"
    weights.parent.mkdir(parents=True)
    with kept.imported(lab, "prepare") as prepare:
        prepare.TASK.prepare()
    with kept.imported(lab, "train") as train:
        torch.manual_seed(0)
        model: torch.nn.Module = train.build_model()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        torch.save(model.state_dict(), weights)
    return weights, model


def graded_weights(
    task: Any, model: torch.nn.Module, run: Path, patch: pytest.MonkeyPatch, split: str = "search"
) -> dict[str, float]:
    """What the grader makes of these weights; the process that reads them is in tests/harness/test_weights.py."""
    run.mkdir(exist_ok=True)
    torch.save(model.state_dict(), run / "model.pt")
    (run / "clock.json").write_text(json.dumps(CLOCK))
    (run / "summary.json").write_text(json.dumps({"response_bpb": 0.1, "learned_params_M": 0.5}))
    numbers = weights.plain((run / "model.pt").read_bytes(), task.shapes())
    patch.setattr(weights.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0, stdout=numbers, stderr=b""))
    return weights.grade_weights(task, run, split)


def learned(task: Any, parts: Any, split: str, steps: int, whole: bool) -> torch.nn.Module:
    """The base after some steps on a split, by the task's own trainer."""
    torch.manual_seed(1)
    model, data = task.base(), {name: torch.from_numpy(np.array(x, "i8")) for name, x in task.arrays(split).items()}
    changed = [*model.parameters()] if whole else parts.train.add_changes(model)
    optimizer = torch.optim.AdamW(changed, 0.01)
    for _ in range(steps):
        chosen = torch.randint(len(data["ids"]), (16,))
        parts.train.loss_of(model, data["ids"][chosen], data["span"][chosen]).backward()
        optimizer.step()
        optimizer.zero_grad()
    parts.train.merge(model)
    return model
