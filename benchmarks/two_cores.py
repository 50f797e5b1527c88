"""train.py on a CPU beside itself without its counts and beside compressors, on the same rows and bytes.

    uv run python benchmarks/two_cores.py --out runs.jsonl [--seconds 8 20 60 300] [--seeds 3] [--source python]
                                          [--against CHECKOUT]     and the trainer and harness of another commit
    uv run python benchmarks/two_cores.py --out runs.jsonl --parts [--seconds 60]     one part left out each
    uv run python benchmarks/two_cores.py --operators                                 where the seconds of a step go
    uv run python benchmarks/two_cores.py --out runs.jsonl --draw docs/two_cores.svg  the picture of what is there

A compressor reads the text of the training rows first; what counts is what the search rows add, in bits per byte:
`on` in one go, so that it goes on learning from them, `anew` each row by itself, as a model is scored. Each result is
appended to --out as soon as it is there, and is not measured again.
"""

from __future__ import annotations

import argparse
import json
import lzma
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from trainer import Arm, run, spread, workspace

PPMD_ORDERS = (4, 5, 6, 7, 8)
PPMD_MEMORY = 2**30
ORDER_ANEW, ROWS_ANEW = 6, 16
"""Search rows that are compressed each by itself, evenly over the split: each takes reading the training text again."""

