"""A kept model of the task pretrain, for tasks that begin with one.

Its forward pass is the train.py of the commit that it was kept with, which whoever names such a model trusts: that code
runs wherever the model does, the grader included. Weights are loaded as tensors alone.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from harness.errors import TaskError

if TYPE_CHECKING:
    from torch import nn

    from harness.text.tokenizer import Tokenizer

WEIGHTS, TOKENS = "model.pt", "tokenizer.json"
PROGRAM = ("train.py", "prepare.py", "autoresearch.toml")
"""Files of a workspace of pretrain."""


def copied(source: str, folder: Path) -> Path:
    """Put program, weights and tokenizer of the kept run whose model.pt is at `source` into `folder`, and return the
    resolved path. Raises TaskError."""
    weights, workspace = _found(source)
    commit = _commit_of(weights, workspace)
    for name in PROGRAM:
        if commit is None:  # made by hand, or in no repository
            shutil.copy(workspace / name, folder / name)
        else:
            (folder / name).write_bytes(_committed(workspace, commit, name))
    shutil.copy(weights, folder / WEIGHTS)
    tokenizer(source).save(folder / TOKENS)
    return weights


def tokenizer(source: str) -> Tokenizer:
    """The tokenizer of such a run. Raises TaskError."""
    _, workspace = _found(source)
    try:
        with imported(workspace, "prepare") as prepare:
            found: Tokenizer = prepare.tokenizer()
    except TaskError as error:
        raise TaskError(f"{source}: in {workspace}: {error}") from None
    except Exception as error:
        raise TaskError(f"prepare.py of {workspace} gives no tokenizer here ({_words(error)}); upgrade it") from None
    return found


def _found(source: str) -> tuple[Path, Path]:
    """(weights, workspace) of a kept run. Raises TaskError."""
    weights = Path(source).expanduser().resolve()
    workspace = next((p for p in weights.parents if all((p / name).is_file() for name in PROGRAM)), None)
    if workspace is None or not weights.is_file() or _task_of(workspace) != "pretrain":
        raise TaskError(f"{source} is not in a workspace of pretrain; give the model.pt of one of its kept runs")
    return weights, workspace


def _task_of(workspace: Path) -> object:
    try:
        table = tomllib.loads((workspace / PROGRAM[2]).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return table.get("task", {}).get("name")


def _commit_of(weights: Path, workspace: Path) -> str | None:
    """The commit of the experiment in whose folder the weights lie; None for those of no experiment."""
    number = re.search(r"/runs/(\d+)/", weights.as_posix())
    journal = workspace / "autoresearch.jsonl"
    if number is None or not journal.is_file():
        return None
    commit = None
    for line in journal.read_bytes().splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and event.get("run") == int(number[1]) and isinstance(event.get("commit"), str):
            commit = event["commit"]
    return commit


def _committed(workspace: Path, commit: str, name: str) -> bytes:
    command = ["git", "-C", str(workspace), "show", f"{commit}:./{name}"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise TaskError(f"the commit {commit[:12]} of these weights is not in {workspace}; name a kept run of it")
    return done.stdout


def loaded(folder: Path) -> tuple[nn.Module, int]:
    """(model on the CPU, the most tokens of a row) of what `copied` has left, computing as in an evaluation. Raises
    TaskError."""
    import torch

    try:
        weights = torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True)
        with imported(folder, "train") as program:
            if sizes := sizes_of(weights):  # else it would choose them by the machine
                program.model_size = lambda: sizes  # type: ignore[attr-defined]
            model, context = program.build_model(), program.MAX_SEQ_LEN
        model.load_state_dict(weights)
    except (Exception, SystemExit) as error:  # of somebody's program
        told = f"its train.py does not fit these weights here ({_words(error)})"
        raise TaskError(f"{told}; name another kept run, or set DEPTH and WIDTH in that file") from None
    return model.eval(), context


def sizes_of(weights: Mapping[str, Any]) -> tuple[int, int] | None:
    """(layers, width) as the names of pretrain's own model tell them; None where they are others."""
    layers = {int(found[1]) for name in weights if (found := re.match(r"blocks\.(\d+)\.", name))}
    table = weights.get("embedding.weight")
    return (len(layers), table.size(1)) if layers and table is not None else None


def _words(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]


@contextmanager
def imported(folder: Path, name: str) -> Iterator[ModuleType]:
    """A module of another workspace, whose train.py imports its own prepare.py."""
    names = ("prepare", "train")
    ours = {key: sys.modules.pop(key) for key in names if key in sys.modules}
    try:
        for key in names[: names.index(name) + 1]:
            # Compiled here: bytecode beside it would become a part of the data, and could be somebody else's.
            path, module = folder / f"{key}.py", ModuleType(key)
            module.__file__, sys.modules[key] = str(path), module
            exec(compile(path.read_bytes(), path, "exec"), module.__dict__)
        yield sys.modules[name]
    finally:
        for key in names:
            sys.modules.pop(key, None)
        sys.modules.update(ours)
