"""What several slots bring: candidates of `run` in an hour with N slots beside one, and what the engine itself costs.

    uv run python benchmarks/workers.py [--json] [--slots 1,8,16] [--seconds S] [--rounds R] [--cluster]

The command sleeps for S seconds and prints a number that is never better, so every experiment is one run. A list of
edits proposes R times as many as there are slots (two for one slot). Nothing but the engine and the start of processes
takes processor time, so this says how much of N slots the engine keeps at work, not what runs do to each other. The
engine's own processor time is told apart from that of its children, which are git and the workers.

With --cluster the slots are those of a Ray cluster on this machine, a node for each. To connect to it, which each
command does once, is told apart; what Ray's own processes take is no child of the engine.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine import make_workspace, run

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "workers")]

from machines import machines  # noqa: E402

from autoresearch.experiments import undisturbed  # noqa: E402
from autoresearch.loop.driver import Driver  # noqa: E402
from autoresearch.loop.options import Options  # noqa: E402
from autoresearch.loop.registry import agents_of  # noqa: E402
from autoresearch.runs.spec import RunContext  # noqa: E402
from autoresearch.system.git import git_at  # noqa: E402
from autoresearch.system.hardware import detect  # noqa: E402
from autoresearch.workers.cluster.ray_workers import cluster  # noqa: E402
from autoresearch.workspace.python import python_of  # noqa: E402
from autoresearch.workspace.task_file import load  # noqa: E402
from autoresearch.workspace.workspace import Workspace  # noqa: E402


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


@contextmanager
def slots_of(lab: Path, folder: Path, slots: int, in_cluster: bool) -> Iterator[tuple[str, float]]:
    """Give what `--workers` names so many slots by, and the seconds that it took to connect to them."""
    if not in_cluster:
        yield f"local:{slots}", 0.0
        return
    folder.mkdir()
    with machines(folder) as made:
        for _ in range(slots):
            made.add()
        place, began = Workspace(lab), time.monotonic()
        task = load(lab)
        connected = cluster(RunContext(place, git_at(lab), task, python=python_of(place, task)), made.address)
        yield made.workers[1], time.monotonic() - began
        connected.close()


def measured(slots: int, seconds: float, rounds: int, in_cluster: bool) -> dict[str, float]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        lab = workspace(Path(folder) / "lab", seconds)
        count = max(2, slots * rounds)
        edits = Path(folder) / "edits.jsonl"
        edits.write_text("".join(
            json.dumps({"description": f"number {n}", "files": {"number.txt": f"{n}\n"}}) + "\n"
            for n in range(101, 101 + count)
        ))  # fmt: skip
        with slots_of(lab, Path(folder) / "machines", slots, in_cluster) as (workers, connect_s):
            options = Options(max_experiments=count, workers=workers, aa_every=0)
            driver = Driver(Workspace(lab), agents_of(f"replay:{edits}"), options)
            began, before = time.monotonic(), own_cpu()
            ended = driver.run()
            wall, after = time.monotonic() - began, own_cpu()
        assert len(ended.measured) == count, ended.reason
    own, theirs = (there - here for here, there in zip(before, after, strict=True))
    return {"slots": slots, "experiments": count, "wall_s": round(wall, 1), "per_hour": round(3600 * count / wall, 1),
            "engine_ms": round(1000 * own / count, 1), "children_ms": round(1000 * theirs / count, 1),
            "connect_s": round(connect_s, 1)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--slots", default="1,8,16")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cluster", action="store_true")
    options = parser.parse_args()
    undisturbed.MOST_AGAIN = 0  # whoever else is at work on this machine makes no sleep longer
    rows = [
        measured(int(slots), options.seconds, options.rounds, options.cluster) for slots in options.slots.split(",")
    ]
    load = os.getloadavg()[0]
    about = {"machine": detect().describe(), "seconds": options.seconds, "load_at_the_end": round(load, 1)}
    if options.json:
        print(json.dumps({**about, "rows": rows}))
        return
    print(f"{about['machine']}; a command that sleeps {options.seconds:g} s; load at the end {load:.1f}\n")
    print(
        "| slots | experiments | seconds | in an hour | of N slots | engine, CPU ms each | children | to connect, s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        whole = 3600 / options.seconds * row["slots"]
        print(
            f"| {row['slots']} | {row['experiments']} | {row['wall_s']} | {row['per_hour']} |"
            f" {row['per_hour'] / whole:.2f} | {row['engine_ms']} | {row['children_ms']} | {row['connect_s']} |"
        )


if __name__ == "__main__":
    main()
