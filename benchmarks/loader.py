"""Data of the pretrain task: packing, loader, preparing and overhead, beside a plain loader. The score: grading.py.

    python benchmarks/loader.py [--json] [--rounds N] [--seconds S] [--megabytes 64,256,1024] [--skip NAME ...]

The text is the Python installation's own, cut at random (seeded) lengths into documents of which some are longer than
a row; larger sources repeat it. The plain loader is written here after the description of karpathy/autoresearch: text
is tokenised while it trains, and each place is filled by a search through a list of 1,000 documents.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tiktoken
import torch

from autoresearch.system.hardware import detect

ASSETS = Path(__file__).resolve().parents[1] / "assets" / "tasks" / "pretrain"
HARNESS = ASSETS.parents[1] / "harness"
sys.path.insert(0, str(ASSETS.parents[1]))

from harness.text.documents import SPLITS, python_files, read_documents  # noqa: E402
from harness.text.rows import open_rows  # noqa: E402

B, T = 128, 2048
CORES = os.cpu_count() or 1
WATCHED = """
import re, runpy, sys
sys.argv = ["prepare.py"]
runpy.run_path("prepare.py", run_name="__main__")
print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
"""  # a child's ru_maxrss would count the memory of the process that started it


@dataclass(frozen=True)
class Figure:
    """One measured quantity: the median of `n` rounds with the smallest and the largest, beside its target."""

    name: str
    value: float
    unit: str
    target: str
    ok: bool
    n: int = 1
    least: float | None = None
    most: float | None = None


def figure(name: str, values: list[float], unit: str, target: str, ok: Callable[[float], bool]) -> Figure:
    middle = statistics.median(values)
    return Figure(name, middle, unit, target, bool(ok(middle)), len(values), min(values), max(values))


# What is measured against


def reference_rows(documents: Iterator[list[int]], width: int) -> Iterator[list[int]]:
    """Rows as the reference packs them: a list of documents, searched from its beginning for every place."""
    waiting: list[list[int]] = []
    more = True
    row: list[int] = []
    while True:
        while more and len(waiting) < 1000:
            batch = [d for _, d in zip(range(128), documents, strict=False)]
            more = bool(batch)
            waiting.extend(batch)
        if not waiting:
            return
        room, best, best_length = width - len(row), -1, 0
        for index, document in enumerate(waiting):
            if best_length < len(document) <= room:
                best, best_length = index, len(document)
        if best < 0:
            best = min(range(len(waiting)), key=lambda index: len(waiting[index]))
        row += waiting.pop(best)[:room]
        if len(row) == width:
            yield row
            row = []


def plain_loader(texts: list[str], encoding: tiktoken.Encoding, bos: int) -> Iterator[torch.Tensor]:
    """int64 [B, T + 1], without end: tokenised and packed for each batch."""

    def documents() -> Iterator[list[int]]:
        while True:
            for start in range(0, len(texts), 128):
                for ids in encoding.encode_ordinary_batch(texts[start : start + 128], num_threads=CORES):
                    yield [bos, *ids]

    rows = reference_rows(documents(), T + 1)
    while True:
        yield torch.tensor([next(rows) for _ in range(B)], dtype=torch.long)


# Set-up


def write_text(folder: Path, megabytes: int, seed: int = 0) -> int:
    """Parquet files of real text in documents of mixed length; returns the number of documents."""
    text = "".join(t for path in python_files() for t in read_documents(path, "text"))
    rng, shard, size, number, count = random.Random(seed), [], 0, 0, 0
    (folder / "text").mkdir()
    place, left = 0, megabytes * 10**6
    while left > 0:
        length = min(60_000, int(rng.lognormvariate(6.4, 1.3)) + 1)
        shard.append(text[place : place + length])
        left, size, count = left - length, size + length, count + 1
        place = (place + length) % (len(text) - 60_000)
        if size > 50 * 10**6 or left <= 0:
            path = folder / "text" / f"{number:05d}.parquet"
            pq.write_table(pa.table({"text": shard}), path, row_group_size=1024)
            shard, size, number = [], 0, number + 1
    return count


def workspace(folder: Path, source: Path | str, budget: str, profile: str = "full") -> Path:
    """A copy of the task's files with these options."""
    shutil.copytree(ASSETS, folder, ignore=shutil.ignore_patterns("__pycache__", ".autoresearch"))
    shutil.copytree(HARNESS, folder / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    toml = (folder / "autoresearch.toml").read_text()
    toml = re.sub(r"budget = \{.*?\}", f"budget = {{ {budget} }}", toml, count=1)
    toml = toml.replace('profile = "tiny"', f'profile = "{profile}"').replace(
        'source = "python"', f'source = "{source}"'
    )
    (folder / "autoresearch.toml").write_text(toml)
    return folder


def load_prepare(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"prepare_{folder.name}", folder / "prepare.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def documents_of(prepare: ModuleType, split: str) -> list[str]:
    files = prepare.TASK.source_files()
    total = sum(path.stat().st_size for path in files)
    return [text for found, text, _ in prepare.TASK.corpus().read(files, total) if found == split]


# Figures


def packing(prepare: ModuleType, data: Path, count: int) -> Iterator[Figure]:
    tokenizer = prepare.Tokenizer.load(data / "tokenizer.json")
    for split in ("train", "search"):
        texts = documents_of(prepare, split)
        documents = [
            [tokenizer.bos, *ids] for ids in tokenizer.encoding.encode_ordinary_batch(texts, num_threads=CORES)
        ]
        longer = sum(len(document) > T + 1 for document in documents)
        expected = np.array(list(reference_rows(iter(documents), T + 1)), dtype=np.uint16)
        found = open_rows(data / f"{split}.bin")
        same = expected.shape == found.shape and bool((expected == found).all())
        what = f"{split}: {len(found)} rows of {len(documents)} documents, {longer} longer than a row, all equal"
        yield Figure(what, float(same), "", "equal", same)
    yield Figure("documents in all", count, "", ">= 20000", count >= 20_000)


def loader(prepare: ModuleType, rounds: int) -> Iterator[Figure]:
    texts, tokenizer = documents_of(prepare, "train"), prepare.tokenizer()
    plain = plain_loader(texts, tokenizer.encoding, tokenizer.bos)
    ours = (x for x, _, _ in prepare.make_dataloader(B, T, "train", torch.device("cpu")))
    speeds: dict[str, list[float]] = {"plain": [], "ours": [], "ratio": []}
    for batches in (plain, ours):
        next(batches)
    for _ in range(rounds):
        for name, batches, count in (("plain", plain, 8), ("ours", ours, 400)):
            begin = time.perf_counter()
            for _ in range(count):
                batch = next(batches)
            speeds[name].append(count * B * T / (time.perf_counter() - begin))
            assert batch.shape[0] == B and batch.shape[1] >= T
        speeds["ratio"].append(speeds["ours"][-1] / speeds["plain"][-1])
    yield figure(f"loader, plain, {B} x {T}", [s / 1e6 for s in speeds["plain"]], "M tokens/s", "", lambda _: True)
    yield figure(f"loader, {B} x {T}", [s / 1e6 for s in speeds["ours"]], "M tokens/s", "", lambda _: True)
    yield figure("loader / plain", speeds["ratio"], "x", ">= 300", lambda ratio: ratio >= 300)


def preparing(prepare: ModuleType, data: Path, folder: Path, rounds: int) -> Iterator[Figure]:
    corpus, tokenizer = prepare.TASK.corpus(), prepare.Tokenizer.load(data / "tokenizer.json")
    texts = [text for split in SPLITS for text in documents_of(prepare, split)]
    size = sum(len(text.encode()) for text in texts) / 1e6
    speeds: dict[str, list[float]] = {"raw": [], "ours": [], "ratio": [], "repack": []}
    tokenizer.encoding.encode_ordinary_batch(texts[:100], num_threads=CORES)
    for number in range(rounds):
        begin = time.perf_counter()
        tokenizer.encoding.encode_ordinary_batch(texts, num_threads=CORES)
        speeds["raw"].append(size / (time.perf_counter() - begin))
        tokens, rows = folder / f"tokens{number}", folder / f"rows{number}"
        tokens.mkdir()
        rows.mkdir()
        shutil.copy(data / "tokenizer.json", tokens)
        begin = time.perf_counter()
        made = replace(corpus, tokens=tokens)
        counts = made.tokenize(prepare.TASK.source_files())
        middle = time.perf_counter()
        made.pack_splits(rows, counts)
        end = time.perf_counter()
        speeds["ours"].append(size / (end - begin))
        speeds["repack"].append(end - middle)
        speeds["ratio"].append(speeds["ours"][-1] / speeds["raw"][-1])
    yield figure(f"tiktoken alone, {CORES} threads", speeds["raw"], "MB/s", "", lambda _: True)
    yield figure("preparing: read, tokenise, pack, write", speeds["ours"], "MB/s", "", lambda _: True)
    yield figure("preparing / tiktoken alone", speeds["ratio"], "x", ">= 0.85", lambda ratio: ratio >= 0.85)
    yield figure(f"packing {size:.0f} MB of text anew", speeds["repack"], "s", "", lambda _: True)


def memory(folder: Path, sizes: list[int]) -> Iterator[Figure]:
    for size in sizes:
        for kind in ("documents", "one document"):
            place = folder / f"memory-{size}-{kind[:3]}"
            place.mkdir()
            write_text(place, min(size, 256))
            source = place / "text"
            for copy in range(1, -(-size // 256)):
                for path in sorted(source.glob("0*.parquet")):
                    shutil.copy(path, source / f"{copy}-{path.name}")
            if kind == "one document":
                texts = (t for p in sorted(source.iterdir()) for t in pq.read_table(p)["text"].to_pylist())
                with (place / "all.txt").open("w", encoding="utf-8") as file:
                    file.writelines(texts)
                source = place / "all.txt"
            made = workspace(place / "ws", source, "steps = 1")
            env = {**os.environ, "AUTORESEARCH_CACHE": str(place / "cache")}
            done = subprocess.run([sys.executable, "-c", WATCHED], cwd=made, env=env, capture_output=True, check=True)
            peak = int(done.stdout.split()[-1]) / 2**20
            yield Figure(f"peak memory, {size} MB of text in {kind}", peak, "GB", "< 2", peak < 2)
            shutil.rmtree(place)


def overhead(folder: Path, seconds: float, rounds: int) -> Iterator[Figure]:
    """A run by hand on the python source: process start to first batch, and last batch to result."""
    made = workspace(folder / "overhead", "python", f"seconds = {seconds}", "tiny")
    env = {**os.environ, "AUTORESEARCH_CACHE": str(folder / "cache")}
    subprocess.run([sys.executable, "prepare.py"], cwd=made, env=env, stdout=subprocess.DEVNULL, check=True)
    before, after, total, waited = [], [], [], []
    for _ in range(rounds):
        begin = time.time()
        subprocess.run([sys.executable, "train.py"], cwd=made, env=env, stdout=subprocess.DEVNULL, check=True)
        end = time.time()
        clock = json.loads((made / ".autoresearch" / "by-hand" / "clock.json").read_text())
        before.append(clock["started"] - begin)
        after.append(end - clock["started"] - clock["seconds"])
        total.append(before[-1] + after[-1])
        summary = json.loads((made / ".autoresearch" / "by-hand" / "summary.json").read_text())
        waited.append(100 * summary["waited_s"] / clock["seconds"])
    yield figure(f"{seconds:g} s run, start to first batch", before, "s", "", lambda _: True)
    yield figure(f"{seconds:g} s run, last batch to result", after, "s", "", lambda _: True)
    yield figure(f"{seconds:g} s run, overhead", total, "s", "< 6", lambda value: value < 6)
    yield figure("time that a step waits for data", waited, "% of the step", "< 1", lambda value: value < 1)


def measure(folder: Path, arguments: argparse.Namespace) -> Iterator[Figure]:
    os.environ["AUTORESEARCH_CACHE"] = str(folder / "cache")
    count = write_text(folder, 48)
    prepare = load_prepare(workspace(folder / "ws", folder / "text", "seconds = 1000000"))
    data = prepare.TASK.prepare()
    parts: dict[str, Callable[[], Iterator[Figure]]] = {
        "packing": lambda: packing(prepare, data, count),
        "loader": lambda: loader(prepare, arguments.rounds),
        "preparing": lambda: preparing(prepare, data, folder, arguments.rounds),
        "memory": lambda: memory(folder, [int(size) for size in arguments.megabytes.split(",")]),
        "overhead": lambda: overhead(folder, arguments.seconds, arguments.rounds),
    }
    for name, part in parts.items():
        if name not in arguments.skip:
            yield from part()


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the data half of the pretrain task.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="budget of the runs whose overhead is measured")
    parser.add_argument("--megabytes", default="256,1024", help="sizes of the sources whose preparing is watched")
    parser.add_argument("--skip", nargs="*", default=[], help="parts to leave out, by name")
    arguments = parser.parse_args()
    quiet = sys.stdout
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout = sys.stderr  # prepare.py prints its progress
        figures = []
        for found in measure(Path(folder), arguments):
            figures.append(found)
            spread = f" ({found.least:.4g} to {found.most:.4g}, n {found.n})" if found.n > 1 else ""
            mark = "" if not found.target else "  ok" if found.ok else "  MISSED"
            print(f"{found.name}: {found.value:.4g} {found.unit}{spread}  {found.target}{mark}", file=sys.stderr)
        sys.stdout = quiet
    versions = {"python": sys.version.split()[0], "torch": torch.__version__, "tiktoken": tiktoken.__version__}
    about = {"date": str(date.today()), "device": asdict(detect()), "versions": versions}
    if arguments.json:
        print(json.dumps({**about, "figures": [asdict(found) for found in figures]}, indent=1))
    raise SystemExit(not all(found.ok for found in figures))


if __name__ == "__main__":
    main()
