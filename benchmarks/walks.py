"""Counts what a command does: folds of the journal, git processes, hash passes, writes, modules entered.

    uv run python benchmarks/walks.py [--json]

Each command runs in a process of its own with counters put around the functions that do the work, once without the
sandbox and once in it (where bubblewrap works). Git processes are counted by Python's own audit event for a started
process, so that none is missed whoever starts it; a module counts as entered when a function of it was called.
The counts do not depend on how fast or how busy the machine is.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from autoresearch.system.hardware import detect

NOISY = """
read number word < number.txt
echo "METRIC loss=$(awk -v n="$number" -v s="$AUTORESEARCH_SEED" 'BEGIN { print n + (s * 37 % 11) / 100 }')"
"""
"""A command whose value depends on its seed: a small gain is then measured with several seeds."""

DRIVER = r"""
import collections, json, os, sys
from pathlib import Path

import autoresearch.cli.app, autoresearch.cli.output
from autoresearch.cli import history, experiments  # so that imports are not what is counted

commands = getattr(autoresearch.cli.app, "app", None) or autoresearch.cli.app.program()

told, arguments = sys.argv[1], sys.argv[2:]
counts, entered = collections.Counter(), set()
package = str(Path(autoresearch.__file__).parent)

def wrap(module, name, what):
    __import__(module)
    owner = sys.modules[module]
    real = getattr(owner, name, None)
    if real is None:
        return
    def counted(*args, **kwargs):
        counts[what] += 1
        return real(*args, **kwargs)
    for other in [m for n, m in sys.modules.items() if n.startswith("autoresearch")]:
        if getattr(other, name, None) is real:
            setattr(other, name, counted)

for module in ("experiments.attempt", "experiments.recovery", "runs.measure", "reports.brief", "cli.jobs"):
    __import__("autoresearch." + module)
session = sys.modules["autoresearch.journal.session"]
if hasattr(session, "Fold"):  # `replay` makes one; a fold that is carried along is counted once
    real_init = session.Fold.__init__
    def init(self):
        counts["folds of the journal"] += 1
        real_init(self)
    session.Fold.__init__ = init
else:
    wrap("autoresearch.journal.session", "replay", "folds of the journal")
wrap("autoresearch.journal.file", "_parse", "journal lines read")
wrap("autoresearch.journal.file", "append", "journal appends")
wrap("autoresearch.system.file_hashes", "hash_files", "hash passes")
wrap("autoresearch.system.file_hashes", "sha256_of", "files hashed")
wrap("autoresearch.runs.isolation.tamper_check", "_held", "reads of earlier runs")
wrap("autoresearch.system.files", "write_atomic", "atomic writes")
wrap("autoresearch.system.process", "run_limited", "runs")

def audit(event, args):
    if event == "subprocess.Popen":
        name = os.path.basename(os.fspath(args[0]))
        counts["git processes" if name == "git" else "other processes"] += 1

def profile(frame, event, _):
    if event == "call" and frame.f_code.co_filename.startswith(package):
        entered.add(frame.f_code.co_filename)

sys.addaudithook(audit)
sys.setprofile(profile)
try:
    autoresearch.cli.output.run(commands, arguments)
finally:
    sys.setprofile(None)
    counts["modules entered"] = len(entered)
    with open(told, "w") as file:
        json.dump(counts, file)
"""

ROWS = ("runs", "folds of the journal", "journal lines read", "git processes", "other processes", "hash passes",
        "files hashed", "reads of earlier runs", "atomic writes", "journal appends", "modules entered")  # fmt: skip


class Session:
    """A session of a quick, noisy command in a temporary folder."""

    def __init__(self, folder: Path, sandbox: str) -> None:
        self.folder, self.told = folder, folder.parent / "counts.json"
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "AUTORESEARCH_"))}
        self.env = clean | {"AUTORESEARCH_SANDBOX": sandbox, "GIT_CONFIG_GLOBAL": os.devnull,
                            "GIT_CONFIG_SYSTEM": os.devnull}  # fmt: skip
        self.words = iter(range(1_000_000))
        folder.mkdir()
        (folder / "bench.sh").write_text(NOISY)
        self.edit(100)
        who = (("config", "user.name", "a"), ("config", "user.email", "a@example.org"))
        for words in (("init", "-q", "-b", "main"), *who, ("add", "."), ("commit", "-q", "-m", "start")):
            subprocess.run(["git", *words], cwd=folder, env=self.env, check=True)
        self.counted("init", ".", "--task", "command", "--command", "bash bench.sh", "--metric", "loss", "--direction",
                     "lower", "--mutable", "number.txt", "--tag", "t")  # fmt: skip
        self.counted("baseline", "--json")

    def edit(self, number: float) -> None:
        (self.folder / "number.txt").write_text(f"{number} word{next(self.words)}\n")

    def counted(self, *args: str) -> dict[str, int]:
        """Run a command; return its counts."""
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, str(self.told), *args],
            cwd=self.folder, env=self.env, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{' '.join(args)} failed: {done.stdout}{done.stderr}")
        counts: dict[str, int] = json.loads(self.told.read_text())
        return counts

    def verdict(self) -> tuple[str, int]:
        """Return status and number of runs of the last experiment, its incumbent's included."""
        events = [json.loads(line) for line in (self.folder / "autoresearch.jsonl").read_text().splitlines()]
        last = next(e for e in reversed(events) if "run" in e)
        return last["status"], len(last["values"])


def walks(folder: Path, sandbox: str) -> dict[str, dict[str, int]]:
    """Return command -> what was counted in it."""
    session = Session(folder, sandbox)
    found = {}
    session.edit(200)  # one that goes before, so that what is made once is there
    session.counted("try", "-m", "much worse", "--json")
    session.edit(201)
    found["`try`, discarded"] = session.counted("try", "-m", "much worse", "--json")
    assert session.verdict() == ("discard", 1)
    value = 100.0
    for gain in GAINS:
        session.edit(round(value - gain, 3))
        counts = session.counted("try", "-m", "a little better", "--json")
        if session.verdict()[0] == "keep":
            value -= gain
            found.setdefault(f"`try`, kept after {counts['runs']} runs", counts)
    found["`status`"] = session.counted("status", "--json")
    found["`resume --brief`"] = session.counted("resume", "--brief", "--json")
    return found


GAINS = (0.4, 0.3, 0.2, 0.3)
"""Beside a spread of 0.03: gains that are confirmed, with more runs of the incumbent as it grows old."""


def versions() -> str:
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    return f"Python {platform.python_version()}, git {git}"


def table(found: dict[str, dict[str, int]]) -> list[str]:
    """Return the counts as a table: a row for each thing counted, a column for each command."""
    lines = [f"| counted | {' | '.join(found)} |", "|---|" + "--:|" * len(found)]
    return lines + [f"| {row} | {' | '.join(str(c.get(row, 0)) for c in found.values())} |" for row in ROWS]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    for name, sandbox in (("without a sandbox", "off"), ("in the sandbox", "auto")):
        with tempfile.TemporaryDirectory(prefix="autoresearch-walks-") as place:
            found[name] = walks(Path(place).resolve() / "session", sandbox)
    if options.json:
        print(json.dumps(found))
        return
    machine = detect().describe()
    print(f"- date: {datetime.date.today().isoformat()}\n- machine: {machine}\n- versions: {versions()}")
    for name, counts in found.items():
        print("\n".join(["", f"## {name[0].upper()}{name[1:]}", "", *table(counts)]))


if __name__ == "__main__":
    main()
