"""What a trainer of a language model iterates over."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.batches import Batches, flops_of_example
from harness.text.task import TextTask

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class DataLoader:
    """Batches of the training split; the feeder has the clock and says when to end.

    Iterating gives (x, y, progress): int64 [B, T] on the device, y one token further on than x, and the part of the
    budget that is spent, in [0, 1). Rows come once an epoch, in an order that depends on the seed alone.
    """

    def __init__(
        self, folder: Path, batch_size: int, seq_len: int, vocab_size: int, device: torch.device,
        flops_per_token: float | None = None,
    ) -> None:  # fmt: skip
        self.batch_size, self.seq_len, self.vocab_size, self.device = batch_size, seq_len, vocab_size, device
        self.batches = Batches(folder, device, batch_size, seq_len=seq_len, flops_per_token=flops_per_token)

    def warmup_batches(self, count: int, tensors: Iterable[Tensor] = ()) -> Iterator[tuple[Tensor, Tensor]]:
        """Random tokens in the shape of (x, y), to compile with before the clock starts.

        Name in `tensors` the parameters and whatever else the steps on them change (optimiser state): they have their
        values back afterwards, and no gradients.
        """
        import torch

        shape = (self.batch_size, self.seq_len + 1)

        def make(generator: torch.Generator) -> tuple[Tensor, Tensor]:
            ids = torch.randint(self.vocab_size, shape, generator=generator).to(self.device)
            return ids[:, :-1], ids[:, 1:]

        yield from self.batches.warmup(count, make, tensors)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, float]]:
        for (rows,), progress in self.batches:
            ids = rows.long()
            yield ids[:, :-1], ids[:, 1:], progress


def open_loader(task: TextTask, batch_size: int, seq_len: int, device: torch.device) -> DataLoader:
    """A loader of the training split. Exits with one line when the data is not prepared or the sizes are impossible."""
    flops = flops_per_token(task.profile.seq_len) if task.budget.kind == "flops" else None
    return DataLoader(task.folder, batch_size, seq_len, task.profile.vocab_size, device, flops)


def flops_per_token(seq_len: int) -> float:
    """Floating-point operations of training on one token of a row of T, in the model of the program that runs."""
    import torch

    build_model = getattr(sys.modules["__main__"], "build_model", None)
    if build_model is None:
        raise SystemExit("error: a budget of flops needs build_model() in the file that is run")
    return flops_of_example(build_model, lambda: torch.zeros(1, seq_len, dtype=torch.long)) / seq_len
