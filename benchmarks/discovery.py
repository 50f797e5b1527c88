"""Does the loop find gains by itself? Sessions of `run` on the pretrain task, each confirmed on the locked split.

    uv run python benchmarks/discovery.py FOLDER --agent sampler [--seed 1] [--minutes 60] [--seconds 20]
    uv run python benchmarks/discovery.py FOLDER --agent replay:benchmarks/edits/pretrain.jsonl
    uv run python benchmarks/discovery.py FOLDER --task images --experiments 20 [--budget "--steps 150"]
    uv run python benchmarks/discovery.py FOLDER --table

A session is a workspace in FOLDER: profile tiny, what the task has offline, a baseline, `run` until its minutes are
over or its experiments are decided, then `confirm`, `ablate`, `plot` and `report`. All are the commands that a person
types. With --budget runs are of steps, or of the FLOPs of the task's own file where it is empty: those score the same
however busy the machine is. The same call goes on with a session that was ended, and FOLDER/results.jsonl has a line
for each that is done.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from autoresearch.journal.session import Session
from autoresearch.system.hardware import detect
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--agent", default="sampler")
    parser.add_argument("--seed", type=int, default=1, help="of the proposals")
    parser.add_argument("--minutes", type=float, default=60, help="of `run`")
    parser.add_argument("--seconds", type=float, default=20, help="training budget of one run")
    parser.add_argument("--task", default="pretrain")
    parser.add_argument("--experiments", type=int, help="of `run`, instead of its minutes")
    parser.add_argument("--budget", help="options of `init` for the budget of a run, instead of --seconds")
    parser.add_argument("--table", action="store_true", help="print what is done as Markdown")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    results = args.folder / "results.jsonl"
    if args.table:
        print("\n".join(table([json.loads(line) for line in results.read_text().splitlines()])))
        return
    os.environ.setdefault("AUTORESEARCH_CACHE", str(args.folder.resolve() / "cache"))
    kind, _, rest = args.agent.partition(":")
    agent = f"{kind}:{Path(rest).resolve()}" if kind == "replay" else args.agent
    name = f"{kind}-{args.seed}" if args.task == "pretrain" else f"{args.task}-{kind}-{args.seed}"
    figures = session(args.folder.resolve() / name, agent, args)
    with results.open("a") as file:
        file.write(json.dumps({"name": name, **figures}) + "\n")
    print("\n".join(table([{"name": name, **figures}])))


def session(folder: Path, agent: str, args: argparse.Namespace) -> dict[str, Any]:
    """Make a session, or what is missing of it; return its figures."""
    if not (folder / "autoresearch.jsonl").exists():
        budget = ["--seconds", f"{args.seconds:g}"] if args.budget is None else args.budget.split()
        source = ["--source", "python"] if args.task == "pretrain" else []
        options = ["--profile", "tiny", *source, *budget, "--tag", folder.name]
        call(folder.parent, "init", str(folder), "--task", args.task, *options)
    began = time.monotonic()
    if load_session(Workspace(folder)).baseline is None:
        call(folder, "baseline")
    until = ["--max-hours", f"{args.minutes / 60:g}"]
    if args.experiments is not None:
        until = ["--max-experiments", str(args.experiments)]
    call(folder, "run", "--agent", agent, "--seed", str(args.seed), *until, ok=(0, 1, 6))
    ran = time.monotonic() - began
    found = load_session(Workspace(folder))
    confirmed, ablated = None, None
    if found.gain:
        confirmed = json.loads(call(folder, "confirm", "--json"))
        ablated = json.loads(call(folder, "ablate", "--json"))
    call(folder, "plot", "-o", "progress.png")
    call(folder, "report", "-o", "report.html")
    return {**figures(found), "minutes": round(ran / 60, 1), "confirmed": confirmed, "ablated": ablated, **machine()}


def figures(found: Session) -> dict[str, Any]:
    """What a session claims of itself."""
    decided = [e for e in found.current if e.status is not None and e is not found.baseline]
    statuses = [e.status for e in decided]
    best = found.best
    return {
        "experiments": len(decided),
        "kept": statuses.count("keep"),
        "crashed": len(decided) - statuses.count("keep") - statuses.count("discard"),
        "runs": sum(len(e.runs) for e in found.current),
        "refused": sum(p.outcome == "refused" for p in found.loop.proposals),
        "baseline": found.baseline.reference if found.baseline else None,
        "best": best.reference if best else None,
        "claimed": found.gain,
        "noise": found.noise.sd,
        "keeps": [f"{e.number}: {e.description}" for e in decided if e.status == "keep"],
    }


def call(folder: Path, *words: str, ok: tuple[int, ...] = (0,)) -> str:
    """Run a command of autoresearch, its progress on stderr; return what it printed."""
    print(f"== autoresearch {' '.join(words)}", file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, "-m", "autoresearch", *words], cwd=folder, stdout=subprocess.PIPE, text=True)
    print(done.stdout, file=sys.stderr, flush=True)
    if done.returncode not in ok:
        raise SystemExit(f"autoresearch {words[0]} ended with exit code {done.returncode}")
    return done.stdout


def machine() -> dict[str, Any]:
    seen = detect()
    return {"date": time.strftime("%Y-%m-%d"), "machine": f"{seen.cpu}, {seen.cores} cores, {seen.system}"}


def table(done: list[dict[str, Any]]) -> list[str]:
    """Markdown lines of the sessions."""
    head = "| session | experiments | kept | runs | baseline | best | claimed | confirmed on locked (95 %) | sigma |"
    lines = [head, "|---|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for s in done:
        sure = s["confirmed"]
        told = (
            f"{sure['gain']:+.4f} ({sure['interval'][0]:+.4f} to {sure['interval'][1]:+.4f})"
            if sure
            else "nothing kept"
        )
        sigma = f"{sure['gain'] / s['noise']:.1f}" if sure and s["noise"] else "-"
        lines.append(
            f"| {s['name']} | {s['experiments']} | {s['kept']} | {s['runs']} | {s['baseline']:.4f} | {s['best']:.4f} "
            f"| {s['claimed'] or 0:+.4f} | {told} | {sigma} |"
        )
    return [*lines, "", *(f"- {s['name']}: {keep}" for s in done for keep in s["keeps"])]


if __name__ == "__main__":
    main()
