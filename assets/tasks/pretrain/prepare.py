"""Data, clock and evaluation of the pretrain task. The trainer may not change this file.

    python prepare.py                    text, tokenizer, packed rows, manifest; a second call finds them
    python prepare.py info               what was prepared, with sample rows
    python prepare.py evaluate           score the weights of the last run, in a process of its own

`train.py` imports the constants, `seed_everything`, `pick_device`, `make_dataloader`, `log_step` and `finish`.

Environment, all optional:
    AUTORESEARCH_CACHE          where prepared data lives (default ~/.cache/autoresearch)
    AUTORESEARCH_SEED           integer, default 1: order of the training rows, torch's generators
    AUTORESEARCH_RUN_DIR        where a run leaves weights, clock, summary and curve; without it a run is "by hand":
                                .autoresearch/by-hand is used, and `finish` starts the evaluator itself
    AUTORESEARCH_RESULT         evaluator: the result file (default RUN_DIR/result.json)
    AUTORESEARCH_TRAIN_SECONDS  evaluator: wall seconds of the training process, measured from outside

What this protects against, and what not. The score comes from a second process that computes the loss itself, on
rows that the trainer was not given, and that tests the model for looking ahead, for rows that see each other and
for memory of earlier calls. But `build_model` and the model's forward pass are the trainer's code, and they run
inside the evaluator: code that sets out to rewrite this process, or to read the search split from disk, can. The
functions that matter are bound before that code is imported, so that careless patching does not change the score;
a determined attack is left to the engine (read-only files, no network, a person who reads the diff).
"""

from __future__ import annotations

import argparse
import base64
import bisect
import hashlib
import importlib.util
import json
import math
import os
import random
import shutil
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tiktoken
    import torch
    from torch import Tensor, nn

# ---------------------------------------------------------------------------------------------------------------
# Constants and options
# ---------------------------------------------------------------------------------------------------------------


class TaskError(Exception):
    """Something the user can put right; the message is one sentence that says what to do next."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The sizes of one scale of the task. Results of different profiles are not comparable."""

    seq_len: int
    """Tokens a model sees in one row (T); a stored row has T + 1."""
    vocab_size: int
    """Token ids, the four special ones included; at most 65,536, since rows are uint16."""
    eval_tokens: int
    """Target tokens of one evaluation; a small source gives fewer."""
    eval_batch: int
    """Rows of one evaluation batch; the score does not depend on it."""
    text_bytes: int
    """Most text read from the python source or from a path."""
    tokenizer_bytes: int
    """Text that the tokenizer learns from, of the training split."""
    shards: int
    """Training shards of climbmix."""
    cut_long: bool
    """Cut documents longer than a row into row-sized documents, so that none of a small source is lost. Off for
    full, whose rows are then packed as nanochat and karpathy/autoresearch pack theirs."""
    startup_s: float
    """What a run may take outside its budget: imports, compilation, saving."""


PROFILES = {
    "full": Profile(2048, 8192, 2**24, 32, 8 * 10**9, 10**9, 20, False, 600.0),
    "small": Profile(1024, 4096, 2**20, 16, 10**9, 2 * 10**8, 4, True, 300.0),
    "tiny": Profile(256, 2048, 2**15, 32, 32 * 10**6, 8 * 10**6, 1, True, 120.0),
}
SPLITS = ("train", "search", "locked")
SPECIAL_TOKENS = ("<|bos|>", "<|user|>", "<|assistant|>", "<|end|>")
# GPT-4's pattern with at most two digits in a token, which suits small vocabularies (nanochat's choice).
SPLIT_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
PACK_BUFFER = 1000  # documents among which the next best fit is looked for
BUDGET_SLACK = (1.1, 2.0)  # a run may take 1.1 x its seconds + 2 s before it is over budget
PROBE_TOLERANCE = 1e-3  # in logits; the same kernels on the same shapes give 0


@dataclass(frozen=True, slots=True)
class Config:
    """What autoresearch.toml says about this task."""

    profile_name: str = "tiny"
    source: str = "python"
    column: str = "text"
    shards: int = 0
    """Training shards of climbmix; 0 is the profile's own number."""
    budget_kind: str = "seconds"
    budget: float = 300.0

    def __post_init__(self) -> None:
        if self.profile_name not in PROFILES:
            raise TaskError(f"there is no profile {self.profile_name!r}; choose one of: {', '.join(PROFILES)}")
        if self.budget_kind not in ("seconds", "tokens", "steps") or not 0 < self.budget < math.inf:
            raise TaskError("the budget in autoresearch.toml must be positive: { seconds = N }, tokens or steps")

    @property
    def profile(self) -> Profile:
        return PROFILES[self.profile_name]

    def data_dir(self) -> Path:
        """Where the prepared data of these options lives; depends on no file of the source."""
        version = sys.version if self.source == "python" else ""
        parts = [asdict(self.profile), self.source, self.column, self.shards, SPLIT_PATTERN, PACK_BUFFER, version]
        key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
        return cache_dir() / "pretrain" / f"{self.profile_name}-{key}"


def cache_dir() -> Path:
    return Path(os.environ.get("AUTORESEARCH_CACHE") or "~/.cache/autoresearch").expanduser()


