"""The test suite several times, quiet or beside other work: passed or not, seconds of the wall, CPU seconds by folder.

    uv run python benchmarks/suite.py --runs 3 [--beside [both|disk]] [--out FILE] [-- PYTEST OPTIONS]

With --beside two processes work all the while: one keeps a core busy, one writes, reads and deletes files of 64 MB;
with `--beside disk` the second alone, where something else keeps a core busy anyway.
Each run is a line of --out as soon as it ends. The table has a row a run; after it stand the tests above 30 s.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LONG_S = 30.0
BUSY = "while True: pass"
DISK = """
import os, sys
path, block = sys.argv[1], os.urandom(2**20)
while True:
    with open(path, "wb") as file:
        for _ in range(64):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    with open(path, "rb") as file:
        while file.read(2**20):
            pass
    os.unlink(path)
"""
WORK = {"both": (BUSY, DISK), "disk": (DISK,)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--beside", nargs="?", const="both", choices=WORK, help="beside a busy core and a busy disk")
    parser.add_argument("--out", type=Path, help="JSON lines, one a run")
    parser.add_argument("options", nargs="*", help="for pytest")
    args = parser.parse_args()
    rows = []
    for _ in range(args.runs):
        with other_work(WORK.get(args.beside, ())):
            rows.append({"beside": args.beside or "", **run(args.options)})
        print(json.dumps({**rows[-1], "why": ""}), rows[-1]["why"], sep="\n", flush=True)
        if args.out:
            with args.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    print("\n".join(table(rows)))
    sys.exit(any(row["code"] for row in rows))


@contextlib.contextmanager
def other_work(programs: Sequence[str]) -> Iterator[None]:
    """Keep a core or the disk busy; the processes are ended by their numbers."""
    with tempfile.TemporaryDirectory(prefix="autoresearch-busy-") as folder:
        processes = [subprocess.Popen([sys.executable, "-c", program, f"{folder}/file"]) for program in programs]
        try:
            yield
        finally:
            for process in processes:
                process.kill()
                process.wait()


def run(options: list[str]) -> dict[str, Any]:
    """Run the suite once; return what came of it."""
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", "--durations=40", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    text = done.stdout
    folders = {
        name: float(spent) for name, spent in re.findall(r"^(\S[\w/, ]*?) +([\d.]+) +\d+(?:  past.*)?$", text, re.M)
    }
    whole = folders.pop("all", 0.0)
    slow = re.findall(r"^([\d.]+)s (?:call|setup|teardown) +(.+)$", text, re.M)
    return {
        "code": done.returncode,
        "summary": next((line for line in reversed(text.splitlines()) if " in " in line and "passed" in line), ""),
        "wall_s": round(time.monotonic() - began, 1),
        "cpu_s": whole,
        "folders": folders,
        "skipped": {reason: int(count) for count, reason in re.findall(r"^ +(\d+)  (.+)$", text, re.M)},
        "failed": re.findall(r"^(?:FAILED|ERROR) (.+)$", text, re.M),
        "why": "".join(re.findall(r"^=+ (?:FAILURES|ERRORS) =+\n.*?(?=^CPU seconds)", text, re.M | re.S)),
        "longest": [f"{float(s):.1f} s {name}" for s, name in slow if float(s) > LONG_S],
        "bytecode": "off" if os.environ.get("PYTHONDONTWRITEBYTECODE") else "on",
    }


def table(rows: list[dict[str, Any]]) -> list[str]:
    names = sorted({name for row in rows for name in row["folders"]})
    lines = ["| | " + " | ".join(f"run {n}" for n in range(1, len(rows) + 1)) + " |", "|---" * (len(rows) + 1) + "|"]
    for name in ("summary", "wall_s", "cpu_s"):
        lines.append(f"| {name} | " + " | ".join(str(row[name]) for row in rows) + " |")
    for name in names:
        lines.append(f"| {name} | " + " | ".join(str(row["folders"].get(name, "")) for row in rows) + " |")
    return [*lines, *(f"above {LONG_S:g} s: {line}" for row in rows for line in row["longest"])]


if __name__ == "__main__":
    main()