ARMS = (Arm("train.py"), Arm("without counts", edits={"COUNTS": "0"}))
BEFORE = "before"
PARTS = (
    *ARMS,
    Arm("contexts of two tokens alone", edits={"COUNTS": "2"}),
    Arm("without copies", edits={"COPIES": "False"}),
    Arm("a match counts by its length", edits={"COPY_LENGTH": "1.0"}),
    Arm("copies of any age alike", edits={"COPY_AGE": "0.0"}),
    Arm("no value embeddings", edits={"VALUE_EMBEDDINGS": "False"}),
    Arm("full windows", edits={"WINDOW_PATTERN": '"L"'}),
)
OPERATORS = """
import time, train  # before torch, or its threads wait in another way
import torch
from torch.profiler import ProfilerActivity, profile
train.device.prepare_device(train.machine())
model = train.build_model(); optimizer = train.Optimizer(model); rows = train.batch_rows()
ids = torch.randint(0, train.VOCAB_SIZE, (rows, train.MAX_SEQ_LEN + 1))
def step():
    train.train_step(model, optimizer, ids[:, :-1], ids[:, 1:], 1); optimizer.step(0.0)
for _ in range(10): step()
begun = time.perf_counter()
for _ in range(40): step()
each = (time.perf_counter() - begun) / 40
with profile(activities=[ProfilerActivity.CPU]) as found:
    for _ in range(20): step()
a, b = torch.randn(2, 2048, 2048, dtype=train.machine().dtype).unbind()
for _ in range(3): a @ b
begun = time.perf_counter()
for _ in range(20): a @ b
product = 20 * 2 * 2048**3 / (time.perf_counter() - begun)
flops = train.flops_of_token(train.model_size()) * rows * train.MAX_SEQ_LEN / each
total = sum(e.self_cpu_time_total for e in found.key_averages())
print(f"{rows} rows, {1000 * each:.1f} ms a step, {rows * train.MAX_SEQ_LEN / each:,.0f} tokens/s, "
      f"{flops / 1e9:.0f} GFLOP/s of {product / 1e9:.0f} in a product of 2048 x 2048, {train.machine().dtype}")
print("\\n| operator | part of the time, % | calls a step |\\n|---|---|---|")
for e in sorted(found.key_averages(), key=lambda e: -e.self_cpu_time_total)[:16]:
    print(f"| {e.key} | {100 * e.self_cpu_time_total / total:.1f} | {e.count / 20:.0f} |")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="a file of JSON lines; what is in it is not measured again")
    parser.add_argument("--seconds", type=float, nargs="+", default=[8, 20, 60, 300])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--source", default="python", help="python, or the path of a text")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT")
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--operators", action="store_true")
    parser.add_argument("--draw", type=Path, metavar="FILE.svg")
    args = parser.parse_args()
    if args.source != "python":
        args.source = str(Path(args.source).resolve())
    known = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out and args.out.exists() else []
    if args.draw:
        draw(known, args.draw)
        return
    with tempfile.TemporaryDirectory(prefix="autoresearch-two-cores-") as temporary:
        folder = workspace(Path(temporary) / "task", "tiny", args.source, args.seconds[0])
        subprocess.run([sys.executable, "prepare.py"], cwd=folder, check=True, stdout=sys.stderr)
        if args.operators:
            sys.exit(subprocess.run([sys.executable, "-c", OPERATORS], cwd=folder).returncode)
        if not args.out:
            parser.error("say where to write: --out FILE")

        def keep(one: dict[str, Any]) -> None:
            known.append(one)
            with args.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(one) + "\n")
            print(f"{one['arm']}, {one['seconds']:g} s, seed {one['seed']}: {one['val_bpb']}", file=sys.stderr)

        if not args.parts and not any("anew" in one["arm"] for one in known):
            compressors(folder, keep)
        for seconds in args.seconds:
            folder = workspace(Path(temporary) / f"{seconds:g}", "tiny", args.source, seconds)
            arms = [(folder, arm) for arm in (PARTS if args.parts else ARMS)]
            if args.against:
                assets = args.against / "assets"
                before = workspace(Path(temporary) / f"{seconds:g}-before", "tiny", args.source, seconds, assets)
                arms.append((before, Arm(BEFORE, before / "train.py")))
            there = {(one["arm"], one["seed"]) for one in known if one["seconds"] == seconds}
            for seed in range(1, args.seeds + 1):
                for place, arm in arms:
                    if (arm.name, seed) not in there:
                        keep({**run(place, arm, seed), "seconds": seconds})
    print_table(known)


def compressors(folder: Path, keep: Callable[[dict[str, Any]], None]) -> None:
    """Bits per byte that each compressor takes for the search rows, after the training rows."""
    sys.path.insert(0, str(folder))
    import pyppmd
    from harness.text.rows import open_rows
    from prepare import TASK

    data, tokenizer = TASK.prepared(), TASK.tokenizer()
    rows = {split: np.asarray(open_rows(data / f"{split}.bin")).astype(np.int64) for split in ("train", "search")}
    text = tokenizer.tokens + [b""] * (tokenizer.vocab_size - len(tokenizer.tokens))
    read = b"".join(text[i] for i in rows["train"].ravel())
    targets = [b"".join(text[i] for i in row[1:]) for row in rows["search"]]
    some = targets[:: max(1, len(targets) // ROWS_ANEW)][:ROWS_ANEW]
    ways: dict[str, Callable[[bytes], int]] = {
        "xz -9e": lambda data: len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)),
    }
    for order in PPMD_ORDERS:
        ways[f"PPMd order {order}"] = lambda data, order=order: len(
            pyppmd.compress(data, max_order=order, mem_size=PPMD_MEMORY)
        )
    for name, size in ways.items():
        begun = time.monotonic()
        alone = size(read)
        taken = time.monotonic() - begun
        on = 8 * (size(read + b"".join(targets)) - alone) / sum(map(len, targets))
        keep({"arm": f"{name}, on", "val_bpb": on, "seed": 0, "seconds": taken})
        if name == f"PPMd order {ORDER_ANEW}":
            anew = 8 * sum(size(read + row) - alone for row in some) / sum(map(len, some))
            keep({"arm": f"{name}, anew", "val_bpb": anew, "seed": 0, "seconds": taken})


def print_table(known: list[dict[str, Any]]) -> None:
    print("| arm | seconds | val_bpb | below before, same seed | tokens/s | beside the budget, s | peak RAM, MB |")
    print("|---|---|---|---|---|---|---|")
    plain = {(one["seconds"], one["seed"]): one["val_bpb"] for one in known if one["arm"] == BEFORE}
    for arm, seconds in dict.fromkeys((one["arm"], one["seconds"]) for one in known):
        own = [one for one in known if (one["arm"], one["seconds"]) == (arm, seconds) and one["val_bpb"]]
        gains = [plain[seconds, one["seed"]] - one["val_bpb"] for one in own if (seconds, one["seed"]) in plain]
        cells = [told([one["val_bpb"] for one in own], ".4f"), told(gains, "+.4f")]
        for figure, form in (("tokens_per_s", ",.0f"), ("overhead_s", ".1f"), ("peak_ram_mb", ".0f")):
            cells.append(told([one[figure] for one in own if one.get(figure)], form))
        print(f"| {arm} | {seconds:.3g} | " + " | ".join(cells) + " |")


def told(values: list[float], form: str) -> str:
    found = spread(values)
    if not found:
        return ""
    if len(values) == 1:
        return f"{found['mean']:{form}}"
    return f"{found['mean']:{form}} ({found['min']:{form}} to {found['max']:{form}})"


def draw(known: list[dict[str, Any]], path: Path) -> None:
    """Bits per byte against seconds of training; compressors are points at the time that reading took them."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for arm, colour in ((ARMS[0].name, "#1a7f5a"), (ARMS[1].name, "#6f9ed1"), (BEFORE, "#8a8a8a")):
        budgets = sorted({one["seconds"] for one in known if one["arm"] == arm})
        values = [[one["val_bpb"] for one in known if (one["arm"], one["seconds"]) == (arm, s)] for s in budgets]
        means = [sum(each) / len(each) for each in values]
        errors = [[m - min(v) for m, v in zip(means, values, strict=True)],
                  [max(v) - m for m, v in zip(means, values, strict=True)]]  # fmt: skip
        axes.errorbar(budgets, means, errors, marker="o", ms=4, capsize=3, color=colour, label=arm)
    for way, mark in (("on", "x"), ("anew", "+")):
        own = [one for one in known if one["arm"].endswith(f", {way}")]
        best = min((one for one in own if "PPMd" in one["arm"]), key=lambda one: one["val_bpb"], default=None)
        for one in filter(None, (best, *(one for one in own if "xz" in one["arm"]))):
            axes.plot(one["seconds"], one["val_bpb"], mark, color="#b0562c")
            axes.annotate(one["arm"], (one["seconds"], one["val_bpb"]), (5, 4), textcoords="offset points", fontsize=8)
    axes.set(xscale="log", xlabel="seconds of training on two cores", ylabel="bits per byte of the search rows")
    ticks = [2, *sorted({one["seconds"] for one in known if one["seed"]})]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
