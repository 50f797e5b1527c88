"""How long a repository that somebody has takes from a clone to a judged experiment, and what a pattern costs.

    python benchmarks/your_repository.py [--json] [--megabytes N]

The repository is tests/data/recipe: a small recipe like nanoGPT's, with data that git ignores, a fixed seed and its
loss in prose. Its own time is measured beside, by hand. Then patterns are looked for in so many megabytes of such
output: one that is found at once, one that is nowhere, and one that goes back and forth.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from autoresearch.metrics import MetricError
from autoresearch.runs.reported import matches, number_of
from autoresearch.system.command_output import KeptStream
from autoresearch.workspace.metric_source import Source

RECIPE = Path(__file__).resolve().parents[1] / "tests" / "data" / "recipe"
COMMAND = "python train.py config/train_char.py"
LINE = b"step 60: train loss 2.4962, val loss 2.5143, and so on until the end of the night\n"
PATTERNS = {
    "found in the last line": r"val loss (\S+),",
    "nowhere": r"test loss (\S+),",
    "goes back and forth": r"(?:[a-z ]+)+#(\d)",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--megabytes", type=int, default=100)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {"walk": walk(Path(folder)), "patterns": patterns(Path(folder), args.megabytes)}
    if args.json:
        print(json.dumps(found))
        return
    for what, seconds in found["walk"].items():
        print(f"{what:<34} {seconds:7.2f} s")
    for what, told in found["patterns"].items():
        print(f"{args.megabytes} MB, pattern {what:<22} {told}")


def walk(folder: Path) -> dict[str, float]:
    """Return what each step took, in seconds."""
    origin, here = folder / "origin", folder / "recipe"
    shutil.copytree(RECIPE, origin)
    (origin / "gitignore").rename(origin / ".gitignore")
    git = ("git", "-c", "user.name=A Person", "-c", "user.email=person@example.org")
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "recipe"), ("clone", "-q", ".", str(here))):
        subprocess.run([*git, *words], cwd=origin, check=True)
    subprocess.run([sys.executable, "data/char/prepare.py"], cwd=here, check=True)
    change = {"file": "model.py", "old": "smoothing = 2.0", "new": "smoothing = 0.05"}
    (folder / "edits.jsonl").write_text(json.dumps({"description": "less smoothing", "edits": [change]}) + "\n")
    program = [sys.executable, "-m", "autoresearch"]
    mutable = ["--mutable", "model.py", "train.py"]
    replay = f"replay:{folder / 'edits.jsonl'}"
    steps = {
        "the command by hand": [sys.executable, *COMMAND.split()[1:]],
        "init, with its trial run": [*program, "init", ".", "--command", COMMAND, "--metric", "val_loss", *mutable],
        "run: baseline and one experiment": [*program, "run", "--agent", replay, "--max-experiments", "1"],
    }
    seconds = {}
    for what, words in steps.items():
        begun = time.monotonic()
        done = subprocess.run(words, cwd=here, capture_output=True, text=True, env=dict(os.environ))
        assert done.returncode == 0, done
        seconds[what] = time.monotonic() - begun
    return seconds


def patterns(folder: Path, megabytes: int) -> dict[str, str]:
    """Return what looking for each pattern took, and what came out."""
    found = {}
    for what, pattern in PATTERNS.items():
        stream = KeptStream(folder)
        for _ in range(megabytes):
            stream.take(LINE * (2**20 // len(LINE)))
        begun = time.monotonic()
        try:
            told = f"{number_of(Source(pattern=pattern), matches({'stdout': stream}, [pattern])[0]):g}"
        except MetricError as error:
            told = str(error)
        found[what] = f"{time.monotonic() - begun:6.2f} s: {told}"
        stream.close()
    return found


if __name__ == "__main__":
    main()
