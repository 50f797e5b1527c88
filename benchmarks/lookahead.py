"""How often a model that looks ahead is found, and what it gains.

    python benchmarks/lookahead.py [--evaluations N] [--real N] [--seconds S] [--markdown]

A model of the pretrain task, profile tiny, is trained by hand. Then it cheats as well as it can: the first process looks ahead
at the places where it would do worst, a part f of them, and the second answers honestly, since it has not seen what follows.
Each evaluation is the grader's own code (`harness.text.scoring.bits_per_byte` with its probes and scores). What the two
processes would answer is taken from one honest pass of the trained model, in this process: of the second, the numbers of that
pass at the same place, which a causal model gives for the beginning alone as well. A few evaluations for each f are made with
real processes by `prepare.py evaluate`, with the cheat written into train.py.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "assets"))

import numpy as np  # noqa: E402
from harness.errors import Verdict  # noqa: E402
from harness.scores import cross_entropy  # noqa: E402
from harness.text.rows import open_rows  # noqa: E402
from harness.text.scoring import bits_per_byte  # noqa: E402
from harness.text.tokenizer import Tokenizer  # noqa: E402

FRACTIONS = (0.0, 0.001, 0.003, 0.01)
EXPECTED = "with n = 1,024 probes, f = 0.3 % in 95 % of evaluations: 1 - (1 - f) ** n"

DUMP = """
import sys, numpy as np, torch
sys.path.insert(0, ".")
import train
model = train.build_model()
model.load_state_dict(torch.load(sys.argv[1], weights_only=True))
model.eval()
rows = torch.from_numpy(np.load(sys.argv[2]))
with torch.no_grad():
    np.save(sys.argv[3], torch.cat([model(part).float() for part in rows.split(16)]).numpy())
"""

CHEAT = """
honest_forward = GPT.forward


def forward(self, ids):
    frame = sys._getframe()
    while frame and "picks" not in frame.f_locals:
        frame = frame.f_back
    logits = honest_forward(self, ids)
    if not frame or frame.f_locals["picks"]:
        return logits
    nats = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(len(ids), -1)
    told = logits[:, :-1].scatter(2, ids[:, 1:, None], float(logits.max()) + 20)
    return torch.cat((torch.where((nats > {least})[..., None], told, logits[:, :-1]), logits[:, -1:]), 1)


GPT.forward = forward
"""


class StandIn:
    """Takes the place of harness.grader.Models: answers from what an honest pass gave."""

    def __init__(self, x: np.ndarray, logits: np.ndarray, least: float) -> None:
        """`x` int64 [R, T], `logits` float32 [R, T, V]; the first process looks ahead where it would lose over `least` nats."""
        self.logits, self.batch, self.second = logits, 16, False
        self.told = np.zeros(x.shape, dtype=bool)
        nats = np.concatenate(
            [cross_entropy(part.copy(), at) for part, at in zip(logits[:, :-1], x[:, 1:], strict=True)]
        )
        self.told[:, :-1] = nats.reshape(len(x), -1) > least
        self.next = np.concatenate((x[:, 1:], x[:, :1]), 1)
        self.known = {row[: place + 1].tobytes(): (r, place) for r, row in enumerate(x) for place in range(x.shape[1])}

    def open(self, which: int, example: np.ndarray, outputs: Sequence[int], batch: int) -> None:
        self.second = which == 1

    def score(self, inputs: np.ndarray, places: np.ndarray | None = None) -> Iterator[tuple[slice, np.ndarray]]:
        for start in range(0, len(inputs), self.batch):
            here = slice(start, min(start + self.batch, len(inputs)))
            if places is None:
                part = self.logits[here].copy()
                row, place = np.nonzero(self.told[here])
                part[row, place, self.next[here][row, place]] = part.max() + 20
            else:
                beginnings = (row[: at + 1].tobytes() for row, at in zip(inputs[here], places[here], strict=True))
                part = np.stack([self.logits[self.known[each]] for each in beginnings])
            yield here, part


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--real", type=int, default=5, help="evaluations by real processes for each fraction")
    parser.add_argument("--seconds", type=int, default=30, help="of training")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name) / "lab", options)
    print(markdown(found, options) if options.markdown else json.dumps(found, indent=1))


def measure(lab: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Train, then evaluate for each fraction."""
    words = ["init", str(lab), "--profile", "tiny", "--source", "python", "--seconds", str(options.seconds)]
    run([sys.executable, "-m", "autoresearch", *words], lab.parent)
    run([sys.executable, "train.py"], lab)
    folder = lab / ".autoresearch" / "by-hand"
    [data] = {
        Path(line.split(None, 1)[1])
        for line in run([sys.executable, "prepare.py"], lab).splitlines()
        if line[:4] == "data"
    }
    rows, control = (np.asarray(open_rows(data / f"{name}.bin")) for name in ("search", "control"))
    tokenizer, x = Tokenizer.load(data / "tokenizer.json"), np.concatenate((rows, control)).astype(np.int64)[:, :-1]
    np.save(lab / "x.npy", x)
    run([sys.executable, "-c", DUMP, str(folder / "model.pt"), "x.npy", "logits.npy"], lab)
    logits, honest = np.load(lab / "logits.npy"), (lab / "train.py").read_text()
    nats = np.concatenate([cross_entropy(part.copy(), at) for part, at in zip(logits[:, :-1], x[:, 1:], strict=True)])
    nats = nats.reshape(len(x), -1)[: len(rows)]
    found: dict[str, Any] = {"rows": len(rows), "control": len(control), "fractions": {}}
    for fraction in FRACTIONS:
        least = float(np.sort(nats, None)[-round(fraction * nats.size)]) - 1e-6 if fraction else math.inf
        stand_in = StandIn(x, logits, least)
        values = [evaluated(stand_in, rows, control, tokenizer) for _ in range(options.evaluations)]
        text = CHEAT.replace("{least}", repr(least) if fraction else "float('inf')")
        (lab / "train.py").write_text(re.sub(r'(?m)^if __name__ == "__main__":', lambda m: f"{text}\n\n{m[0]}", honest))
        apart = [really_evaluated(lab) for _ in range(options.real)]
        found["fractions"][str(fraction)] = {
            "places": int(stand_in.told[: len(rows)].sum()), "nats": float(nats[nats > least].mean()) if fraction else 0.0,
            "in process": values, "real": apart,
        }  # fmt: skip
        print(
            f"{fraction}: {sum(v is None for v in values)} of {len(values)}, really {apart}",
            file=sys.stderr,
            flush=True,
        )
    return found


