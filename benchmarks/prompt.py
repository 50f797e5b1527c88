"""The known searches of the task prompt beside each other: mean loss, spread, and the difference from GCG by target.

    uv run python benchmarks/prompt.py FOLDER [--methods gcg,tao] [--budgets 2.5e10,1e11] [--targets 16] [--set valid]

FOLDER gets a workspace, its cache and the results, target by target as they come (assets/tasks/prompt/compare.py): a
call that was cut off goes on where it was, and one with more methods or budgets adds to what is there.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).resolve().parents[1] / "assets"
REFERENCE = "gcg"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    for name in ("preset", "methods", "budgets", "targets", "set", "seed"):
        parser.add_argument(f"--{name}", help="as compare.py has it")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    lab = workspace(args.folder.resolve())
    env = {**os.environ, "AUTORESEARCH_CACHE": str(args.folder.resolve() / "cache")}
    subprocess.run([sys.executable, "prepare.py"], cwd=lab, env=env, check=True, stdout=sys.stderr)
    words = [f"--{name}={value}" for name in ("preset", "methods", "budgets", "targets", "set", "seed")
             if (value := getattr(args, name)) is not None]  # fmt: skip
    command = [sys.executable, "compare.py", "--json", "--out", str(args.folder.resolve() / "results"), *words]
    rows = json.loads(subprocess.run(command, cwd=lab, env=env, check=True, stdout=subprocess.PIPE).stdout)
    if args.json:
        print(json.dumps(rows))
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for flops in dict.fromkeys(row["flops"] for row in rows):
        print(f"\n{flops:.3g} FLOPs for each target\n")
        print_table([row for row in rows if row["flops"] == flops])


def workspace(folder: Path) -> Path:
    """The files of the task as `init` puts them; those that are there already are brought up to date."""
    lab = folder / "lab"
    for origin, target in ((ASSETS / "tasks" / "prompt", lab), (ASSETS / "harness", lab / "harness")):
        ignored = shutil.ignore_patterns("__pycache__", ".autoresearch")
        shutil.copytree(origin, target, ignore=ignored, dirs_exist_ok=True)
    return lab


def print_table(rows: list[dict[str, Any]]) -> None:
    """The best first. The difference from GCG is by target, with its standard error."""
    by_target = {row["method"]: {line["number"]: line for line in row["results"]} for row in rows}
    reference = by_target.get(REFERENCE, {})
    print(
        "| method | targets | loss ± spread | minus GCG ± error | better than GCG | match | requests | own s, worst |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in sorted(rows, key=lambda row: statistics.fmean(line["loss"] for line in row["results"])):
        lines = row["results"]
        losses = [line["loss"] for line in lines]
        pairs = [line["loss"] - reference[line["number"]]["loss"] for line in lines if line["number"] in reference]
        beside = row["method"] != REFERENCE and len(pairs) > 1
        difference = f"{statistics.fmean(pairs):+.3f} ± {error(pairs):.3f}" if beside else ""
        wins = f"{sum(pair < 0 for pair in pairs)} of {len(pairs)}" if beside else ""
        print(
            f"| {row['method']} | {len(lines)} | {statistics.fmean(losses):.3f} ± {spread(losses):.2f} | "
            f"{difference} | {wins} | {statistics.fmean(line['match'] for line in lines):.2f} | "
            f"{statistics.fmean(line['requests'] for line in lines):.0f} | {max(line['own_s'] for line in lines):.1f} |"
        )


def spread(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def error(values: list[float]) -> float:
    return spread(values) / math.sqrt(len(values))


if __name__ == "__main__":
    main()
