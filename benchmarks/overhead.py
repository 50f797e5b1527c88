"""What a run takes beside its budget: from its start to the first batch, and from the end of the budget to the result.

    uv run python benchmarks/overhead.py [--steps 40] [--rounds 5] [--ways engine hand command] [--against FOLDER ...]

Runs of the task pretrain, profile tiny, made by `measure` of the engine, by hand, and by `baseline --seeds 1` in a
fresh copy of a session, of this checkout and of others in turn, so that a machine that becomes slower is slower for
all of them. By the command the whole of it counts; so it can be compared with checkouts from before there was a harness
(4f72a10 is the last one). The budget is in steps, so that a busy machine ends no run. Processor seconds are those of
all processes of a run together, its training among them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
ENGINE = """
import json, resource, sys, time
from pathlib import Path
from autoresearch.runs.measure import measure
from autoresearch.runs.spec import RunContext
from autoresearch.system.git import git_at
from autoresearch.workspace.python import python_of
from autoresearch.workspace.task_file import load
from autoresearch.workspace.workspace import Workspace
root = Path.cwd()
workspace, task, git = Workspace(root), load(root), git_at(root)
context = RunContext(workspace, git, task, python=python_of(workspace, task))
spec, begun = context.spec(git.head(), 1, 1), time.time()
result = measure(context, spec)
ended = time.time()
clock = json.loads((spec.folder / "clock.json").read_text())
print(json.dumps({"begun": begun, "ended": ended, "clock": clock, "outcome": result.outcome, "value": result.value,
                  "isolation": result.isolation}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=40, help="budget of the training")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=["engine", "hand"])
    parser.add_argument("--against", type=Path, nargs="*", default=[], help="other checkouts of this repository")
    parser.add_argument("--out", type=Path, help="a file of JSON lines, one for each run")
    args = parser.parse_args()
    runs: dict[tuple[str, str], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="overhead-", dir=Path.home()) as temporary:
        folders = {path: Path(temporary) / str(number) for number, path in enumerate([*args.against, HERE])}
        for path, folder in folders.items():
            words = ["init", str(folder), "--task", "pretrain", "--profile", "tiny", "--source", "python"]
            run(path, folder.parent, ["-m", "autoresearch", *words, "--steps", str(args.steps)])
        for _ in range(args.rounds):
            for path, folder in folders.items():
                for way in args.ways:
                    before = processor_s()
                    found = {**WAYS[way](path, folder), "cpu_s": processor_s() - before}
                    runs.setdefault((path.name, way), []).append(found)
                    line = json.dumps({"checkout": path.name, "way": way, **found})
                    print(line, file=sys.stderr, flush=True)
                    if args.out:
                        with args.out.open("a", encoding="utf-8") as file:
                            file.write(line + "\n")
    for (checkout, way), found_runs in runs.items():
        names = ("before_s", "after_s", "beside_s", "cpu_s")
        figures = {name: [each[name] for each in found_runs] for name in names if name in found_runs[0]}
        told = (f"{name} {statistics.median(all_):.2f} ({min(all_):.2f} to {max(all_):.2f})"
                for name, all_ in figures.items())  # fmt: skip
        print(f"{checkout}, by {way}: {', '.join(told)}")


def by_the_engine(checkout: Path, folder: Path) -> dict[str, Any]:
    made = json.loads(run(checkout, folder, ["-c", ENGINE]).splitlines()[-1])
    return {**parts(made["begun"], made["ended"], made["clock"]), "value": made["value"], "in": made["isolation"]}


def by_hand(checkout: Path, folder: Path) -> dict[str, Any]:
    begun = time.time()
    run(checkout, folder, ["train.py"])
    kept = folder / ".autoresearch" / "by-hand"
    found = parts(begun, time.time(), json.loads((kept / "clock.json").read_text()))
    return {**found, "value": json.loads((kept / "result.json").read_text())["metrics"]["val_bpb"]}


def by_command(checkout: Path, folder: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="overhead-", dir=folder.parent) as temporary:
        copy = shutil.copytree(folder, Path(temporary) / "session", symlinks=True)
        begun = time.time()
        run(checkout, copy, ["-m", "autoresearch", "baseline", "--seeds", "1"])
        ended, lines = time.time(), (copy / "autoresearch.jsonl").read_text().splitlines()
    metrics = next(line["metrics"] for line in map(json.loads, reversed(lines)) if line.get("metrics"))
    return {"beside_s": ended - begun - metrics["training_seconds"]}


WAYS = {"engine": by_the_engine, "hand": by_hand, "command": by_command}


def parts(begun: float, ended: float, clock: dict[str, float]) -> dict[str, float]:
    before, after = clock["started"] - begun, ended - clock["started"] - clock["seconds"]
    return {"before_s": before, "after_s": after, "beside_s": before + after}


def processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(checkout: Path, folder: Path, words: list[str]) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("AUTORESEARCH_")}
    env["PYTHONPATH"] = str(checkout / "src")
    done = subprocess.run([sys.executable, *words], cwd=folder, env=env, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"overhead: {' '.join(words)[:80]} exited with {done.returncode}: {done.stdout[-500:]}")
    return done.stdout


if __name__ == "__main__":
    main()
