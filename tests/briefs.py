"""Briefs for agents: a folder with the files of a small repository, and a session from a few rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab import task_file
from sessions import session

from autoresearch.loop.agents.base import Brief
from autoresearch.workspace.task_file import parse

TRAIN = "LR = 0.01\nDEPTH = 4\n\n\ndef train() -> float:\n    return LR * DEPTH\n"


def brief(folder: Path, *, task: dict[str, Any] | None = None, **more: Any) -> Brief:
    """A brief whose folder has `train.py`, which may be changed, and `bench.sh`, which may not."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.py").write_text(TRAIN)
    (folder / "bench.sh").write_text("python train.py\n")
    files = {"mutable": ["train.py", "src"], "immutable": ["bench.sh", "autoresearch.toml"]}
    given = {
        "folder": folder,
        "session": session(("keep", 95.0, "a rate of 0.01", {"hypothesis": "it was too low"}),
                           ("discard", 99.0, "depth 4 to 6"), ("crash", None, "depth 400")),
        "task": parse(task_file(files=files, **(task or {}))),
        "parent": 2,
        "mode": "improve",
        "reason": "the best so far",
    }  # fmt: skip
    return Brief(**{**given, **more})
