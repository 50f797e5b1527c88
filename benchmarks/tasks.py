"""The baselines of the tasks that we ship, their noise over seeds, and how much room a better recipe finds.

    uv run python benchmarks/tasks.py shakespeare images mazes sft rl [--seeds 5] [--seconds 60 | --steps 400] [--json]
    uv run python benchmarks/tasks.py images --source fashion --profile small --seconds 60

Each arm is the task's own train.py with some lines of it changed. With --out each run's figures are written as soon as
it ends, and runs that are there already are not made again.
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

ASSETS = Path(__file__).resolve().parents[1] / "assets"
FIGURES = ("training_seconds", "num_steps", "num_params_M")


@dataclass(frozen=True)
class Arm:
    """A train.py: constants with other values, and pieces of it put in the place of others."""

    name: str
    constants: dict[str, str] = field(default_factory=dict)
    pieces: tuple[tuple[str, str], ...] = ()

    def source(self, text: str) -> str:
        for name, value in self.constants.items():
            text, count = re.subn(rf"(?m)^{name} = [^#\n]*", f"{name} = {value}  ", text)
            if count != 1:
                raise SystemExit(f"tasks: {name} is not a constant of train.py")
        for old, new in self.pieces:
            if text.count(old) != 1:
                raise SystemExit(f"tasks: {old!r} is {text.count(old)} times in train.py")
            text = text.replace(old, new)
        return text


@dataclass(frozen=True)
class Known:
    """What is known of one task: its metrics, the first of which decides, and recipes beside the baseline."""

    metrics: tuple[str, ...]
    better: tuple[Arm, ...]
    higher: bool = False
    """Whether more of the first metric is better."""


MUON = (
    ("    optimizer = torch.optim.AdamW(groups, LEARNING_RATE, (BETA1, BETA2))", """\
    matrices = [p for p in model.blocks.parameters() if p.dim() == 2]
    rest = [p for p in model.parameters() if all(p is not m for m in matrices)]
    optimizer = torch.optim.Muon(matrices, 0.02, WEIGHT_DECAY, momentum=0.95)
    second = torch.optim.AdamW(rest, 0.004, (BETA1, BETA2))"""),
    ("""            group["lr"] = rate_at(progress)""", """            group["lr"] = 20 * rate_at(progress)
        for group in second.param_groups:
            group["lr"] = 4 * rate_at(progress)"""),
    ("        optimizer.step()\n", "        optimizer.step()\n        second.step()\n        second.zero_grad()\n"),
)  # fmt: skip
"""Muon (Jordan et al., 2024) where the trainer has AdamW."""

VIEWS = (
    ("    def forward(self, images: Tensor) -> Tensor:\n", """\
    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            return self.one_view(images)
        views = [images.roll((way, way), (2, 3)) for way in (-1, 0, 1)]
        return torch.stack([self.one_view(view) for view in views]).mean(0)

    def one_view(self, images: Tensor) -> Tensor:
