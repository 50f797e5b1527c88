"""Text: the files of a source, the documents in them, and the split of each document."""

from __future__ import annotations

import hashlib
import itertools
import json
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from harness.errors import TaskError

SPLITS = ("train", "search", "locked", "control")
"""`control` is held out as the two before it are, and no decision rests on it: a model for which `search` is much
easier than that has seen `search`."""

SPENT = "spent"
"""Of an earlier locked split."""
MOST_HELD_OUT = 0.6
"""Of a file that is for training too."""

SUFFIXES = (".txt", ".md", ".rst", ".py", ".jsonl", ".parquet")
PYTHON_SKIPS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "encodings", "__pycache__"}
PYTHON_HELD_OUT = ("idlelib", "lib2to3", "pydoc_data", "tkinter", "turtledemo")
"""Folders of the standard library that no training needs, so that they can be hidden from it: the held-out splits."""

BLOCK, LONGEST = 2**22, 2**28  # characters read of a text file at a time; characters of one jsonl line

Share = Callable[[Path], tuple[float, bool]]
"""From a file: the part of its documents that goes to each of `search` and `locked`, at most 0.4, of which `control`
gets half; and whether the rest is for training."""


def python_files() -> list[Path]:
    """The text of the Python installation, without tests and character tables, which not every installation has."""
    root = Path(sysconfig.get_path("stdlib"))
    found = [p for suffix in ("py", "rst", "txt") for p in root.rglob(f"*.{suffix}")]
    return sorted(p for p in found if PYTHON_SKIPS.isdisjoint(p.relative_to(root).parts))


def held_out_of_python(path: Path) -> bool:
    """Whether a file of the standard library is of the held-out splits."""
    return path.relative_to(sysconfig.get_path("stdlib")).parts[0] in PYTHON_HELD_OUT


def text_files(path: Path) -> list[Path]:
    """The file, or the files of text in a folder. Raises TaskError when there are none."""
    kinds = ", ".join(SUFFIXES)
    if not path.exists():
        raise TaskError(f"source {path} does not exist; give a name of this task, or a file or folder of text")
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise TaskError(f"{path} is of no known kind; rename or convert it to one of: {kinds}")
        return [path]
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise TaskError(f"folder {path} has no text; put files of these kinds there: {kinds}")
    return files


def limited(files: list[Path], most: int) -> dict[Path, int]:
    """The files, in order, each with the most bytes of text to read of it, of `most` in all."""
    left = [most - before for before in itertools.accumulate((p.stat().st_size for p in files), initial=0)]
    return {file: rest for file, rest in zip(files, left, strict=False) if rest > 0}


def fingerprint(files: Iterable[Path]) -> str:
    """Names, sizes and times of files, by which a changed source is noticed."""
    stats = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()


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


def documents(
    files: dict[Path, int], column: str, share: Share, longest: int, fresh: int = 0
) -> Iterator[tuple[str, str, int]]:
    """(split, text, UTF-8 bytes) of each document of `files`, empty ones dropped; pieces of at most `longest`
    characters.

    The text alone decides the split, by its hash: what comes twice in files of the same share is in one split only.
    `fresh` is which locked split it is, as `split_of` says. Raises TaskError where there is no text left for that.
    """
    for path, left in files.items():
        part, trains = share(path)
        if fresh and held_out(part, fresh) > (MOST_HELD_OUT if trains else 1):
            raise TaskError(f"no text is left for fresh locked split {fresh}; give another source in [options]")
        for text in (piece for document in read_documents(path, column) for piece in cut(document, longest)):
            data = text.encode("utf-8", "replace")  # lone surrogates, which JSON can carry, become "?"
            left -= len(data)
            if left < 0:
                break
            split = split_of(data, part, fresh)
            if text.strip() and split != SPENT and (trains or split != "train"):
                yield split, data.decode(), len(data)


def split_of(data: bytes, share: float, fresh: int = 0) -> str:
    """The split of a document by its hash: `search` and `locked` get `share` each, `control` half of it.

    A fresh locked split, the first, the second and so on, is of documents that were in no held-out split before;
    those of the earlier ones are spent, and in none."""
    place = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest()) / 2**64
    ends = [("search", share), ("locked", 2 * share), ("control", 2.5 * share)]
    if fresh:
        ends[1] = (SPENT, 2 * share)
        ends += [(SPENT, held_out(share, fresh - 1)), ("locked", held_out(share, fresh))]
    return next((split for split, end in ends if place < end), "train")


def held_out(share: float, fresh: int) -> float:
    """The part of the documents that is not for training, or was not, with so many fresh locked splits."""
    return (2.5 + fresh) * share
