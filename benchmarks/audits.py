"""How well `audit` predicts what of a claim is reproduced, on logs whose truth is known: simulated sessions of greedy.

    uv run python benchmarks/audits.py [--logs 1000] [--seed 1] [--markdown]

A log has 20 to 500 experiments, a noise that is known or not, gains from none to many, sometimes a drift of the machine,
crashes, and values rounded to 3 to 6 decimals. Every better number was kept.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections import defaultdict
from typing import Any

from autoresearch.statistics.chain import NotIdentifiable, Trial, audit


def simulated(rng: random.Random) -> dict[str, Any]:
    """One log: its trials, its noise, and what of its claim is true."""
    count = int(math.exp(rng.uniform(math.log(20), math.log(500))))
    sigma = math.exp(rng.uniform(math.log(0.0005), math.log(0.02)))
    gains = rng.choice([0.0, 0.02, 0.05, 0.1, 0.25])
    harms = rng.choice([0.2, 0.5, 0.8])
    size, harm = sigma * math.exp(rng.uniform(math.log(0.7), math.log(6))), sigma * rng.choice([2, 5, 20])
    drift = rng.choice([0.0, 0.0, 0.0, 0.3]) * sigma
    decimals = rng.choice([3, 4, 5, 6])
    true, kept_value, trials, shift = 1.0, math.inf, [], 0.0
    first = last = true
    for n in range(count):
        kind = rng.random()
        effect = 0.0
        if n and kind < gains:
            effect = abs(rng.gauss(0, size))
        elif n and kind < gains + harms * (1 - gains):
            effect = -abs(rng.gauss(0, harm))
        if n and rng.random() < 0.05:
            continue  # it crashed
        shift += rng.gauss(0, drift / math.sqrt(count)) if drift else 0.0
        mine = true - effect
        value = round(mine + shift + rng.gauss(0, sigma), decimals)
        kept = value < kept_value
        trials.append(Trial(value, kept))
        if kept:
            true, kept_value, last = mine, value, mine
    return {"trials": trials, "sigma": sigma, "rounding": 10.0**-decimals, "true": first - last, "gains": gains,
            "drift": bool(drift), "count": count}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--logs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    rng, rows, began = random.Random(args.seed), defaultdict[str, list[dict[str, Any]]](list), time.monotonic()
    for n in range(args.logs):
        log = simulated(rng)
        known = n % 2 == 0
        try:
            found = audit(log["trials"], log["sigma"] if known else None, rounding=log["rounding"], seed=n)
        except NotIdentifiable:
            rows["noise unknown"].append({"identified": False})
            continue
        except ValueError:
            continue
        share, told = log["true"] / found.claimed, found.mean / found.claimed
        row = {"identified": True, "off": abs(share - told), "inside": found.low <= log["true"] <= found.high,
               "sigma_off": found.noise / math.hypot(log["sigma"], log["rounding"] / 12**0.5), "share": share, "told": told}  # fmt: skip
        rows["noise known" if known else "noise unknown"].append(row)
        rows[f"gains {log['gains']:g}"].append(row)
        rows["with drift" if log["drift"] else "without drift"].append(row)
        rows["20 to 100 experiments" if log["count"] < 100 else "100 to 500 experiments"].append(row)
        if n % 50 == 0:
            print(f"{n} logs, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    table = {kind: summary(each) for kind, each in sorted(rows.items())}
    if not args.markdown:
        print(json.dumps(table, indent=1))
        return
    print("| logs | number | identified | share within 10 points | 90 % interval holds | told | true |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for kind, s in table.items():
        print(f"| {kind} | {s['number']} | {s['identified']:.0%} | {s['within']:.0%} | {s['inside']:.0%} "
              f"| {s['told']:.2f} | {s['true']:.2f} |")  # fmt: skip


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    good = [row for row in rows if row["identified"]]
    count = max(1, len(good))
    return {
        "number": len(rows), "identified": len(good) / max(1, len(rows)),
        "within": sum(row["off"] <= 0.1 for row in good) / count,
        "inside": sum(row["inside"] for row in good) / count,
        "told": sum(row["told"] for row in good) / count, "true": sum(row["share"] for row in good) / count,
    }  # fmt: skip


if __name__ == "__main__":
    main()
