"""Kills the commands that measure or write at random instants, many times, and checks that nothing was lost.

    uv run python benchmarks/kills.py [--rounds 5] [--kills 25]

A round runs the tests of random instants in tests/engine/test_kill*.py with that many kills each, of five kinds
(three kinds of session, `import`, and studies) and with a seed of its own. Any failure stops it.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = "many_kills or killed_again_and_again or studies_killed_at_random"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kills", type=int, default=25, help="of each of the five kinds, in a round")
    parser.add_argument("--first", type=int, default=1, help="number of the first round, which is its seed")
    args = parser.parse_args()
    windows: Counter[str] = Counter()
    began = time.monotonic()
    for number in range(args.first, args.first + args.rounds):
        env = {**os.environ, "AUTORESEARCH_KILLS": str(args.kills), "AUTORESEARCH_KILL_SEED": str(number)}
        command = [
            sys.executable,
            "-m",
            "pytest",
            "tests/engine/test_kill.py",
            "tests/engine/test_kill_studies.py",
            "-k",
            TESTS,
            "-rP",
        ]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"round {number} failed:\n{done.stdout[-6000:]}")
        for kind, count, window in re.findall(
            r"^(exact|evaluated|noisy|import|studies) +(\d+)  (.+)$", done.stdout, re.M
        ):
            windows[f"{kind:<10} {window}"] += int(count)
        print(f"round {number}: ok, {sum(windows.values())} kills so far", file=sys.stderr, flush=True)
    print(f"{sum(windows.values())} kills in {time.monotonic() - began:.0f} s, nothing lost, nothing counted twice\n")
    for window, count in sorted(windows.items()):
        print(f"{count:>5}  {window}")


if __name__ == "__main__":
    main()
