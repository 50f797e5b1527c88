"""Kills the commands that measure or write at random instants, many times, and checks that nothing was lost.

    uv run python benchmarks/kills.py [--kills 500] [--first 1] [--log FILE]

A command is killed inside its work: how long that takes is measured first, the instant is drawn from it, and what has
landed before the first effect or after the last is not counted. tests/experiments/kill_hunts.py says what is checked
after each kill; any failure ends it. With --log each block of kills is a line there, and the same command with another
--first (the number of the first block, which is its seed) goes on.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "experiments"))

from kill_hunts import hunt_import, hunt_study, hunt_try, landed
from kill_lab import new_lab

BLOCK = 10
"""Kills in one session: a new one is quicker to check."""

TURNS = [
    *(("try", variant) for variant in ("exact", "noisy", "evaluated")),
    *(("import", "exact"), ("confirm", "noisy"), ("ablate", "noisy"), ("confirm", "evaluated")),
]
"""What is killed, and in what kind of session, in turn."""


def block(command: str, variant: str, kills: int, number: int) -> Counter[str]:
    """Make a session and land `kills` kills in it; return where they landed."""
    rng = random.Random(f"{command} {variant} {number}")
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        lab = new_lab(Path(folder) / "lab", BYTECODE, variant)
        if command == "try":
            return hunt_try(lab, kills, rng)
        if command == "import":
            return hunt_import(lab, kills, rng)
        return hunt_study(lab, kills, rng, command, "--seeds", "2")


def told(found: dict[str, Counter[str]]) -> list[str]:
    """Return the table: a line for each command and place."""
    lines = []
    for command, windows in found.items():
        lines.append(f"{command:<8} {landed(windows):>4} inside, {windows['outside']} outside")
        lines += [f"{'':<8} {count:>4}   {place}" for place, count in windows.most_common() if place != "outside"]
    return lines


def main() -> None:
    global BYTECODE
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=500, help="that land inside, of all commands together")
    parser.add_argument("--first", type=int, default=1, help="number of the first block")
    parser.add_argument("--log", type=Path)
    args = parser.parse_args()
    found: dict[str, Counter[str]] = {}
    began, number, done = time.monotonic(), args.first, 0
    with tempfile.TemporaryDirectory() as bytecode:
        BYTECODE = Path(bytecode)
        while done < args.kills:
            command, variant = TURNS[number % len(TURNS)]
            windows = block(command, variant, min(BLOCK, args.kills - done), number)
            done += landed(windows)
            found[command] = found.get(command, Counter()) + windows
            if args.log is not None:
                with args.log.open("a") as file:
                    line = {"block": number, "command": command, "session": variant, "windows": windows}
                    file.write(json.dumps(line) + "\n")
            print(f"block {number}, {command} ({variant}): {dict(windows)}; {done} so far", file=sys.stderr, flush=True)
            number += 1
    print(f"{done} kills inside in {time.monotonic() - began:.0f} s, nothing lost, nothing counted twice\n")
    print("\n".join(told(found)))


if __name__ == "__main__":
    main()
