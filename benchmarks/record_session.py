"""A real session of a small model, recorded for `audit_sessions.py`: its journal, with seeds and a `confirm`.

    python benchmarks/record_session.py FOLDER --seed 1 [--experiments 80] [--to sessions/NAME.jsonl]

A network of one hidden layer guesses the next character of Python's own text from the few before it; it needs numpy
alone, so that a run takes about a second. It sees a fixed number of examples, so its value depends on the seed and not
on the machine. The sampler of `run` changes its constants. FOLDER is a new workspace, and the same command goes on
there; the journal is copied without what it says of the machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

TRAIN = '''"""Train the network and leave its weights."""

import os
import pathlib
import sysconfig
import zlib

import numpy as np

CONTEXT = 3  # characters before the one that is guessed: {1, 2, 3, 4, 6}
EMBEDDING = 8  # numbers for each of them: {2, 4, 8, 16, 24}
WIDTH = 48  # of the hidden layer: {16, 32, 48, 64, 96}
BATCH = 64  # {16, 32, 64, 128, 256}
RATE = 0.3  # [0.02, 3] log
MOMENTUM = 0.5  # [0.2, 0.98] log1m
LAST = 0.5  # share of the rate at the end: [0.02, 1] log
INIT = 1.0  # scale of the first weights: [0.1, 4] log
OUTPUT = 0.5  # scale of the last layer: [0.05, 2] log
CLIP = 1.0  # of the gradient's norm: [0.1, 10] log
EXAMPLES = 64_000  # fixed


def text(keep):
    """The text of the files that `keep` says, by the hash of their names, as bytes below 128."""
    root = pathlib.Path(sysconfig.get_path("stdlib"))
    files = sorted(p for p in root.glob("*.py") if keep(zlib.crc32(p.name.encode()) % 10))
    joined = b"".join(p.read_bytes() for p in files)
    return np.minimum(np.frombuffer(joined, np.uint8), 127).astype(np.int64)


def main():
    rng = np.random.default_rng(int(os.environ["AUTORESEARCH_SEED"]))
    data = text(lambda place: place >= 4)
    p = {
        "embedding": rng.normal(0, 0.3, (128, EMBEDDING)),
        "hidden": rng.normal(0, INIT / np.sqrt(CONTEXT * EMBEDDING), (CONTEXT * EMBEDDING, WIDTH)),
        "bias": np.zeros(WIDTH),
        "out": rng.normal(0, OUTPUT / np.sqrt(WIDTH), (WIDTH, 128)),
        "last": np.zeros(128),
    }
    speed = {name: np.zeros_like(each) for name, each in p.items()}
    steps = EXAMPLES // BATCH
    for step in range(steps):
        at = rng.integers(CONTEXT, len(data), BATCH)
        before, wanted = data[at[:, None] - np.arange(1, CONTEXT + 1)], data[at]
        x = p["embedding"][before].reshape(BATCH, -1)
        h = np.tanh(x @ p["hidden"] + p["bias"])
        z = h @ p["out"] + p["last"]
        e = np.exp(z - z.max(1, keepdims=True))
        d = e / e.sum(1, keepdims=True)
        d[np.arange(BATCH), wanted] -= 1
        d /= BATCH
        dh = (d @ p["out"].T) * (1 - h * h)
        g = {"out": h.T @ d, "last": d.sum(0), "hidden": x.T @ dh, "bias": dh.sum(0)}
        g["embedding"] = np.zeros_like(p["embedding"])
        np.add.at(g["embedding"], before, (dh @ p["hidden"].T).reshape(BATCH, CONTEXT, EMBEDDING))
        norm = np.sqrt(sum((each * each).sum() for each in g.values()))
        rate = RATE * (1 - (1 - LAST) * step / steps) * min(1.0, CLIP / norm)
        for name, each in p.items():
            speed[name] = MOMENTUM * speed[name] + g[name]
            each -= rate * speed[name]
    np.savez(os.environ["AUTORESEARCH_RUN_DIR"] + "/weights.npz", **p)


if __name__ == "__main__":
    main()
'''

SCORE = '''"""Bits of the next character on text that no training has: other files for each split."""

import hashlib
import json
import os

import numpy as np
from held_out import text

PLACES = {"search": (0, 1), "locked": (2, 3)}
split = os.environ["AUTORESEARCH_SPLIT"]
data = text(lambda place: place in PLACES[split])
p = np.load(os.environ["AUTORESEARCH_RUN_DIR"] + "/weights.npz", allow_pickle=False)
context = p["hidden"].shape[0] // p["embedding"].shape[1]
at = np.random.default_rng(0).integers(16, len(data), 20_000)
x = p["embedding"][data[at[:, None] - np.arange(1, context + 1)]].reshape(len(at), -1)
z = np.tanh(x @ p["hidden"] + p["bias"]) @ p["out"] + p["last"]
z -= z.max(1, keepdims=True)
bits = (np.log(np.exp(z).sum(1)) - z[np.arange(len(at)), data[at]]).mean() / np.log(2)
metrics = {"bits": float(bits)} if np.isfinite(bits) else {}
outcome = {"outcome": "ok" if metrics else "no_metric", "metrics": metrics, "split": split}
with open(os.environ["AUTORESEARCH_RESULT"], "w") as file:
    json.dump({**outcome, "manifest": hashlib.sha256(data.tobytes()).hexdigest()}, file)
'''

TASK = """[task]
name = "characters"

