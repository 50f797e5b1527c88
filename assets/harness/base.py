"""A task whose data is made in one go: what such a task does not have to write."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import TaskError
from harness.files import data_path, digest, read_json, write_json
from harness.task import Allowances, Budget, Training


class BaseTask:
    """`harness.task.Task` but for `name`, `make` and `judge`.

    Data is a folder for each split, with files of arrays that have an example in each row; the feeder hands out those
    of `train`, in the order of their names.
    """

    name: str
    """Of the task's folder in the cache."""
    version = 1
    """To be raised when `make` makes something else."""
    allowances = Allowances()
    tokens_per_example = 1
    counts_flops = False
    """Whether it has a way to count floating-point operations: a trainer that takes plain `Batches` has not."""

    def __init__(self, folder: Path, options: Any, budget: Budget) -> None:
        if budget.kind == "flops" and not self.counts_flops:
            raise TaskError("the budget of this task is { seconds = N }, or tokens (examples) or steps")
        self.folder, self.options, self.budget = folder, options, budget

    def make(self, workers: int) -> Mapping[str, Mapping[str, np.ndarray]]:
        """The arrays of each split: `train`, `search`, `locked`. Raises TaskError."""
        raise NotImplementedError

    def complete(self, folder: Path) -> None:
        """Write what else belongs to the data into `folder`, which has the arrays already. Raises TaskError."""

    def origin(self) -> dict[str, str]:
        """What the manifest says of where the data came from, once it is made."""
        return {}

    def data_folder(self) -> Path:
        return data_path(self.name, "data", self.version, asdict(self.options))

    def prepared(self) -> Path:
        if not (self.data_folder() / "manifest.json").exists():
            raise TaskError("the data is not prepared; run: python prepare.py")
        return self.data_folder()

    def fingerprint(self) -> dict[str, str]:
        """What tells each source at a path from what it was before. One that is gone is not in it: then the data that
        was made of it stays."""
        path = Path(str(getattr(self.options, "source", "")))
        if not path.is_absolute() or not path.exists():  # else a name, as `init` makes every path absolute
            return {}
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        return {"source": " ".join(digest(file) for file in files if file.is_file())}

    def prepare(self, *, force: bool = False, workers: int = 4) -> Path:
        folder, found = self.data_folder(), self.fingerprint()
        manifest = folder / "manifest.json"
        if manifest.exists() and not force:
            known = read_json(manifest).get("fingerprint", {})
            if all(known.get(name, own) == own for name, own in found.items()):
                return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".part", dir=folder.parent))
        try:
            splits = self.make(workers)
            for split, arrays in splits.items():
                (part / split).mkdir()
                for name, array in arrays.items():
                    np.save(part / split / f"{name}.npy", array, allow_pickle=False)
            self.complete(part)
            files = sorted(path.relative_to(part).as_posix() for path in part.rglob("*") if path.is_file())
            counts = {split: len(next(iter(arrays.values()))) for split, arrays in splits.items()}
            hashes = {name: digest(part / name) for name in files}
            about: dict[str, Any] = {"splits": counts, "fingerprint": found, "sha256": hashes, **self.origin()}
            write_json(part / "manifest.json", about)
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # another process was first
                part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        print("ready     " + ", ".join(f"{split} {count} examples" for split, count in counts.items()), flush=True)
        return folder

    def describe(self) -> None:
        folder = self.prepared()
        print((folder / "manifest.json").read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.npy")):
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            print(f"{os.fspath(path.relative_to(folder))}: {array.dtype} {array.shape}")

    def arrays(self, split: str) -> dict[str, np.ndarray]:
        """The arrays of a split, mapped into memory. Raises TaskError without data."""
        folder = self.prepared() / split
        return {p.stem: np.load(p, mmap_mode="r", allow_pickle=False) for p in sorted(folder.glob("*.npy"))}

    def training(self, asked: Mapping[str, Any]) -> Training:
        return Training(tuple(self.arrays("train").values()), self.tokens_per_example)

    def files(self, split: str) -> tuple[str, ...]:
        names = read_json(self.prepared() / "manifest.json")["sha256"]
        return tuple(name for name in names if name.startswith(f"{split}/"))
