"""Data, clock and evaluation of the pretrain task. The trainer may not change this file.

    python prepare.py             text, tokenizer, packed rows, manifest; a second call finds them
    python prepare.py info        what was prepared, with sample rows
    python prepare.py evaluate    score the weights of the last run, in a process of its own

Environment, all optional:
    AUTORESEARCH_CACHE           where prepared data lives (default ~/.cache/autoresearch)
    AUTORESEARCH_SEED            integer, default 1: order of the training rows, torch's generators
    AUTORESEARCH_RUN_DIR         where a run leaves weights, clock, summary and curve. Without it a run is "by
                                 hand": it uses .autoresearch/by-hand, and `finish` starts the evaluator
    AUTORESEARCH_RESULT          evaluator: the result file (default RUN_DIR/result.json)
    AUTORESEARCH_TRAIN_SECONDS   evaluator: wall seconds of the training process, measured from outside

What this protects against, and what not. A second process computes the loss itself, on rows that the
trainer was not given, and tests the model for looking ahead, for rows that see each other and for memory of
earlier calls. But `build_model` and the forward pass are the trainer's code and run inside the evaluator, and
the clock and the search split are files: code that sets out to rewrite this process or to read those files
can. What computes the score is bound before that code is imported, so careless patching does not change it;
a determined attack is left to the engine (read-only files, wall time measured from outside) and to the person
who reads the diff.
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
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

# ------------------------------------------------------------------------------------------------------------
# Constants and options
# ------------------------------------------------------------------------------------------------------------

HERE = Path(__file__).resolve().parent
# torch's threads spin a moment while they wait for each other, then sleep. At libgomp's own count they lose a time
# slice at every step when another program keeps a core busy; sleeping at once costs a third of the speed when none
# does (benchmarks/results/threads.md). torch reads this when it is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

FORMAT = 1  # of what `build` writes; prepared data of another number is not used
SPLITS = ("train", "search", "locked")
SPECIAL_TOKENS = ("<|bos|>", "<|user|>", "<|assistant|>", "<|end|>")
# GPT-4's pattern, but at most two digits in a token, as nanochat has it for small vocabularies.
SPLIT_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
DEFAULTS = {"profile": "tiny", "source": "python", "column": "text", "shards": 0}  # [options]
PACK_BUFFER = 1000  # documents among which the best fit is looked for
SLACK_FACTOR, SLACK_S = 1.1, 2.0  # training may take this factor of its seconds, and these seconds more
PROBE_TOLERANCE = 1e-3  # change of a logit; the same kernel on the same shape gives 0


class TaskError(Exception):
    """Something the user can put right; the message is one sentence that says what to do next."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The sizes of one scale of the task. Results of different profiles are not comparable."""

    seq_len: int  # T: tokens a model sees in one row; a stored row has T + 1
    vocab_size: int  # token ids, the four special ones included; fits uint16
    eval_tokens: int  # targets of one evaluation; a small source gives fewer
    eval_batch: int  # rows of one evaluation batch; the score does not depend on it
    text_bytes: int  # the most text read from the python source or a path
    tokenizer_bytes: int  # training text that the tokenizer learns from
    shards: int  # training shards of climbmix
    cut_long: bool  # cut documents longer than a row, so that no text of a small source is lost
    startup_s: float  # what a run may take outside its budget: imports, compilation, saving


PROFILES = {  # full packs as karpathy/autoresearch does: what is cropped from a document is dropped
    "full": Profile(2048, 8192, 40 * 524_288, 32, 8 * 10**9, 10**9, 20, False, 600.0),
    "small": Profile(1024, 4096, 2**20, 16, 10**9, 2 * 10**8, 4, True, 300.0),
    "tiny": Profile(256, 2048, 2**15, 16, 32 * 10**6, 8 * 10**6, 1, True, 120.0),
}


@dataclass(frozen=True, slots=True)
class Config:
    """What autoresearch.toml says about this task."""

    profile_name: str
    source: str
    column: str
    shards: int  # training shards of climbmix; 0 is the profile's own number
    budget_kind: str  # seconds, tokens or steps (batches handed out)
    budget: float

    def __post_init__(self) -> None:
        if self.profile_name not in PROFILES:
            raise TaskError(f"no profile is called {self.profile_name!r}; choose from: {', '.join(PROFILES)}")
        if self.budget_kind not in ("seconds", "tokens", "steps") or not 0 < self.budget < math.inf:
            raise TaskError("the budget must be { seconds = N }, { tokens = N } or { steps = N }, N above 0")

    @property
    def profile(self) -> Profile:
        return PROFILES[self.profile_name]

    def data_dir(self) -> Path:
        """Where the data of these options lives; no file of the source is read to tell."""
        source = (self.source, self.column, self.shards, sys.version if self.source == "python" else "")
        parts = (FORMAT, asdict(self.profile), SPLIT_PATTERN, PACK_BUFFER, source)
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
        return cache_dir() / "pretrain" / f"{self.profile_name}-{key}"


def cache_dir() -> Path:
    return Path(os.environ.get("AUTORESEARCH_CACHE") or "~/.cache/autoresearch").expanduser()


