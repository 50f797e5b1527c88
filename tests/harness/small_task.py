"""A task of random rows for tests of feeder and grader."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness.files import Progress, digest
from harness.models import Models
from harness.task import Allowances, Budget, Training
from harness.text.rows import open_rows, write_rows
from harness.text.scoring import bits_per_byte

ROWS, T, V, CONTROL = 24, 16, 40, 8
BOS = V - 4


class Sizes:
    """Bytes of tokens, as a tokenizer tells them."""

    bos = BOS

    def token_bytes(self, reference: bool = False) -> np.ndarray:
        sizes = np.concatenate((np.random.default_rng(9).integers(1, 7, V - 4), np.zeros(4))).astype(np.int64)
        return sizes + 1 * (reference * (sizes > 0))


class SmallTask:
    """harness.task.Task on random rows."""

    tokens_per_example = T

    def __init__(self, folder: Path, budget: Budget, **allowances: Any) -> None:
        self.folder, self.budget, self.allowances = folder, budget, Allowances(**allowances)
        self.batch, self.probes = 8, 200

    def prepare(self, *, force: bool = False, workers: int = 4) -> Path:
        rng, folder = np.random.default_rng(0), self.data_folder()
        folder.mkdir(parents=True, exist_ok=True)
        for name, count in (("train", 50), ("search", ROWS), ("control", CONTROL)):
            rows = rng.integers(0, V - 4, (count, T + 1)).astype(np.uint16)
            rows[:, 0] = rows[:, 9] = BOS  # a document starts here
            write_rows(rows, folder / f"{name}.bin", T + 1, Progress("rows"))
        names = ("train.bin", "search.bin", "control.bin")
        (folder / "manifest.json").write_text(json.dumps({"sha256": {n: digest(folder / n) for n in names}}))
        return folder

    def data_folder(self) -> Path:
        return self.folder / "data"

    def prepared(self) -> Path:
        return self.data_folder()

    def describe(self) -> None:
        print("random rows")

    def training(self, asked: Mapping[str, Any]) -> Training:
        length = asked.get("seq_len", T)
        return Training((np.asarray(open_rows(self.prepared() / "train.bin"))[:, : length + 1],), length)

    def files(self, split: str) -> tuple[str, ...]:
        return (f"{split}.bin", "control.bin")

    def judge(self, models: Models, split: str, folder: Path) -> dict[str, float]:
        rows, control = (open_rows(self.prepared() / f"{name}.bin") for name in (split, "control"))
        sizes: Any = Sizes()
        score = bits_per_byte(models, rows, control, sizes, self.batch, self.probes)
        np.save(folder / "texts.npy", score.texts)
        return {"val_bpb": float(score.value), "val_bpb_reference": float(score.reference)}


class Table(torch.nn.Module):
    """Logits from a running mean of what came before in the row: causal, each row by itself."""

    def __init__(self, change: Callable[[torch.Tensor, torch.Tensor], Any]) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(V, V, generator=torch.Generator().manual_seed(1)))
        self.change = change

    def forward(self, x: torch.Tensor) -> Any:
        out = self.table[x].cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]
        return self.change(out, x)
