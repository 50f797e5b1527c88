"""Data, clock and evaluation of the pretrain task. The trainer may not change this file.

    python prepare.py             text -> tokenizer -> tokens -> packed rows; a second call finds them
    python prepare.py info        what was prepared, with sample rows as text
    python prepare.py evaluate    score the weights of the last run, in a process of its own

Environment, all optional: AUTORESEARCH_CACHE (where prepared data lives; ~/.cache/autoresearch), _SEED (1: order of the
rows, torch's generators), _RUN_DIR (what a run leaves; without it a run is by hand, in .autoresearch/by-hand, and
`finish` starts the evaluator); for the evaluator _SPLIT (search or locked), _RESULT (RUN_DIR/result.json) and
_TRAIN_SECONDS (life of the training process, seen from outside).

What this protects against, and what not. A second process computes the loss itself, on rows that the trainer was not
given, and tests the model for looking ahead, for rows that see each other and for memory of earlier calls. What
computes the score is bound before the trainer's code is imported, so careless patching does not change it. But
`build_model` and the forward pass are that code and run here, and clock and search split are files: who sets out to
rewrite this process or to read those files is left to the engine and to the person who reads the diff.
"""

from __future__ import annotations

import argparse
import base64
import bisect
import fcntl
import hashlib
import importlib
import itertools
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
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tiktoken
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
ENVIRONMENT, monotonic = dict(os.environ), time.monotonic  # as they are before the trainer's code runs
IMPORTED = monotonic()

