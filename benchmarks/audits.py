"""How well `audit` tells what of a claim is true, on simulated logs of greedy sessions, whose truth is known.

    python benchmarks/audits.py [--logs 1000] [--seed 1] [--shape NAME] [--to FILE] [--json]
    python benchmarks/audits.py --example > synthetic.tsv      one log, whose descriptions say what is true

A log has 20 to 500 experiments. The noise of a run is given, or known from 4 to 12 repeats in the log, or not known at
all; gains are none to many, and of four shapes, of which the model of `statistics/chain.py` has one; the machine drifts
in one of four; some experiments crash; values are rounded to 3 to 6 decimals. Every better number was kept. With
`--to` each log is a line of a file as soon as it is audited, and the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from autoresearch.statistics.chain import Trial
from autoresearch.statistics.claim import NEAR, NotIdentifiable, weighed
from autoresearch.statistics.noise import pooled

TOLD = 0.8
"""A share is called told where the audit gives it at least this chance to be within ten points."""

KNOWN = ("given", "from repeats", "not known")
SHAPES = ("half normal", "exponential", "all the same", "few and large")


def effect(rng: random.Random, shape: str, size: float) -> float:
    """Draw an effect of about this size, above zero."""
    if shape == "half normal":
        return abs(rng.gauss(0, size))
    if shape == "exponential":
        return rng.expovariate(1 / size)
    if shape == "all the same":
        return size
    return size * (5 if rng.random() < 0.1 else 0.3)


def simulated(rng: random.Random, only: str | None = None) -> dict[str, Any]:
    """Return one log: its trials, its noise, and what of its claim is true; its gains are of the shape `only`."""
    count = int(math.exp(rng.uniform(math.log(20), math.log(500))))
    sigma = math.exp(rng.uniform(math.log(0.0005), math.log(0.02)))
    gains, harms = rng.choice([0.0, 0.02, 0.05, 0.1, 0.25]), rng.choice([0.2, 0.5, 0.8])
    size, harm = sigma * math.exp(rng.uniform(math.log(0.7), math.log(6))), sigma * rng.choice([2, 5, 20])
    shape = only or rng.choice(SHAPES)
    drift = rng.choice([0.0, 0.0, 0.0, 0.5]) * sigma
    decimals = rng.choice([3, 4, 5, 6])
    true, best, shift, trials = 1.0, math.inf, 0.0, list[Trial]()
    for n in range(count):
        kind, change = rng.random(), 0.0
        if n and kind < gains:
            change = effect(rng, shape, size)
        elif n and kind < gains + harms * (1 - gains):
            change = -effect(rng, shape, harm)
        if n and rng.random() < 0.05:
            continue  # it crashed
        shift += rng.gauss(0, drift / math.sqrt(count)) if drift else 0.0
        value = round(true - change + shift + rng.gauss(0, sigma), decimals)
        trials.append(Trial(value, value < best))
        if value < best:
            true, best = true - change, value
    dof = rng.randint(4, 12)
    repeats = [round(true + rng.gauss(0, sigma), decimals) for _ in range(dof + 1)]
    return {"trials": trials, "sigma": sigma, "rounding": 10.0**-decimals, "true": 1.0 - true, "gains": gains,
            "shape": shape, "drift": bool(drift), "count": count, "repeats": repeats}  # fmt: skip


def example() -> None:
    """Print a synthetic log of 100 experiments and a noise of 0.004, of which each row says what its change does."""
    rng, true, best = random.Random(4), 1.0, math.inf
    print("commit\tval_bpb\tmemory_gb\tstatus\tdescription")
    for n in range(100):
        kind = rng.random()
        gain = abs(rng.gauss(0, 0.012)) if kind < 0.08 else -abs(rng.gauss(0, 0.015)) if kind < 0.5 else 0.0
        gain = gain if n else 0.0
        value = true - gain + rng.gauss(0, 0.004)
        status = "keep" if value < best else "discard"
        if value < best:
            true, best = true - gain, value
        text = f"synthetic change {n}, true gain {gain:+.4f}" if n else "synthetic baseline"
        print(f"{rng.getrandbits(28):07x}\t{value:.6f}\t0.0\t{status}\t{text}")


def audited(log: dict[str, Any], known: str, seed: int) -> dict[str, Any] | None:
    """Return what the audit of one log said beside the truth; None where nothing was kept."""
    given = log["sigma"] if known == "given" else None
    repeats = pooled([log["repeats"]]) if known == "from repeats" else None
    if not any(t.kept for t in log["trials"][1:]):
        return None
    try:
        found = weighed(log["trials"], given, repeats=repeats, rounding=log["rounding"], seed=seed)
    except NotIdentifiable:
        return {"identified": False}
    share, said = log["true"] / found.claimed, found.mean / found.claimed
    real = [step.real for step in found.steps]
    return {
        "identified": True, "off": abs(share - said), "below": log["true"] < found.low,
        "width": (found.high - found.low) / log["sigma"], "wrong": (log["true"] - found.mean) / log["sigma"],
        "inside": found.low <= log["true"] <= found.high,
        "near": found.near, "share": share, "said": said, "steps": len(real), "kept_real": sum(real),
        "noise_inside": found.noise_low <= math.hypot(log["sigma"], log["rounding"] / 12**0.5) <= found.noise_high,
    }  # fmt: skip


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of one row of the table."""
    good = [row for row in rows if row["identified"]]
    told = [row for row in good if row["near"] >= TOLD]
    rest = [row for row in good if row["near"] < TOLD]
    return {
        "logs": len(rows), "identified": len(good), "inside": part(row["inside"] for row in good),
        "told": len(told), "within": part(row["off"] <= NEAR for row in told),
        "expected_within": part(row["near"] for row in told),
        "rest_within": part(row["off"] <= NEAR for row in rest),
        "rest_expected": part(row["near"] for row in rest),
        "said": part(row["said"] for row in told), "true": part(row["share"] for row in told),
    }  # fmt: skip


