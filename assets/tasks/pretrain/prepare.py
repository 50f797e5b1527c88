"""Data and scoring rule of the pretrain task; the trainer may not change this file. Its commands:
harness/command_line.py.

The score is bits per byte of held-out text. Who computes it never imports the trainer's code, and the trainer sees
text only as the feeder hands it out (docs/processes.md). Three texts: climbmix (downloaded), the text of the Python
installation, or files of your own.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness import finish as ends
from harness.command_line import main
from harness.device import pick_device
from harness.errors import TaskError
from harness.fetch import fetch_from_hub, whole_parquet
from harness.files import cache_dir
from harness.finish import seed_everything
from harness.task import Allowances, Budget, read_task_file
from harness.text import documents
from harness.text.corpus import Corpus
from harness.text.loader import DataLoader, open_loader
from harness.text.task import Profile, TextTask
from harness.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["EVAL_TOKENS", "MAX_SEQ_LEN", "MAX_WEIGHTS", "PROFILE", "TIME_BUDGET", "VOCAB_SIZE", "DataLoader",
           "Tokenizer", "finish", "log_step", "make_dataloader", "pick_device", "seed_everything",
           "tokenizer"]  # fmt: skip

HERE = Path(__file__).resolve().parent
CLIMBMIX, CLIMBMIX_LAST = "karpathy/climbmix-400b-shuffle", 6542  # the last shard is held out
OFFLINE = "use --source python, which needs no network"
MOST_LOCKED = 1000


# full packs as karpathy/autoresearch does: what is cropped from a document is dropped
PROFILES = {
    "full": Profile(2048, 8192, 40 * 524_288, 32, 4096, 10**12, 10**9, 20, False, Allowances(60, 300, 2**33, 300)),
    "small": Profile(1024, 4096, 2**20, 16, 2048, 10**9, 2 * 10**8, 4, True, Allowances(30, 180, 2**31, 180)),
    "tiny": Profile(256, 2048, 2**15, 16, 1024, 32 * 10**6, 8 * 10**6, 1, True, Allowances(15, 60, 2**26, 120)),
}


@dataclass(frozen=True, slots=True)
class Options:
    """[options] of autoresearch.toml."""

    profile: str = field(default="tiny", metadata={"choices": tuple(PROFILES), "help": "the scale of the task"})
    source: str = field(
        default="python", metadata={"help": "climbmix, python, or the path of a file or folder of text"}
    )
    column: str = field(default="text", metadata={"help": "column or key of the text in parquet and jsonl files"})
    shards: int = field(default=0, metadata={"help": "training shards of climbmix; 0 is the profile's own number"})
    seq_len: int = field(default=0, metadata={"help": "tokens of a row; what was tokenised before is packed anew"})
    tokenizer: str = field(default="bpe", metadata={"choices": ("bpe", "byte"), "help": "byte: one token a byte"})
    locked: int = field(default=0, metadata={"help": "which fresh locked split; 0 is the one held out at first"})

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise TaskError(f"no profile is called {self.profile!r}; choose from: {', '.join(PROFILES)}")
        if self.tokenizer not in ("bpe", "byte") or not 0 <= self.seq_len <= 2**20 or self.shards < 0:
            raise TaskError('[options] takes tokenizer = "bpe" or "byte", seq_len = 0 to 1048576, shards >= 0')
        if not 0 <= self.locked <= MOST_LOCKED:
            raise TaskError(f"[options] takes locked = 0 to {MOST_LOCKED}")


class Pretrain(TextTask):
    """The pretrain task: `harness.task.Task`."""

    name, named = "pretrain", ("climbmix", "python")

    def __init__(self, folder: Path, options: Options, budget: Budget) -> None:
        super().__init__(folder, options, budget, PROFILES[options.profile])

    def source_key(self) -> tuple[object, ...]:
        source, column, version = super().source_key()
        return (source, column, self.options.shards or self.profile.shards, version)

    @property
    def held_out_shard(self) -> int:
        """Of climbmix: the last, and with fresh locked splits the one before it, and so on."""
        return CLIMBMIX_LAST - self.options.locked

    def source_files(self, workers: int = 4) -> dict[Path, int]:
        if self.options.source != "climbmix":
            return super().source_files(workers)
        count = self.options.shards or self.profile.shards
        return dict.fromkeys(climbmix_shards(count, self.held_out_shard, workers), sys.maxsize)

    def share(self, total: int) -> documents.Share:
        """Climbmix holds out one shard; a fresh locked split of it is of another shard, and so are the others then."""
        if self.options.source != "climbmix":
            return super().share(total)
        return lambda path: (0.4, False) if path.stem.endswith(f"_{self.held_out_shard:05d}") else (0.0, True)

    def corpus(self, workers: int = 4, *, whole: bool = False) -> Corpus:
        made = super().corpus(workers, whole=self.options.source == "climbmix")
        return replace(made, fresh=0) if self.options.source == "climbmix" else made


def climbmix_shards(count: int, held_out: int, workers: int) -> list[Path]:
    """The first `count` shards and the one that is held out; what is not there is downloaded."""
    folder = cache_dir() / "climbmix"
    paths = [folder / f"shard_{i:05d}.parquet" for i in (*range(min(count, held_out)), held_out)]
    fetch_from_hub(CLIMBMIX, paths, folder, workers, whole_parquet, OFFLINE)
    return paths


# ------------------------------------------------------------------------------------------------------------
# For the trainer
# ------------------------------------------------------------------------------------------------------------

try:
    TASK = Pretrain(HERE, *read_task_file(HERE, Options))
except TaskError as error:
    raise SystemExit(f"error: {error}") from None
PROFILE, MAX_SEQ_LEN, VOCAB_SIZE = TASK.options.profile, TASK.profile.seq_len, TASK.profile.vocab_size
EVAL_TOKENS = TASK.profile.eval_tokens
TIME_BUDGET, MAX_WEIGHTS = TASK.budget.seconds, TASK.allowances.weights_bytes


def make_dataloader(
    batch_size: int, seq_len: int = MAX_SEQ_LEN, split: str = "train", device: torch.device | None = None
) -> DataLoader:
    """The batches of a run. Exits with one line when the data is not prepared or the sizes are impossible."""
    if split != "train":
        raise SystemExit(f"error: the trainer may not read the {split} split; use make_dataloader(B, T, 'train')")
    return open_loader(TASK, batch_size, seq_len, device or pick_device())


def tokenizer() -> Tokenizer:
    """The tokenizer of the prepared data."""
    return TASK.tokenizer()


def log_step(**values: float) -> None:
    """Add a line to the run's learning curve; a value that is not finite becomes null."""
    ends.log_step(HERE, **values)


def finish(model: nn.Module, **stats: float) -> None:
    """Give the weights to the feeder; by hand, have them graded and print the score.

    `stats` are figures that the trainer reports of itself: they are shown, and nothing is decided on them.
    """
    ends.finish(HERE, model, **stats)


if __name__ == "__main__":
    main(HERE, Options, Pretrain)