def read_config(path: Path) -> Config:
    """Options and budget from autoresearch.toml. Raises TaskError on a missing or malformed file."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        options, budget = table.get("options", {}), table["run"]["budget"]
        [(kind, amount)] = budget.items()
        return Config(
            options.get("profile", "tiny"),
            os.path.expanduser(options.get("source", "python")),
            options.get("column", "text"),
            int(options.get("shards", 0)),
            kind,
            float(amount),
        )
    except FileNotFoundError:
        raise TaskError(f"{path} is missing; make a workspace with: autoresearch init DIR --task pretrain") from None
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise TaskError(f"{path} cannot be used ({error}); compare it with the task's original") from None


HERE = Path(__file__).resolve().parent
try:
    CONFIG = read_config(HERE / "autoresearch.toml")
except TaskError as error:
    raise SystemExit(f"error: {error}") from None
PROFILE = CONFIG.profile_name
MAX_SEQ_LEN = CONFIG.profile.seq_len
VOCAB_SIZE = CONFIG.profile.vocab_size
EVAL_TOKENS = CONFIG.profile.eval_tokens
TIME_BUDGET = CONFIG.budget if CONFIG.budget_kind == "seconds" else math.inf
"""Training seconds; infinite when the budget counts tokens or steps."""


class Progress:
    """One line that is rewritten on a terminal, or a plain line every few seconds elsewhere."""

    def __init__(self, label: str) -> None:
        self.label, self.tty = label, sys.stdout.isatty()
        self.start = self.last = time.monotonic()

    def update(self, text: str) -> None:
        now = time.monotonic()
        if now - self.last >= (0.2 if self.tty else 5.0):
            self.last = now
            print(f"{self.label:<10}{text}", end="\r" if self.tty else "\n", flush=True)

    def done(self, text: str) -> None:
        line = f"{self.label:<10}{text}  ({time.monotonic() - self.start:.1f} s)"
        print(f"{line:<78}" if self.tty else line, flush=True)


# ---------------------------------------------------------------------------------------------------------------
# Text: where documents come from
# ---------------------------------------------------------------------------------------------------------------

CLIMBMIX, CLIMBMIX_LAST = "karpathy/climbmix-400b-shuffle", 6542
TEXT_SUFFIXES = (".txt", ".md", ".rst", ".py")
SUFFIXES = (*TEXT_SUFFIXES, ".jsonl", ".parquet")
SKIPPED_FOLDERS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "encodings"}
READ_CHARS = 1 << 24


def source_files(config: Config) -> list[Path]:
    """The files of a source in a fixed order; for climbmix the last one is the held-out shard.

    Raises TaskError when there is nothing to read, or a download fails.
    """
    if config.source == "climbmix":
        return climbmix_shards(config.shards or config.profile.shards)
    if config.source == "python":
        root = Path(sysconfig.get_path("stdlib"))
        paths = (p for p in root.rglob("*") if p.suffix in (".py", ".rst", ".txt"))
        return sorted(p for p in paths if p.is_file() and SKIPPED_FOLDERS.isdisjoint(p.relative_to(root).parts))
    path = Path(config.source)
    kinds = ", ".join(SUFFIXES)
    if not path.exists():
        raise TaskError(f"source {path} does not exist; give climbmix, python, or the path of a file or folder")
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise TaskError(f"{path} is of no known kind; rename or convert it to one of: {kinds}")
        return [path]
    if files := sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()):
        return files
    raise TaskError(f"folder {path} has no text; put files of these kinds there: {kinds}")


def climbmix_shards(count: int) -> list[Path]:
    """The first `count` shards and the last one, downloaded unless they are there; HF_ENDPOINT is honoured."""
    folder = cache_dir() / "climbmix"
    names = [f"shard_{i:05d}.parquet" for i in (*range(min(count, CLIMBMIX_LAST)), CLIMBMIX_LAST)]
    missing = [name for name in names if not is_parquet(folder / name)]
    if missing:
        from huggingface_hub import hf_hub_download

        progress, done, failed = Progress("download"), 0, {}

        def download(name: str) -> None:
            nonlocal done
            try:
                hf_hub_download(CLIMBMIX, name, repo_type="dataset", local_dir=folder)
                if not is_parquet(folder / name):
                    raise OSError("what arrived is not a whole parquet file")
                done += 1
                progress.update(f"{done} of {len(missing)} shards")
            except Exception as error:  # any network or hub error is the same for the user
                failed[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:160]

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(download, missing))
        if failed:
            name, why = sorted(failed.items())[0]
            raise TaskError(
                f"{len(failed)} of {len(names)} shards could not be downloaded, first {name} ({why}); run the same "
                "command again to fetch what is missing, or use --source python, which needs no network"
            )
        progress.done(f"{len(missing)} shards in {folder}")
    return [folder / name for name in names]


def is_parquet(path: Path) -> bool:
    """Whether the file is there and ends as a whole parquet file does; a cut-off download does not."""
    try:
        with path.open("rb") as file:
            file.seek(-4, os.SEEK_END)
            return file.read() == b"PAR1"
    except OSError:
        return False


def read_documents(path: Path, column: str) -> Iterator[str]:
    """The documents of one file. A text file is one document, read in blocks; bytes that are not UTF-8 become
    U+FFFD. Raises TaskError, naming the file, when it cannot be read as what its name says."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            import pyarrow.parquet as pq

            with pq.ParquetFile(path) as table:
                if column not in table.schema_arrow.names:
                    names = ", ".join(table.schema_arrow.names)
                    raise TaskError(f"{path} has no column {column!r} but {names}; choose one with --column NAME")
                for batch in table.iter_batches(batch_size=1024, columns=[column]):
                    yield from (str(text) for text in batch.column(0).to_pylist() if text is not None)
            return
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            if suffix == ".jsonl":
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield jsonl_text(line, column, f"{path}:{number}")
                return
            while block := file.read(READ_CHARS):
                if "\0" in block:
                    raise TaskError(f"{path} is not UTF-8 text (it has NUL bytes); convert it to UTF-8 or remove it")
                yield block
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TaskError(f"{path} cannot be read ({reason}); repair or remove it") from None