def part(values: Any) -> float | None:
    """Return the mean; None of nothing."""
    found = [float(value) for value in values]
    return sum(found) / len(found) if found else None


def rows_of(logs: int, seed: int, only: str | None, file: Path | None) -> Iterator[dict[str, Any]]:
    """Yield what is known of each log, those first that are in the file; the others are added to it."""
    done = [json.loads(line) for line in file.read_text().splitlines()] if file is not None and file.exists() else []
    rng, began = random.Random(seed), time.monotonic()
    for n in range(logs):
        log, known = simulated(rng, only), KNOWN[n % 3]
        if n < len(done):
            yield done[n]
            continue
        before = time.process_time()
        row = audited(log, known, n)
        about = {"known": known, **{key: log[key] for key in ("gains", "shape", "drift", "count")}}
        row = {**about, **(row or {"kept": False}), "seconds": time.process_time() - before}
        if file is not None:
            with file.open("a") as out:
                out.write(json.dumps(row) + "\n")
        if n % 50 == 0:
            print(f"{n} logs, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        yield row


def groups(row: dict[str, Any]) -> list[str]:
    """Return the rows of the table that a log counts in."""
    if not row.get("kept", True):
        return ["nothing was kept"]
    drift = "drift of 0.5 sigma" if row["drift"] else "no drift"
    size = "20 to 99 experiments" if row["count"] < 100 else "100 to 500 experiments"
    return ["all", f"noise {row['known']}", f"gains in {row['gains']:.0%}", f"gains {row['shape']}", drift, size]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--logs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shape", choices=SHAPES, help="logs whose gains have this shape alone")
    parser.add_argument("--to", type=Path, help="a file of a line for each log")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--example", action="store_true")
    args = parser.parse_args()
    if args.example:
        example()
        return
    rows, seconds = defaultdict[str, list[dict[str, Any]]](list), 0.0
    for row in rows_of(args.logs, args.seed, args.shape, args.to):
        seconds += row["seconds"]
        for name in groups(row):
            rows[name].append({"identified": False, **row})
    table = {kind: summary(each) for kind, each in sorted(rows.items(), key=lambda item: (item[0] != "all", item[0]))}
    if args.json:
        print(json.dumps(table, indent=1))
        return
    print(f"- machine: {platform.processor() or platform.machine()}, Python {platform.python_version()}")
    print(f"- processor seconds for a log: {seconds / args.logs:.2f}\n")
    print("| logs | number | noise told | 90 % interval holds | share told | of them within ten points (expected) "
          "| of the others (expected) | share said | true |")  # fmt: skip
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for kind, s in table.items():
        cells = [s["inside"], s["within"], s["expected_within"], s["rest_within"], s["rest_expected"], s["said"]]
        inside, within, expected, rest, rest_expected, said = (f"{c:.0%}" if c is not None else "-" for c in cells)
        true = f"{s['true']:.0%}" if s["true"] is not None else "-"
        print(f"| {kind} | {s['logs']} | {s['identified']} | {inside} | {s['told']} | {within} ({expected}) "
              f"| {rest} ({rest_expected}) | {said} | {true} |")  # fmt: skip


if __name__ == "__main__":
    main()
