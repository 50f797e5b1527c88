"""A task that trains a language model: what such a task does not have to write."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import TaskError
from harness.files import data_path, read_json, written
from harness.models import Models
from harness.task import Allowances, Budget, Training
from harness.text import documents
from harness.text.corpus import Corpus
from harness.text.packing import PACK_BUFFER, PACK_REFILL
from harness.text.rows import open_rows
from harness.text.scoring import bits_per_byte
from harness.text.tokenizer import SPECIAL_TOKENS, SPLIT_PATTERN, Tokenizer

FORMAT = 3
"""Of what `prepare` writes; prepared data of another number is not used."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The sizes of one scale of a task. Results of different profiles are not comparable."""

    seq_len: int  # T: tokens a model sees in one row; a stored row has T + 1
    vocab_size: int  # token ids, the four special ones included; at most 2^15
    eval_tokens: int  # targets of one evaluation; a small source gives fewer
    eval_batch: int  # rows of one evaluation batch; the score does not depend on it
    probes: int  # places that a second process scores again
    text_bytes: int  # the most text read from the python source or a path
    tokenizer_bytes: int  # training text that the tokenizer learns from
    shards: int  # training shards of a downloaded corpus
    cut_long: bool  # cut documents longer than a row, so that no text of a small source is lost
    allowances: Allowances


class TextTask:
    """`harness.task.Task` but for `name`, and for the sources that a task has beside Python's text and paths.

    Options are a dataclass with `profile`, `source`, `column`, `seq_len` and `tokenizer`, and what a task adds; with
    `locked`, which fresh locked split it is, where it can have another than the first.
    """

    name: str
    """Of the task's folder in the cache."""
    named: tuple[str, ...] = ("python",)
    """Sources that are no path."""

    def __init__(self, folder: Path, options: Any, budget: Budget, own: Profile) -> None:
        """`own` are the sizes of the profile that the options name; the options may change some of them."""
        vocab_size = own.vocab_size if options.tokenizer == "bpe" else 256 + len(SPECIAL_TOKENS)
        self.folder, self.budget, self.allowances = folder, budget, own.allowances
        self.profile = replace(own, seq_len=options.seq_len or own.seq_len, vocab_size=vocab_size)
        self.tokens_per_example = self.profile.seq_len
        source = options.source if options.source in self.named else str(Path(options.source).expanduser().resolve())
        self.options = replace(options, source=source)
        self.fresh: int = getattr(options, "locked", 0)

    def source_key(self) -> tuple[object, ...]:
        """What the text depends on; no file of the source is read to tell."""
        version = sys.version if self.options.source == "python" else ""
        return (self.options.source, self.options.column, version)

    def source_files(self, workers: int = 4) -> dict[Path, int]:
        """The files to read, in order, each with the most bytes of text to read of it. Raises TaskError without any."""
        python = self.options.source == "python"
        files = documents.python_files() if python else documents.text_files(Path(self.options.source))
        return documents.limited(files, self.profile.text_bytes)

    def share(self, total: int) -> documents.Share:
        """Python's text holds out the files that no run needs, any other source of `total` bytes a tenth of its
        documents for each of two splits; each at most what an evaluation needs."""
        needed = 6 * self.profile.eval_tokens  # bytes: a token has fewer than 6
        if self.options.source != "python":
            return lambda path: (min(0.1, needed / max(total, 1)), True)
        held_out = {
            path: path.stat().st_size for path in documents.python_files() if documents.held_out_of_python(path)
        }
        part = min(0.4, needed / max(sum(held_out.values()), 1))
        return lambda path: (part, False) if path in held_out else (0.0, True)

    def token_folder(self) -> Path:
        """Where the tokenised text lives; it serves every T."""
        p = self.profile
        sizes = (p.vocab_size, p.eval_tokens, p.text_bytes, p.tokenizer_bytes)
        about = (*self.source_key(), self.options.tokenizer, SPLIT_PATTERN, *sizes)
        return data_path(self.name, "tokens", FORMAT, *about, *([self.fresh] if self.fresh else []))

    def data_folder(self) -> Path:
        p, name = self.profile, self.options.profile
        return data_path(self.name, name, self.token_folder().name, p.seq_len, p.cut_long, PACK_BUFFER, PACK_REFILL)

    def prepared(self) -> Path:
        if not (self.data_folder() / "manifest.json").exists():
            raise TaskError("the data is not prepared; run: python prepare.py")
        return self.data_folder()

    def fingerprint(self) -> str:
        """Of the files at a path; else empty."""
        if self.options.source in self.named or not Path(self.options.source).exists():
            return ""
        return documents.fingerprint(self.source_files())

    def corpus(self, workers: int = 4, *, whole: bool = False) -> Corpus:
        """How the data is made; `whole` where documents of the source are pieces already."""
        p, o = self.profile, self.options
        about = {"profile": {"name": o.profile, **asdict(p)}, "source": o.source, "tokenizer": o.tokenizer,
                 "python": sys.version if o.source == "python" else None}  # fmt: skip
        if self.fresh:
            about["locked"] = self.fresh
        return Corpus(
            self.data_folder(), self.token_folder(), o.source, partial(self.source_files, workers), self.share,
            self.fingerprint, about, p.seq_len, p.vocab_size, p.eval_tokens, p.text_bytes, p.tokenizer_bytes,
            p.cut_long, whole=whole, column=o.column, fresh=self.fresh,
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
        own = self.tokenizer()
        for number, row in enumerate(open_rows(folder / "train.bin")[:samples]):
            print(f"--- row {number}\n{own.decode(row.tolist())}")

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the prepared data."""
        return Tokenizer.load(self.prepared() / "tokenizer.json")

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
        score = bits_per_byte(models, rows, control, self.tokenizer(), p.eval_batch, p.probes)
        with written(folder / f"bits-{split}.npy") as part, part.open("wb") as file:
            np.save(file, score.texts)
        return {"val_bpb": float(score.value), "val_bpb_reference": float(score.reference)}