def read_config(path: Path) -> Config:
    """Options and budget of autoresearch.toml. Raises TaskError when it is missing or malformed."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        options = DEFAULTS | table.get("options", {})
        [(kind, amount)] = table["run"]["budget"].items()
        profile, source, column, shards = (options[k] for k in ("profile", "source", "column", "shards"))
        return Config(str(profile), str(source), str(column), int(shards), kind, float(amount))
    except FileNotFoundError:
        raise TaskError(f"{path} is missing; begin with: autoresearch init --task pretrain") from None
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise TaskError(f"{path} cannot be used ({error}); compare it with the task's original") from None


try:
    CONFIG = read_config(HERE / "autoresearch.toml")
except TaskError as error:
    raise SystemExit(f"error: {error}") from None
PROFILE = CONFIG.profile_name
MAX_SEQ_LEN = CONFIG.profile.seq_len
VOCAB_SIZE = CONFIG.profile.vocab_size
EVAL_TOKENS = CONFIG.profile.eval_tokens
TIME_BUDGET = CONFIG.budget if CONFIG.budget_kind == "seconds" else math.inf  # seconds


def read_json(path: Path) -> Any:
    """Raises TaskError when the file is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise TaskError(f"{path} is missing or damaged; run: python prepare.py --force") from None