def jsonl_text(line: str, column: str, where: str) -> str:
    """The text of one line of JSON, or TaskError naming the line."""
    try:
        text = json.loads(line)[column]
    except (ValueError, KeyError, TypeError):
        text = None
    if not isinstance(text, str):
        raise TaskError(f"{where} is no JSON object with a text under {column!r}; repair it or give --column NAME")
    return text


def cut(text: str, limit: int) -> Iterator[str]:
    """Pieces of at most `limit` characters, cut after a blank line, else a line, else a space; nothing is lost."""
    start = 0
    while len(text) - start > limit:
        end = start + limit
        for mark in ("\n\n", "\n", " "):
            found = text.rfind(mark, start + limit // 2, end)
            if found >= 0:
                end = found + len(mark)
                break
        yield text[start:end]
        start = end
    yield text[start:]


def pieces(files: list[Path], config: Config) -> Iterator[tuple[int, str]]:
    """(content hash, text) of each document, empty ones dropped.

    A document longer than a thousandth of the source is cut, so that one big file can be split as well.
    The hash is 64 bits of BLAKE2b: among ten million documents, a chance of 3 in a million that two collide.
    """
    climbmix = config.source == "climbmix"
    limit = max(4096, sum(p.stat().st_size for p in files) // 1000)
    left = math.inf if climbmix else config.profile.text_bytes
    for path in files:
        for document in read_documents(path, config.column):
            for text in [document] if climbmix else cut(document, limit):
                if not text.strip():
                    continue
                data = text.encode("utf-8", "replace")  # lone surrogates, which JSON can carry, become "?"
                left -= len(data)
                if left < 0:
                    return
                yield int.from_bytes(hashlib.blake2b(data, digest_size=8).digest()), data.decode()


def hold_out(files: list[Path], config: Config) -> tuple[dict[int, str], int]:
    """Which documents, by content hash, belong to search and locked (all others to train), and bytes of them all.

    Climbmix: the last shard, one bit of the hash deciding. Else: the smallest hashes, enough bytes for EVAL_TOKENS
    and at most a tenth of the text for each split.
    """
    if config.source == "climbmix":
        shard = pieces(files[-1:], config)
        return {key: SPLITS[1 + key % 2] for key, _ in shard}, sum(p.stat().st_size for p in files)
    sizes = {key: len(text.encode()) for key, text in pieces(files, config)}
    total = sum(sizes.values())
    share = min(6 * config.profile.eval_tokens, total // 10)  # 6: more bytes than a token has
    chosen: dict[int, str] = {}
    taken = 0
    for key in sorted(sizes):
        if taken >= 2 * share:
            break
        chosen[key] = "search" if taken < share else "locked"
        taken += sizes[key]
    return chosen, total


# ---------------------------------------------------------------------------------------------------------------
# Tokenizer
# ---------------------------------------------------------------------------------------------------------------


class Tokenizer:
    """Byte-level BPE, trained with rustbpe and run by tiktoken. Special tokens have the last four ids."""

    def __init__(self, ranks: dict[bytes, int], vocab_size: int, pattern: str = SPLIT_PATTERN) -> None:
        import tiktoken

        self.vocab_size = vocab_size
        self.ranks, self.pattern = ranks, pattern
        self.special = {name: vocab_size - len(SPECIAL_TOKENS) + i for i, name in enumerate(SPECIAL_TOKENS)}
        self.bos = self.special["<|bos|>"]
        self.encoding: tiktoken.Encoding = tiktoken.Encoding(
            "autoresearch-pretrain", pat_str=pattern, mergeable_ranks=ranks, special_tokens=self.special
        )

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> Tokenizer:
        """Learn the merges; the same texts give the same tokenizer. Little text may fill fewer ids."""
        import rustbpe

        trainer = rustbpe.Tokenizer()
        trainer.train_from_iterator(iter(texts), vocab_size - len(SPECIAL_TOKENS), pattern=SPLIT_PATTERN)
        return cls({bytes(token): rank for token, rank in trainer.get_mergeable_ranks()}, vocab_size)

    @classmethod
    def load(cls, path: Path | None = None) -> Tokenizer:
        """From tokenizer.json, by default that of this workspace's data. Raises TaskError."""
        table = read_json(path or ready_data(CONFIG) / "tokenizer.json")
        ranks = {base64.b64decode(token): rank for rank, token in enumerate(table["tokens"])}
        return cls(ranks, table["vocab_size"], table["pattern"])

    def save(self, path: Path) -> None:
        tokens = [base64.b64encode(token).decode() for token in sorted(self.ranks, key=self.ranks.__getitem__)]
        table = {"vocab_size": self.vocab_size, "pattern": self.pattern, "special": self.special, "tokens": tokens}
        write_json(path, table)

    def encode(self, text: str) -> np.ndarray:
        """uint16 ids of one document behind its <|bos|>; the names of special tokens in a text are plain text."""
        return np.array([self.bos, *self.encoding.encode_ordinary(text)], dtype=np.uint16)

    def decode(self, ids: Iterable[int]) -> str:
        return self.encoding.decode(list(ids))

    def token_bytes(self) -> np.ndarray:
        """int64 [vocab]: raw bytes of each token; 0 for special tokens and for ids that no token has."""
        lengths = np.zeros(self.vocab_size, dtype=np.int64)
        for rank in self.ranks.values():
            lengths[rank] = len(self.encoding.decode_single_token_bytes(rank))
        return lengths


# ---------------------------------------------------------------------------------------------------------------
# Packed rows and their files
# ---------------------------------------------------------------------------------------------------------------

ROWS_HEADER = struct.Struct("<8sQQ")  # magic, rows, width; then rows x width little-endian uint16
ROWS_MAGIC = b"arrows01"


class Packer:
    """Fills rows of `width` tokens with whole documents, without padding.

    Best fit, as in nanochat: of PACK_BUFFER waiting documents the longest one that fits comes next; when none fits,
    the shortest is cropped to fill the row and its rest is dropped. Every row starts with a <|bos|>. Documents wait
    in one queue per length, under a sorted list of the lengths, so a choice costs one bisection.
    """

    def __init__(self, file: Any, width: int, max_rows: float = math.inf, cut_long: bool = False) -> None:
        self.file, self.width, self.max_rows, self.cut_long = file, width, max_rows, cut_long
        self.queues: dict[int, deque[np.ndarray]] = {}
        self.lengths: list[int] = []
        self.waiting = self.rows = self.filled = 0
        self.block = np.empty((256, width), dtype="<u2")
        file.write(ROWS_HEADER.pack(ROWS_MAGIC, 0, width))

    @property
    def full(self) -> bool:
        return self.rows >= self.max_rows

    def add(self, document: np.ndarray) -> None:
        """Take one document, <|bos|> first: uint16 [n], n >= 2."""
        if not self.cut_long or len(document) <= self.width:
            self._put(document)
            return
        body, step = document[1:], self.width - 1
        for start in range(0, len(body), step):
            self._put(np.concatenate((document[:1], body[start : start + step])))

    def _put(self, document: np.ndarray) -> None:
        length = len(document)
        if length not in self.queues:
            self.queues[length] = deque()
            bisect.insort(self.lengths, length)
        self.queues[length].append(document)
        self.waiting += 1
        if self.waiting >= PACK_BUFFER:
            self._place()

    def _place(self) -> None:
        room = self.width - self.filled
        at = max(bisect.bisect_right(self.lengths, room) - 1, 0)
        queue = self.queues[self.lengths[at]]
        document = queue.popleft()[:room]
        if not queue:
            del self.queues[self.lengths.pop(at)]
        self.waiting -= 1
        self.block[self.rows % len(self.block), self.filled : self.filled + len(document)] = document
        self.filled += len(document)
        if self.filled == self.width and not self.full:
            self.filled = 0
            self.rows += 1
            if self.rows % len(self.block) == 0:
                self.file.write(self.block.tobytes())

    def close(self) -> int:
        """Use up what waits, write the header; the last row is dropped when it is not full. Returns the rows."""
        while self.waiting and not self.full:
            self._place()
        self.file.write(self.block[: self.rows % len(self.block)].tobytes())
        self.file.seek(0)
        self.file.write(ROWS_HEADER.pack(ROWS_MAGIC, self.rows, self.width))
        return self.rows


def open_rows(path: Path) -> np.ndarray:
    """Memory-mapped uint16 [rows, T + 1]. Raises TaskError when the file is not what its header says."""
    with path.open("rb") as file:
        header = file.read(ROWS_HEADER.size)
    magic, rows, width = ROWS_HEADER.unpack(header.ljust(ROWS_HEADER.size, b"\0"))
    if magic != ROWS_MAGIC or path.stat().st_size != ROWS_HEADER.size + 2 * rows * width:
        raise TaskError(f"{path} is damaged; make it again with: python prepare.py --force")
    return np.memmap(path, dtype="<u2", mode="r", offset=ROWS_HEADER.size, shape=(rows, width))


def encode_all(tokenizer: Tokenizer, items: Iterable[tuple[str, str]]) -> Iterator[tuple[str, np.ndarray]]:
    """(split, tokens) for each (split, text), in order, on all cores; a bounded number of documents in memory."""
    batch: list[tuple[str, str]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        def flush() -> Iterator[tuple[str, np.ndarray]]:
            yield from zip((s for s, _ in batch), pool.map(tokenizer.encode, (t for _, t in batch)), strict=True)
            batch.clear()

        for item in items:
            batch.append(item)
            if len(batch) == 512:
                yield from flush()
        yield from flush()


# ---------------------------------------------------------------------------------------------------------------
# Preparing
# ---------------------------------------------------------------------------------------------------------------


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TaskError(f"{path} is missing; make the data with: python prepare.py") from None
    except ValueError:
        raise TaskError(f"{path} is damaged; make the data again with: python prepare.py --force") from None


def write_json(path: Path, value: Any) -> None:
    """Write whole or not at all; NaN is an error."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    part.replace(path)


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(config: Config) -> str:
    """Names, sizes and times of the files at a path, by which a changed source is noticed; "" otherwise."""
    if config.source in ("climbmix", "python"):
        return ""
    stats = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in source_files(config)]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()


def ready_data(config: Config) -> Path:
    """The folder of the prepared data; TaskError when it is not there."""
    folder = config.data_dir()
    if not (folder / "manifest.json").exists():
        raise TaskError("the data is not prepared; run: python prepare.py")
    return folder


def manifest_hash(folder: Path, source: Path = HERE / "prepare.py") -> str:
    """One hash of data, tokenizer, splits and this file; scores under different hashes are never compared."""
    files = read_json(folder / "manifest.json")["sha256"]
    return hashlib.sha256(json.dumps([files, sha256_file(source)], sort_keys=True).encode()).hexdigest()


def prepare(config: Config, force: bool = False) -> Path:
    """Make the data of `config` unless it is there; returns its folder. Raises TaskError."""
    folder = config.data_dir()
    manifest = folder / "manifest.json"
    if not force and manifest.exists() and read_json(manifest)["fingerprint"] == fingerprint(config):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        build(config, part)
        if folder.exists():
            shutil.rmtree(folder)
        with suppress(OSError):  # another process was first; its files are the same
            part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def build(config: Config, folder: Path) -> None:
    """Write train.bin, search.bin, locked.bin, tokenizer.json and manifest.json into `folder`."""
    profile = config.profile
    files = source_files(config)
    progress = Progress("splits")
    held_out, total = hold_out(files, config)
    progress.done(f"{len(files)} files, {total / 1e6:.1f} MB")

    def training_texts() -> Iterator[str]:
        left = profile.tokenizer_bytes
        for key, text in pieces(files, config):
            if key not in held_out and left > 0:
                left -= len(text)
                yield text

    progress = Progress("tokenizer")
    tokenizer = Tokenizer.train(training_texts(), profile.vocab_size)
    tokenizer.save(folder / "tokenizer.json")
    progress.done(f"{profile.vocab_size} entries")

    seen: set[int] = set()
    documents = dict.fromkeys(SPLITS, 0)
    size = dict.fromkeys(SPLITS, 0)
    tokens = dict.fromkeys(SPLITS, 0)
    limits = {"train": math.inf, "search": EVAL_ROWS(profile), "locked": EVAL_ROWS(profile)}

    def unseen() -> Iterator[tuple[str, str]]:
        for key, text in pieces(files, config):
            split = held_out.get(key, "train")
            if key not in seen and not packers[split].full:
                seen.add(key)
                documents[split] += 1
                size[split] += len(text.encode())
                yield split, text

    progress = Progress("rows")
    outputs = {split: (folder / f"{split}.bin").open("wb") for split in SPLITS}
    width = profile.seq_len + 1
    packers = {s: Packer(outputs[s], width, limits[s], profile.cut_long) for s in SPLITS}
    for split, document in encode_all(tokenizer, unseen()):
        packers[split].add(document)
        tokens[split] += len(document)
        progress.update(f"{sum(size.values()) / 1e6:.0f} of about {total / 1e6:.0f} MB")
    rows = {split: packers[split].close() for split in SPLITS}
    for output in outputs.values():
        output.close()
    if min(rows.values()) < 1:
        raise TaskError(
            f"{config.source} has too little text: {sum(size.values())} bytes are not enough for a row of "
            f"{profile.seq_len} tokens in each split; give more, or --profile tiny"
        )
    progress.done(", ".join(f"{split} {rows[split]}" for split in SPLITS) + f" rows of {width} tokens")
    names = ("tokenizer.json", *(f"{split}.bin" for split in SPLITS))
    manifest = {
        "profile": {"name": config.profile_name, **asdict(profile)},
        "source": config.source,
        "column": config.column,
        "python": sys.version if config.source == "python" else "",
        "files": len(files),
        "fingerprint": fingerprint(config),
        "documents": documents,
        "bytes": size,
        "tokens": tokens,
        "rows": rows,
        "sha256": {name: sha256_file(folder / name) for name in names},
    }
    write_json(folder / "manifest.json", manifest)


def EVAL_ROWS(profile: Profile) -> int:
    return profile.eval_tokens // profile.seq_len


def print_info(config: Config, samples: int = 3) -> None:
    """The manifest, the size of each file, and the first rows of the training split as text."""
    folder = ready_data(config)
    print(json.dumps(read_json(folder / "manifest.json"), indent=1))
    print(f"manifest  {manifest_hash(folder)}")
    for path in sorted(folder.iterdir()):
        print(f"{path.stat().st_size / 1e6:10.2f} MB  {path}")
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    for number, row in enumerate(open_rows(folder / "train.bin")[:samples]):
        print(f"--- row {number}\n{tokenizer.decode(row.tolist())}")


# ---------------------------------------------------------------------------------------------------------------
# For the trainer: seed, device, clock, batches, log
# ---------------------------------------------------------------------------------------------------------------


def seed() -> int:
    return int(os.environ.get("AUTORESEARCH_SEED") or 1)


def run_dir() -> Path:
    """Where this run writes; made when needed."""
    path = Path(os.environ.get("AUTORESEARCH_RUN_DIR") or HERE / ".autoresearch" / "by-hand")
    path.mkdir(parents=True, exist_ok=True)
    return path


def seed_everything() -> int:
    """Seed torch's generators from AUTORESEARCH_SEED; returns the seed."""
    import torch

    torch.manual_seed(seed())
    return seed()


def pick_device() -> torch.device:
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def synchronize(device: torch.device) -> None:
    import torch

    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


class DataLoader:
    """Batches of the training split, and the clock of the run.

    Iterating gives (x, y, progress): int64 [B, T] on the device, y one token further than x; progress in [0, 1) is
    the part of the budget that is spent. The clock starts when the first batch is handed out, and the iteration ends
    when the budget is spent. Rows come in an order that the seed decides, each once an epoch.
    """

    def __init__(self, batch_size: int, seq_len: int, split: str, device: torch.device) -> None:
        if split != "train":
            raise TaskError(f"the trainer may not read the {split} split; use make_dataloader(B, T, 'train')")
        if not 1 <= seq_len <= MAX_SEQ_LEN or batch_size < 1:
            raise TaskError(f"batch_size must be at least 1 and seq_len between 1 and {MAX_SEQ_LEN}")
        self.batch_size, self.seq_len, self.device = batch_size, seq_len, device
        self.rows = open_rows(ready_data(CONFIG) / f"{split}.bin")
        self.clock = {"kind": CONFIG.budget_kind, "budget": CONFIG.budget, "steps": 0, "tokens": 0, "epochs": 0.0}
        for name in ("clock.json", "model.pt", "summary.json", "curve.jsonl", "result.json"):
            (run_dir() / name).unlink(missing_ok=True)

    def warmup_batches(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Random tokens of the right shape, for compilation before the clock starts. What a step on them does to
        weights and optimiser must be undone by the trainer."""
        import torch

        for _ in range(count):
            x = torch.randint(VOCAB_SIZE, (self.batch_size, self.seq_len), device=self.device)
            yield x, x.roll(-1, 1)

    def _batches(self) -> Iterator[Tensor]:
        """[B, T + 1] on the device, without end."""
        import torch

        epoch, order = 0, np.empty(0, dtype=np.int64)
        while True:
            while len(order) < self.batch_size:
                order = np.concatenate((order, np.random.default_rng((seed(), epoch)).permutation(len(self.rows))))
                epoch += 1
            chosen, order = order[: self.batch_size], order[self.batch_size :]
            batch = torch.from_numpy(self.rows[chosen][:, : self.seq_len + 1].astype(np.int64))
            if self.device.type == "cuda":  # the pinned block is not reused before the copy has run
                batch = batch.pin_memory()
            yield batch.to(self.device, non_blocking=True)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, float]]:
        import torch

        batches = self._batches()
        batch = next(batches)
        synchronize(self.device)
        clock, start, spent = self.clock, time.monotonic(), 0.0
        clock["started"] = time.time()
        queued: deque[Any] = deque()
        while spent < CONFIG.budget:
            yield batch[:, :-1], batch[:, 1:], spent / CONFIG.budget
            clock["steps"] += 1
            clock["tokens"] += self.batch_size * self.seq_len
            if self.device.type == "cuda":  # the host stays at most two batches ahead of the device
                queued.append(torch.cuda.Event())
                queued[-1].record()
                if len(queued) > 2:
                    queued.popleft().synchronize()
            clock["seconds"] = time.monotonic() - start
            spent = clock[CONFIG.budget_kind]
            batch = next(batches)
        synchronize(self.device)
        clock["seconds"] = time.monotonic() - start
        clock["epochs"] = clock["steps"] * self.batch_size / len(self.rows)
        write_json(run_dir() / "clock.json", clock)


def make_dataloader(
    batch_size: int, seq_len: int = MAX_SEQ_LEN, split: str = "train", device: torch.device | None = None
) -> DataLoader:
    """Batches for the trainer; ends by itself when the budget is spent. Raises SystemExit with one line."""
    try:
        return DataLoader(batch_size, seq_len, split, device or pick_device())
    except TaskError as error:
        raise SystemExit(f"error: {error}") from None


def log_step(**values: float) -> None:
    """Append one line to the learning curve, curve.jsonl in the run's folder; values that are not finite are null."""
    line = {name: value if math.isfinite(value) else None for name, value in values.items()}
    with (run_dir() / "curve.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def finish(model: nn.Module, **stats: float) -> None:
    """Save weights and summary for the evaluator. By hand it also evaluates and prints the score.

    `stats` are figures that the trainer reports about itself; they are shown, and never decided on.
    """
    import torch

    folder = run_dir()
    clock = read_json(folder / "clock.json")
    model = getattr(model, "_orig_mod", model)  # the module inside a compiled one
    device = next(model.parameters()).device
    synchronize(device)
    clock["finished_after"] = time.time() - clock["started"]
    write_json(folder / "clock.json", clock)
    peak_vram = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else 0.0
    summary = {
        **{name: float(value) for name, value in stats.items() if math.isfinite(value)},
        "peak_vram_mb": peak_vram,
        "peak_ram_mb": peak_ram_mb(),
        "num_params_M": sum(p.numel() for p in model.parameters()) / 1e6,
    }
    write_json(folder / "summary.json", summary)
    torch.save({name: tensor.cpu() for name, tensor in model.state_dict().items()}, folder / "model.pt")
    print(
        f"trained   {clock['steps']} steps, {clock['tokens'] / 1e6:.2f} M tokens ({clock['epochs']:.2f} epochs) "
        f"in {clock['seconds']:.1f} s",
        flush=True,
    )
    if "AUTORESEARCH_RUN_DIR" in os.environ:
        return
    command = [sys.executable, str(HERE / "prepare.py"), "evaluate"]
    process = subprocess.run(command, cwd=HERE, stdout=subprocess.PIPE, text=True, check=False)
    if process.returncode:
        raise SystemExit(f"error: the evaluator ended with exit code {process.returncode}")
    result = read_json(folder / "result.json")
    if result["outcome"] != "ok":
        raise SystemExit(f"{result['outcome']}: {result['reason']}")
    print("---")
    for name, value in result["metrics"].items():
        print(f"{name + ':':<18}{value:.6f}" if name == "val_bpb" else f"{name + ':':<18}{value:.1f}")
    print(process.stdout, end="")


def peak_ram_mb() -> float:
    """The most memory this process has held; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


# ---------------------------------------------------------------------------------------------------------------
# Evaluation
# ---------------------------------------------------------------------------------------------------------------


class Verdict(Exception):
    """The run has no score: an outcome and one sentence."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome, self.reason = outcome, reason


def check_clock(clock: dict[str, float], config: Config, train_seconds: float | None) -> None:
    """Verdict over_budget when the run took more than its budget allows; tampered when its clock cannot be true.

    `train_seconds` is the life of the training process as seen from outside; it bounds what the clock may claim,
    and the clock plus the profile's allowance for start-up bounds it.
    """
    seconds = max(clock["seconds"], clock["finished_after"])
    if train_seconds is not None and seconds > train_seconds + 1.0:
        raise Verdict("tampered", f"the clock says {seconds:.1f} s of a process that lived {train_seconds:.1f} s")
    if config.budget_kind != "seconds":
        step = clock["tokens"] / max(clock["steps"], 1) if config.budget_kind == "tokens" else 1
        if clock[config.budget_kind] >= config.budget + step:
            used = clock[config.budget_kind]
            raise Verdict("over_budget", f"{used:.0f} {config.budget_kind} of a budget of {config.budget:.0f}")
        return
    limit = BUDGET_SLACK[0] * config.budget + BUDGET_SLACK[1]
    if seconds > limit:
        raise Verdict("over_budget", f"training took {seconds:.1f} s of a budget of {config.budget:.1f} s")
    if train_seconds is not None and train_seconds > limit + config.profile.startup_s:
        raise Verdict(
            "over_budget",
            f"the training process lived {train_seconds:.1f} s: a budget of {config.budget:.1f} s and "
            f"{config.profile.startup_s:.0f} s for everything else were allowed",
        )


def load_model(folder: Path, weights: Path) -> nn.Module:
    """build_model() of folder/train.py with the trained weights, strictly matched."""
    import torch

    sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location("train", folder / "train.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["train"] = module
    state = torch.load(weights, map_location="cpu", weights_only=True)
    spec.loader.exec_module(module)
    model = module.build_model()
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise Verdict("crash", f"the saved weights do not fit build_model(): {first}") from None
    return model.eval()


class Evaluator:
    """Scores a model on packed rows. Binds what it computes with, so make it before the trainer's code is imported.

    Args: rows uint16 [R, T + 1]; token_bytes int64 [vocab], 0 for special tokens.
    """

    def __init__(self, rows: np.ndarray, token_bytes: np.ndarray, device: torch.device) -> None:
        import torch

        self.torch, self.device = torch, device
        self.logsumexp, self.gather, self.isfinite = torch.logsumexp, torch.gather, torch.isfinite
        self.rows = torch.from_numpy(rows.astype(np.int64))
        self.bytes = torch.from_numpy(token_bytes)

    def logits(self, model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """model(x), float32 [B, T, vocab] on the device; Verdict when it is anything else or not finite."""
        out = model(x.to(self.device))
        shape = (*x.shape, len(self.bytes))
        if not isinstance(out, self.torch.Tensor) or tuple(out.shape) != shape:
            got = f"shape {tuple(out.shape)}" if isinstance(out, self.torch.Tensor) else type(out).__name__
            raise Verdict("tampered", f"the model must return logits of shape {shape} and returned {got}")
        if not self.isfinite(out).all():
            raise Verdict("no_metric", "the model's logits are not finite")
        return out

    def row_nats(self, logits: Tensor, y: Tensor) -> Tensor:
        """float64 [B] on the CPU: summed cross-entropy of each row, special tokens left out. In float32, a few rows
        at a time, so that no second copy of all logits is held."""
        sums = []
        for row, target in zip(logits, y.to(self.device), strict=True):
            row = row.float()  # [T, vocab]
            nats = self.logsumexp(row, -1) - self.gather(row, -1, target[:, None])[:, 0]
            sums.append((nats * (self.bytes.to(self.device)[target] > 0)).cpu().double().sum())
        return self.torch.stack(sums)

    def score(self, model: Callable[[Tensor], Tensor], batch_size: int) -> tuple[float, Tensor]:
        """(bits per byte, float64 [R] nats of each row). Halves the batch when memory runs out; Verdict oom at 1."""
        total, done = self.torch.zeros(len(self.rows), dtype=self.torch.float64), 0
        with self.torch.no_grad():
            while done < len(self.rows):
                batch = self.rows[done : done + batch_size]
                try:
                    total[done : done + len(batch)] = self.row_nats(self.logits(model, batch[:, :-1]), batch[:, 1:])
                    done += len(batch)
                except self.torch.OutOfMemoryError:
                    if batch_size == 1:
                        raise Verdict("oom", "one row does not fit in memory in evaluation") from None
                    batch_size //= 2
        bits = total.sum().item() / math.log(2)
        return bits / self.bytes[self.rows[:, 1:]].sum().item(), total

    def probe(self, model: Callable[[Tensor], Tensor], nats: Tensor, count: int) -> None:
        """Verdict tampered when the model sees more than it may. Runs after `score`, whose `nats` it takes, since a
        row must be scored before the model meets it elsewhere. Rows and places are drawn afresh each time.

        Every altered token is replaced by one of another row, so that nothing marks the altered batch.
        """
        torch, rng = self.torch, random.SystemRandom()
        picked = torch.tensor([rng.randrange(len(self.rows)) for _ in range(count)])
        x, y = self.rows[picked, :-1], self.rows[picked, 1:]
        other = self.rows[torch.tensor([rng.randrange(len(self.rows)) for _ in range(count)]), :-1]
        other = torch.where(other == x, (x + 1) % len(self.bytes), other)
        keep = torch.tensor([i % 2 == 0 for i in range(count)])[torch.tensor(rng.sample(range(count), count))]
        ends = torch.tensor([rng.randrange(1, x.shape[1]) for _ in range(count)]) if x.shape[1] > 1 else None
        with torch.no_grad():
            base = self.logits(model, x).float().clone()
            drift = ((self.row_nats(base, y) - nats[picked]).abs() / x.shape[1]).max().item()
            if drift > 0.01:
                raise Verdict("tampered", f"the model scores a row otherwise the second time ({drift:.3f} nats a token)")
            self._same(model, base, torch.where(keep[:, None], x, other), keep[:, None].expand_as(x), "other rows")
            if ends is not None:
                before = torch.arange(x.shape[1]) < ends[:, None]  # [B, T], one place in each row
                self._same(model, base, torch.where(before, x, other), before, "later tokens of the row")

    def _same(self, model: Callable[[Tensor], Tensor], base: Tensor, x: Tensor, where: Tensor, what: str) -> None:
        """Verdict tampered unless logits are as before at the places of `where`, bool [B, T]."""
        change = (self.logits(model, x).float() - base).abs().amax(-1)[where.to(self.device)]
        if len(change) and change.max().item() > PROBE_TOLERANCE:
            worst = change.max().item()
            raise Verdict("tampered", f"a token's logits depend on {what}: they changed by {worst:.3g} with them")


def judge(folder: Path, split: str, config: Config, train_seconds: float | None) -> dict[str, float]:
    """The metrics of the run in `folder`; raises Verdict when it has none, TaskError when the data is unusable."""
    data = ready_data(config)
    expected = read_json(data / "manifest.json")["sha256"]
    for name in (f"{split}.bin", "tokenizer.json"):
        if sha256_file(data / name) != expected[name]:
            raise Verdict("tampered", f"{name} changed since it was prepared; make it again: python prepare.py --force")
    try:
        clock = {key: value for key, value in read_json(folder / "clock.json").items() if key != "kind"}
        summary = read_json(folder / "summary.json")
        weights = folder / "model.pt"
        if not weights.exists():
            raise TaskError
    except TaskError:
        raise Verdict("no_metric", "train.py ended without calling finish(model)") from None
    check_clock(clock, config, train_seconds)

    device = pick_device()
    token_bytes = Tokenizer.load(data / "tokenizer.json").token_bytes()
    evaluator = Evaluator(open_rows(data / f"{split}.bin"), token_bytes, device)
    try:
        model = load_model(HERE, weights).to(device)
        bpb, nats = evaluator.score(model, config.profile.eval_batch)
        evaluator.probe(model, nats, min(config.profile.eval_batch, 2 * len(nats)))
    except (Verdict, KeyboardInterrupt):
        raise
    except BaseException as error:  # the trainer's code: whatever it raises, SystemExit too, is its failure
        text = " ".join(str(error).split())[:200]
        outcome = "oom" if type(error).__name__ == "OutOfMemoryError" else "crash"
        raise Verdict(outcome, f"evaluating the model raised {type(error).__name__}: {text}") from None
    if not math.isfinite(bpb):
        raise Verdict("no_metric", "the score is not finite")
    own = {
        "training_seconds": clock["seconds"],
        **({} if train_seconds is None else {"total_seconds": train_seconds}),
        "total_tokens_M": clock["tokens"] / 1e6,
        "num_steps": clock["steps"],
    }
    reported = {k: v for k, v in list(summary.items())[:64] if isinstance(v, int | float) and math.isfinite(v)}
    return {"val_bpb": bpb, **own, **{k: v for k, v in reported.items() if k not in own and k != "val_bpb"}}


def evaluate(config: Config, split: str) -> None:
    """Write the result file of the last run and print its METRIC lines; a refused run is a result as well."""
    start, folder = time.monotonic(), run_dir()
    target = Path(os.environ.pop("AUTORESEARCH_RESULT", "") or folder / "result.json")
    seconds = os.environ.pop("AUTORESEARCH_TRAIN_SECONDS", "")
    target.unlink(missing_ok=True)
    result: dict[str, Any] = {"outcome": "ok", "reason": None, "metrics": {}}
    result |= {"manifest": manifest_hash(ready_data(config)), "split": split}
    try:
        result["metrics"] = judge(folder, split, config, float(seconds) if seconds else None)
    except Verdict as verdict:
        result |= {"outcome": verdict.outcome, "reason": verdict.reason}
        print(f"{verdict.outcome}: {verdict.reason}", file=sys.stderr)
    write_json(target, {**result, "seconds": time.monotonic() - start})
    for name, value in result["metrics"].items():
        print(f"METRIC {name}={value:.10g}")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # nothing that the trainer's code registered runs after the result is written


# ---------------------------------------------------------------------------------------------------------------
# Command line
# ---------------------------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="prepare.py", description="Data and evaluation of the pretrain task.")
    parser.add_argument("command", nargs="?", choices=("prepare", "info", "evaluate"), default="prepare")
    parser.add_argument("--source", help="climbmix, python, or the path of a file or folder of text")
    parser.add_argument("--profile", choices=tuple(PROFILES), help="sizes; default: what autoresearch.toml says")
    parser.add_argument("--column", help="column or key of the text in parquet and jsonl files")
    parser.add_argument("--shards", type=int, help="training shards of climbmix")
    parser.add_argument("--force", action="store_true", help="prepare again although the data is there")
    parser.add_argument("--split", choices=("search", "locked"), default="search", help="what evaluate reads")
    args = parser.parse_args(arguments)
    given = {"source": args.source, "profile_name": args.profile, "column": args.column, "shards": args.shards}
    config = replace(CONFIG, **{key: value for key, value in given.items() if value is not None})
    if config.source not in ("climbmix", "python"):
        config = replace(config, source=str(Path(config.source).expanduser().resolve()))
    if args.command == "evaluate":
        evaluate(config, args.split)
    elif args.command == "info":
        print_info(config)
    else:
        folder = prepare(config, args.force)
        manifest = read_json(folder / "manifest.json")
        rows = manifest["rows"]
        print(f"ready     {manifest['source']}, {config.profile_name}: " + ", ".join(f"{s} {rows[s]}" for s in SPLITS))
        print(f"data      {folder}\nmanifest  {manifest_hash(folder)}")
        if config.data_dir() != CONFIG.data_dir():
            print("note      train.py uses the options of autoresearch.toml, which differ from the ones given here")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except TaskError as error:
        sys.exit(f"error: {error}")
