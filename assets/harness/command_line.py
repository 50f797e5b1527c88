"""The commands of a task's prepare.py.

    python prepare.py             make the data; a second call finds it
    python prepare.py info        what was prepared
    python prepare.py feed        the feeder of one run; the engine starts it, or the trainer when it runs by hand
    python prepare.py evaluate    grade the last run

Environment, all optional: AUTORESEARCH_CACHE (where prepared data lives; ~/.cache/autoresearch), _SEED (1), _RUN_DIR
(what a run leaves; else .autoresearch/by-hand), _SPLIT (search or locked), _RESULT (RUN_DIR/result.json),
_TRAIN_SECONDS and _TRAIN_CPU_SECONDS (of the trainer's process, seen from outside), _FEED and _STARTED (of a feeder:
the descriptor of its connection, and when the trainer was started, by the system's monotonic clock), _MODEL_PREFIX
(what puts a model process into a sandbox).
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from harness.batches import FEED
from harness.errors import TaskError, Verdict
from harness.feeder import Feeder, feed
from harness.files import folder_digest, read_json, write_json
from harness.finish import run_dir, run_seed
from harness.grader import grade
from harness.task import Budget, Task, read_task_file

SPLITS = ("search", "locked")

Grade = Callable[[Any, Path, str], dict[str, float]]
"""From a task, the folder of a run and a split to the metrics. Raises Verdict."""


def main(
    folder: Path, options: type[Any], make: Callable[[Path, Any, Budget], Task], *, grade: Grade = grade,
    feeder: type[Feeder] = Feeder, programs: tuple[str, ...] = (),
) -> None:  # fmt: skip
    """Run the command that was typed. `options` is the dataclass of the task's options, of which each is an option of
    the command line too, with the help and the choices of its metadata; `make` gives the task.

    A task whose product is no trained model brings its own `grade`, and one whose trainer asks for more than batches
    its own `feeder`. `programs` are files and folders of the task that decide a score beside prepare.py and the
    harness."""
    try:
        run(folder, options, make, sys.argv[1:], grade, programs, feeder)
    except TaskError as error:
        sys.exit(f"error: {error}")


def run(
    folder: Path, options: type[Any], make: Callable[[Path, Any, Budget], Task], arguments: list[str],
    grade: Grade = grade, programs: tuple[str, ...] = (), feeder: type[Feeder] = Feeder,
) -> None:  # fmt: skip
    parser = argparse.ArgumentParser(prog="prepare.py", description="Data and evaluation of this task.")
    parser.add_argument("command", nargs="?", choices=("prepare", "info", "feed", "evaluate"), default="prepare")
    for field in fields(options):
        kind = type(field.default) if field.default is not MISSING else str
        about = {key: field.metadata.get(key) for key in ("help", "choices")}
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, **about)
    parser.add_argument("--workers", type=int, default=4, help="downloads at a time")
    parser.add_argument("--split", choices=SPLITS, help="what evaluate reads")
    parser.add_argument("--force", action="store_true", help="prepare again although the data is there")
    typed = vars(parser.parse_args(arguments))
    command, split, force, workers = (typed.pop(name) for name in ("command", "split", "force", "workers"))
    own, budget = read_task_file(folder, options)
    task = make(folder, replace(own, **{name: value for name, value in typed.items() if value is not None}), budget)
    split = split or os.environ.get("AUTORESEARCH_SPLIT") or "search"
    if split not in SPLITS:
        raise TaskError(f"AUTORESEARCH_SPLIT is {split!r}; set it to search or locked")
    if command == "evaluate":
        evaluate(task, split, grade, programs)
    elif command == "feed":
        if FEED not in os.environ:
            raise TaskError("feed is started by a trainer, or by the engine; run: python train.py")
        begun = float(os.environ.get("AUTORESEARCH_STARTED") or time.monotonic())
        feed(task, int(os.environ[FEED]), run_dir(folder), seed=run_seed(), begun=begun, kind=feeder)
    elif command == "info":
        task.describe()
    else:
        write_bytecode()
        data = task.prepare(force=force, workers=workers)
        print(f"data      {data}\nmanifest  {manifest_hash(task, programs)}")
        if make(folder, own, budget).data_folder() != data:
            print("note      train.py reads its options from autoresearch.toml, and they differ from these")


def write_bytecode(package: str = "torch") -> None:
    """Have Python keep what it compiles of a large package, unless that was done: uv installs none, and a run, which
    may write nothing there, would compile all of it again in each of its processes (2 s for torch)."""
    found = importlib.util.find_spec(package)
    if found is not None and found.origin and not Path(importlib.util.cache_from_source(found.origin)).exists():
        print(f"bytecode  of {package} is written once", flush=True)
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        subprocess.run([sys.executable, "-c", f"import {package}"], env=env, check=False, capture_output=True)


def manifest_hash(task: Task, programs: tuple[str, ...] = ()) -> str:
    """DATA-PROGRAM: a hash of data and splits, and one of the files that score. Results under different ones are never
    compared; reads of a locked split are counted by the first, so that an upgrade of the harness forgets none."""
    own = folder_digest(task.folder, ("prepare.py", "harness", *programs))
    data = json.dumps(read_json(task.prepared() / "manifest.json")["sha256"], sort_keys=True)
    return f"{hashlib.sha256(data.encode()).hexdigest()[:32]}-{own[:32]}"


def evaluate(task: Task, split: str, grade: Grade = grade, programs: tuple[str, ...] = ()) -> None:
    """Write the result file of the last run and print its METRIC lines. A refusal is a result too."""
    start, folder = time.monotonic(), run_dir(task.folder)
    target = Path(os.environ.get("AUTORESEARCH_RESULT") or folder / "result.json")
    target.unlink(missing_ok=True)
    outcome, reason, metrics, manifest = "ok", None, dict[str, float](), manifest_hash(task, programs)
    try:
        metrics = grade(task, folder, split)
    except Verdict as verdict:
        outcome, reason = verdict.outcome, str(verdict)
        print(f"{outcome}: {reason}", file=sys.stderr)
    result = {"outcome": outcome, "reason": reason, "metrics": metrics, "manifest": manifest, "split": split}
    write_json(target, {**result, "seconds": time.monotonic() - start})
    print("".join(f"METRIC {name}={value!r}\n" for name, value in metrics.items()), end="", flush=True)