def write_json(path: Path, value: Any) -> None:
    """Written whole or not at all; NaN is an error."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    part.replace(path)


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Progress:
    """One line, rewritten on a terminal; elsewhere a plain line every few seconds."""

    def __init__(self, label: str) -> None:
        self.label, self.tty, self.start = label, sys.stdout.isatty(), time.monotonic()
        self.last = self.start

    def update(self, text: str) -> None:
        if time.monotonic() - self.last >= (0.2 if self.tty else 5.0):
            self.last = time.monotonic()
            print(f"{self.label:<10}{text}", end="\r" if self.tty else "\n", flush=True)

    def done(self, text: str) -> None:
        line = f"{self.label:<10}{text}  ({time.monotonic() - self.start:.1f} s)"
        print(line.ljust(78) if self.tty else line, flush=True)


# ------------------------------------------------------------------------------------------------------------
# Text: documents and their splits
# ------------------------------------------------------------------------------------------------------------

CLIMBMIX, CLIMBMIX_LAST = "karpathy/climbmix-400b-shuffle", 6542  # the last shard is held out
SUFFIXES = (".txt", ".md", ".rst", ".py", ".jsonl", ".parquet")
PYTHON_SKIPS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "encodings", "__pycache__"}


def source_files(config: Config) -> list[Path]:
    """The files of a source, in a fixed order. Raises TaskError when there is nothing to read."""
    if config.source == "climbmix":
        return climbmix_shards(config.shards or config.profile.shards)
    if config.source == "python":  # without tests and character tables, which not every installation has
        root = Path(sysconfig.get_path("stdlib"))
        found = [p for suffix in ("py", "rst", "txt") for p in root.rglob(f"*.{suffix}")]
        return sorted(p for p in found if PYTHON_SKIPS.isdisjoint(p.relative_to(root).parts))
    path, kinds = Path(config.source), ", ".join(SUFFIXES)
    if not path.exists():
        raise TaskError(f"source {path} does not exist; give climbmix, python, or a file or folder of text")
    if path.is_file() and path.suffix.lower() not in SUFFIXES:
        raise TaskError(f"{path} is of no known kind; rename or convert it to one of: {kinds}")
    if files := sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()):
        return files
    if path.is_file():
        return [path]
    raise TaskError(f"folder {path} has no text; put files of these kinds there: {kinds}")


def climbmix_shards(count: int) -> list[Path]:
    """The first `count` shards and the last. What is there is used as it is; the rest is downloaded with
    huggingface_hub, which honours HF_ENDPOINT. Raises TaskError unless all arrive whole."""
    folder = cache_dir() / "climbmix"
    names = [f"shard_{i:05d}.parquet" for i in (*range(min(count, CLIMBMIX_LAST)), CLIMBMIX_LAST)]
    missing = [name for name in names if not whole_parquet(folder / name)]
    if not missing:
        return [folder / name for name in names]
    from huggingface_hub import hf_hub_download

    progress, failures = Progress("download"), {}

    def download(name: str) -> None:
        try:
            (folder / name).unlink(missing_ok=True)
            hf_hub_download(CLIMBMIX, name, repo_type="dataset", local_dir=folder)
            if not whole_parquet(folder / name):
                raise OSError("what arrived is not a whole parquet file")
        except Exception as error:  # for the user, every error of hub and network is the same
            failures[name] = f"{type(error).__name__}: {error}".splitlines()[0][:160]

    with ThreadPoolExecutor(4) as pool:
        for number, _ in enumerate(pool.map(download, missing), 1):
            progress.update(f"{number} of {len(missing)} shards")
    if failures:
        name = min(failures)
        raise TaskError(
            f"{len(failures)} of {len(names)} shards did not arrive, first {name} ({failures[name]}); "
            "run the same command again for the rest, or use --source python, which needs no network"
        )
    progress.done(f"{len(missing)} shards to {folder}")
    return [folder / name for name in names]


def whole_parquet(path: Path) -> bool:
    """Whether the file ends as a parquet file does; a truncated download does not."""
    with suppress(OSError), path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        return file.read() == b"PAR1"
    return False


def read_documents(path: Path, column: str) -> Iterator[str]:
    """The documents of one file; a text file comes in blocks of 16 M characters. Bytes that are not UTF-8
    become U+FFFD. Raises TaskError naming the file when it is not what its name says."""
    try:
        if path.suffix.lower() == ".parquet":
            import pyarrow.parquet as pq

            with pq.ParquetFile(path) as table:
                names = table.schema_arrow.names
                if column not in names:
                    raise TaskError(f"{path} has no column {column!r}; give --column: {', '.join(names)}")
                for batch in table.iter_batches(batch_size=1024, columns=[column]):
                    yield from (str(text) for text in batch.column(0).to_pylist() if text is not None)
            return
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            if path.suffix.lower() == ".jsonl":
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield jsonl_text(line, column, f"{path}:{number}")
                return
            while block := file.read(1 << 24):
                if "\0" in block:
                    raise TaskError(f"{path} is not UTF-8 text (it has NUL bytes); convert it or remove it")
                yield block
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        reason = str(error).split("\n")[0] or type(error).__name__
        raise TaskError(f"{path} cannot be read ({reason}); repair it or remove it") from None


def jsonl_text(line: str, column: str, where: str) -> str:
    with suppress(ValueError, KeyError, TypeError):
        text = json.loads(line)[column]
        if isinstance(text, str):
            return text
    raise TaskError(f"{where} is not JSON with a text under {column!r}; repair it or give --column NAME")


def cut(text: str, limit: int) -> Iterator[str]:
    """Pieces of at most `limit` characters, cut behind a blank line, else a line, else a space."""
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


def documents(files: list[Path], config: Config) -> Iterator[tuple[int, str, int]]:
    """(content hash, text, bytes) of each document, empty ones dropped, at most `text_bytes` in all.

    Outside climbmix a document longer than a thousandth of the source is cut, so that one big file has splits
    too. The hash is 64 bits of BLAKE2b: two of ten million documents agree with a chance of 3 in a million.
    """
    climbmix = config.source == "climbmix"
    limit = sys.maxsize if climbmix else max(4096, sum(p.stat().st_size for p in files) // 1000)
    left = math.inf if climbmix else config.profile.text_bytes
    for path in files:
        for document in read_documents(path, config.column):
            for text in cut(document, limit):
                data = text.encode("utf-8", "replace")  # lone surrogates, which JSON can carry, become "?"
                left -= len(data)
                if left < 0:
                    return
                if text.strip():
                    yield (int.from_bytes(hashlib.blake2b(data, digest_size=8).digest()), data.decode(), len(data))


def held_out(files: list[Path], config: Config) -> dict[int, str]:
    """Split of each document, by content hash, that is not for training.

    Climbmix: the last shard, one bit of the hash deciding. Else the documents of the smallest hashes, enough
    bytes for EVAL_TOKENS, but at most a tenth of the text for each of the two splits.
    """
    if config.source == "climbmix":
        return {key: SPLITS[1 + key % 2] for key, _, _ in documents(files[-1:], config)}
    sizes = {key: size for key, _, size in documents(files, config)}
    share = min(6 * config.profile.eval_tokens, sum(sizes.values()) // 10)  # a token has fewer than 6 bytes
    chosen, taken = {}, 0
    for key in sorted(sizes):
        if taken < 2 * share:
            chosen[key] = "search" if taken < share else "locked"
            taken += sizes[key]
    return chosen


# ------------------------------------------------------------------------------------------------------------
# Tokenizer
# ------------------------------------------------------------------------------------------------------------


class Tokenizer:
    """Byte-level BPE: learned by rustbpe, run by tiktoken, stored as JSON. The last four ids are special."""

    def __init__(self, tokens: list[bytes], vocab_size: int, pattern: str = SPLIT_PATTERN) -> None:
        import tiktoken

        self.tokens, self.vocab_size, self.pattern = tokens, vocab_size, pattern
        self.special = {name: vocab_size - len(SPECIAL_TOKENS) + i for i, name in enumerate(SPECIAL_TOKENS)}
        self.bos = self.special["<|bos|>"]
        ranks = {token: rank for rank, token in enumerate(tokens)}
        self.encoding = tiktoken.Encoding(
            "pretrain", pat_str=pattern, mergeable_ranks=ranks, special_tokens=self.special
        )

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> Tokenizer:
        """The same texts give the same tokenizer. Little text leaves some ids without a token."""
        import rustbpe

        trainer = rustbpe.Tokenizer()
        trainer.train_from_iterator(iter(texts), vocab_size - len(SPECIAL_TOKENS), pattern=SPLIT_PATTERN)
        ranked = sorted((rank, bytes(token)) for token, rank in trainer.get_mergeable_ranks())
        return cls([token for _, token in ranked], vocab_size)

    @classmethod
    def load(cls, path: Path | None = None) -> Tokenizer:
        """From a tokenizer.json, by default this workspace's. Raises TaskError."""
        table = read_json(path or prepared(CONFIG) / "tokenizer.json")
        return cls([base64.b64decode(token) for token in table["tokens"]], table["vocab_size"], table["pattern"])

    def save(self, path: Path) -> None:
        tokens = [base64.b64encode(token).decode() for token in self.tokens]
        own = {"vocab_size": self.vocab_size, "pattern": self.pattern, "special": self.special, "tokens": tokens}
        write_json(path, own)

    def encode(self, text: str) -> np.ndarray:
        """uint16 ids of one document behind its <|bos|>; special tokens spelled out are plain text."""
        return np.array([self.bos, *self.encoding.encode_ordinary(text)], dtype=np.uint16)

    def decode(self, ids: Iterable[int]) -> str:
        return self.encoding.decode(list(ids))

    def token_bytes(self) -> np.ndarray:
        """int64 [vocab]: raw bytes of each token; 0 for special tokens and for ids without a token."""
        lengths = np.zeros(self.vocab_size, dtype=np.int64)
        for token_id in range(len(self.tokens)):
            lengths[token_id] = len(self.encoding.decode_single_token_bytes(token_id))
        return lengths


