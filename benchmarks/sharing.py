"""How long exports, a bundle and the check of one take at 20,000 experiments, and how large the files are.

    python benchmarks/sharing.py [--experiments N]

The journal is that of `engine.py`: synthetic, none of it measured. Each command is the whole program.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from engine import PROGRAM, environments, make_workspace, write_journal

COMMANDS = {
    "export, CSV": (("export", "-f", "csv", "-o", "out.csv"), "out.csv"),
    "export, SQLite": (("export", "-f", "sqlite", "-o", "out.sqlite"), "out.sqlite"),
    "export, Parquet": (("export", "-f", "parquet", "-o", "out.parquet"), "out.parquet"),
    "bundle": (("bundle", "-o", "out.zip"), "out.zip"),
    "replay --verify-only": (("replay", "out.zip", "--verify-only"), None),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--experiments", type=int, default=20_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        env = environments(Path(name))["cached"]
        folder = make_workspace(Path(name) / "ws", env, 3)
        write_journal(folder, given.experiments)
        for what, (words, made) in COMMANDS.items():
            work = []
            for _ in range(3):
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                done = subprocess.run([str(PROGRAM), *words], cwd=folder, env=env, capture_output=True, text=True)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                work.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            size = f", {(folder / made).stat().st_size / 1e6:.2f} MB" if made and done.returncode == 0 else ""
            told = "" if done.returncode == 0 else f"  refused: {done.stderr.strip().splitlines()[-1]}"
            print(f"{what:<22}{sorted(work)[1]:>7.2f} s of processor time{size}{told}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