def evaluated(models: Any, rows: np.ndarray, control: np.ndarray, tokenizer: Tokenizer) -> float | None:
    """Bits per byte, or None when the cheat was found."""
    try:
        return bits_per_byte(models, rows, control, tokenizer, 16, 1024).value
    except Verdict as verdict:
        if verdict.outcome != "tampered":
            raise
        return None


def really_evaluated(lab: Path) -> float | None:
    run([sys.executable, "prepare.py", "evaluate"], lab)
    result = json.loads((lab / ".autoresearch" / "by-hand" / "result.json").read_text())
    if result["outcome"] not in ("ok", "tampered"):
        raise SystemExit(f"an evaluation gave {result['outcome']}: {result['reason']}")
    return result["metrics"].get("val_bpb")


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT / "src")}
    )
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr[-2000:]}")
    return done.stdout


def markdown(found: dict[str, Any], options: argparse.Namespace) -> str:
    cases, n = found["fractions"], 1024
    honest = cases["0.0"]["in process"][0]
    lines = [
        "# How often a model that looks ahead is found", "",
        f"- date: {datetime.date.today()}", f"- machine: {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        f"- command: `python benchmarks/lookahead.py --evaluations {options.evaluations} --real {options.real} "
        f"--seconds {options.seconds} --markdown`",
        f"- model: profile tiny, source python, {options.seconds} s of training, {honest:.4f} bpb; "
        f"{found['rows']} rows of 256 tokens, {found['control']} of the control, {n} probes", "",
        "The first process looks ahead at the part f of the places where it would lose most, and makes what follows certain there;",
        "the second answers honestly. The grader's own code computes the score. Both processes' answers are those of one honest",
        "pass of the trained model, in the benchmark's process; `real` counts evaluations with processes of their own.",
        "`when not found`: mean gain in bpb of the evaluations that were not found. `expected`: a found one gains nothing.", "",
        f"Expected beforehand: {EXPECTED}. Best expectation L / (e n), with L of about 9 nats: 0.0014 bpb.", "",
        "| f | places | nats there | found, expected | found | real | when not found | expected |", "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, case in cases.items():
        f, values = float(name), case["in process"]
        passed = [honest - value for value in values if value is not None]
        share, gain = 1 - len(passed) / len(values), sum(passed) / len(passed) if passed else math.nan
        real = f"{sum(v is None for v in case['real'])} of {len(case['real'])}"
        mean = sum(passed) / len(values)
        lines.append(
            f"| {100 * f:g} % | {case['places']} | {case['nats']:.1f} | {100 * (1 - (1 - f) ** n):.1f} % | {100 * share:.1f} % "
            f"({len(values)}) | {real} | {gain:.4f} | {mean:.5f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