# ------------------------------------------------------------------------------------------------------------
# Packed rows
# ------------------------------------------------------------------------------------------------------------

ROWS_HEADER = struct.Struct("<8sQQ")  # magic, rows, width; then rows x width little-endian uint16
ROWS_MAGIC = b"arrows01"


class Packer:
    """Fills rows of `width` tokens with documents, without padding, and writes them to a file.

    Best fit, as in nanochat: of PACK_BUFFER waiting documents the longest that fits is next; when none fits,
    the shortest is cropped to fill the row and its rest is dropped. So every row starts with a <|bos|>.
    Documents wait in one queue per length, under a sorted list of these lengths: a choice is a bisection.
    """

    def __init__(self, file: BinaryIO, width: int, max_rows: float, cut_long: bool) -> None:
        self.file, self.width, self.max_rows, self.cut_long = file, width, max_rows, cut_long
        self.queues: dict[int, deque[np.ndarray]] = {}
        self.lengths: list[int] = []
        self.waiting = self.rows = self.filled = 0
        self.block = np.empty((256, width), dtype="<u2")
        file.write(ROWS_HEADER.pack(ROWS_MAGIC, 0, width))

    def add(self, document: np.ndarray) -> None:
        """Take one document, uint16 [n], <|bos|> first. With cut_long, a long one becomes several."""
        step = self.width - 1 if self.cut_long else len(document)
        for start in range(1, len(document), step):
            part = np.concatenate((document[:1], document[start : start + step]))
            if len(part) not in self.queues:
                self.queues[len(part)] = deque()
                bisect.insort(self.lengths, len(part))
            self.queues[len(part)].append(part)
            self.waiting += 1
            if self.waiting >= PACK_BUFFER:
                self._place()

    def _place(self) -> None:
        room = self.width - self.filled
        at = max(bisect.bisect_right(self.lengths, room) - 1, 0)
        queue = self.queues[self.lengths[at]]
        part = queue.popleft()[:room]
        if not queue:
            del self.queues[self.lengths.pop(at)]
        self.waiting -= 1
        self.block[self.rows % 256, self.filled : self.filled + len(part)] = part
        self.filled += len(part)
        if self.filled == self.width and self.rows < self.max_rows:
            self.rows, self.filled = self.rows + 1, 0
            if self.rows % 256 == 0:
                self.file.write(self.block.tobytes())

    def close(self) -> int:
        """Use up what waits, write the header, return the rows; a last row that is not full is dropped."""
        while self.waiting and self.rows < self.max_rows:
            self._place()
        self.file.write(self.block[: self.rows % 256].tobytes())
        self.file.seek(0)
        self.file.write(ROWS_HEADER.pack(ROWS_MAGIC, self.rows, self.width))
        return self.rows


def open_rows(path: Path) -> np.ndarray:
    """Memory-mapped uint16 [rows, T + 1]. Raises TaskError when the file is not what its header says."""
    with path.open("rb") as file:
        magic, rows, width = ROWS_HEADER.unpack(file.read(ROWS_HEADER.size).ljust(ROWS_HEADER.size))
    if magic != ROWS_MAGIC or path.stat().st_size != ROWS_HEADER.size + 2 * rows * width:
        raise TaskError(f"{path} is damaged; make it again with: python prepare.py --force")
    return np.memmap(path, dtype="<u2", mode="r", offset=ROWS_HEADER.size, shape=(rows, width))


# ------------------------------------------------------------------------------------------------------------
# Preparing
# ------------------------------------------------------------------------------------------------------------


def fingerprint(config: Config) -> str:
    """Names, sizes and times of the files at a path, by which a changed source is noticed; else ""."""
    if config.source in ("climbmix", "python") or not Path(config.source).exists():
        return ""
    stats = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in source_files(config)]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()


def prepared(config: Config) -> Path:
    """The folder of the prepared data; TaskError when it is not there."""
    if not (config.data_dir() / "manifest.json").exists():
        raise TaskError("the data is not prepared; run: python prepare.py")
    return config.data_dir()


