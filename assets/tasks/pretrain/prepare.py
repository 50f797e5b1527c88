"""Data and scoring rule of the pretrain task; the trainer may not change this file. Its commands:
harness/command_line.py.

The score is bits per byte of held-out text. Who computes it never imports the trainer's code, and the trainer sees
text only as the feeder hands it out (docs/processes.md). Three texts: climbmix (downloaded), the text of the Python
installation, or files of your own.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from harness import finish as ends
from harness.command_line import main
from harness.device import pick_device
from harness.errors import TaskError
from harness.fetch import fetch_from_hub, whole_parquet
from harness.files import cache_dir, data_path, read_json, written
from harness.finish import seed_everything
from harness.models import Models
from harness.task import Allowances, Budget, Training, read_task_file
from harness.text import documents
from harness.text.corpus import Corpus
from harness.text.loader import DataLoader
from harness.text.packing import PACK_BUFFER, PACK_REFILL
from harness.text.rows import open_rows
from harness.text.scoring import bits_per_byte
from harness.text.tokenizer import SPECIAL_TOKENS, SPLIT_PATTERN, Tokenizer

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["EVAL_TOKENS", "MAX_SEQ_LEN", "PROFILE", "TIME_BUDGET", "VOCAB_SIZE", "DataLoader", "Tokenizer", "finish",
           "log_step", "make_dataloader", "pick_device", "seed_everything", "tokenizer"]  # fmt: skip

HERE = Path(__file__).resolve().parent
FORMAT = 3  # of what `prepare` writes; prepared data of another number is not used
CLIMBMIX, CLIMBMIX_LAST = "karpathy/climbmix-400b-shuffle", 6542  # the last shard is held out
OFFLINE = "use --source python, which needs no network"


@dataclass(frozen=True, slots=True)
class Profile:
    """The sizes of one scale of the task. Results of different profiles are not comparable."""

    seq_len: int  # T: tokens a model sees in one row; a stored row has T + 1
    vocab_size: int  # token ids, the four special ones included; at most 2^15
    eval_tokens: int  # targets of one evaluation; a small source gives fewer
    eval_batch: int  # rows of one evaluation batch; the score does not depend on it
    probes: int  # places that a second process scores again
    text_bytes: int  # the most text read from the python source or a path
    tokenizer_bytes: int  # training text that the tokenizer learns from
    shards: int  # training shards of climbmix
    cut_long: bool  # cut documents longer than a row, so that no text of a small source is lost
    allowances: Allowances


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

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise TaskError(f"no profile is called {self.profile!r}; choose from: {', '.join(PROFILES)}")
        if self.tokenizer not in ("bpe", "byte") or not 0 <= self.seq_len <= 2**20 or self.shards < 0:
            raise TaskError('[options] takes tokenizer = "bpe" or "byte", seq_len = 0 to 1048576, shards >= 0')


class Pretrain:
    """The pretrain task: `harness.task.Task`."""

    def __init__(self, folder: Path, options: Options, budget: Budget) -> None:
        own = PROFILES[options.profile]
        vocab_size = own.vocab_size if options.tokenizer == "bpe" else 256 + len(SPECIAL_TOKENS)
        self.folder, self.budget, self.allowances = folder, budget, own.allowances
        self.profile = replace(own, seq_len=options.seq_len or own.seq_len, vocab_size=vocab_size)
        self.tokens_per_example = self.profile.seq_len
        named = options.source in ("climbmix", "python")
        source = options.source if named else str(Path(options.source).expanduser().resolve())
        self.options = replace(options, source=source)

    def token_folder(self) -> Path:
        """Where the tokenised text lives; it serves every T. No file of the source is read to tell."""
        p, o, version = self.profile, self.options, sys.version if self.options.source == "python" else ""
        source = (o.source, o.column, o.shards or p.shards, version, o.tokenizer, SPLIT_PATTERN)
        sizes = (p.vocab_size, p.eval_tokens, p.text_bytes, p.tokenizer_bytes)
        return data_path("pretrain", "tokens", FORMAT, *source, *sizes)

    def data_folder(self) -> Path:
        p, name = self.profile, self.options.profile
        return data_path("pretrain", name, self.token_folder().name, p.seq_len, p.cut_long, PACK_BUFFER, PACK_REFILL)

    def prepared(self) -> Path:
        if not (self.data_folder() / "manifest.json").exists():
            raise TaskError("the data is not prepared; run: python prepare.py")
        return self.data_folder()

    def source_files(self, workers: int = 4) -> dict[Path, int]:
        """The files to read, in order, each with the most bytes of text to read of it. Raises TaskError without any."""
        if self.options.source == "climbmix":
            return dict.fromkeys(climbmix_shards(self.options.shards or self.profile.shards, workers), sys.maxsize)
        python = self.options.source == "python"
        files = documents.python_files() if python else documents.text_files(Path(self.options.source))
        return documents.limited(files, self.profile.text_bytes)

    def share(self, total: int) -> documents.Share:
        """Climbmix holds out its last shard, Python's text the files that no run needs, any other source of `total`
        bytes a tenth of its documents for each of two splits; each at most what an evaluation needs."""
        needed, source = 6 * self.profile.eval_tokens, self.options.source  # bytes: a token has fewer than 6
        if source == "climbmix":
            return lambda path: (0.4, False) if path.stem.endswith(str(CLIMBMIX_LAST)) else (0.0, True)
        if source != "python":
            return lambda path: (min(0.1, needed / max(total, 1)), True)
        held_out = {
            path: path.stat().st_size for path in documents.python_files() if documents.held_out_of_python(path)
        }
        part = min(0.4, needed / max(sum(held_out.values()), 1))
        return lambda path: (part, False) if path in held_out else (0.0, True)

    def fingerprint(self) -> str:
        """Of the files at a path; else empty."""
        path = Path(self.options.source)
        if self.options.source in ("climbmix", "python") or not path.exists():
            return ""
        return documents.fingerprint(self.source_files())

    def corpus(self, workers: int = 4) -> Corpus:
        p, o = self.profile, self.options
        about = {"profile": {"name": o.profile, **asdict(p)}, "source": o.source, "tokenizer": o.tokenizer,
                 "python": sys.version if o.source == "python" else None}  # fmt: skip
        return Corpus(
            self.data_folder(), self.token_folder(), o.source, partial(self.source_files, workers), self.share,
            self.fingerprint, about, p.seq_len, p.vocab_size, p.eval_tokens, p.text_bytes, p.tokenizer_bytes,
            p.cut_long, whole=o.source == "climbmix", column=o.column,
        )  # fmt: skip

    def prepare(self, *, force: bool = False, workers: int = 4) -> Path:
        folder = self.corpus(workers).prepare(force)
        counts = read_json(folder / "manifest.json")["splits"]
        rows = ", ".join(f"{split} {counts[split]['rows']} rows" for split in documents.SPLITS)
        print(f"ready     {self.options.source}: {rows}")
        return folder

    def describe(self, samples: int = 3) -> None:
        """Print the manifest, the size of each file, and the first training rows as text."""
        folder = self.prepared()
        print((folder / "manifest.json").read_text(encoding="utf-8"))
        for path in sorted(folder.iterdir()):
            print(f"{path.stat().st_size / 1e6:10.2f} MB  {path}")
        own = Tokenizer.load(folder / "tokenizer.json")
        for number, row in enumerate(open_rows(folder / "train.bin")[:samples]):
            print(f"--- row {number}\n{own.decode(row.tolist())}")

    def training(self, asked: Mapping[str, Any]) -> Training:
        seq_len = asked.get("seq_len")
        if type(seq_len) is not int or not 1 <= seq_len <= self.profile.seq_len:
            raise TaskError(f"seq_len must be between 1 and {self.profile.seq_len}")
        return Training((np.asarray(open_rows(self.prepared() / "train.bin"))[:, : seq_len + 1],), seq_len)

    def files(self, split: str) -> tuple[str, ...]:
        return ("tokenizer.json", "train.bin", "control.bin", f"{split}.bin")

    def judge(self, models: Models, split: str, folder: Path) -> dict[str, float]:
        data, p = self.prepared(), self.profile
        rows, control = (open_rows(data / f"{name}.bin") for name in (split, "control"))
        own = Tokenizer.load(data / "tokenizer.json")
        score = bits_per_byte(models, rows, control, own, p.eval_batch, p.probes)
        with written(folder / f"bits-{split}.npy") as part, part.open("wb") as file:
            np.save(file, score.texts)
        return {"val_bpb": float(score.value), "val_bpb_reference": float(score.reference)}


def climbmix_shards(count: int, workers: int) -> list[Path]:
    """The first `count` shards and the last; what is not there is downloaded."""
    folder = cache_dir() / "climbmix"
    paths = [folder / f"shard_{i:05d}.parquet" for i in (*range(min(count, CLIMBMIX_LAST)), CLIMBMIX_LAST)]
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
TIME_BUDGET = TASK.budget.seconds


def make_dataloader(
    batch_size: int, seq_len: int = MAX_SEQ_LEN, split: str = "train", device: torch.device | None = None
) -> DataLoader:
    """The batches of a run. Exits with one line when the data is not prepared or the sizes are impossible."""
    if split != "train":
        raise SystemExit(f"error: the trainer may not read the {split} split; use make_dataloader(B, T, 'train')")
    flops = None
    if TASK.budget.kind == "flops":
        flops = flops_per_token(getattr(sys.modules["__main__"], "build_model", None))
    return DataLoader(HERE, batch_size, seq_len, VOCAB_SIZE, device or pick_device(), flops)


def flops_per_token(build_model: Any) -> float:
    """Floating-point operations of training on one token of a row of T."""
    import torch
    from harness.batches import flops_of_example

    if build_model is None:
        raise SystemExit("error: a budget of flops needs build_model() in the file that is run")
    return flops_of_example(build_model, lambda: torch.zeros(1, MAX_SEQ_LEN, dtype=torch.long)) / MAX_SEQ_LEN


def tokenizer() -> Tokenizer:
    """The tokenizer of the prepared data."""
    return Tokenizer.load(TASK.prepared() / "tokenizer.json")


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
