"""Making the data of a task whose training data is text: text -> tokenizer -> tokens -> packed rows."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import TaskError
from harness.files import Progress, digest, read_json, write_json, written
from harness.text.documents import BLOCK, SPLITS, Share, documents
from harness.text.packing import cut_tokens, pack, read_tokens
from harness.text.rows import HEADER, MAGIC, write_rows
from harness.text.tokenizer import SPECIAL_TOKENS, Tokenizer

GROUP_BYTES = 2**26
"""Of source files whose tokens go into one file."""

CONTROL_ROWS = 512
"""The most rows of `control`; else half as many as `search` has."""


@dataclass(frozen=True)
class Corpus:
    """How the text of one task becomes rows."""

    folder: Path
    """Where rows, tokenizer and manifest will be."""
    tokens: Path
    """Where the tokenised text will be; it serves every length of row."""
    source: str
    """What error messages call it."""
    files: Callable[[], dict[Path, int]]
    """The files to read, in order, each with the most bytes of text to read of it; it may download them."""
    share: Callable[[int], Share]
    """From the bytes of all files: how each file's documents are split."""
    fingerprint: Callable[[], str]
    """What changes with the source; empty for one that does not."""
    about: dict[str, Any]
    """For the manifest."""
    seq_len: int
    """T; a row has a token more."""
    vocab_size: int
    eval_tokens: int
    """Targets of one evaluation."""
    text_bytes: int
    """The most text that is read."""
    tokenizer_bytes: int
    """Training text that the tokenizer learns from."""
    cut_long: bool
    """Cut documents longer than a row, so that no text of a small source is lost."""
    whole: bool = False
    """Whether documents of the source are pieces already, and only the longest are cut."""
    column: str = "text"
    """Of parquet and jsonl files."""
    fresh: int = 0
    """Which fresh locked split it has; 0 is the first, which every preparation begins with."""

    def prepare(self, force: bool = False) -> Path:
        """Make the data unless it is there and its source unchanged. Returns its folder.

        Killed at any time and called again, it goes on with the files of tokens that were finished.
        """
        folder, tokens, found = self.folder, self.tokens, self.fingerprint()
        manifest, source = folder / "manifest.json", tokens / "source.json"
        if manifest.exists() and not force and found in ("", read_json(manifest)["fingerprint"]):
            return folder
        if force or not source.exists() or read_json(source) != found:
            shutil.rmtree(tokens, ignore_errors=True)
            tokens.mkdir(parents=True)
            write_json(source, found)
        part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".part", dir=folder.parent))
        try:
            files = self.files()
            counts = self.tokenize(files)
            self.pack_splits(part, counts)
            own = {**self.about, "files": len(files), "splits": counts, "fingerprint": found}
            names = ("tokenizer.json", *(f"{split}.bin" for split in SPLITS))
            write_json(part / "manifest.json", own | {"sha256": {name: digest(part / name) for name in names}})
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # another process was first: its files are the same
                part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return folder

    def read(self, files: dict[Path, int], total: int) -> Iterator[tuple[str, str, int]]:
        """(split, text, UTF-8 bytes) of each document. One longer than a thousandth of the source is cut, so that one
        big file has splits too."""
        longest = BLOCK if self.whole else min(BLOCK, max(total // 1000, min(4096, total // 100), 64))
        return documents(files, self.column, self.share(total), longest, self.fresh)

    def tokenize(self, files: dict[Path, int]) -> dict[str, dict[str, int]]:
        """Write tokenizer.json, and for each group of files NUMBER-SPLIT.bin and, last, NUMBER.json, the group's
        counts.

        Returns documents, bytes and tokens of each split. A group is what an interrupted call has to do again at most.
        """
        groups: dict[int, dict[Path, int]] = {}
        before, total = 0, min(self.text_bytes, sum(path.stat().st_size for path in files))
        for path, most in files.items():
            groups.setdefault(before // GROUP_BYTES, {})[path] = most
            before += path.stat().st_size
        if not (self.tokens / "tokenizer.json").exists():
            progress = Progress("tokenizer")
            learned = Tokenizer.train(self.training_text(files, total, progress), self.vocab_size)
            learned.save(self.tokens / "tokenizer.json")
            progress.done(f"{len(learned.tokens) + len(SPECIAL_TOKENS)} entries")
        tokenizer, progress = Tokenizer.load(self.tokens / "tokenizer.json"), Progress("tokens")
        counts = {split: {"documents": 0, "bytes": 0, "tokens": 0} for split in SPLITS}
        for number, group in groups.items():
            index = self.tokens / f"{number:05d}.json"
            if not index.exists():
                write_tokens(self.read(group, total), tokenizer, index, progress)
            for split, added in read_json(index).items():
                counts[split] = {key: counts[split][key] + added[key] for key in added}
        progress.done(", ".join(f"{split} {counts[split]['tokens'] / 1e6:.2f} M" for split in SPLITS))
        return counts

    def training_text(self, files: dict[Path, int], total: int, progress: Progress) -> Iterator[str]:
        """The first `tokenizer_bytes` of training text."""
        read = 0
        for split, text, size in self.read(files, total):
            if split == "train":
                yield text
                read += size
                progress.update(f"{read / 1e6:.0f} MB read")
            if read > self.tokenizer_bytes:
                return

    def pack_splits(self, folder: Path, counts: dict[str, dict[str, int]]) -> None:
        """Write tokenizer.json and a file of rows for each split; adds the rows to `counts`."""
        width, progress, enough = self.seq_len + 1, Progress("rows"), self.eval_tokens // self.seq_len
        shutil.copy(self.tokens / "tokenizer.json", folder)
        bos = Tokenizer.load(self.tokens / "tokenizer.json").bos
        most = {"train": sys.maxsize, "control": min(CONTROL_ROWS, enough // 2)}
        for split in SPLITS:
            ids = read_tokens(sorted(self.tokens.glob(f"*-{split}.bin")), bos)
            rows = pack(cut_tokens(ids, width) if self.cut_long else ids, width)
            rows = itertools.islice(rows, most.get(split, enough))
            counts[split]["rows"] = write_rows(rows, folder / f"{split}.bin", width, progress)
        if min(counts[split]["rows"] for split in SPLITS if split != "control") < 1:
            found = sum(counts[split]["bytes"] for split in SPLITS)
            raise TaskError(
                f"{self.source} has too little text ({found} bytes) for a row of "
                f"{self.seq_len} tokens in each split; give more of it, or use --source python"
            )
        progress.done(", ".join(f"{split} {counts[split]['rows']}" for split in SPLITS) + f", of {width} tokens")


def write_tokens(texts: Iterable[tuple[str, str, int]], tokenizer: Tokenizer, index: Path, progress: Progress) -> None:
    """Encode (split, text, bytes) on all cores, a bounded number of batches at a time, and write them in order."""
    counts = {split: {"documents": 0, "bytes": 0, "tokens": 0} for split in SPLITS}
    batches: dict[str, list[str]] = {split: [] for split in SPLITS}
    flying: deque[tuple[str, Future[np.ndarray]]] = deque()
    sizes, threads, seen = dict.fromkeys(SPLITS, 0), os.cpu_count() or 1, 0
    tokenizer.encode("ready")  # builds the encoding here, and not in every thread
    with ThreadPoolExecutor(threads) as pool, ExitStack() as stack:
        parts = {s: stack.enter_context(written(index.with_name(f"{index.stem}-{s}.bin"))) for s in SPLITS}
        files = {split: stack.enter_context(part.open("wb")) for split, part in parts.items()}

        def take(most: int) -> None:
            while len(flying) > most:
                split, future = flying.popleft()
                files[split].write(future.result().data)
                counts[split]["tokens"] += len(future.result())

        def send(split: str) -> None:
            flying.append((split, pool.submit(tokenizer.encode, *batches[split])))
            batches[split], sizes[split] = [], 0
            take(3 * threads)

        for file in files.values():
            file.write(HEADER.pack(MAGIC, 1, 0))
        for split, text, size in texts:
            batches[split].append(text)
            sizes[split], seen = sizes[split] + size, seen + size
            counts[split]["documents"] += 1
            counts[split]["bytes"] += size
            if sizes[split] > 2**18:
                send(split)
                progress.update(f"file group {index.stem}, {seen / 1e6:.0f} MB")
        for split in filter(batches.get, SPLITS):
            send(split)
        take(0)
        for split, file in files.items():
            file.seek(0)
            file.write(HEADER.pack(MAGIC, 1, counts[split]["tokens"]))
    write_json(index, counts)