def manifest_hash(folder: Path) -> str:
    """One hash of data, tokenizer, splits and this file; scores under different hashes are never compared."""
    parts = [read_json(folder / "manifest.json")["sha256"], sha256_file(HERE / "prepare.py")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def prepare(config: Config, force: bool = False) -> Path:
    """Make the data of `config` unless it is there and its source unchanged. Returns its folder."""
    folder, manifest = config.data_dir(), config.data_dir() / "manifest.json"
    if manifest.exists() and not force and fingerprint(config) in ("", read_json(manifest)["fingerprint"]):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        build(config, part)
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # another process was first: its files are the same
            part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def build(config: Config, folder: Path) -> None:
    """Write tokenizer.json, a file of rows for each split, and manifest.json into `folder`."""
    profile, files = config.profile, source_files(config)
    progress = Progress("splits")
    splits = held_out(files, config)
    progress.done(f"{len(splits)} documents held out, of {len(files)} files")

    def training_text() -> Iterator[str]:
        left = profile.tokenizer_bytes
        for key, text, size in documents(files, config):
            if key not in splits:
                left -= size
                yield text
                progress.update(f"{(profile.tokenizer_bytes - left) / 1e6:.0f} MB read")
            if left < 0:
                return

    progress = Progress("tokenizer")
    tokenizer = Tokenizer.train(training_text(), profile.vocab_size)
    tokenizer.save(folder / "tokenizer.json")
    progress.done(f"{len(tokenizer.tokens) + len(SPECIAL_TOKENS)} entries")

    progress = Progress("rows")
    counts = {split: {"documents": 0, "bytes": 0, "tokens": 0, "rows": 0} for split in SPLITS}
    width = profile.seq_len + 1
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(os.cpu_count()))
        packers = {}
        for split in SPLITS:
            file = stack.enter_context((folder / f"{split}.bin").open("wb"))
            most = math.inf if split == "train" else profile.eval_tokens // profile.seq_len
            packers[split] = Packer(file, width, most, profile.cut_long)
        batch: list[tuple[str, str]] = []  # (split, text): a bounded number of documents is in memory

        def flush() -> None:
            encoded = pool.map(tokenizer.encode, [text for _, text in batch])
            for (split, _), ids in zip(batch, encoded, strict=True):
                packers[split].add(ids)
                counts[split]["tokens"] += len(ids)
            batch.clear()

        seen: set[int] = set()
        for key, text, size in documents(files, config):
            split = splits.get(key, "train")
            if key in seen or packers[split].rows >= packers[split].max_rows:
                continue
            seen.add(key)
            batch.append((split, text))
            counts[split]["documents"] += 1
            counts[split]["bytes"] += size
            if len(batch) == 512:
                flush()
                progress.update(f"{counts['train']['bytes'] / 1e6:.0f} MB, {packers['train'].rows} rows")
        flush()
        for split in SPLITS:
            counts[split]["rows"] = packers[split].close()
    if min(counts[split]["rows"] for split in SPLITS) < 1:
        found = sum(counts[split]["bytes"] for split in SPLITS)
        raise TaskError(
            f"{config.source} has too little text ({found} bytes) for a row of "
            f"{profile.seq_len} tokens in each split; give more of it, or use --source python"
        )
    progress.done(", ".join(f"{split} {counts[split]['rows']}" for split in SPLITS) + f", of {width} tokens")
    names = ("tokenizer.json", *(f"{split}.bin" for split in SPLITS))
    manifest = {
        "profile": {"name": config.profile_name, **asdict(profile)},
        "source": config.source,
        "python": sys.version if config.source == "python" else None,
        "files": len(files),
        "splits": counts,
        "fingerprint": fingerprint(config),
        "sha256": {name: sha256_file(folder / name) for name in names},
    }
    write_json(folder / "manifest.json", manifest)


def show_info(config: Config, samples: int = 3) -> None:
    """Print the manifest, the size of each file, and the first training rows as text."""
    folder = prepared(config)
    print(json.dumps(read_json(folder / "manifest.json"), indent=1))
    for path in sorted(folder.iterdir()):
        print(f"{path.stat().st_size / 1e6:10.2f} MB  {path}")
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    for number, row in enumerate(open_rows(folder / "train.bin")[:samples]):
        print(f"--- row {number}\n{tokenizer.decode(row.tolist())}")


# ------------------------------------------------------------------------------------------------------------
# For the trainer: seed, device, clock, batches, log
# ------------------------------------------------------------------------------------------------------------


def run_seed() -> int:
    return int(os.environ.get("AUTORESEARCH_SEED") or 1)


def run_dir() -> Path:
    """Where this run writes; made when it is not there."""
    path = Path(os.environ.get("AUTORESEARCH_RUN_DIR") or HERE / ".autoresearch" / "by-hand")
    path.mkdir(parents=True, exist_ok=True)
    return path


