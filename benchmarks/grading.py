"""What grading a run costs, by each way of the logits, and whether the score is the same to the last digit.

    uv run python benchmarks/grading.py [--seconds 10] [--rounds 3] [--profile tiny] [--source python] [--out FILE]

One training by hand, whose weights are then graded again and again: with the buffer where the task puts it (on a GPU:
in its memory, where the system lets processes share that) and, on a GPU, with the buffer in the host's memory. Seconds
are those of `prepare.py evaluate` from start to end. `plain` is a computation of the same score in one process, in
float64.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from trainer import workspace

HOST = """
import harness.cuda_memory, runpy, sys
def refuse(count):
    raise OSError("the host's memory was asked for")
harness.cuda_memory.make_block = refuse
sys.argv = ["prepare.py", "evaluate"]
runpy.run_path("prepare.py", run_name="__main__")
"""
PLAIN = """
import json, math, torch, prepare, train
from harness.text.rows import open_rows
torch.set_grad_enabled(False)
data, device = prepare.TASK.prepared(), prepare.pick_device()
rows = torch.from_numpy(open_rows(data / "search.bin").astype("int64"))
sizes = torch.from_numpy(prepare.tokenizer().token_bytes())
model = train.build_model()
model.load_state_dict(torch.load(prepare.HERE / ".autoresearch/by-hand/model.pt", weights_only=True))
model, nats = model.eval().to(device), 0.0
for start in range(0, len(rows), 16):
    x, y = rows[start : start + 16, :-1], rows[start : start + 16, 1:]
    z = model(x.to(device)).cpu().double()
    each = z.logsumexp(-1) - z.gather(-1, y[..., None])[..., 0]
    nats += (each * (sizes[y] > 0)).sum().item()
print(json.dumps(nats / math.log(2) / sizes[rows[:, 1:]].sum().item()))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10, help="budget of the training")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", choices=("full", "small", "tiny"), default="tiny")
    parser.add_argument("--source", default="python")
    parser.add_argument("--plain", action="store_true", help="also the score in float64, in one process (slow at full)")
    parser.add_argument("--out", type=Path, help="a file of JSON lines, one for each evaluation")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="autoresearch-grading-") as temporary:
        folder = workspace(Path(temporary) / "task", args.profile, args.source, args.seconds)
        subprocess.run([sys.executable, "prepare.py"], cwd=folder, check=True, stdout=sys.stderr)
        began = time.monotonic()
        subprocess.run([sys.executable, "train.py"], cwd=folder, check=True, stdout=sys.stderr)
        add(args.out, {"way": "training by hand, all of it", "seconds": time.monotonic() - began})
        ways = {"as it is": ["prepare.py", "evaluate"]}
        if (Path("/dev/nvidiactl")).exists():
            ways["over the host"] = ["-c", HOST]
        runs: dict[str, list[tuple[float, float]]] = {}
        for _ in range(args.rounds):
            for way, words in ways.items():
                runs.setdefault(way, []).append(graded(folder, words, way, args.out))
        plain = score(folder, ["-c", PLAIN]) if args.plain else None
    for way, found in runs.items():
        seconds = [each for each, _ in found]
        values = sorted({value for _, value in found})
        print(f"{way}: {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}), val_bpb {values}")
    if plain is not None:
        print(f"plain: val_bpb {plain!r}, off by {abs(plain - runs['as it is'][0][1]) / plain:.2g}")


def graded(folder: Path, words: list[str], way: str, out: Path | None) -> tuple[float, float]:
    began = time.monotonic()
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, env=environment(folder))
    seconds = time.monotonic() - began
    value = float(re.findall(r"METRIC val_bpb=(\S+)", done.stdout)[0])
    add(out, {"way": way, "seconds": seconds, "val_bpb": value, "said": done.stderr.splitlines()[-3:]})
    return seconds, value


def score(folder: Path, words: list[str]) -> float:
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def add(out: Path | None, line: dict[str, Any]) -> None:
    print(json.dumps(line), file=sys.stderr, flush=True)
    if out:
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