FORMAT = 2  # of what `prepare` writes; prepared data of another number is not used
SPLITS = ("train", "search", "locked")
SPECIAL_TOKENS = ("<|bos|>", "<|user|>", "<|assistant|>", "<|end|>")
SPLIT_PATTERN = (  # GPT-4's, but at most two digits in a token, as nanochat has it for small vocabularies
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
PACK_BUFFER, PACK_REFILL = 1000, 128  # documents among which the best fit is looked for; taken at a time
GROUP_BYTES = 2**26  # of source files whose tokens go into one file
SLACK_FACTOR, SLACK_S = 1.1, 2.0  # training may take this factor of its seconds, and these seconds more
PROBE_TOLERANCE = 1e-3  # change of a logit; the same kernel on the same shape gives 0


class TaskError(Exception):
    """Something the user can put right; the message is one sentence that says what to do next."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The sizes of one scale of the task. Results of different profiles are not comparable."""

    seq_len: int  # T: tokens a model sees in one row; a stored row has T + 1
    vocab_size: int  # token ids, the four special ones included; at most 2^15
    eval_tokens: int  # targets of one evaluation; a small source gives fewer
    eval_batch: int  # rows of one evaluation batch; the score does not depend on it
    text_bytes: int  # the most text read from the python source or a path
    tokenizer_bytes: int  # training text that the tokenizer learns from
    shards: int  # training shards of climbmix
    cut_long: bool  # cut documents longer than a row, so that no text of a small source is lost
    startup_s: float  # free before the clock starts: imports, building the model; more is charged to the budget
    warmup_s: float  # free for warm-up batches: compilation; more is charged likewise


PROFILES = {  # full packs as karpathy/autoresearch does: what is cropped from a document is dropped
    "full": Profile(2048, 8192, 40 * 524_288, 32, 10**12, 10**9, 20, False, 60.0, 300.0),
    "small": Profile(1024, 4096, 2**20, 16, 10**9, 2 * 10**8, 4, True, 30.0, 180.0),
    "tiny": Profile(256, 2048, 2**15, 16, 32 * 10**6, 8 * 10**6, 1, True, 15.0, 60.0),
}


@dataclass(frozen=True, slots=True)
class Config:
    """What autoresearch.toml says about this task: its [options] and the budget."""

    profile_name: str = "tiny"
    source: str = "python"
    column: str = "text"
    shards: int = 0  # training shards of climbmix; 0 is the profile's own number
    seq_len: int = 0  # T; 0 is the profile's own
    tokenizer: str = "bpe"  # or byte: one token a byte
    budget_kind: str = "seconds"  # or tokens, steps (batches handed out), flops
    budget: float = 300.0

    def __post_init__(self) -> None:
        if self.profile_name not in PROFILES:
            raise TaskError(f"no profile is called {self.profile_name!r}; choose from: {', '.join(PROFILES)}")
        if self.tokenizer not in ("bpe", "byte") or not 0 <= self.seq_len <= 2**20 or self.shards < 0:
            raise TaskError('[options] takes tokenizer = "bpe" or "byte", seq_len = 0 to 1048576, shards >= 0')
        if self.budget_kind not in ("seconds", "tokens", "steps", "flops") or not 0 < self.budget < math.inf:
            raise TaskError("the budget must be { seconds = N }, or tokens, steps or flops instead; N above 0")

    @property
    def profile(self) -> Profile:
        own = PROFILES[self.profile_name]
        vocab_size = own.vocab_size if self.tokenizer == "bpe" else 256 + len(SPECIAL_TOKENS)
        return replace(own, seq_len=self.seq_len or own.seq_len, vocab_size=vocab_size)

    def token_dir(self) -> Path:
        """Where the tokenised text lives; it serves every T. No file of the source is read to tell."""
        p, version = self.profile, sys.version if self.source == "python" else ""
        source = (self.source, self.column, self.shards or p.shards, version, self.tokenizer, SPLIT_PATTERN)
        return data_path("tokens", FORMAT, *source, p.vocab_size, p.eval_tokens, p.text_bytes, p.tokenizer_bytes)

    def data_dir(self) -> Path:
        """Where the packed rows live."""
        p = self.profile
        return data_path(self.profile_name, self.token_dir().name, p.seq_len, p.cut_long, PACK_BUFFER, PACK_REFILL)


def data_path(name: str, *parts: object) -> Path:
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    return cache_dir() / "pretrain" / f"{name}-{key}"


def cache_dir() -> Path:
    return Path(os.environ.get("AUTORESEARCH_CACHE") or "~/.cache/autoresearch").expanduser()


def read_config(path: Path) -> Config:
    """Options and budget of autoresearch.toml. Raises TaskError when it is missing or malformed."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        options = dict(table.get("options", {}))
        [(kind, amount)] = table["run"]["budget"].items()
        name = options.pop("profile", "tiny")
        return Config(profile_name=name, **options, budget_kind=kind, budget=float(amount))
    except FileNotFoundError:
        raise TaskError(f"{path} is missing; begin with: autoresearch init --task pretrain") from None
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise TaskError(f"{path} cannot be used ({error}); compare it with the task's original") from None


try:
    CONFIG = read_config(HERE / "autoresearch.toml")
except TaskError as error:
    raise SystemExit(f"error: {error}") from None
PROFILE, MAX_SEQ_LEN, VOCAB_SIZE = CONFIG.profile_name, CONFIG.profile.seq_len, CONFIG.profile.vocab_size
EVAL_TOKENS = CONFIG.profile.eval_tokens
TIME_BUDGET = CONFIG.budget if CONFIG.budget_kind == "seconds" else math.inf  # seconds

# ------------------------------------------------------------------------------------------------------------
# Files and progress
# ------------------------------------------------------------------------------------------------------------

HEADER, MAGIC = struct.Struct("<8sQQ"), b"arrows02"  # magic, rows, tokens of a row; then little-endian uint16


def read_json(path: Path) -> Any:
    """Raises TaskError when the file is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise TaskError(f"{path} is missing or damaged; run: python prepare.py --force") from None


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path`, whole or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Written whole or not at all; NaN is an error."""
    with written(path) as part:
        part.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def digest(path: Path, pieces: int = 1024, length: int = 2**16) -> str:
    """SHA-256 of a file; of one over 64 MB: of its size and of 1,024 pieces at even distances."""
    size, result = path.stat().st_size, hashlib.sha256()
    with path.open("rb") as file:
        if size <= pieces * length:
            return hashlib.file_digest(file, "sha256").hexdigest()
        for number in range(pieces):
            file.seek(number * (size - length) // (pieces - 1))
            result.update(file.read(length))
    result.update(str(size).encode())
    return result.hexdigest()


def open_rows(path: Path) -> np.ndarray:
    """Memory-mapped uint16 [rows, width]. Raises TaskError when the file is not what its header says."""
    with path.open("rb") as file:
        magic, rows, width = HEADER.unpack(file.read(HEADER.size).ljust(HEADER.size))
    if magic != MAGIC or path.stat().st_size != HEADER.size + 2 * rows * width:
        raise TaskError(f"{path} is damaged; make it again with: python prepare.py --force")
    if not rows * width:  # nothing to map
        return np.empty((rows, width), dtype="<u2")
    return np.memmap(path, dtype="<u2", mode="r", offset=HEADER.size, shape=(rows, width))


class Progress:
    """One line, rewritten on a terminal; elsewhere a plain line every few seconds."""

    def __init__(self, label: str) -> None:
        self.label, self.tty, self.start, self.last = label, sys.stdout.isatty(), monotonic(), monotonic()

    def update(self, text: str) -> None:
        if monotonic() - self.last >= (0.2 if self.tty else 5.0):
            self.last = monotonic()
            print(f"{self.label:<10}{text}".ljust(78 * self.tty), end="\r" if self.tty else "\n", flush=True)

    def done(self, text: str) -> None:
        print(f"{self.label:<10}{text}  ({monotonic() - self.start:.1f} s)".ljust(78 * self.tty), flush=True)


# ------------------------------------------------------------------------------------------------------------
# Text: sources, documents and their splits
# ------------------------------------------------------------------------------------------------------------

CLIMBMIX, CLIMBMIX_LAST = "karpathy/climbmix-400b-shuffle", 6542  # the last shard is held out
SUFFIXES = (".txt", ".md", ".rst", ".py", ".jsonl", ".parquet")
PYTHON_SKIPS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "encodings", "__pycache__"}
BLOCK, LONGEST = 2**22, 2**28  # characters read of a text file at a time; characters of one jsonl line


def source_files(config: Config, workers: int = 4) -> dict[Path, int]:
    """The files to read, in order, each with the most bytes of text to read of it. Raises TaskError without any."""
    path, kinds = Path(config.source), ", ".join(SUFFIXES)
    if config.source == "climbmix":
        return dict.fromkeys(climbmix_shards(config.shards or config.profile.shards, workers), sys.maxsize)
    if config.source == "python":  # without tests and character tables, which not every installation has
        root = Path(sysconfig.get_path("stdlib"))
        found = [p for suffix in ("py", "rst", "txt") for p in root.rglob(f"*.{suffix}")]
        files = sorted(p for p in found if PYTHON_SKIPS.isdisjoint(p.relative_to(root).parts))
    elif not path.exists():
        raise TaskError(f"source {path} does not exist; give climbmix, python, or a file or folder of text")
    elif path.is_file():
        files = [path]
    else:
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if path.is_file() and path.suffix.lower() not in SUFFIXES:
        raise TaskError(f"{path} is of no known kind; rename or convert it to one of: {kinds}")
    if not files:
        raise TaskError(f"folder {path} has no text; put files of these kinds there: {kinds}")
    sizes = [p.stat().st_size for p in files]
    left = [config.profile.text_bytes - before for before in itertools.accumulate(sizes, initial=0)]
    return {file: most for file, most in zip(files, left, strict=False) if most > 0}


def climbmix_shards(count: int, workers: int) -> list[Path]:
    """The first `count` shards and the last. What is there is used as it is; the rest is downloaded with
    huggingface_hub, which honours HF_ENDPOINT, resumes, and compares sizes. Raises TaskError unless all arrive."""
    folder = cache_dir() / "climbmix"
    paths = [folder / f"shard_{i:05d}.parquet" for i in (*range(min(count, CLIMBMIX_LAST)), CLIMBMIX_LAST)]
    missing = [path for path in paths if not whole_parquet(path)]
    if not missing:
        return paths
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import disable_progress_bars

    def download(path: Path) -> str:
        """Why it failed, or nothing. The second try begins anew, in case what is there is damaged."""
        reason = ""
        for anew in (False, True):
            try:
                path.unlink(missing_ok=True)
                hf_hub_download(CLIMBMIX, path.name, repo_type="dataset", local_dir=folder, force_download=anew)
                if whole_parquet(path):
                    return ""
                reason = "what arrived is not a whole parquet file"
            except Exception as error:  # for the user, every error of hub and network is the same
                reason = f"{type(error).__name__}: {error}".splitlines()[0][:160]
        return reason

    disable_progress_bars()
    progress, failures = Progress("download"), {}
    with ThreadPoolExecutor(workers) as pool:
        for number, reason in enumerate(pool.map(download, missing), 1):
            if reason:
                failures[missing[number - 1].name] = reason
            progress.update(f"{number} of {len(missing)} shards, {len(failures)} failed")
    if failures:
        name = min(failures)
        raise TaskError(
            f"{len(failures)} of {len(paths)} shards did not arrive, first {name} ({failures[name]}); "
            "run the same command again for the rest, or use --source python, which needs no network"
        )
    progress.done(f"{len(missing)} shards to {folder}")
    return paths


def whole_parquet(path: Path) -> bool:
    """Whether the file is there with a footer that can be read; a truncated download has none."""
    import pyarrow.parquet as pq

    with suppress(OSError, ValueError):  # pyarrow's errors are ValueErrors
        return bool(pq.read_metadata(path).num_rows)
    return False


def read_documents(path: Path, column: str) -> Iterator[str]:
    """The documents of one file; a text file comes in blocks of 4 M characters. Bytes that are not UTF-8
    become U+FFFD. Raises TaskError naming the file when it is not what its name says."""
    try:
        if path.suffix.lower() == ".parquet":
            yield from read_parquet(path, column)
            return
        with path.open(encoding="utf-8-sig", errors="replace", newline="\n") as file:
            if path.suffix.lower() != ".jsonl":
                while block := file.read(BLOCK):
                    if "\0" in block:
                        raise TaskError(f"{path} is not UTF-8 text (it has NUL bytes); convert it or remove it")
                    yield block
                return
            for number, line in enumerate(iter(lambda: file.readline(LONGEST), ""), 1):
                if len(line) == LONGEST:
                    raise TaskError(f"{path}:{number} has over {LONGEST} characters; split this document")
                if line.strip():
                    yield jsonl_text(line, column, f"{path}:{number}")
    except (OSError, ValueError) as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise TaskError(f"{path} cannot be read ({reason}); repair it or remove it") from None


def read_parquet(path: Path, column: str) -> Iterator[str]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, buffer_size=2**20) as table:
        names = table.schema_arrow.names
        if column not in names:
            raise TaskError(f"{path} has no column {column!r}; give --column: {', '.join(names)}")
        for group in map(table.metadata.row_group, range(table.metadata.num_row_groups)):
            chunks = map(group.column, range(group.num_columns))
            if sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.split(".")[0] == column) > 2**29:
                raise TaskError(f"{path} has a row group of over 512 MB of text; write it with smaller row groups")
        for batch in table.iter_batches(batch_size=256, columns=[column]):
            yield from (str(text) for text in batch.column(0).to_pylist() if text is not None)


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
        ends = (text.rfind(mark, start + limit // 2, start + limit) + len(mark) for mark in ("\n\n", "\n", " "))
        end = next((end for end in ends if end > start + limit // 2), start + limit)
        yield text[start:end]
        start = end
    yield text[start:]


def documents(files: dict[Path, int], config: Config, total: int) -> Iterator[tuple[str, str, int]]:
    """(split, text, UTF-8 bytes) of each document of `files`, empty ones dropped.

    The text alone decides the split, by its hash: what comes twice is in one split only. Climbmix holds out its
    last shard. Any other source, of `total` bytes, holds out for each of two splits a tenth, or what EVAL_TOKENS
    need if that is less; and a document longer than a thousandth of it is cut, so that one big file has splits too.
    """
    climbmix = config.source == "climbmix"
    longest = BLOCK if climbmix else min(BLOCK, max(total // 1000, min(4096, total // 100), 64))
    share = min(0.1, 6 * config.profile.eval_tokens / max(total, 1))  # a token has fewer than 6 bytes
    for path, left in files.items():
        if climbmix:
            share = 0.5 if path.stem.endswith(str(CLIMBMIX_LAST)) else 0.0
        for text in (piece for document in read_documents(path, config.column) for piece in cut(document, longest)):
            data = text.encode("utf-8", "replace")  # lone surrogates, which JSON can carry, become "?"
            left -= len(data)
            if left < 0:
                break
            if text.strip():
                place = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest()) / 2**64
                split = "search" if place < share else "locked" if place < 2 * share else "train"
                yield split, data.decode(), len(data)


# ------------------------------------------------------------------------------------------------------------
# Tokenizer
# ------------------------------------------------------------------------------------------------------------


class Tokenizer:
    """Byte-level BPE: learned by rustbpe, run by tiktoken, stored as JSON. The last four ids are special.

    With no tokens but the 256 bytes, a token is a byte.
    """

    def __init__(self, tokens: list[bytes], vocab_size: int, pattern: str = SPLIT_PATTERN) -> None:
        self.tokens, self.vocab_size, self.pattern = tokens, vocab_size, pattern
        self.special = {name: vocab_size - len(SPECIAL_TOKENS) + i for i, name in enumerate(SPECIAL_TOKENS)}
        self.bos = self.special["<|bos|>"]

    @cached_property
    def encoding(self) -> tiktoken.Encoding:
        import tiktoken

        ranks = {token: rank for rank, token in enumerate(self.tokens)}
        return tiktoken.Encoding("pretrain", pat_str=self.pattern, mergeable_ranks=ranks, special_tokens=self.special)

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> Tokenizer:
        """The same texts give the same tokenizer. Little text leaves some ids without a token."""
        if vocab_size == 256 + len(SPECIAL_TOKENS):
            return cls([bytes([value]) for value in range(256)], vocab_size)
        import rustbpe

        trainer = rustbpe.Tokenizer()
        pieces = (piece for text in texts for piece in cut(text, 2**16))  # it holds a thousand of them at a time
        trainer.train_from_iterator(pieces, vocab_size - len(SPECIAL_TOKENS), 1024, SPLIT_PATTERN)
        ranked = sorted((rank, bytes(token)) for token, rank in trainer.get_mergeable_ranks())
        return cls([token for _, token in ranked], vocab_size)

    @classmethod
    def load(cls, path: Path | None = None) -> Tokenizer:
        """From a tokenizer.json, by default this workspace's. Raises TaskError."""
        table = read_json(path or prepared(CONFIG) / "tokenizer.json")
        return cls([base64.b64decode(token) for token in table["tokens"]], table["vocab_size"], table["pattern"])

    def save(self, path: Path) -> None:
        own = {"vocab_size": self.vocab_size, "pattern": self.pattern, "special": self.special}
        write_json(path, own | {"tokens": [base64.b64encode(token).decode() for token in self.tokens]})

    def encode(self, *texts: str) -> np.ndarray:
        """uint16 ids of documents, each behind its <|bos|>; special tokens spelled out are plain text."""
        parts: list[Any] = []
        for text in texts:
            byte = len(self.tokens) == 256
            ids = (
                np.frombuffer(text.encode(), np.uint8)
                if byte
                else self.encoding.encode_to_numpy(text, disallowed_special=())
            )
            parts += [[self.bos], ids]
        return np.concatenate(parts, dtype=np.uint16, casting="unsafe")

    def decode(self, ids: Iterable[int]) -> str:
        names = {rank: name.encode() for name, rank in self.special.items()}
        return b"".join(names[i] if i in names else self.tokens[i] for i in ids).decode("utf-8", "replace")

    def token_bytes(self, reference: bool = False) -> np.ndarray:
        """int64 [vocab]: raw bytes of each token; 0 for special tokens and for ids without a token.

        With `reference` as karpathy/autoresearch counts them: of a token that is not UTF-8 by itself, those of the
        characters that stand in for it.
        """
        own = [len(t.decode("utf-8", "replace").encode()) if reference else len(t) for t in self.tokens]
        return np.array(own + [0] * (self.vocab_size - len(own)), dtype=np.int64)


# ------------------------------------------------------------------------------------------------------------
# Preparing: text -> tokens -> packed rows
# ------------------------------------------------------------------------------------------------------------


def prepared(config: Config) -> Path:
    """The folder of the prepared data; TaskError when it is not there."""
    if not (config.data_dir() / "manifest.json").exists():
        raise TaskError("the data is not prepared; run: python prepare.py")
    return config.data_dir()


def manifest_hash(folder: Path) -> str:
    """One hash of data, tokenizer, splits and this file; scores under different hashes are never compared."""
    parts = [read_json(folder / "manifest.json")["sha256"], digest(HERE / "prepare.py")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def fingerprint(config: Config) -> str:
    """Names, sizes and times of the files at a path, by which a changed source is noticed; else ""."""
    if config.source in ("climbmix", "python") or not Path(config.source).exists():
        return ""
    stats = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in source_files(config)]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()


def prepare(config: Config, force: bool = False, workers: int = 4) -> Path:
    """Make the data of `config` unless it is there and its source unchanged. Returns its folder.

    Killed at any time and called again, it goes on with the files of tokens that were finished.
    """
    folder, tokens, found = config.data_dir(), config.token_dir(), fingerprint(config)
    manifest, source = folder / "manifest.json", tokens / "source.json"
    if manifest.exists() and not force and found in ("", read_json(manifest)["fingerprint"]):
        return folder
    if force or not source.exists() or read_json(source) != found:
        shutil.rmtree(tokens, ignore_errors=True)
        tokens.mkdir(parents=True)
        write_json(source, found)
    part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        files = source_files(config, workers)
        counts = tokenize(config, files, tokens)
        pack_splits(config, tokens, part, counts)
        own = {"profile": {"name": config.profile_name, **asdict(config.profile)}, "source": config.source}
        own |= {"tokenizer": config.tokenizer, "python": sys.version if config.source == "python" else None}
        own |= {"files": len(files), "splits": counts, "fingerprint": found}
        names = ("tokenizer.json", *(f"{split}.bin" for split in SPLITS))
        write_json(part / "manifest.json", own | {"sha256": {name: digest(part / name) for name in names}})
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # another process was first: its files are the same
            part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def tokenize(config: Config, files: dict[Path, int], folder: Path) -> dict[str, dict[str, int]]:
    """Write tokenizer.json, and for each group of files NUMBER-SPLIT.bin and, last, NUMBER.json, the group's counts.

    Returns documents, bytes and tokens of each split. A group is what an interrupted call has to do again at most.
    """
    groups: dict[int, dict[Path, int]] = {}
    before, total = 0, min(config.profile.text_bytes, sum(path.stat().st_size for path in files))
    for path, most in files.items():
        groups.setdefault(before // GROUP_BYTES, {})[path] = most
        before += path.stat().st_size
    if not (folder / "tokenizer.json").exists():
        progress = Progress("tokenizer")
        learned = Tokenizer.train(training_text(config, files, total, progress), config.profile.vocab_size)
        learned.save(folder / "tokenizer.json")
        progress.done(f"{len(learned.tokens) + len(SPECIAL_TOKENS)} entries")
    tokenizer, progress = Tokenizer.load(folder / "tokenizer.json"), Progress("tokens")
    counts = {split: {"documents": 0, "bytes": 0, "tokens": 0} for split in SPLITS}
    for number, group in groups.items():
        index = folder / f"{number:05d}.json"
        if not index.exists():
            write_tokens(documents(group, config, total), tokenizer, index, progress)
        for split, added in read_json(index).items():
            counts[split] = {key: counts[split][key] + added[key] for key in added}
    progress.done(", ".join(f"{split} {counts[split]['tokens'] / 1e6:.2f} M" for split in SPLITS))
    return counts


def training_text(config: Config, files: dict[Path, int], total: int, progress: Progress) -> Iterator[str]:
    """The first `tokenizer_bytes` of training text."""
    read, most = 0, config.profile.tokenizer_bytes
    for split, text, size in documents(files, config, total):
        if split == "train":
            yield text
            read += size
            progress.update(f"{read / 1e6:.0f} MB read")
        if read > most:
            return


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


def read_tokens(paths: Iterable[Path], bos: int, block: int = 2**22) -> Iterator[np.ndarray]:
    """The documents in files of tokens, uint16 [n], each from its <|bos|> on; views that the next block outdates."""
    for path in paths:
        open_rows(path)  # checks the header
        with path.open("rb") as file:
            file.seek(HEADER.size)
            rest = np.empty(0, dtype="<u2")
            while (read := np.fromfile(file, dtype="<u2", count=block)).size:
                rest = np.concatenate((rest, read))
                starts = np.flatnonzero(rest == bos).tolist()
                for start, end in itertools.pairwise(starts):
                    yield rest[start:end]
                rest = rest[starts[-1] :]
            if rest.size:
                yield rest


def cut_tokens(documents: Iterable[np.ndarray], width: int) -> Iterator[np.ndarray]:
    """Documents of at most `width` tokens, those of one longer document each behind its <|bos|>."""
    for document in documents:
        if len(document) <= width:
            yield document
            continue
        for start in range(1, len(document), width - 1):
            yield np.concatenate((document[:1], document[start : start + width - 1]))


def pack(documents: Iterable[np.ndarray], width: int) -> Iterator[np.ndarray]:
    """Rows of documents, uint16 [width], without padding; each begins with a <|bos|>. A row is valid until the next.

    karpathy/autoresearch's best fit, exactly: of 1,000 waiting documents and more, taken 128 at a time, the longest
    that fits is next; when none fits, the shortest is cropped to fill the row and its rest is dropped; of equals the
    one that came first. When no more come, those that wait are used up; a last row that is not full is dropped.
    Documents wait in one queue per length, under a sorted list of these lengths: a choice is a bisection.
    """
    source, queues, lengths, waiting = iter(documents), dict[int, deque[np.ndarray]](), list[int](), 0
    row, filled, more = np.empty(width, dtype="<u2"), 0, True
    while True:
        while more and waiting < PACK_BUFFER:
            more = False
            for document in itertools.islice(source, PACK_REFILL):
                if len(document) not in queues:
                    queues[len(document)] = deque()
                    bisect.insort(lengths, len(document))
                queues[len(document)].append(document[:width].copy())  # more of it is never used
                waiting, more = waiting + 1, True
        if not waiting:
            return
        at = max(bisect.bisect_right(lengths, width - filled) - 1, 0)
        queue = queues[lengths[at]]
        part = queue.popleft()[: width - filled]
        if not queue:
            del queues[lengths.pop(at)]
        row[filled : filled + len(part)] = part
        waiting, filled = waiting - 1, filled + len(part)
        if filled == width:
            yield row
            filled = 0


def pack_splits(config: Config, tokens: Path, folder: Path, counts: dict[str, dict[str, int]]) -> None:
    """Write tokenizer.json and a file of rows for each split; adds the rows to `counts`."""
    profile, width, progress = config.profile, config.profile.seq_len + 1, Progress("rows")
    shutil.copy(tokens / "tokenizer.json", folder)
    for split in SPLITS:
        ids = read_tokens(sorted(tokens.glob(f"*-{split}.bin")), Tokenizer.load(tokens / "tokenizer.json").bos)
        rows = pack(cut_tokens(ids, width) if profile.cut_long else ids, width)
        most = sys.maxsize if split == "train" else profile.eval_tokens // profile.seq_len
        counts[split]["rows"] = write_rows(itertools.islice(rows, most), folder / f"{split}.bin", width, progress)
    if min(counts[split]["rows"] for split in SPLITS) < 1:
        found = sum(counts[split]["bytes"] for split in SPLITS)
        raise TaskError(
            f"{config.source} has too little text ({found} bytes) for a row of "
            f"{profile.seq_len} tokens in each split; give more of it, or use --source python"
        )
    progress.done(", ".join(f"{split} {counts[split]['rows']}" for split in SPLITS) + f", of {width} tokens")


def write_rows(rows: Iterable[np.ndarray], path: Path, width: int, progress: Progress) -> int:
    """Write rows, uint16 [width], as a file of rows; returns how many."""
    count = 0
    with written(path) as part, part.open("wb", buffering=2**20) as file:
        file.write(HEADER.pack(MAGIC, 0, width))
        for count, row in enumerate(rows, 1):
            file.write(row.data)
            progress.update(f"{path.stem} {count}")
        file.seek(0)
        file.write(HEADER.pack(MAGIC, count, width))
    return count


# ------------------------------------------------------------------------------------------------------------
# For the trainer: seed, device, clock, batches, log
# ------------------------------------------------------------------------------------------------------------


def run_seed() -> int:
    return int(ENVIRONMENT.get("AUTORESEARCH_SEED") or 1)


def run_dir() -> Path:
    """Where this run writes; made when it is not there."""
    path = Path(ENVIRONMENT.get("AUTORESEARCH_RUN_DIR") or HERE / ".autoresearch" / "by-hand")
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


def process_age() -> float:
    """Seconds since this process began; where the system does not say, since it imported this file."""
    with suppress(OSError, ValueError, IndexError, AttributeError):
        ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return monotonic() - IMPORTED


def flops_per_token(build_model: Callable[[], nn.Module]) -> float:
    """Floating-point operations of training on one token of a row of T: three times those of a forward pass, as
    torch.utils.flop_counter counts them on the meta device, attention included and in full, whatever its window."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model, ids = build_model(), torch.zeros(1, MAX_SEQ_LEN, dtype=torch.long)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(ids)
    return 3 * counter.get_total_flops() / MAX_SEQ_LEN


class Clock:
    """The budget of this process. It starts once, when any loader hands out its first batch, and never again.

    What went before is free up to the profile's `startup_s`, and `warmup_s` for warm-up batches; more of it counts as
    if it had been training, so that nothing is gained by training before the first batch.
    """

    def __init__(self, config: Config = CONFIG) -> None:
        self.config, self.start, self.steps, self.tokens = config, math.nan, 0, 0
        self.started = self.cpu = self.warmup = self.waited = self.flops_per_token = 0.0
        self.ended: dict[str, float] = {}  # what `state` gave when the loop ended

    @property
    def running(self) -> bool:
        return not math.isnan(self.start)

    def begin(self) -> None:
        """Start, unless it runs."""
        if self.running:
            return
        profile, age = self.config.profile, process_age()
        late = max(0.0, age - profile.startup_s - min(self.warmup, profile.warmup_s))
        late *= self.config.budget_kind == "seconds"
        if late:
            print(f"startup   took {age:.1f} s, of which {late:.1f} s are charged to the budget", flush=True)
        self.start, self.started, self.cpu = monotonic() - late, time.time() - late, time.process_time()

    @property
    def seconds(self) -> float:
        return monotonic() - self.start

    @property
    def progress(self) -> float:
        """The part of the budget that is spent."""
        flops = self.flops_per_token * self.tokens
        spent = {"seconds": self.seconds, "tokens": self.tokens, "steps": self.steps, "flops": flops}
        return spent[self.config.budget_kind] / self.config.budget

    def state(self) -> dict[str, float]:
        own = {"started": self.started, "seconds": self.seconds, "cpu": time.process_time() - self.cpu}
        own |= {"warmup": self.warmup, "waited": self.waited, "steps": self.steps, "tokens": self.tokens}
        with suppress(AttributeError, OSError):
            own["load"] = os.getloadavg()[0]
        return own


CLOCK = Clock()


class DataLoader:
    """Batches of the training split; it asks the clock when to end.

    Iterating gives (x, y, progress): int64 [B, T] on the device, y one token further on than x, and the part
    of the budget that is spent, in [0, 1). Rows come once an epoch, in an order that depends on the seed alone.
    """

    def __init__(self, batch_size: int, seq_len: int, split: str, device: torch.device) -> None:
        if split != "train":
            raise TaskError(f"the trainer may not read the {split} split; use make_dataloader(B, T, 'train')")
        if batch_size < 1 or not 1 <= seq_len <= MAX_SEQ_LEN:
            raise TaskError(f"batch_size must be at least 1 and seq_len between 1 and {MAX_SEQ_LEN}")
        self.batch_size, self.seq_len, self.device = batch_size, seq_len, device
        self.rows = np.asarray(open_rows(prepared(CONFIG) / "train.bin"))
        if not CLOCK.running:
            for name in ("clock.json", "model.pt", "summary.json", "curve.jsonl", "result.json"):
                (run_dir() / name).unlink(missing_ok=True)

    def warmup_batches(self, count: int, tensors: Iterable[Tensor] = ()) -> Iterator[tuple[Tensor, Tensor]]:
        """Random tokens in the shape of (x, y), to compile with before the clock starts.

        Name in `tensors` the parameters and whatever else the steps on them change (optimiser state): they have their
        values back afterwards, and no gradients.
        """
        import torch

        if CLOCK.running:
            raise SystemExit("error: warm-up batches come before the first batch; move warmup_batches up")
        begun, held = monotonic(), [(tensor, tensor.detach().clone()) for tensor in tensors]
        generator = torch.Generator().manual_seed(0)
        try:
            for _ in range(count):
                ids = torch.randint(VOCAB_SIZE, (self.batch_size, self.seq_len + 1), generator=generator)
                ids = ids.to(self.device)
                yield ids[:, :-1], ids[:, 1:]
        finally:
            for tensor, value in held:
                tensor.detach().copy_(value)
                tensor.grad = None
            synchronize(self.device)
            CLOCK.warmup += monotonic() - begun

    def _choices(self) -> Iterator[np.ndarray]:
        """int64 [B]: the rows of each batch, without end."""
        order = np.empty(0, dtype=np.int64)
        for epoch in itertools.count():
            order = np.concatenate((order, np.random.default_rng((run_seed(), epoch)).permutation(len(self.rows))))
            while len(order) >= self.batch_size:
                yield order[: self.batch_size]
                order = order[self.batch_size :]

    def _batches(self) -> Iterator[Tensor]:
        """int64 [B, T + 1] on the device, without end.

        On CUDA rows go through two pinned slots and a stream of their own, so that a copy runs while the device
        computes; a slot is filled again when its copy has run, and a batch is used when its copy has.
        """
        import torch

        cuda = self.device.type == "cuda"
        shape = (self.batch_size, self.rows.shape[1])
        slots = [torch.empty(shape, dtype=torch.int16, pin_memory=cuda) for _ in range(2)]
        stream = torch.cuda.Stream(self.device) if cuda else None
        copied = [torch.cuda.Event() if cuda else None for _ in range(2)]
        for number, chosen in enumerate(self._choices()):
            slot, event = slots[number % 2], copied[number % 2]
            if event:
                event.synchronize()
            np.take(self.rows, chosen, axis=0, out=slot.numpy().view("<u2"), mode="clip")
            if not (stream and event):
                yield slot.to(self.device).long()  # both copy before the slot is filled again
                continue
            with torch.cuda.stream(stream):
                batch = slot.to(self.device, non_blocking=True)
                event.record()
            current = torch.cuda.current_stream(self.device)
            current.wait_event(event)
            batch.record_stream(current)
            yield batch.long()

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, float]]:
        import torch

        if CONFIG.budget_kind == "flops" and not CLOCK.flops_per_token:
            main = sys.modules["__main__"]
            if not hasattr(main, "build_model"):
                raise SystemExit("error: a budget of flops needs build_model() in the file that is run")
            CLOCK.flops_per_token = flops_per_token(main.build_model)
        batches, events, T = self._batches(), deque[Any](), self.seq_len
        batch = next(batches)
        synchronize(self.device)
        CLOCK.begin()
        while (progress := CLOCK.progress) < 1:
            CLOCK.steps += 1
            CLOCK.tokens += self.batch_size * T
            yield batch[:, :T], batch[:, 1 : T + 1], progress
            if self.device.type == "cuda":  # the host stays at most two batches ahead of the device
                events.append(torch.cuda.Event())
                events[-1].record()
                if len(events) > 2:
                    events.popleft().synchronize()
            elif self.device.type == "mps":
                synchronize(self.device)
            asked = monotonic()
            batch = next(batches)
            CLOCK.waited += monotonic() - asked
        synchronize(self.device)
        CLOCK.ended = CLOCK.state()
        epoch, row = divmod(CLOCK.steps * self.batch_size, len(self.rows))
        seen = f"{CLOCK.steps} batches, {CLOCK.tokens / 1e6:.2f} M tokens, to epoch {epoch}, row {row}"
        print(f"trained   {seen}, in {CLOCK.ended['seconds']:.1f} s", flush=True)


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


def finish(model: nn.Module, **stats: float) -> None:
    """Save what the evaluator needs; by hand, evaluate and print the score.

    `stats` are figures that the trainer reports of itself: they are shown, and nothing is decided on them.
    """
    import resource

    import torch

    folder = run_dir()
    model = getattr(model, "_orig_mod", model)  # the module inside a compiled one
    parameters = list(model.parameters())
    device = parameters[0].device
    synchronize(device)
    if not CLOCK.running:
        raise SystemExit("error: finish(model) comes after the training loop, and no batch was drawn")
    cores = torch.get_num_threads() if device.type == "cpu" else 0
    clock = {**CLOCK.state(), **CLOCK.ended, "finished_after": CLOCK.seconds, "cores": cores}
    write_json(folder / "clock.json", clock)
    own = {
        "peak_vram_mb": torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0,
        "peak_ram_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        / (2**20 if sys.platform == "darwin" else 2**10),
        "num_params_M": sum(p.numel() for p in parameters) / 1e6,
    }
    write_json(folder / "summary.json", {**{k: v for k, v in stats.items() if math.isfinite(v)}, **own})
    torch.save({name: tensor.cpu() for name, tensor in model.state_dict().items()}, folder / "model.pt")
    if "AUTORESEARCH_RUN_DIR" in ENVIRONMENT:
        return
    command = [sys.executable, str(HERE / "prepare.py"), "evaluate"]
    evaluator = subprocess.run(command, cwd=HERE, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=False)
    if evaluator.returncode:
        raise SystemExit(f"error: the evaluator ended with exit code {evaluator.returncode}")
    metrics = read_json(folder / "result.json")["metrics"]
    if not metrics:  # the evaluator has said why
        raise SystemExit(1)
    print("---")
    for name, value in metrics.items():
        print(f"{name + ':':<18}{value:.{6 if name.startswith('val_bpb') else 0 if isinstance(value, int) else 1}f}")
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

    It holds what it computes with, so it is made before the trainer's code is imported. Rows and bytes stay on the
    device.
    """

    def __init__(self, rows: np.ndarray, token_bytes: np.ndarray, bos: int, device: torch.device) -> None:
        import torch

        self.torch, self.tensor, self.bos = torch, torch.Tensor, bos
        self.logsumexp, self.isfinite = torch.logsumexp, torch.isfinite
        self.rows = torch.from_numpy(rows.astype(np.int16)).to(device)  # a vocabulary has at most 2^15 entries
        self.bytes = torch.from_numpy(token_bytes).to(device)

    def logits(self, model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """model(x), [B, T, V]. Verdict when it is anything else."""
        out, shape = model(x), (*x.shape, len(self.bytes))
        plain = type(out) is self.tensor  # a subclass could bring its own arithmetic
        if not plain or tuple(out.shape) != shape or not out.is_floating_point():
            got = f"shape {tuple(out.shape)} of {out.dtype}" if plain else type(out).__name__
            raise Verdict("tampered", f"the model must return logits of shape {shape}, and returned {got}")
        return out

    def nats(self, logits: Tensor, y: Tensor) -> Tensor:
        """float64 [B, T]: cross-entropy of each target, 0 for special tokens. Computed in float32, and of so many
        tokens at a time that what it takes beside the logits is bounded, whatever the vocabulary."""
        flat, targets = logits.flatten(0, 1), y.flatten()
        parts, size = [], max(1, 2**24 // flat.size(1))
        for start in range(0, len(flat), size):
            chunk, target = flat[start : start + size].float(), targets[start : start + size, None]
            parts.append(self.logsumexp(chunk, -1) - chunk.gather(-1, target)[:, 0])
        nats = self.torch.cat(parts)
        if not self.isfinite(nats).all():
            raise Verdict("no_metric", "the model's logits are not finite")
        return (nats * (self.bytes[targets] > 0)).cpu().double().view(y.shape)

    def score(self, model: Callable[[Tensor], Tensor], batch_size: int) -> tuple[Tensor, Tensor]:
        """(nats of each row, float64 [R]; bits and bytes of each document, float64 [D, 2], in the order of the rows).

        Out of memory, it halves the batch; Verdict oom at 1."""
        rows, texts, done = [], [], 0
        while done < len(self.rows):
            batch = self.rows[done : done + batch_size].long()
            x, y = batch[:, :-1], batch[:, 1:]
            try:
                nats = self.nats(self.logits(model, x), y)
            except self.torch.OutOfMemoryError:
                if batch_size == 1:
                    raise Verdict("oom", "evaluation of a single row does not fit in memory") from None
                batch_size //= 2
                continue
            rows.append(nats.sum(1))
            document = (x == self.bos).flatten().cumsum(0).cpu() - 1  # every row begins with a <|bos|>
            both = self.torch.stack((nats.flatten() / math.log(2), self.bytes[y].flatten().cpu().double()), 1)
            texts.append(self.torch.zeros(int(document.max()) + 1, 2, dtype=both.dtype).index_add(0, document, both))
            done += len(x)
        return self.torch.cat(rows), self.torch.cat(texts)

    def probe(self, model: Callable[[Tensor], Tensor], nats: Tensor, count: int) -> None:
        """Verdict tampered when the model uses more than it may, tested on `count` rows drawn afresh.

        Comes after `score` and takes the nats of each row: a row must not meet the model before it is scored. What
        is altered becomes text of other rows, so that nothing marks an altered batch.
        """
        torch, rng, device = self.torch, random.SystemRandom(), self.rows.device
        drawn = torch.tensor([[rng.randrange(len(self.rows)) for _ in range(count)] for _ in range(2)])
        rows, others = self.rows[drawn[0].to(device)].long(), self.rows[drawn[1].to(device)].long()
        x, other = rows[:, :-1], others[:, :-1]  # [B, T]
        other = torch.where(other == x, (x + 1) % len(self.bytes), other)
        base = self.logits(model, x).float().clone()
        if not self.isfinite(base).all():
            raise Verdict("no_metric", "the model's logits are not finite")
        mask = torch.tensor([i % 2 == 0 for i in rng.sample(range(count), count)])[:, None].expand_as(x)
        ends = torch.tensor([[rng.randrange(1, max(x.shape[1], 2))] for _ in range(count)])  # [B, 1]

        def same_where(kept: Tensor, what: str) -> None:
            kept = kept.to(device)
            change = (self.logits(model, torch.where(kept, x, other)).float() - base).abs().amax(-1)  # [B, T]
            worst = change[kept].max().item()
            if not worst <= PROBE_TOLERANCE:  # not a number is refused as well
                raise Verdict("tampered", f"logits depend on {what}, with which they changed by {worst:.3g}")

        same_where(mask, "other rows")
        drift = (self.nats(base, rows[:, 1:]).sum(1) - nats[drawn[0]]).abs().max().item() / x.shape[1]
        if drift > 0.01:
            raise Verdict("tampered", f"a row seen again has another score, by {drift:.3g} nats a token")
        same_where(torch.arange(x.shape[1]) < ends, "later tokens")


def check_clock(clock: dict[str, float], config: Config, lived: float | None) -> None:
    """Verdict over_budget when a run took more than it may, tampered when its clock cannot be true.

    `lived` is the life of the training process in seconds, seen from outside. The clock may not claim more; and the
    process may live no longer than its budget with what the profile allows for all else. A run that is over its budget
    because the machine had too little time for it is `killed`: it says nothing about the trainer.
    """
    seconds, tail = clock["seconds"], clock["finished_after"] - clock["seconds"]
    used, budget, step = clock[config.budget_kind], config.budget, seconds / max(clock["steps"], 1)
    if lived is not None and clock["finished_after"] > lived + 1.0:
        shown = clock["finished_after"]
        raise Verdict("tampered", f"the clock shows {shown:.1f} s, but the process lived {lived:.1f} s")
    limit, reason = SLACK_FACTOR * budget + SLACK_S, ""
    if config.budget_kind == "seconds" and seconds > limit:
        reason = f"{seconds:.1f} s of training are too much for a budget of {budget:g} s"
    elif config.budget_kind == "seconds" and (lived or 0) > limit + config.profile.startup_s + config.profile.warmup_s:
        reason = f"a process of {lived:.1f} s is too much for a budget of {budget:g} s"
    elif config.budget_kind != "seconds" and used >= budget + used / max(clock["steps"], 1):  # one batch may pass it
        reason = f"{used:.4g} {config.budget_kind} of a budget of {budget:g}"
    elif tail > max(1.0, 3 * step, 0.02 * seconds):
        reason = f"{tail:.1f} s passed between the last batch and finish(model), time to train on"
    cores, machine = clock["cores"], os.cpu_count() or 1
    if reason and cores and clock["cpu"] < 0.7 * cores * seconds and clock.get("load", 0) > 1.5 * machine:
        raise Verdict("killed", f"{reason}, but the machine was overloaded (load {clock['load']:.1f}); try again")
    if reason:
        raise Verdict("over_budget", reason)


def judge(folder: Path, split: str, config: Config, lived: float | None) -> dict[str, float]:
    """The metrics of the run in `folder`. Raises Verdict when it has none, TaskError without data."""
    data = prepared(config)
    for name, found in read_json(data / "manifest.json")["sha256"].items():
        if name in ("tokenizer.json", "train.bin", f"{split}.bin") and digest(data / name) != found:
            raise Verdict("tampered", f"{name} is not what was prepared; run: python prepare.py --force")
    try:
        clock, summary = read_json(folder / "clock.json"), read_json(folder / "summary.json")
        if config.budget_kind != "flops":
            check_clock(clock, config, lived)
        measured = {"training_seconds": clock["seconds"], **({"total_seconds": lived} if lived else {})}
        measured |= {"total_tokens_M": clock["tokens"] / 1e6, "num_steps": clock["steps"]}
        reported = {k: v for k, v in summary.items() if k.isidentifier() and math.isfinite(v)}
        reported = {k: reported[k] for k in sorted(reported)[:32] if not k.startswith("val_bpb") and k not in measured}
    except TaskError:
        raise Verdict("no_metric", "train.py ended without calling finish(model)") from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Verdict("tampered", "clock.json or summary.json is not as prepare.py writes it") from None
    import torch

    device, tokenizer = pick_device(), Tokenizer.load(data / "tokenizer.json")
    rows = open_rows(data / f"{split}.bin")
    targets = np.bincount(rows[:, 1:].ravel(), minlength=tokenizer.vocab_size)
    evaluator = Evaluator(rows, tokenizer.token_bytes(), tokenizer.bos, device)
    try:
        sys.path.insert(0, str(HERE))
        train = importlib.import_module("train")
        if config.budget_kind == "flops":
            check_clock(clock | {"flops": flops_per_token(train.build_model) * clock["tokens"]}, config, lived)
        state = torch.load(folder / "model.pt", map_location="cpu", weights_only=True)
        model = train.build_model()
        try:
            model.load_state_dict(state, strict=True)
        except RuntimeError as error:
            text = " ".join(str(error).split())[:200]
            raise Verdict("crash", f"the weights do not fit build_model(): {text}") from None
        with torch.no_grad():
            model = model.eval().to(device)
            nats, texts = evaluator.score(model, config.profile.eval_batch)
            evaluator.probe(model, nats, config.profile.eval_batch)
    except (Verdict, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever the trainer's code raises, SystemExit too, is its failure
        outcome = "oom" if isinstance(error, torch.OutOfMemoryError) else "crash"
        text = " ".join(str(error).split())[:200]
        raise Verdict(outcome, f"evaluating the model raised {type(error).__name__}: {text}") from None
    with written(folder / f"bits-{split}.npy") as part, part.open("wb") as file:
        np.save(file, texts.numpy())
    bits = nats.sum().item() / math.log(2)
    own, theirs = (int(targets @ tokenizer.token_bytes(reference)) for reference in (False, True))
    return {"val_bpb": bits / own, "val_bpb_reference": bits / theirs, **measured, **reported}


def evaluate(config: Config, split: str) -> None:
    """Write the result file of the last run and print its METRIC lines. A refusal is a result too."""
    start, folder = monotonic(), run_dir()
    target = Path(os.environ.pop("AUTORESEARCH_RESULT", "") or folder / "result.json")
    lived = os.environ.pop("AUTORESEARCH_TRAIN_SECONDS", "")
    target.unlink(missing_ok=True)
    if "AUTORESEARCH_RUN_DIR" not in ENVIRONMENT:  # tells sessions beside this who reads these rows, to its end
        with suppress(OSError):
            fcntl.flock(os.open(cache_dir() / f".evaluating-{split}", os.O_RDWR | os.O_CREAT, 0o666), fcntl.LOCK_SH)
    outcome, reason, metrics, manifest = "ok", None, {}, manifest_hash(prepared(config))
    try:
        metrics = judge(folder, split, config, float(lived) if lived else None)
    except Verdict as verdict:
        outcome, reason = verdict.outcome, str(verdict)
        print(f"{outcome}: {reason}", file=sys.stderr)
    result = {"outcome": outcome, "reason": reason, "metrics": metrics, "manifest": manifest, "split": split}
    write_json(target, {**result, "seconds": monotonic() - start})
    print("".join(f"METRIC {name}={value!r}\n" for name, value in metrics.items()), end="", flush=True)
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
    parser.add_argument("--seq-len", type=int, help="tokens of a row; what was tokenised before is packed anew")
    parser.add_argument("--tokenizer", choices=("bpe", "byte"))
    parser.add_argument("--workers", type=int, default=4, help="downloads at a time")
    parser.add_argument("--split", choices=("search", "locked"), help="what evaluate reads")
    parser.add_argument("--force", action="store_true", help="prepare again although the data is there")
    args = vars(parser.parse_args(arguments))
    command, split, force, workers = (args.pop(name) for name in ("command", "split", "force", "workers"))
    config = replace(CONFIG, **{name: value for name, value in args.items() if value is not None})
    if config.source not in ("climbmix", "python"):
        config = replace(config, source=str(Path(config.source).expanduser().resolve()))
    split = split or os.environ.get("AUTORESEARCH_SPLIT") or "search"
    if split not in ("search", "locked"):
        raise TaskError(f"AUTORESEARCH_SPLIT is {split!r}; set it to search or locked")
    if command == "evaluate":
        evaluate(config, split)
    elif command == "info":
        show_info(config)
    else:
        report(config, prepare(config, force, workers))


def report(config: Config, folder: Path) -> None:
    counts = read_json(folder / "manifest.json")["splits"]
    print(f"ready     {config.source}: " + ", ".join(f"{split} {counts[split]['rows']} rows" for split in SPLITS))
    print(f"data      {folder}\nmanifest  {manifest_hash(folder)}")
    if config.data_dir() != CONFIG.data_dir():
        print("note      train.py reads its options from autoresearch.toml, and they differ from these")


def show_info(config: Config, samples: int = 3) -> None:
    """Print the manifest, the size of each file, and the first training rows as text."""
    folder = prepared(config)
    print(json.dumps(read_json(folder / "manifest.json"), indent=1))
    for path in sorted(folder.iterdir()):
        print(f"{path.stat().st_size / 1e6:10.2f} MB  {path}")
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    for number, row in enumerate(open_rows(folder / "train.bin")[:samples]):
        print(f"--- row {number}\n{tokenizer.decode(row.tolist())}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except TaskError as error:
        sys.exit(f"error: {error}")
