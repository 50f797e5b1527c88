"""Verdicts on real changes whose effect is known: changes of nothing, a metric that flips, edits that hurt or help.

    uv run python benchmarks/real_verdicts.py FOLDER [--steps 40] [--nothing 40] [--times 6] [--parts nothing,flips]

`nothing`: the pretrain task at tiny, a budget in steps, and changes that only draw other initial weights. `flips`: a
command that prints 9 once in five runs and else 10, and changes of a comment. `power`: the width halved, a tenth of the
matrices' learning rate, and no value embeddings, each against the plain file, and the undoing of the first two, each
time with other initial weights. Everything runs through the real `try`; each line of FOLDER/results.jsonl is one
verdict, and the same command goes on where it was ended. The table is printed at the end.

A budget in steps makes a value the same however busy the machine is; only the seconds are longer then.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autoresearch.experiments.attempt import attempt
from autoresearch.experiments.baseline import baseline
from autoresearch.runs.setup import setup_workspace
from autoresearch.statistics.rates import interval_of
from autoresearch.system.clock import wall_clock
from autoresearch.workspace.init import init
from autoresearch.workspace.init_options import InitOptions
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace

SEEDED = "    seed_everything()\n"
HALF = ("\nWIDTH = 0 ", "\nWIDTH = 64 ")
SLOW = ("MATRIX_LR = 0.02 ", "MATRIX_LR = 0.002 ")
PLAIN = ("VALUE_EMBEDDINGS = True ", "VALUE_EMBEDDINGS = False ")
EFFECTS = {
    "width halved": ((), HALF, "discard"),
    "learning rate / 10": ((), SLOW, "discard"),
    "no value embeddings": ((), PLAIN, "discard"),
    "width back": (HALF, HALF[::-1], "keep"),
    "learning rate back": (SLOW, SLOW[::-1], "keep"),
}
"""Name -> (what the base has, the change, the verdict that is right)."""

FLIPPING = "python -c \"import os; print('METRIC ms=' + ('9' if os.urandom(1)[0] < 51 else '10'))\""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=40, help="of one training")
    parser.add_argument("--nothing", type=int, default=40, help="changes of nothing, of each kind")
    parser.add_argument("--times", type=int, default=6, help="how often each effect is tried")
    parser.add_argument("--parts", default="nothing,flips,power")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("AUTORESEARCH_CACHE", str(args.folder.resolve() / "cache"))
    results = args.folder / "results.jsonl"
    parts = args.parts.split(",")
    done = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    for verdict in verdicts(args, parts, {(v["part"], v["k"]) for v in done}):
        done.append(verdict)
        with results.open("a") as file:
            file.write(json.dumps(verdict) + "\n")
        print(json.dumps(verdict), flush=True)
    print("\n".join(table(done)))


def verdicts(args: argparse.Namespace, parts: list[str], known: set[tuple[str, int]]) -> Iterator[dict[str, Any]]:
    if "flips" in parts:
        workspace = flipping(args.folder / "flips")
        for k in range(args.nothing):
            if ("flips", k) not in known:
                (workspace.root / "code.py").write_text(f"# {k}\n")
                yield {"part": "flips", "k": k, "right": "discard", **tried(workspace, f"comment {k}")}
    if "nothing" in parts:
        workspace = pretrain(args.folder / "nothing", args.steps, ())
        for k in range(args.nothing):
            if ("nothing", k) not in known:
                edit(workspace, (), k)
                yield {"part": "nothing", "k": k, "right": "discard", **tried(workspace, f"other weights {k}")}
    for name, (base, change, right) in EFFECTS.items() if "power" in parts else ():
        origin = pretrain(args.folder / "-".join(["base", *(word.split()[0] for word in base[1:])]), args.steps, base)
        for k in range(args.times):
            if (name, k) not in known:
                copy = args.folder / f"{name.replace(' ', '-').replace('/', 'by')}-{k}"
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(origin.root, copy, symlinks=True)
                edit(Workspace(copy), change, 100 + k)
                yield {"part": name, "k": k, "right": right, **tried(Workspace(copy), f"{name}, weights {k}")}


def pretrain(folder: Path, steps: int, base: tuple[str, ...]) -> Workspace:
    """Return the workspace with its baseline of three runs; with `base` replaced in the file before that."""
    workspace = Workspace(folder)
    if not workspace.journal.exists():
        options = InitOptions("pretrain", tag=folder.name, source="python", profile="tiny", steps=steps)
        workspace = init(folder, options, wall_clock())
        setup_workspace(workspace)
        if base:
            edit(workspace, base, None)
            subprocess.run(["git", "commit", "-qam", "base"], cwd=folder, check=True)
    if load_session(workspace).baseline is None:
        baseline(workspace, 3, wall_clock)
    return workspace


def flipping(folder: Path) -> Workspace:
    workspace = Workspace(folder)
    if not workspace.journal.exists():
        folder.mkdir(parents=True)
        (folder / "code.py").write_text("# none\n")
        for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "code"]):
            subprocess.run(["git", *words], cwd=folder, check=True)
        options = InitOptions(
            "command", tag="flips", command=FLIPPING, metric="ms", direction="lower", mutable=("code.py",)
        )
        workspace = init(folder, options, wall_clock())
    if load_session(workspace).baseline is None:
        baseline(workspace, 3, wall_clock)
    return workspace


def edit(workspace: Workspace, change: tuple[str, ...], shift: int | None) -> None:
    """Replace `change` in train.py, and draw other weights by `shift`; None draws those of the file."""
    path = workspace.root / "train.py"
    source = path.read_text()
    for old, new in [change] if change else []:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    if shift is not None:
        head, _, tail = source.partition(SEEDED)
        lines = tail.splitlines(keepends=True)
        rest = "".join(lines[1:] if lines[0].startswith("    torch.manual_seed(") else lines)
        source = f"{head}{SEEDED}    torch.manual_seed(torch.initial_seed() + {7919 * (shift + 1)})\n{rest}"
    path.write_text(source)


def tried(workspace: Workspace, description: str) -> dict[str, Any]:
    """Measure the edit in the folder; return its verdict and what that took."""
    began, before = time.monotonic(), runs(workspace)
    result = attempt(workspace, description, {}, wall_clock, same=True)
    e = result.experiment
    return {
        "status": e.status,
        "outcome": e.outcome,
        "reason": e.reason,
        "runs": runs(workspace) - before,
        "seconds": round(time.monotonic() - began, 1),
    }


def runs(workspace: Workspace) -> int:
    return sum(len(e.runs) for e in load_session(workspace).experiments)


def table(done: list[dict[str, Any]]) -> list[str]:
    """Return Markdown lines: of each part how many verdicts were right, with a 95 % interval, and the runs."""
    parts: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for verdict in done:
        parts[verdict["part"]].append(verdict)
    lines = [
        "| changes | tried | right verdict | kept | 95 % interval of kept | runs each |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in parts.items():
        kept = [v["status"] for v in found].count("keep")
        low, high = interval_of(kept, len(found))
        each = sum(v["runs"] for v in found) / len(found)
        right = found[0]["right"]
        lines.append(
            f"| {name} | {len(found)} | {right} | {kept} | {100 * low:.0f} to {100 * high:.0f} % | {each:.1f} |"
        )
    return lines


if __name__ == "__main__":
    main()
