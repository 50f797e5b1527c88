"""Measure the README's first command from a clean clone: installing, then the quickstart, and where its seconds go.

    python benchmarks/quickstart.py [--rounds N] [--no-bytecode] [--bare N] [--json] [--keep DIR] [--no-uv-cache]
    python benchmarks/quickstart.py --sampler-seeds 10 [--confirm]      other seeds of the sampler, in one clone

Needs git, and uv on the path. Clone, environment and data cache are new each round; packages come from the registry, or
from uv's cache when it has them (`--no-uv-cache` makes uv fetch all of them). `--no-bytecode` sets
PYTHONDONTWRITEBYTECODE, as many containers do. `--bare` makes so many runs by hand (`python train.py`, training and
grading, no session) in the workspace afterwards, to compare with.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--no-bytecode", action="store_true")
    parser.add_argument("--bare", type=int, default=0)
    parser.add_argument("--sampler-seeds", type=int, default=0)
    parser.add_argument("--confirm", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", type=Path, help="keep the workspace's plot, report and journal in this folder")
    parser.add_argument("--no-uv-cache", action="store_true")
    args = parser.parse_args()
    found = []
    if args.sampler_seeds:
        with tempfile.TemporaryDirectory() as folder:
            clone, env = cloned(Path(folder), args)
            for seed in range(1, args.sampler_seeds + 1):
                found.append(session(clone, env, f"seed-{seed}", seed, args))
                show(found[-1], args.json)
    for _ in range(0 if args.sampler_seeds else args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            clone, env = cloned(Path(folder), args)
            installed = round(time.monotonic() - began, 1)
            found.append({"install_s": installed, **session(clone, env, "quickstart", 1, args)})
            show(found[-1], args.json)
    sys.exit(0 if all(each["experiments"] >= 9 for each in found) else 1)


def cloned(folder: Path, args: argparse.Namespace) -> tuple[Path, dict[str, str]]:
    """Return a clone with everything installed, and the environment to use it in."""
    clone = folder / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    env = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")}
    env |= {"AUTORESEARCH_CACHE": f"{folder}/cache"}
    env |= {"PYTHONDONTWRITEBYTECODE": "1"} if args.no_bytecode else {}
    env |= {"UV_CACHE_DIR": f"{folder}/uv"} if args.no_uv_cache else {}
    subprocess.run(["uv", "sync", "-q"], cwd=clone, env=env, check=True)
    return clone, env


def session(clone: Path, env: dict[str, str], name: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Make one quickstart and return its figures: seconds of the wall, and processor seconds of all its processes."""
    began, cpu = time.monotonic(), cpu_of_children()
    command = ["uv", "run", "autoresearch", "quickstart", name, "--seed", str(seed), "--json"]
    done = subprocess.run(command, cwd=clone, env=env, stdout=subprocess.PIPE, check=True)
    view, workspace = json.loads(done.stdout), clone / name
    figures: dict[str, Any] = {"seed": seed, "quickstart_s": round(time.monotonic() - began, 1)}
    figures |= {"processor_s": round(cpu_of_children() - cpu, 1), **parts(workspace, figures["quickstart_s"])}
    figures |= {
        "experiments": view["experiments"], "kept": len([r for r in view["log"][1:] if r["status"] == "keep"]),
        "baseline": view["baseline"]["value"], "best": view["best"]["value"], "noise_sd": view["noise"]["sd"],
        "load": os.getloadavg()[0],
    }  # fmt: skip
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
        for file in ("progress.png", "report.html", "autoresearch.jsonl"):
            (args.keep / file).write_bytes((workspace / file).read_bytes())
    if args.confirm and figures["kept"]:
        command = ["uv", "run", "autoresearch", "-C", name, "confirm", "--json"]
        told = subprocess.run(command, cwd=clone, env=env, stdout=subprocess.PIPE, check=False)
        figures["confirm"] = json.loads(told.stdout)
    if args.bare:
        began = time.monotonic()
        for _ in range(args.bare):
            command = ["uv", "run", "--project", str(clone), "python", "train.py"]
            subprocess.run(command, cwd=workspace, env=env, stdout=subprocess.DEVNULL, check=True)
        figures["bare_run_s"] = round((time.monotonic() - began) / args.bare, 2)
        figures["ratio_to_ten_bare"] = round(figures["quickstart_s"] / (10 * figures["bare_run_s"]), 2)
    return figures


def parts(workspace: Path, whole: float) -> dict[str, float]:
    """Return where the seconds of the runs went: training, the rest of the trainers (import of torch, the weights), and
    all that is not the trainer: grading, git, the beginning and the end."""
    results = [json.loads(path.read_text()) for path in workspace.glob(".autoresearch/runs/*/*/result.json")]
    training = sum(result["metrics"]["training_seconds"] for result in results)
    trainers = sum(result["seconds"] for result in results)
    return {"runs": len(results), "training_s": round(training, 1), "trainers_else_s": round(trainers - training, 1),
            "grading_and_else_s": round(whole - trainers, 1)}  # fmt: skip


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def show(figures: dict[str, Any], as_json: bool) -> None:
    print(json.dumps(figures) if as_json else "\n".join(f"{name:<20}{value}" for name, value in figures.items()) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
