"""train.py against a plain port of the reference recipe: same text, tokenizer, rows, clock and evaluator.

    uv run python benchmarks/trainer.py [--seconds 60] [--seeds 3] [--json]                  side by side
    uv run python benchmarks/trainer.py --ablate [--seconds 60] [--seeds 1]                  without one part each
    uv run python benchmarks/trainer.py --memory                                             what fits in which memory
    uv run python benchmarks/trainer.py --profile full --source DIR --seconds 300 --seeds 2  on a GPU

Runs of a seed follow one another, arm by arm, so that a machine that becomes slower is slower for all. With --out each
run's figures are written as soon as it ends, and runs that are there already are not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TASK = HERE.parent / "assets" / "tasks" / "pretrain"
HARNESS = TASK.parents[1] / "harness"
REFERENCE = HERE / "recipes" / "reference.py"
FIGURES = ("val_bpb", "total_tokens_M", "training_seconds", "num_params_M", "mfu_percent")
FIGURES += ("peak_vram_mb", "peak_ram_mb", "estimated_memory_mb")


@dataclass(frozen=True)
class Arm:
    """A train.py: a file, edits of its constants, and what is set in its environment."""

    name: str
    path: Path = TASK / "train.py"
    edits: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)

    def source(self) -> str:
        text = self.path.read_text(encoding="utf-8")
        for name, value in self.edits.items():
            text, count = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value}", text)
            if count != 1:
                raise SystemExit(f"trainer: {name} is not a constant of {self.path.name}")
        return text


SIDE_BY_SIDE = (
    Arm("train.py"),
    Arm("reference, eager", REFERENCE, env={"REFERENCE_COMPILE": "0"}),
    Arm("reference, compiled", REFERENCE, env={"REFERENCE_COMPILE": "1"}),
    Arm(
        "train.py in the reference's size", edits={"DEPTH": "4", "WIDTH": "256", "HEAD_DIM": "128", "BATCH_ROWS": "64"}
    ),
)
ON_A_GPU = (
    SIDE_BY_SIDE[0],
    SIDE_BY_SIDE[2],
    Arm("train.py, the reference's batch", edits={"BATCH_ROWS": "256"}),
)
ABLATION = (
    Arm("train.py"),
    Arm("no value embeddings", edits={"VALUE_EMBEDDINGS": "False"}),
    Arm("full windows", edits={"WINDOW_PATTERN": '"L"'}),
    Arm("queries and keys not scaled", edits={"QK_SCALE": "1.0"}),
    Arm("x0 starts at 0", edits={"X0_INIT": "0.0"}),
    Arm("no warm-up of the momentum", edits={"MOMENTUM_START": "0.95"}),
    Arm("nearly no variance by neuron", edits={"NORMUON_BETA": "0.0"}),
    Arm("no weight decay", edits={"WEIGHT_DECAY": "0.0"}),
    Arm("half the batch", edits={"STEPS": "2400"}),
    Arm("twice the batch", edits={"STEPS": "600"}),
    Arm("warmdown 0.4", edits={"WARMDOWN": "0.4"}),
    Arm("the logits capped the other way", edits={"LOGIT_CAP": '{"full": 0.0, "small": 0.0, "tiny": 15.0}[PROFILE]'}),
)
MEMORY = """
import torch, train
print("| memory, GB | layers x width | rows of a forward pass, of 128 | checkpointed | estimate, GB |")
print("|---|---|---|---|---|")
for gigabytes in (4, 6, 8, 11, 12, 16, 24, 32, 40, 80, 141):
    for size in ((6, 384), (9, 640), (11, 768)):
        card = train.device.Machine(torch.device("cuda"), torch.bfloat16, 989e12, 400e12, gigabytes * 1e9, True)
        train.machine, train.attention.attention_paths = (lambda: card), (lambda *_: ["varlen", "sdpa"])
        rows, again = train.device.fit(lambda *how: train.memory_bytes(*how, size), card.memory, 128)
        estimate = train.memory_bytes(rows, again, size) / 1e9
        print(f"| {gigabytes} | {size[0]} x {size[1]} | {rows} | {'yes' if again else 'no'} | {estimate:.1f} |")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="budget of a run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--profile", choices=("full", "small", "tiny"), default="tiny")
    parser.add_argument("--source", default="python", help="as in autoresearch.toml: python, climbmix or a path")
    parser.add_argument("--ablate", action="store_true", help="train.py without one part each, instead")
    parser.add_argument("--memory", action="store_true", help="print the sizes that train.py takes by memory, and end")
    parser.add_argument("--arms", help="only the one of this name, or those whose names hold it")
    parser.add_argument("--out", type=Path, help="a file of JSON lines, one a run; what is in it is not run again")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.source not in ("python", "climbmix"):
        args.source = str(Path(args.source).resolve())
    gpu = shutil.which("nvidia-smi") is not None
    arms = list(ABLATION if args.ablate else ON_A_GPU if gpu else SIDE_BY_SIDE)
    if args.arms:
        arms = [arm for arm in arms if arm.name == args.arms] or [arm for arm in arms if args.arms in arm.name]
    with tempfile.TemporaryDirectory(prefix="autoresearch-trainer-") as temporary:
        folder = workspace(Path(temporary) / "task", args.profile, args.source, args.seconds)
        if args.memory:
            sys.exit(subprocess.run([sys.executable, "-c", MEMORY], cwd=folder).returncode)
        subprocess.run([sys.executable, "prepare.py"], cwd=folder, check=True, stdout=sys.stderr)
        runs = []
        for one in measured(folder, arms, args.seeds, done(args.out)):
            runs.append(one)
            if args.out and not one.get("read"):
                with args.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(one) + "\n")
            score = f"{one['val_bpb']:.4f}" if one["val_bpb"] else one["log"][-300:]
            print(f"{one['arm']}, seed {one['seed']}: {score}", file=sys.stderr, flush=True)
    table = [summary(arm.name, [run for run in runs if run["arm"] == arm.name], runs, arms[0].name) for arm in arms]
    if args.json:
        print(json.dumps({"seconds": args.seconds, "profile": args.profile, "arms": table, "runs": runs}))
    else:
        print_table(table)


