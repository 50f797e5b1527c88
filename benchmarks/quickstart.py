"""Measure the README's first command from a clean clone: installing, then the quickstart, on this machine.

    python benchmarks/quickstart.py [--json] [--keep DIR]

Needs git, and uv on the path. The clone, its environment and the data cache are new each time; packages come from
the registry, or from uv's cache when it has them (`--no-uv-cache` makes uv fetch all of them).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", type=Path, help="keep the workspace's plot and journal in this folder")
    parser.add_argument("--no-uv-cache", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        env = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
        env |= {"AUTORESEARCH_CACHE": f"{folder}/cache"}
        if args.no_uv_cache:
            env["UV_CACHE_DIR"] = f"{folder}/uv"
        began = time.monotonic()
        subprocess.run(["uv", "sync", "-q"], cwd=clone, env=env, check=True)
        installed = time.monotonic()
        done = subprocess.run(
            ["uv", "run", "autoresearch", "quickstart", "--json"],
            cwd=clone,
            env=env,
            stdout=subprocess.PIPE,
            check=True,
        )
        ended = time.monotonic()
        view = json.loads(done.stdout)
        if args.keep:
            args.keep.mkdir(parents=True, exist_ok=True)
            for name in ("progress.png", "autoresearch.jsonl"):
                (args.keep / name).write_bytes((clone / "quickstart" / name).read_bytes())
    figures = {
        "install_s": round(installed - began, 1),
        "quickstart_s": round(ended - installed, 1),
        "total_s": round(ended - began, 1),
        "experiments": view["experiments"],
        "counts": view["counts"],
        "baseline": view["baseline"]["value"],
        "best": view["best"]["value"],
        "noise_sd": view["noise"]["sd"],
    }
    if args.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:<14}{value}")
    sys.exit(0 if figures["experiments"] >= 5 else 1)


if __name__ == "__main__":
    main()
