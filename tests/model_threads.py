"""A grader whose model processes are threads: the protocol without the start of a process."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from harness import model_process, models
from harness.channel import Channel


def in_threads(monkeypatch: pytest.MonkeyPatch, build_model: Callable[[], Any]) -> None:
    """Have the grader's model processes be threads that serve `build_model`: the protocol without its start."""
    train = ModuleType("train")
    train.build_model = build_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "train", train)

    class Thread(models.ModelProcess):
        def __init__(self, folder: Path, load_s: float, score_s: float) -> None:
            self.channel, other = Channel.pair()
            self.load_s, self.score_s, self.deadline, self.until = load_s, score_s, float("inf"), None
            threading.Thread(target=serve, args=[other], daemon=True).start()

        def end(self) -> None:
            self.channel.close()

    monkeypatch.setattr(models, "ModelProcess", Thread)


def serve(channel: Channel) -> None:
    try:
        model_process.Server(channel).serve()
    except model_process.Gone:
        channel.close()
