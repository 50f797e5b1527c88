"""What several slots bring: candidates of `run` in an hour with N slots beside one, and what the engine itself costs.

    uv run python benchmarks/workers.py [--json] [--slots 1,8,16] [--seconds S] [--rounds R] [--cluster]

The command sleeps for S seconds and prints a number that is never better, so every experiment is one run. A list of
edits proposes R times as many as there are slots (two for one slot). Nothing but the engine and the start of processes
takes processor time, so this says how much of N slots the engine keeps at work, not what runs do to each other. The
engine's own processor time is told apart from that of its git processes and that of the workers with their runs. Each
row is printed as soon as it is there; with --json it is a line.

Beside it: for how long the engine is at work on one candidate, one after the other, while it waits for no run. From
that of the last row comes what share of a thousand slots one engine would keep at work (see `kept_at_work`).

With --cluster the slots are those of a Ray cluster on this machine, a node for each. To connect to it, which each
command does once, is told apart; what Ray's own processes take is no child of the engine.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
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
from autoresearch.workers.base import Ended, Workers  # noqa: E402
from autoresearch.workers.cluster.ray_workers import RayWorkers, cluster  # noqa: E402
from autoresearch.workers.local import LocalWorkers  # noqa: E402
from autoresearch.workspace.python import python_of  # noqa: E402
from autoresearch.workspace.task_file import load  # noqa: E402
from autoresearch.workspace.workspace import Workspace  # noqa: E402

MANY, RUNS_S = 1000, (300.0, 60.0)
"""Slots and seconds of a run of the projection."""


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


@contextmanager
def waited() -> Iterator[list[float]]:
    """Give the list of the seconds that the engine waits for runs meanwhile, each time."""
    seconds: list[float] = []
    kinds: tuple[type[Workers], ...] = (LocalWorkers, RayWorkers)
    before = [kind.poll for kind in kinds]

    def timed(kind: type[Workers]) -> None:
        real = kind.poll

        def poll(self: Workers, wait_s: float) -> list[Ended]:
            began = time.monotonic()
            try:
                return real(self, wait_s)
            finally:
                seconds.append(time.monotonic() - began)

        kind.poll = poll  # type: ignore[method-assign]

    try:
        for kind in kinds:
            timed(kind)
        yield seconds
    finally:
        for kind, real in zip(kinds, before, strict=True):
            kind.poll = real  # type: ignore[method-assign]


def kept_at_work(slots: int, run_s: float, each_s: float) -> float:
    """Return the share of so many slots that one engine keeps at work on runs of `run_s` seconds, when it needs
    `each_s` for a candidate and takes one after the other.

    A slot gets its next run when the engine has come to the candidate that was in it. So a round, in which each slot
    makes one run, takes a run and what its candidate needs of the engine, or what the candidates of all slots need of
    it, whichever is longer; and of a round each slot is at work for one run.
    """
    return run_s / max(run_s + each_s, slots * each_s)


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
            with waited() as waits:
                began, before = time.monotonic(), own_cpu()
                ended = driver.run()
                wall, after = time.monotonic() - began, own_cpu()
            assert len(ended.measured) == count, ended.reason
            del driver, ended
            gc.collect()  # what workers are started from ends with them, and only now its processor time is known
            at_the_end = own_cpu()
    own, git, theirs = after[0] - before[0], after[1] - before[1], at_the_end[1] - after[1]
    return {"slots": slots, "experiments": count, "wall_s": round(wall, 1), "per_hour": round(3600 * count / wall, 1),
            "engine_ms": round(1000 * own / count, 1), "git_ms": round(1000 * git / count, 1),
            "workers_ms": round(1000 * theirs / count, 1), "serial_ms": round(1000 * (wall - sum(waits)) / count, 1),
            "connect_s": round(connect_s, 1)}  # fmt: skip


def projected(row: Mapping[str, float]) -> Iterator[str]:
    """Yield what the figures of a row make of many slots, a line of a table each."""
    cpu_ms = row["engine_ms"] + row["git_ms"]
    for what, each_ms in (("as long as here", row["serial_ms"]), ("its processor time alone", cpu_ms)):
        for run_s in RUNS_S:
            share = kept_at_work(MANY, run_s, each_ms / 1000)
            cores = share * MANY / run_s * cpu_ms / 1000
            yield f"| {what}: {each_ms:.0f} ms | {run_s:g} | {share:.2f} | {cores:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--slots", default="1,8,16")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cluster", action="store_true")
    options = parser.parse_args()
    undisturbed.MOST_AGAIN = 0  # whoever else is at work on this machine makes no sleep longer
    about = {"machine": detect().describe(), "seconds": options.seconds}
    if not options.json:
        print(f"{about['machine']}; a command that sleeps {options.seconds:g} s; load {os.getloadavg()[0]:.1f}\n")
        print("| slots | experiments | seconds | in an hour | of N slots | engine, CPU ms each | git |"
              " workers and runs | engine at work, ms each | to connect, s |")  # fmt: skip
        print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for slots in options.slots.split(","):
        row = measured(int(slots), options.seconds, options.rounds, options.cluster)
        share = row["per_hour"] * options.seconds / 3600 / row["slots"]
        if options.json:
            print(json.dumps({**about, **row, "load": round(os.getloadavg()[0], 1)}), flush=True)
            continue
        print(f"| {row['slots']} | {row['experiments']} | {row['wall_s']} | {row['per_hour']} | {share:.2f} |"
              f" {row['engine_ms']} | {row['git_ms']} | {row['workers_ms']} | {row['serial_ms']} |"
              f" {row['connect_s']} |", flush=True)  # fmt: skip
    if not options.json:
        print(f"\nWhat that makes of {MANY} slots and one engine, which needs for a candidate:\n")
        print("| needs | run, s | of the slots at work | cores for the engine and git |\n|---|---|---|---|")
        print(*projected(row), sep="\n")


if __name__ == "__main__":
    main()
