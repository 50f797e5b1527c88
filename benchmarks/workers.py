"""What several slots bring: candidates of `run` in an hour with N slots beside one, and what the engine itself costs.

    uv run python benchmarks/workers.py [--json] [--slots 1,8,16] [--seconds S] [--rounds R]

The command sleeps for S seconds and prints a number that is never better, so every experiment is one run. A list of
edits proposes R times as many as there are slots (two for one slot). Nothing but the engine and the start of processes
takes processor time, so this says how much of N slots the engine keeps at work, not what runs do to each other. The
engine's own processor time is told apart from that of its children, which are git and the workers.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path

from engine import make_workspace, run

from autoresearch.experiments import undisturbed
from autoresearch.loop.driver import Driver
from autoresearch.loop.options import Options
from autoresearch.loop.registry import agents_of
from autoresearch.system.hardware import detect
from autoresearch.workspace.workspace import Workspace


def workspace(folder: Path, seconds: float) -> Path:
    """Make a session whose command sleeps, with a baseline of one run that does not."""
    made = make_workspace(folder, dict(os.environ), 20)
    task = made / "autoresearch.toml"
    task.write_text(task.read_text().replace('policy = "confirm"', 'policy = "greedy"'))
    (made / "bench.sh").write_text(
        f'number=$(cat number.txt); [ "$number" = 100 ] || sleep {seconds:g}\necho "METRIC loss=$number"\n'
    )
    subprocess.run(["git", "commit", "-qam", "sleeps"], cwd=made, check=True)
    run(made, dict(os.environ), "segment")
    run(made, dict(os.environ), "baseline", "--seeds", "1", "--workers", "local:1")
    return made


def own_cpu() -> tuple[float, float]:
    """Return the processor time of this process and of the children that it has waited for, seconds."""
    own, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime, theirs.ru_utime + theirs.ru_stime


def measured(slots: int, seconds: float, rounds: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        lab = workspace(Path(folder) / "lab", seconds)
        count = max(2, slots * rounds)
        edits = Path(folder) / "edits.jsonl"
        edits.write_text("".join(
            json.dumps({"description": f"number {n}", "files": {"number.txt": f"{n}\n"}}) + "\n"
            for n in range(101, 101 + count)
        ))  # fmt: skip
        driver = Driver(
            Workspace(lab), agents_of(f"replay:{edits}"), Options(max_experiments=count, workers=f"local:{slots}")
        )
        began, before = time.monotonic(), own_cpu()
        ended = driver.run()
        wall, after = time.monotonic() - began, own_cpu()
        assert len(ended.measured) == count, ended.reason
    own, theirs = (there - here for here, there in zip(before, after, strict=True))
    return {"slots": slots, "experiments": count, "wall_s": round(wall, 1), "per_hour": round(3600 * count / wall, 1),
            "engine_ms": round(1000 * own / count, 1), "children_ms": round(1000 * theirs / count, 1)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--slots", default="1,8,16")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    undisturbed.MOST_AGAIN = 0  # whoever else is at work on this machine makes no sleep longer
    rows = [measured(int(slots), options.seconds, options.rounds) for slots in options.slots.split(",")]
    load = os.getloadavg()[0]
    about = {"machine": detect().describe(), "seconds": options.seconds, "load_at_the_end": round(load, 1)}
    if options.json:
        print(json.dumps({**about, "rows": rows}))
        return
    print(f"{about['machine']}; a command that sleeps {options.seconds:g} s; load at the end {load:.1f}\n")
    print(
        "| slots | experiments | seconds | in an hour | of N slots without an engine | engine, CPU ms each | children |"
    )
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        whole = 3600 / options.seconds * row["slots"]
        print(
            f"| {row['slots']} | {row['experiments']} | {row['wall_s']} | {row['per_hour']} |"
            f" {row['per_hour'] / whole:.2f} | {row['engine_ms']} | {row['children_ms']} |"
        )


if __name__ == "__main__":
    main()
