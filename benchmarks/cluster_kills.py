"""Kills parties of a real Ray cluster at random instants, and checks that nothing was lost and nothing counted twice.

    uv run python benchmarks/cluster_kills.py [--blocks 20] [--together] [--first 1] [--log FILE]

A baseline gets more and more seeds on two machines of this computer. In each block one party is killed while the runs
of ten more seeds are made: the program that measures, the worker of Ray above it, a machine's raylet, the bridge, or
the engine itself. With --together each of them is killed in each block, in any order, as long as there are runs to
make. Where the command has ended, it is typed again until it ends well. Each seed must have its one value, the
workspace must pass `autoresearch check`, and no process may be left; anything else ends this. With --log each block is
a line there; the same command with another --first, which is the seed of a block, goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "workers")]

from lab import INIT, Lab, new_repo  # noqa: E402
from machines import RayLab, machines  # noqa: E402

PARTIES = ("program", "worker", "raylet", "bridge", "engine")
SEEDS = 10
"""Seeds that each block adds."""
BLOCKS = 6
"""Blocks in one workspace: a baseline has at most 64 seeds."""
RUN_S = 1.0
SPAN_S = 3.0
"""Seconds after a run was seen in which a kill lands: ten runs of a second on two machines, and their ends."""
MOST_AGAIN = 6
"""The engine, the bridge, and a run that two kills have met, each end it; more is an error."""
BASH = f"touch here; sleep {RUN_S:g}; echo METRIC total_ms=$((100 + AUTORESEARCH_SEED))\n"


def new_lab(root: Path) -> Lab:
    """Make a workspace without a baseline."""
    repo = new_repo(root)
    repo.write("src/run.sh", BASH)
    repo.commit("slow")
    assert repo.call(*INIT).code == 0
    return Lab(root)


def begin(lab: Lab, cluster: RayLab, seeds: int) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "autoresearch", "baseline", "--seeds", str(seeds), *cluster.workers]
    return subprocess.Popen(words, cwd=lab.root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT)  # fmt: skip


def victim(party: str, rng: random.Random, cluster: RayLab, engine: psutil.Process) -> psutil.Process | None:
    """Return the process to kill now; None when there is none of its kind."""
    if party == "engine":
        return engine
    if party == "bridge":
        found = [each for each in engine.children() if "autoresearch.workers.cluster.bridge" in each.cmdline()]
    elif party == "raylet":
        node = rng.choice(sorted(cluster.raylets))
        found = [psutil.Process(cluster.raylets.pop(node))]
    else:
        found = cluster.programs()
        found = [psutil.Process(each.ppid()) for each in found] if party == "worker" else found
    return rng.choice(found) if found else None


def block(lab: Lab, cluster: RayLab, parties: Sequence[str], number: int, seeds: int) -> dict[str, Any]:
    """Kill these one after another while a baseline gets up to so many seeds; return which were, how often it was typed
    again, and what it said then."""
    rng, left = random.Random(f"{' '.join(parties)} {number}"), [*parties]
    landed, said = list[str](), list[str]()
    while True:
        process = begin(lab, cluster, seeds)
        engine = psutil.Process(process.pid)
        while left and process.poll() is None:
            while not cluster.begun() and process.poll() is None:
                time.sleep(0.05)
            time.sleep(rng.uniform(0, SPAN_S / len(parties)))
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended by itself
                found = victim(left[0], rng, cluster, engine) if process.poll() is None else None
                if found is not None:
                    found.kill()
                    landed.append(left.pop(0))
        said.append(process.communicate()[0].decode().strip())
        if process.returncode == 0:
            break
        assert len(said) <= MOST_AGAIN, said
    check(lab, cluster, seeds)
    return {"landed": landed, "block": number, "again": len(said) - 1, "said": [each for each in said[:-1] if each]}


def check(lab: Lab, cluster: RayLab, seeds: int) -> None:
    """Raise `AssertionError` where something was lost, counted twice, or left."""
    baseline = lab.session.baseline
    assert baseline is not None and baseline.by_seed == {seed: 100.0 + seed for seed in range(1, seeds + 1)}, baseline
    assert len(baseline.noise_runs) == seeds, baseline
    done = lab.call("check", "--json")
    assert done.code == 0, done
    assert lab.processes() == [] and not [*lab.workspace.state.glob("running*")]
    deadline = time.monotonic() + 60
    while cluster.programs():
        assert time.monotonic() < deadline, "a program on a node goes on"
        time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--together", action="store_true", help="kill each party in each block")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--log", type=Path)
    options = parser.parse_args()
    landed, again = Counter[str](), Counter[bool]()
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        (Path(folder) / "machines").mkdir()
        with machines(Path(folder) / "machines") as cluster:
            for at in range(options.blocks):
                if at % BLOCKS == 0:
                    lab = new_lab(Path(folder) / f"repo{at}")
                while len(cluster.raylets) < 2:
                    cluster.add()
                number = options.first + at
                parties = [PARTIES[number % len(PARTIES)]]
                if options.together:
                    parties = random.Random(number).sample(PARTIES, len(PARTIES))
                began = time.monotonic()
                made = block(lab, cluster, parties, number, SEEDS * (at % BLOCKS + 1))
                made["seconds"] = round(time.monotonic() - began, 1)
                print(json.dumps(made), flush=True)
                if options.log is not None:
                    with options.log.open("a") as log:
                        log.write(json.dumps(made) + "\n")
                landed.update(made["landed"])
                again["engine" in made["landed"]] += made["again"]
    print("| killed | times |\n|---|---|")
    for party in PARTIES:
        print(f"| {party} | {landed[party]} |")
    print(f"\nTyped again: {again[True]} times where the engine was killed, {again[False]} times where it was not.")


if __name__ == "__main__":
    os.environ.setdefault("GIT_CONFIG_GLOBAL", os.devnull)
    main()