def seed_everything() -> None:
    """Seed torch's generators from AUTORESEARCH_SEED; to be called before the model is built."""
    import torch

    torch.manual_seed(run_seed())


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

    Iterating gives (x, y, progress): int64 [B, T] on the device, y one token further on than x, and the part
    of the budget that is spent, in [0, 1). The clock starts when the first batch is handed out; the iteration
    ends when the budget is spent. Rows come once an epoch, in an order that depends on the seed alone.
    """

    def __init__(self, batch_size: int, seq_len: int, split: str, device: torch.device) -> None:
        if split != "train":
            raise TaskError(f"the trainer may not read the {split} split; use make_dataloader(B, T, 'train')")
        if batch_size < 1 or not 1 <= seq_len <= MAX_SEQ_LEN:
            raise TaskError(f"batch_size must be at least 1 and seq_len between 1 and {MAX_SEQ_LEN}")
        self.batch_size, self.seq_len, self.device = batch_size, seq_len, device
        self.rows = open_rows(prepared(CONFIG) / "train.bin")
        for name in ("clock.json", "model.pt", "summary.json", "curve.jsonl", "result.json"):
            (run_dir() / name).unlink(missing_ok=True)

    def warmup_batches(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Random tokens in the shape of (x, y), to compile with before the clock starts. What a step on
        them does to weights and optimiser is for the trainer to undo."""
        import torch

        for _ in range(count):
            x = torch.randint(VOCAB_SIZE, (self.batch_size, self.seq_len), device=self.device)
            yield x, x.roll(-1, 1)

    def _batches(self) -> Iterator[Tensor]:
        """int64 [B, T + 1] on the device, without end."""
        import torch

        epoch, order = 0, np.empty(0, dtype=np.int64)
        while True:
            while len(order) < self.batch_size:
                shuffled = np.random.default_rng((run_seed(), epoch)).permutation(len(self.rows))
                epoch, order = epoch + 1, np.concatenate((order, shuffled))
            chosen, order = order[: self.batch_size], order[self.batch_size :]
            batch = torch.from_numpy(self.rows[chosen][:, : self.seq_len + 1].astype(np.int64))
            if self.device.type == "cuda":  # torch reuses a pinned block only after its copy has run
                batch = batch.pin_memory()
            yield batch.to(self.device, non_blocking=True)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, float]]:
        import torch

        batches, events, spent = self._batches(), deque[Any](), 0.0
        batch = next(batches)
        synchronize(self.device)
        start = time.monotonic()
        clock = {"started": time.time(), "seconds": 0.0, "steps": 0, "tokens": 0}
        while spent < CONFIG.budget:
            yield batch[:, :-1], batch[:, 1:], spent / CONFIG.budget
            if self.device.type == "cuda":  # the host stays at most two batches ahead of the device
                events.append(torch.cuda.Event())
                events[-1].record()
                if len(events) > 2:
                    events.popleft().synchronize()
            clock["steps"] += 1
            clock["tokens"] += self.batch_size * self.seq_len
            batch = next(batches)
            clock["seconds"] = time.monotonic() - start
            spent = clock[CONFIG.budget_kind]
        synchronize(self.device)
        clock["seconds"] = time.monotonic() - start
        write_json(run_dir() / "clock.json", clock)
        epochs = clock["steps"] * self.batch_size / len(self.rows)
        trained = f"{clock['steps']} batches, {clock['tokens'] / 1e6:.2f} M tokens, {epochs:.2f} epochs"
        print(f"trained   {trained} in {clock['seconds']:.1f} s", flush=True)


def make_dataloader(
    batch_size: int, seq_len: int = MAX_SEQ_LEN, split: str = "train", device: torch.device | None = None
) -> DataLoader:
    """The batches of a run. Exits with one line when the data is not prepared or the sizes are impossible."""
    try:
        return DataLoader(batch_size, seq_len, split, device or pick_device())
    except TaskError as error:
        raise SystemExit(f"error: {error}") from None