"""),
)  # fmt: skip
"""The mean logits of an image and of the same moved by a pixel (test-time augmentation)."""

WHOLE = (
    ("    learned = add_changes(model)\n", "    learned = [*model.parameters()]\n"),
    ("    merge(model)\n", ""),
)  # fmt: skip
"""All weights of the base instead of low-rank changes."""

TASKS = {
    "shakespeare": Known(
        ("val_bpb",),
        (Arm("Muon on the matrices", {}, MUON),),
    ),
    "images": Known(
        ("error", "cross_entropy"),
        (
            Arm("batches of 256", {"BATCH": "256"}),
            Arm("width 32", {"WIDTH": "32"}),
            Arm("three views at scoring", {}, VIEWS),
        ),
    ),
    "mazes": Known(
        ("route_error", "cell_error", "first_step_error"),
        (Arm("batches of 32", {"BATCH": "32"}),),
    ),
    "sft": Known(
        ("response_bpb", "exact_match", "base_bpb"),
        (
            Arm("learning rate 0.006", {"LEARNING_RATE": "0.006"}),
            Arm("rank 32", {"RANK": "32"}),
            Arm("all weights", {}, WHOLE),
        ),
    ),
    "rl": Known(
        ("pass_at_1", "pass_at_8", "base_pass_at_1", "last_reward"),
        (
            Arm("learning rate 0.001", {"LEARNING_RATE": "0.001"}),
            Arm("groups of 32", {"GROUP": "32"}),
            Arm("64 problems a step", {"PROBLEMS": "64"}),
        ),
        higher=True,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tasks", nargs="+", choices=tuple(TASKS))
    parser.add_argument("--seconds", type=float, help="budget of a run, instead of the task's own")
    parser.add_argument("--steps", type=int, help="the same in batches: another machine measures the same")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--profile", default="tiny")
    parser.add_argument("--source", help="instead of the profile's own")
    parser.add_argument("--arms", default="", help="only those whose names hold this")
    parser.add_argument("--out", type=Path, help="a file of JSON lines, one a run; what is in it is not run again")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    tables = []
    for task in args.tasks:
        with tempfile.TemporaryDirectory(prefix="autoresearch-tasks-") as temporary:
            folder, budget = workspace(Path(temporary) / "task", task, args)
            subprocess.run([sys.executable, "prepare.py"], cwd=folder, check=True, stdout=sys.stderr)
            arms = [arm for arm in (Arm("baseline"), *TASKS[task].better) if args.arms in arm.name]
            runs = []
            for one in measured(folder, task, budget, arms, args.seeds, done(args.out)):
                runs.append(one)
                if args.out and not one.get("read"):
                    with args.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(one) + "\n")
                print(f"{task}, {one['arm']}, seed {one['seed']}: {told(one)}", file=sys.stderr, flush=True)
        tables.append({"task": task, "profile": args.profile, "budget": budget, "runs": runs})
    if args.json:
        print(json.dumps(tables))
    for table in [] if args.json else tables:
        print(f"\n{table['task']}, profile {table['profile']}, {table['budget']} a run\n")
        print_table(TASKS[table["task"]], table["runs"])


def told(one: dict[str, Any]) -> str:
    value = one["metrics"].get(TASKS[one["task"]].metrics[0])
    return f"{value:.4f} in {one['wall_s']:.0f} s" if value is not None else one["log"][-400:]


def workspace(folder: Path, task: str, args: argparse.Namespace) -> tuple[Path, str]:
    """Make a workspace of the task as `init` does, without git; return its folder and the budget of a run."""
    for origin, target in ((ASSETS / "tasks" / task, folder), (ASSETS / "harness", folder / "harness")):
        shutil.copytree(origin, target, ignore=shutil.ignore_patterns("__pycache__", ".autoresearch"))
    path = folder / "autoresearch.toml"
    text, _, profiles = path.read_text(encoding="utf-8").partition("\n# What `init --profile NAME` applies")
    own = profiles.partition(f"[profile.{args.profile}]")[2].partition("[profile.")[0]
    options = dict(re.findall(r"(?m)^(\w+) = (.*)$", own)) | {"profile": f'"{args.profile}"'}
    if args.source:
        source = Path(args.source)
        options["source"] = f'"{source.resolve() if source.exists() else args.source}"'
    for kind in ("seconds", "steps"):
        if getattr(args, kind):
            options["budget"] = f"{{ {kind} = {getattr(args, kind):g} }}"
    for name, value in options.items():
        text = re.sub(rf"(?m)^{name} = [^#\n]*", f"{name} = {value}  ", text, count=1)
    path.write_text(text, encoding="utf-8")
    kind, amount = re.findall(r"budget = \{ (\w+) = ([\d.e+]+) \}", text)[0]
    return folder, f"{amount} {kind}"


def done(out: Path | None) -> dict[tuple[str, str, str, int], dict[str, Any]]:
    lines = out.read_text(encoding="utf-8").splitlines() if out and out.exists() else []
    return {(r["task"], r["budget"], r["arm"], r["seed"]): {**r, "read": True} for r in map(json.loads, lines)}


def measured(
    folder: Path, task: str, budget: str, arms: list[Arm], seeds: int,
    known: dict[tuple[str, str, str, int], dict[str, Any]],
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Arm by arm for each seed, so that a machine that becomes slower is slower for all."""
    honest = (folder / "train.py").read_text(encoding="utf-8")
    for seed in range(1, seeds + 1):
        for arm in arms:
            if (task, budget, arm.name, seed) in known:
                yield known[(task, budget, arm.name, seed)]
                continue
            (folder / "train.py").write_text(arm.source(honest), encoding="utf-8")
            yield {"task": task, "budget": budget, "arm": arm.name, "seed": seed, **run(folder, seed)}


def run(folder: Path, seed: int) -> dict[str, Any]:
    """One training and its evaluation, as by hand."""
    env = {**os.environ, "AUTORESEARCH_SEED": str(seed)}
    began = time.monotonic()
    ran = subprocess.run([sys.executable, "train.py"], cwd=folder, env=env, capture_output=True, text=True)
    metrics = {name: float(value) for name, value in re.findall(r"(?m)^METRIC (\w+)=(\S+)$", ran.stdout)}
    log = "\n".join(line for line in (ran.stdout + ran.stderr).splitlines() if "METRIC" not in line)
    return {"metrics": metrics, "wall_s": time.monotonic() - began, "log": log[-4000:]}


def print_table(known: Known, runs: list[dict[str, Any]]) -> None:
    """Mean and standard deviation over seeds, and how much better than the baseline with the same seed."""
    metrics, sign = known.metrics, 1 if known.higher else -1
    names = (*metrics, *FIGURES)
    print("| arm | seeds | " + " | ".join(names) + " | gain over the baseline |")
    print("|---|---|" + "---|" * (len(names) + 1))
    scored = [run for run in runs if metrics[0] in run["metrics"]]
    first = {run["seed"]: run["metrics"][metrics[0]] for run in scored if run["arm"] == "baseline"}
    for arm in dict.fromkeys(run["arm"] for run in runs):
        own = [run for run in scored if run["arm"] == arm]
        cells = [spread([run["metrics"][name] for run in own if name in run["metrics"]]) for name in names]
        gains = [sign * (run["metrics"][metrics[0]] - first[run["seed"]]) for run in own if run["seed"] in first]
        total = sum(run["arm"] == arm for run in runs)
        print(f"| {arm} | {len(own)} of {total} | " + " | ".join(cells) + f" | {spread(gains, '+')} |")


def spread(values: list[float], sign: str = "") -> str:
    if not values:
        return ""
    error = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):{sign}.4g}{error}"


if __name__ == "__main__":
    main()