def workspace(folder: Path, profile: str, source: str, seconds: float, assets: Path = TASK.parents[1]) -> Path:
    """Make a workspace of the task as `init` does, without git; return its folder."""
    for origin, target in ((assets / "tasks" / TASK.name, folder), (assets / HARNESS.name, folder / "harness")):
        shutil.copytree(origin, target, ignore=shutil.ignore_patterns("__pycache__", ".autoresearch"))
    toml = (folder / "autoresearch.toml").read_text(encoding="utf-8")
    options = {"budget": f"{{ seconds = {seconds:g} }}", "profile": f'"{profile}"', "source": f'"{source}"'}
    for name, value in options.items():
        toml = re.sub(rf"(?m)^{name} = .*$", f"{name} = {value}", toml, count=1)
    (folder / "autoresearch.toml").write_text(toml, encoding="utf-8")
    return folder


def done(out: Path | None) -> dict[tuple[str, int], dict[str, Any]]:
    lines = out.read_text(encoding="utf-8").splitlines() if out and out.exists() else []
    return {(run["arm"], run["seed"]): {**run, "read": True} for run in map(json.loads, lines)}


def measured(
    folder: Path, arms: list[Arm], seeds: int, known: dict[tuple[str, int], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    for seed in range(1, seeds + 1):
        for arm in arms:
            yield known.get((arm.name, seed)) or run(folder, arm, seed)


def run(folder: Path, arm: Arm, seed: int) -> dict[str, Any]:
    """One training and its evaluation, as by hand: figures in their own units, seconds from outside."""
    (folder / "train.py").write_text(arm.source(), encoding="utf-8")
    env = {**os.environ, **arm.env, "AUTORESEARCH_SEED": str(seed)}
    began = time.monotonic()
    ran = subprocess.run([sys.executable, "train.py"], cwd=folder, env=env, capture_output=True, text=True)
    metrics = dict(re.findall(r"(?m)^METRIC (\w+)=(\S+)$", ran.stdout))
    figures: dict[str, Any] = {name: float(metrics[name]) if name in metrics else None for name in FIGURES}
    figures |= {"arm": arm.name, "seed": seed, "wall_s": time.monotonic() - began}
    result = folder / ".autoresearch" / "by-hand" / "result.json"
    if result.exists():
        figures["grading_s"] = json.loads(result.read_text(encoding="utf-8"))["seconds"]
    if figures["val_bpb"] is not None:
        figures["tokens_per_s"] = 1e6 * figures["total_tokens_M"] / figures["training_seconds"]
        figures["overhead_s"] = figures["wall_s"] - figures["training_seconds"]
    log = "\n".join(line for line in (ran.stdout + ran.stderr).splitlines() if "METRIC" not in line)
    figures["log"] = log if len(log) < 6000 else f"{log[:2000]}\n[...]\n{log[-4000:]}"
    return figures


def summary(name: str, own: list[dict[str, Any]], runs: list[dict[str, Any]], base: str) -> dict[str, Any]:
    """Means over seeds with their ranges; differences and ratios to the first arm are of the same seed."""
    first = {run["seed"]: run for run in runs if run["arm"] == base}
    scored = [run for run in own if run["val_bpb"] is not None]
    pairs = [(run, first[run["seed"]]) for run in scored if first[run["seed"]]["val_bpb"] is not None]
    told: dict[str, Any] = {"arm": name, "runs": len(own), "scored": len(scored)}
    for figure in ("val_bpb", "tokens_per_s", "overhead_s", "grading_s", "mfu_percent", "num_params_M", "peak_vram_mb"):
        told[figure] = spread([run[figure] for run in scored if run.get(figure) is not None])
    told["bpb_above_the_first"] = spread([run["val_bpb"] - other["val_bpb"] for run, other in pairs])
    told["speed_of_the_first_to_this"] = spread([other["tokens_per_s"] / run["tokens_per_s"] for run, other in pairs])
    return told


def spread(values: list[float]) -> dict[str, float] | None:
    return {"mean": statistics.fmean(values), "min": min(values), "max": max(values)} if values else None


def print_table(table: list[dict[str, Any]]) -> None:
    columns = {"val_bpb": ".4f", "bpb_above_the_first": "+.4f", "tokens_per_s": ",.0f"}
    columns |= {"speed_of_the_first_to_this": ".2f", "overhead_s": ".1f", "grading_s": ".1f"}
    columns |= {"mfu_percent": ".1f", "num_params_M": ".2f", "peak_vram_mb": ".0f"}
    print("| arm | runs |" + "".join(f" {name} |" for name in columns) + "\n|---|---|" + "---|" * len(columns))
    for row in table:
        cells = []
        for name, form in columns.items():
            found = row[name]
            cells.append(f"{found['mean']:{form}} ({found['min']:{form}} to {found['max']:{form}})" if found else "")
        print(f"| {row['arm']} | {row['scored']} of {row['runs']} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
