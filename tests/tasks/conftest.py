"""What tests of several files of this folder need."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from task_programs import TASKS, prepare_of, train_of


@pytest.fixture(scope="module")
def sft_parts() -> Iterator[Any]:
    """The modules of the task sft. torch has one thread: two cost more than they bring to a model of this size."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TASKS / "sft"))
        prepare = prepare_of("sft")
        with train_of("sft", prepare) as train:
            names = ("bases", "chat_ids", "pairs")
            yield SimpleNamespace(prepare=prepare, train=train, **{n: importlib.import_module(n) for n in names})
    torch.set_num_threads(threads)