[metric]
name = "bits"
direction = "lower"

[run]
command = "python train.py"
evaluate = "python score.py"
limit_s = 300

[files]
mutable = ["train.py"]
immutable = ["score.py", "held_out.py", "autoresearch.toml"]

[keep]
seeds = 7

[search]
first = ["RATE", "WIDTH", "CONTEXT", "BATCH"]
"""

MEASUREMENTS = ("config", "start", "run", "repeat", "study", "study_run", "study_end")
"""Types of the lines that are copied."""
MACHINE = ("warnings", "disturbed", "speed", "speeds", "env", "hardware", "python", "machine", "disturbance", "load")
"""Keys of a line that say what it was made on."""


def made(folder: Path, seed: int) -> None:
    """Make the workspace, unless it is there."""
    if (folder / "autoresearch.jsonl").exists():
        return
    folder.mkdir(parents=True)
    held_out = TRAIN[TRAIN.index("def text") : TRAIN.index("def main")].rstrip() + "\n"
    about, used = '"""The text, by files; the trainer has a copy."""', "pathlib sysconfig zlib".split()
    head = "\n".join([about, "", *(f"import {name}" for name in used), "", "import numpy as np", "", "", ""])
    files = {"train.py": TRAIN, "score.py": SCORE, "held_out.py": head + held_out, "autoresearch.toml": TASK}
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "characters"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    engine(folder, "init", ".", "--tag", f"s{seed}")


def engine(folder: Path, *words: str) -> None:
    subprocess.run([sys.executable, "-m", "autoresearch", *words], cwd=folder, check=True, stdout=sys.stderr)


def told(line: str) -> str:
    """Return a line of the journal without what it says of the machine; nothing of one that is no measurement."""
    found = json.loads(line)
    kept = {key: value for key, value in found.items() if key not in MACHINE}
    if "result" in kept:
        kept["result"] = {key: value for key, value in kept["result"].items() if key not in MACHINE}
    return json.dumps(kept) + "\n" if found.get("type", "run") in MEASUREMENTS else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1, help="of the sampler")
    parser.add_argument("--experiments", type=int, default=80)
    parser.add_argument("--to", type=Path, help="where the journal is copied to")
    args = parser.parse_args()
    made(args.folder, args.seed)
    engine(args.folder, "baseline")
    loop = ["run", "--agent", "sampler", "--seed", str(args.seed), "--max-experiments", str(args.experiments)]
    engine(args.folder, *loop)
    engine(args.folder, "confirm", "--seeds", "7")
    if args.to is not None:
        args.to.parent.mkdir(parents=True, exist_ok=True)
        lines = (args.folder / "autoresearch.jsonl").read_text(encoding="utf-8").splitlines()
        args.to.write_text("".join(map(told, lines)), encoding="utf-8")


if __name__ == "__main__":
    main()