def log_step(**values: float) -> None:
    """Append one line to the run's learning curve, curve.jsonl; a value that is not finite becomes null."""
    line = {name: value if math.isfinite(value) else None for name, value in values.items()}
    with (run_dir() / "curve.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def peak_ram_mb() -> float:
    """The most memory that this process has held; 0 where the system does not say (Windows)."""
    with suppress(ImportError):
        import resource

        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return 0.0


def finish(model: nn.Module, **stats: float) -> None:
    """Save what the evaluator needs; by hand, evaluate and print the score.

    `stats` are figures that the trainer reports of itself: they are shown, and nothing is decided on them.
    """
    import torch

    folder = run_dir()
    model = getattr(model, "_orig_mod", model)  # the module inside a compiled one
    parameters = list(model.parameters())
    synchronize(parameters[0].device)
    clock = read_json(folder / "clock.json")
    write_json(folder / "clock.json", {**clock, "finished_after": time.time() - clock["started"]})
    own = {
        "peak_vram_mb": torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0,
        "peak_ram_mb": peak_ram_mb(),
        "num_params_M": sum(p.numel() for p in parameters) / 1e6,
    }
    write_json(folder / "summary.json", {**{k: v for k, v in stats.items() if math.isfinite(v)}, **own})
    torch.save({name: tensor.cpu() for name, tensor in model.state_dict().items()}, folder / "model.pt")
    if "AUTORESEARCH_RUN_DIR" in os.environ:
        return
    command = [sys.executable, str(HERE / "prepare.py"), "evaluate"]
    evaluator = subprocess.run(command, cwd=HERE, stdout=subprocess.PIPE, text=True, check=False)
    if evaluator.returncode:
        raise SystemExit(f"error: the evaluator ended with exit code {evaluator.returncode}")
    metrics = read_json(folder / "result.json")["metrics"]
    if not metrics:  # the evaluator has said why
        raise SystemExit(1)
    print("---")
    for name, value in metrics.items():
        print(f"{name + ':':<18}{value:.{6 if name == 'val_bpb' else 0 if isinstance(value, int) else 1}f}")
    print(evaluator.stdout, end="")


# ------------------------------------------------------------------------------------------------------------
# Evaluation
# ------------------------------------------------------------------------------------------------------------


class Verdict(Exception):
    """A run without a score: its outcome, and the reason in one sentence."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome


class Evaluator:
    """Scores a model on packed rows: uint16 [R, T + 1], with the bytes of each token, int64 [V].

    It holds what it computes with, so it is made before the trainer's code is imported.
    """

    def __init__(self, rows: np.ndarray, token_bytes: np.ndarray, device: torch.device) -> None:
        import torch

        self.torch, self.tensor, self.device = torch, torch.Tensor, device
        self.logsumexp, self.isfinite = torch.logsumexp, torch.isfinite
        self.rows, self.bytes = torch.from_numpy(rows.astype(np.int64)), torch.from_numpy(token_bytes)

    def logits(self, model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """model(x), [B, T, V] on the device. Verdict when it is anything else."""
        out, shape = model(x.to(self.device)), (*x.shape, len(self.bytes))
        plain = type(out) is self.tensor  # a subclass could bring its own arithmetic
        if not plain or tuple(out.shape) != shape:
            got = f"shape {tuple(out.shape)}" if plain else type(out).__name__
            raise Verdict("tampered", f"the model must return logits of shape {shape}, and returned {got}")
        return out

    def row_nats(self, logits: Tensor, y: Tensor) -> Tensor:
        """float64 [B]: summed cross-entropy of each row, special tokens left out. In float32, and one row
        at a time, so that no second copy of all logits is needed."""
        sums = []
        for row, targets in zip(logits, y, strict=True):
            row = row.float()  # [T, V]
            nats = self.logsumexp(row, -1) - row.gather(-1, targets[:, None].to(self.device))[:, 0]
            sums.append(nats.cpu().double()[self.bytes[targets] > 0].sum())
        total = self.torch.stack(sums)
        if not self.isfinite(total).all():
            raise Verdict("no_metric", "the model's logits are not finite")
        return total

    def score(self, model: Callable[[Tensor], Tensor], batch_size: int) -> tuple[float, Tensor]:
        """(bits per byte, nats of each row). Out of memory, it halves the batch; Verdict oom at 1."""
        nats, done = self.torch.zeros(len(self.rows), dtype=self.torch.float64), 0
        while done < len(self.rows):
            x, y = self.rows[done : done + batch_size, :-1], self.rows[done : done + batch_size, 1:]
            try:
                nats[done : done + len(x)] = self.row_nats(self.logits(model, x), y)
                done += len(x)
            except self.torch.OutOfMemoryError:
                if batch_size == 1:
                    raise Verdict("oom", "evaluation of a single row does not fit in memory") from None
                batch_size //= 2
        return nats.sum().item() / (math.log(2) * self.bytes[self.rows[:, 1:]].sum().item()), nats

    def probe(self, model: Callable[[Tensor], Tensor], nats: Tensor, count: int) -> None:
        """Verdict tampered when the model uses more than it may, tested on `count` rows drawn afresh.

        Comes after `score` and takes its `nats`: a row must not meet the model before it is scored. What is
        altered becomes text of other rows, so that nothing marks an altered batch.
        """
        torch, rng = self.torch, random.SystemRandom()
        drawn = torch.tensor([[rng.randrange(len(self.rows)) for _ in range(count)] for _ in range(2)])
        x, other = self.rows[drawn[0], :-1], self.rows[drawn[1], :-1]  # [B, T]
        other = torch.where(other == x, (x + 1) % len(self.bytes), other)
        base = self.logits(model, x).float().clone()
        if not self.isfinite(base).all():
            raise Verdict("no_metric", "the model's logits are not finite")
        mask = torch.tensor([i % 2 == 0 for i in rng.sample(range(count), count)])[:, None].expand_as(x)
        ends = torch.tensor([[rng.randrange(1, max(x.shape[1], 2))] for _ in range(count)])  # [B, 1]

        def same_where(kept: Tensor, what: str) -> None:
            change = (self.logits(model, torch.where(kept, x, other)).float() - base).abs().amax(-1)  # [B, T]
            worst = change[kept.to(self.device)].max().item()
            if not worst <= PROBE_TOLERANCE:  # not a number is refused as well
                raise Verdict("tampered", f"logits depend on {what}, with which they changed by {worst:.3g}")

        same_where(mask, "other rows")
        again = self.row_nats(base, self.rows[drawn[0], 1:])
        drift = (again - nats[drawn[0]]).abs().max().item() / x.shape[1]
        if drift > 0.01:
            raise Verdict("tampered", f"a row seen again has another score, by {drift:.3g} nats a token")
        same_where(torch.arange(x.shape[1]) < ends, "later tokens")


def check_clock(clock: dict[str, float], config: Config, lived: float | None) -> None:
    """Verdict over_budget when a run took more than it may, tampered when its clock cannot be true.

    `lived` is the life of the training process in seconds, seen from outside. The clock may not claim more;
    and the process may live no longer than its budget with the profile's allowance for all else.
    """
    seconds = max(clock["seconds"], clock["finished_after"])
    used, budget = clock[config.budget_kind], config.budget
    if lived is not None and seconds > lived + 1.0:
        raise Verdict("tampered", f"the clock shows {seconds:.1f} s, but the process lived {lived:.1f} s")
    if config.budget_kind == "seconds":
        limit = SLACK_FACTOR * budget + SLACK_S
        if seconds > limit or (lived is not None and lived > limit + config.profile.startup_s):
            longest = f"{seconds:.1f} s of training" + (f" in a process of {lived:.1f} s" if lived else "")
            raise Verdict("over_budget", f"{longest} are too much for a budget of {budget:g} s")
    elif used >= budget + used / max(clock["steps"], 1):  # the last batch may pass the mark
        raise Verdict("over_budget", f"{used:.0f} {config.budget_kind} of a budget of {budget:g}")


def load_model(folder: Path, weights: Path) -> nn.Module:
    """build_model() of folder/train.py with the trained weights. Verdict crash when they do not fit it."""
    import torch

    state = torch.load(weights, map_location="cpu", weights_only=True)
    sys.path.insert(0, str(folder))
    model = importlib.import_module("train").build_model()
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        text = " ".join(str(error).split())[:200]
        raise Verdict("crash", f"the weights do not fit build_model(): {text}") from None
    return model.eval()


def judge(folder: Path, split: str, config: Config, lived: float | None) -> dict[str, float]:
    """The metrics of the run in `folder`. Raises Verdict when it has none, TaskError without data."""
    data = prepared(config)
    for name, digest in read_json(data / "manifest.json")["sha256"].items():
        needed = name != "locked.bin" or split == "locked"  # the engine may keep the locked split away
        if needed and sha256_file(data / name) != digest:
            raise Verdict("tampered", f"{name} is not what was prepared; run: python prepare.py --force")
    try:
        clock, summary = read_json(folder / "clock.json"), read_json(folder / "summary.json")
        check_clock(clock, config, lived)
        measured = {"training_seconds": clock["seconds"], **({"total_seconds": lived} if lived else {})}
        measured |= {"total_tokens_M": clock["tokens"] / 1e6, "num_steps": clock["steps"]}
        reported = {k: v for k, v in summary.items() if k.isidentifier() and math.isfinite(v)}
        reported = {k: reported[k] for k in sorted(reported.keys() - measured.keys() - {"val_bpb"})[:32]}
    except TaskError:
        raise Verdict("no_metric", "train.py ended without calling finish(model)") from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Verdict("tampered", "clock.json or summary.json is not as prepare.py writes it") from None
    import torch

    device, tokenizer = pick_device(), Tokenizer.load(data / "tokenizer.json")
    evaluator = Evaluator(open_rows(data / f"{split}.bin"), tokenizer.token_bytes(), device)
    try:
        with torch.no_grad():
            model = load_model(HERE, folder / "model.pt").to(device)
            bpb, nats = evaluator.score(model, config.profile.eval_batch)
            evaluator.probe(model, nats, config.profile.eval_batch)
    except (Verdict, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever the trainer's code raises, SystemExit too, is its failure
        outcome = "oom" if isinstance(error, torch.OutOfMemoryError) else "crash"
        text = " ".join(str(error).split())[:200]
        raise Verdict(outcome, f"evaluating the model raised {type(error).__name__}: {text}") from None
    return {"val_bpb": bpb, **measured, **reported}


def evaluate(config: Config, split: str) -> None:
    """Write the result file of the last run and print its METRIC lines. A refusal is a result too."""
    start, folder = time.monotonic(), run_dir()
    target = Path(os.environ.pop("AUTORESEARCH_RESULT", "") or folder / "result.json")
    lived = os.environ.pop("AUTORESEARCH_TRAIN_SECONDS", "")
    target.unlink(missing_ok=True)
    outcome, reason, metrics, manifest = "ok", None, {}, manifest_hash(prepared(config))
    try:
        metrics = judge(folder, split, config, float(lived) if lived else None)
    except Verdict as verdict:
        outcome, reason = verdict.outcome, str(verdict)
        print(f"{outcome}: {reason}", file=sys.stderr)
    result = {"outcome": outcome, "reason": reason, "metrics": metrics, "manifest": manifest, "split": split}
    write_json(target, {**result, "seconds": time.monotonic() - start})
    for name, value in metrics.items():
        print(f"METRIC {name}={value!r}")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # nothing that the trainer's code registered runs once the result is written


# ------------------------------------------------------------------------------------------------------------
# Command line
# ------------------------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description="Data and evaluation of the pretrain task.")
    parser.add_argument("command", nargs="?", choices=("prepare", "info", "evaluate"), default="prepare")
    parser.add_argument("--source", help="climbmix, python, or the path of a file or folder of text")
    parser.add_argument("--profile", dest="profile_name", choices=tuple(PROFILES))
    parser.add_argument("--column", help="column or key of the text in parquet and jsonl files")
    parser.add_argument("--shards", type=int, help="training shards of climbmix")
    parser.add_argument("--split", choices=("search", "locked"), default="search", help="what evaluate reads")
    parser.add_argument("--force", action="store_true", help="prepare again although the data is there")
    args = vars(parser.parse_args(arguments))
    command, split, force = (args.pop(name) for name in ("command", "split", "force"))
    config = replace(CONFIG, **{name: value for name, value in args.items() if value is not None})
    if config.source not in ("climbmix", "python"):
        config = replace(config, source=str(Path(config.source).expanduser().resolve()))
    if command == "evaluate":
        evaluate(config, split)
    elif command == "info":
        show_info(config)
    else:
        report(config, prepare(config, force))


def report(config: Config, folder: Path) -> None:
    counts = read_json(folder / "manifest.json")["splits"]
    print(f"ready     {config.source}: " + ", ".join(f"{s} {counts[s]['rows']} rows" for s in SPLITS))
    print(f"data      {folder}\nmanifest  {manifest_hash(folder)}")
    if config.data_dir() != CONFIG.data_dir():
        print("note      train.py reads its options from autoresearch.toml, and they differ from these")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except TaskError as error:
        sys.exit(f"error: {error}")
