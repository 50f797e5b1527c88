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
import tempfile
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
    _program(weights, workspace, folder)
    shutil.copy(weights, folder / WEIGHTS)
    _tokenizer(folder, workspace).save(folder / TOKENS)
    return weights


def tokenizer(source: str) -> Tokenizer:
    """The tokenizer of such a run. Raises TaskError."""
    weights, workspace = _found(source)
    with tempfile.TemporaryDirectory() as name:
        _program(weights, workspace, Path(name))
        return _tokenizer(Path(name), workspace)


def _program(weights: Path, workspace: Path, folder: Path) -> None:
    """Put the files of the commit of these weights into `folder`; those that lie there, of weights made by hand."""
    commit = _commit_of(weights, workspace)
    for name in PROGRAM:
        if commit is None:
            shutil.copy(workspace / name, folder / name)
        else:
            (folder / name).write_bytes(_committed(workspace, commit, name))


def _tokenizer(folder: Path, workspace: Path) -> Tokenizer:
    try:
        with imported(folder, "prepare") as prepare:
            found: Tokenizer = prepare.tokenizer()
    except (Exception, SystemExit) as error:  # of somebody's program
        raise TaskError(
            f"the tokenizer of {workspace} cannot be had ({_words(error)}); prepare its data there"
        ) from None
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
    """The commit of the experiment in whose folder the weights lie; None for those of no experiment. Raises TaskError
    for an experiment that the journal does not know."""
    number = re.search(r"(?:^|/)runs/(\d+)/", weights.relative_to(workspace).as_posix())
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
    if commit is None:
        raise TaskError(f"{journal} knows no experiment {number[1]}; give the model.pt of one of its kept runs")
    return commit


def _committed(workspace: Path, commit: str, name: str) -> bytes:
    try:
        return subprocess.run(
            ["git", "-C", str(workspace), "show", f"{commit}:./{name}"], capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        raise TaskError(f"git has no {name} of {commit[:12]} in {workspace}; name a kept run of it") from None


def loaded(folder: Path) -> tuple[nn.Module, int]:
    """(model on the CPU, the most tokens of a row) of what `copied` has left, computing as in an evaluation. Raises
    TaskError."""
    import torch

    try:
        weights = torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True)
        with imported(folder, "train") as program:
            model, context, sizes = program.build_model(), program.MAX_SEQ_LEN, sizes_of(weights)
            shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
            if shapes != {name: tensor.shape for name, tensor in weights.items()} and sizes is not None:
                program.model_size = lambda: sizes  # type: ignore[attr-defined]  # it chose them by the machine
                model = program.build_model()
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
