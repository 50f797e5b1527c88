"""A core that is kept busy now and then during a real session: what is marked as disturbed, and what the noise becomes.

    uv run python benchmarks/busy_core.py FOLDER [--seconds 10] [--tries 8] [--on 45] [--off 45]

Two sessions of the pretrain task at tiny with a budget in seconds, one after the other, on a machine that is quiet but
for two processes that keep both cores busy for --on seconds of every --on + --off: one session as it is (`marked`), one
that takes every run as it comes (`unmarked`, how it was before runs were marked). Both measure a baseline of three
runs and changes that only draw other initial weights, so that each keep is false. FOLDER/results.jsonl has a line for
each verdict; the table is printed at the end. The same command goes on with a session that was ended.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from real_verdicts import edit

from autoresearch.experiments import undisturbed
from autoresearch.experiments.attempt import attempt
from autoresearch.experiments.baseline import baseline
from autoresearch.journal.session import Session
from autoresearch.runs.setup import setup_workspace
from autoresearch.system.clock import wall_clock
from autoresearch.workspace.init import init
from autoresearch.workspace.init_options import InitOptions
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace

BUSY = "while True: pass"
PROCESSES = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=10, help="training budget of one run")
    parser.add_argument("--tries", type=int, default=8, help="changes of nothing in each session")
    parser.add_argument("--on", type=float, default=45, help="seconds in which the cores are kept busy")
    parser.add_argument("--off", type=float, default=45, help="seconds of quiet between them")
    parser.add_argument("--session", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("AUTORESEARCH_CACHE", str(args.folder.resolve() / "cache"))
    if args.session is not None:
        with as_it_comes(args.session == "unmarked"):
            session(Workspace(args.folder / args.session), args.tries, args.folder / "results.jsonl")
        return
    rows = []
    for name in ("marked", "unmarked"):
        options = InitOptions("pretrain", tag=name, source="python", profile="tiny", seconds=args.seconds)
        workspace = Workspace(args.folder / name)
        if not workspace.journal.exists():
            workspace = init(args.folder / name, options, wall_clock())
            setup_workspace(workspace)
        with busy_now_and_then(args.on, args.off):
            # In a process of its own: the engine ends what it finds below itself after a run.
            words = [str(args.folder), "--tries", str(args.tries), "--session", name]
            subprocess.run([sys.executable, __file__, *words], check=True)
        rows.append(row(name, load_session(workspace)))
    print("\n".join(table(rows)))


def session(workspace: Workspace, tries: int, results: Path) -> None:
    """Make what is missing of a session."""
    if load_session(workspace).baseline is None:
        baseline(workspace, 3, wall_clock)
    for number in range(len(load_session(workspace).current), tries + 1):
        edit(workspace, (), number)
        verdict = attempt(workspace, f"other weights {number}", {}, wall_clock, same=True)
        line = {"session": workspace.root.name, "experiment": number, "status": verdict.experiment.status,
                "reason": verdict.experiment.reason}  # fmt: skip
        with results.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


@contextmanager
def busy_now_and_then(on: float, off: float) -> Iterator[None]:
    """Keep the cores busy for `on` seconds and leave them alone for `off`, in turn."""
    over = threading.Event()

    def turns() -> None:
        while not over.wait(off):
            processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(PROCESSES)]
            over.wait(on)
            for process in processes:
                process.kill()
                process.wait()

    thread = threading.Thread(target=turns)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def as_it_comes(wanted: bool) -> Iterator[None]:
    """Take every run as it comes, where that is wanted."""
    rule = undisturbed.disturbance
    if wanted:
        undisturbed.disturbance = lambda *known: ""
    try:
        yield
    finally:
        undisturbed.disturbance = rule


def row(name: str, found: Session) -> dict[str, Any]:
    runs = [run for e in found.current for run in e.runs]
    marked = [run for run in runs if run.purpose == "disturbed"]
    first = [run.value for run in found.current[0].runs if run.purpose != "disturbed"]
    gap = statistics.fmean(run.value for run in marked) - statistics.fmean(first) if marked else None
    verdicts = [e for e in found.current if e is not found.baseline and e.status is not None]
    return {
        "session": name,
        "runs": len(runs),
        "marked": len(marked),
        "marked_worse_by": gap and round(gap, 4),
        "baseline": [round(value, 4) for value in first],
        "noise": found.noise.sd and round(found.noise.sd, 4),
        "spread_of_all": round(statistics.stdev(run.value for run in runs), 4),
        "verdicts": len(verdicts),
        "kept": sum(e.status == "keep" for e in verdicts),
    }


def table(rows: list[dict[str, Any]]) -> list[str]:
    names = [*rows[0]]
    lines = ["| " + " | ".join(name.replace("_", " ") for name in names) + " |", "|---" * len(names) + "|"]
    return [*lines, *("| " + " | ".join(str(row[name]) for name in names) + " |" for row in rows)]


if __name__ == "__main__":
    main()
