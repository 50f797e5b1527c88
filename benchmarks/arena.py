"""Which rule of keeping pays? The same real edits and the same run-seconds for each, replayed over many orders.

    uv run python benchmarks/arena.py measure FOLDER [--slice 1/8] [--seeds 5] [--tokens 32768] [--hours 1]
    uv run python benchmarks/arena.py chains FOLDER [--hours 1]      do gains add up? ten stacks of edits, measured
    uv run python benchmarks/arena.py replay FOLDER [--half final] [--orders 1000] [--runs 60]

`measure` runs each edit of `edits/arena.jsonl` (`arena_pool.py`) and the plain file on the pretrain task at tiny, on
the same seeds, each graded on the search and on the locked split: a line of FOLDER/results.jsonl for each run, so that
it goes on where it was ended, in slices, in any order. The budget is in tokens: a value does not depend on how busy the
machine is. Seconds do, and are told as the processor's.

`replay` gives each rule (`arena_rules.py`) the same orders of edits and the same budget. A run of an edit is drawn from
what was measured: the plain file's mean, less the gains of what was kept and of the edit, with the luck of a seed and
the luck of a run drawn anew from all residuals of the pool. Edits of kind `nothing` are taken for what they are. Rules
and constants are chosen on one half of the pool; the table is of the other.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arena_pool import HERE, applied
from arena_rules import RULES, Bench, Candidate, Pool

POOL = HERE / "edits" / "arena.jsonl"
PLAIN = ""
"""The id of the plain file."""
BOTH = ("search", "locked")
CHAINS, LINKS = 10, (2, 3, 4)


# --- measuring ---


def measure(folder: Path, edits: Mapping[str, list[dict[str, str]]], args: argparse.Namespace) -> None:
    """Run what is missing of so many seeds of each edit, the first seed of all before the second of any."""
    workspace, results = prepared(folder, args.tokens), folder / "results.jsonl"
    text = (workspace / "train.py").read_text(encoding="utf-8")
    done = {(row["id"], row["seed"]) for row in rows_of(results)}
    part, parts = map(int, args.slice.split("/"))
    until = time.monotonic() + 3600 * args.hours
    for seed in range(1, args.seeds + 1):
        for name, made in [*edits.items()][part - 1 :: parts]:
            if (name, seed) in done:
                continue
            if time.monotonic() > until:
                return
            row = {"id": name, "seed": seed, "tokens": args.tokens, **one_run(workspace, applied(text, made), seed)}
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


def prepared(folder: Path, tokens: int) -> Path:
    """Return a workspace of the pretrain task whose data is prepared."""
    workspace = folder.resolve() / "workspace"
    os.environ.setdefault("AUTORESEARCH_CACHE", str(folder.resolve() / "cache"))
    if not (workspace / "train.py").exists():
        folder.mkdir(parents=True, exist_ok=True)
        options = ["--profile", "tiny", "--source", "python", "--tokens", str(tokens)]
        call = [sys.executable, "-m", "autoresearch", "init", str(workspace), "--task", "pretrain", *options]
        subprocess.run(call, check=True)
    if f"tokens = {tokens}" not in (workspace / "autoresearch.toml").read_text(encoding="utf-8"):
        raise SystemExit(f"{workspace} has another budget than {tokens} tokens: name another folder")
    return workspace


def one_run(workspace: Path, code: str, seed: int, limit_s: float = 1200) -> dict[str, Any]:
    """Train and grade one file in a folder of its own; return its values, or why there are none, and its seconds."""
    run = workspace.parent / f"run-{os.getpid()}"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(workspace, run, ignore=shutil.ignore_patterns(".git", ".autoresearch", ".venv"))
    (run / "train.py").write_text(code, encoding="utf-8")
    env = {**os.environ, "AUTORESEARCH_SEED": str(seed), "AUTORESEARCH_RUN_DIR": str(run / "out")}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    values: dict[str, float] = {}
    said = ""
    try:
        for split, words in zip(BOTH, (["train.py"], ["prepare.py", "evaluate", "--split", BOTH[1]]), strict=True):
            result = run / "out" / "result.json"  # where a trainer by hand looks for its score
            result.unlink(missing_ok=True)
            done = subprocess.run([sys.executable, *words], cwd=run, env=env, capture_output=True, text=True,
                                  timeout=limit_s, check=False)  # fmt: skip
            said = (done.stderr or done.stdout).strip().rpartition("\n")[2][:200]
            found = json.loads(result.read_text(encoding="utf-8")) if result.exists() else {}
            if done.returncode or (found.get("outcome"), found.get("split")) != ("ok", split):
                said = str(found.get("reason") or said)
                break
            values[split] = found["metrics"]["val_bpb"]
    except subprocess.TimeoutExpired:
        said = f"longer than {limit_s:g} s"
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    shutil.rmtree(run, ignore_errors=True)
    whole = values if len(values) == len(BOTH) else {}
    return {**whole, "cpu_s": round(cpu, 2), "wall_s": round(time.monotonic() - began, 2),
            **({} if whole else {"failed": said})}  # fmt: skip


def rows_of(results: Path) -> list[dict[str, Any]]:
    """Return the runs that were made; a line that was cut off by a kill is made again."""
    rows = []
    for line in results.read_text(encoding="utf-8").splitlines() if results.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            print(f"not read: {line[:60]}", file=sys.stderr)
    return rows


def edits_of_pool() -> dict[str, dict[str, Any]]:
    """Return id -> line of the pool."""
    return {each["id"]: each for each in map(json.loads, POOL.read_text(encoding="utf-8").splitlines())}


# --- the measured pool ---


def measured_pool(lines: Mapping[str, Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> Pool:
    """Return the pool from runs: effects from pairs with the plain file, and the luck that is left.

    An edit that failed with any seed is one that crashes. The mean of n runs takes a part of their luck away, which is
    put back. Raises `ValueError` without two runs of the plain file.
    """
    values: dict[str, dict[int, tuple[float, float]]] = defaultdict(dict)
    seconds: dict[str, list[float]] = defaultdict(list)
    failed = set()
    for row in rows:
        seconds[row["id"]].append(row["cpu_s"])
        if "failed" in row:
            failed.add(row["id"])
        else:
            values[row["id"]][row["seed"]] = (row["search"], row["locked"])
    plain = values.get(PLAIN, {})
    if len(plain) < 2:
        raise ValueError("the plain file has fewer than two runs")
    level = mean_of([*plain.values()])
    left: dict[tuple[str, int], tuple[float, float]] = {}
    candidates = []
    for name, line in lines.items():
        of = {} if name in failed else {seed: value for seed, value in values[name].items() if seed in plain}
        if name not in failed and len(of) < 2:
            continue
        gain = mean_of([minus(plain[seed], value) for seed, value in of.items()]) if of else (0.0, 0.0)
        own = mean_of([*of.values()]) if of else (0.0, 0.0)
        for seed, value in of.items():
            stretch = math.sqrt(len(of) / (len(of) - 1))
            left[name, seed] = tuple(stretch * part for part in minus(value, own))  # type: ignore[assignment]
        exact = (0.0, 0.0) if line["kind"] == "nothing" else gain
        texts = frozenset(each["old"] for each in line["edits"])
        cost = statistics.fmean(seconds[name])
        candidates.append(Candidate(name, line["kind"], None if name in failed else exact, cost, texts))
    common = {seed: mean_of([v for (_, s), v in left.items() if s == seed]) for seed in sorted({s for _, s in left})}
    luck = [minus(value, common[seed]) for (_, seed), value in sorted(left.items())]
    return Pool(level, statistics.fmean(seconds[PLAIN]), tuple(candidates), tuple(common.values()), tuple(luck))


def mean_of(values: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return statistics.fmean(v[0] for v in values), statistics.fmean(v[1] for v in values)


def minus(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return a[0] - b[0], a[1] - b[1]


def half_of(pool: Pool, half: str) -> Pool:
    """Return one half of the pool, the same for ever: by a hash of an edit's id, each kind for itself."""
    if half == "all":
        return pool
    chosen = []
    for kind in sorted({c.kind for c in pool.candidates}):
        mine = [c for c in pool.candidates if c.kind == kind]
        mine.sort(key=lambda c: hashlib.sha256(c.name.encode()).digest())
        chosen += mine[half == "final" :: 2]
    return pool.of(chosen)


# --- do gains add up? ---


def chains_of(lines: Mapping[str, Mapping[str, Any]], pool: Pool, text: str) -> dict[str, list[str]]:
    """Return stacks of edits that gain, each of which goes on top of the others; the same for the same results."""
    good = [c.name for c in pool.candidates if c.gain is not None and min(c.gain) > 0]
    rng, found = random.Random("chains"), dict[str, list[str]]()
    for _ in range(50 * CHAINS):
        if len(found) == CHAINS or len(good) < min(LINKS):
            break
        names = rng.sample(good, min(rng.choice(LINKS), len(good)))
        try:
            code = text
            for name in names:
                code = applied(code, lines[name]["edits"])
            compile(code, "train.py", "exec")
        except ValueError:
            continue
        found.setdefault("chain " + " + ".join(sorted(names)), names)
    return found


def added_up(chains: Mapping[str, Sequence[str]], pool: Pool, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line of the table for each chain that was measured: what its parts gain together, and what it does."""
    gains = {c.name: c.gain for c in pool.candidates}
    plain = {row["seed"]: row for row in rows if row["id"] == PLAIN and "failed" not in row}
    for name, parts in chains.items():
        of = {row["seed"]: row for row in rows if row["id"] == name and "failed" not in row}
        both = [sum(plain[s][k] - of[s][k] for k in BOTH) / 2 for s in of if s in plain]
        expected = sum(sum(gain) / 2 for part in parts if (gain := gains[part]) is not None)
        if len(both) > 1:
            error = statistics.stdev(both) / math.sqrt(len(both))
            yield f"| {' + '.join(parts)} | {expected:+.4f} | {statistics.fmean(both):+.4f} | {error:.4f} |"


# --- the table ---


@dataclass(frozen=True, slots=True)
class Played:
    """What one rule made of one order."""

    per_1000_s: float
    false_keeps: float
    """In 50 experiments."""
    missed: float | None
    """Share of the edits that gain more than the noise of a run, and that it tried, which it did not keep."""
    experiments: int
    gain: float


def play(pool: Pool, rule: str, order: int, budget_s: float) -> Played:
    """Let one rule go through one order of the edits until its seconds are spent."""
    rng = random.Random(f"order {order}")
    candidates = rng.sample(pool.candidates, len(pool.candidates))
    bench = Bench(pool, random.Random(f"luck {order}"))  # the same luck for each rule, as far as it makes the same runs
    session = RULES[rule](bench)
    session.begin()
    tried, missed, worth, false = 0, 0, 0, 0
    for candidate in candidates:
        if bench.seconds >= budget_s:
            break
        if bench.taken & candidate.texts:
            continue  # what it changes was changed by a kept one
        tried += 1
        kept = session.decide(candidate)
        if kept:
            bench.keep(candidate)
        gain = candidate.confirmed
        false += kept and gain <= 0
        if gain > pool.noise:
            worth, missed = worth + 1, missed + (not kept)
    rate = 1000 * bench.gained / bench.seconds if bench.seconds else 0.0
    return Played(rate, 50 * false / max(tried, 1), missed / worth if worth else None, tried, bench.gained)


def table(pool: Pool, orders: int, runs: float) -> Iterator[str]:
    """Yield the table: for each rule the means over orders, and where nine in ten of the orders lie."""
    budget = runs * pool.seconds
    yield "| rule | gain per 1,000 run-seconds (5 to 95 % of orders) | false keeps in 50 | missed gains | experiments |"
    yield "|---|--:|--:|--:|--:|"
    for rule in RULES:
        played = [play(pool, rule, order, budget) for order in range(orders)]
        rates = sorted(p.per_1000_s for p in played)
        low, high = rates[int(0.05 * (len(rates) - 1))], rates[math.ceil(0.95 * (len(rates) - 1))]
        missed = [p.missed for p in played if p.missed is not None]
        yield (
            f"| {rule} | {statistics.fmean(rates):+.5f} ({low:+.5f} to {high:+.5f}) "
            f"| {statistics.fmean(p.false_keeps for p in played):.2f} "
            f"| {f'{statistics.fmean(missed):.0%}' if missed else '-'} "
            f"| {statistics.fmean(p.experiments for p in played):.0f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("measure", "chains", "replay"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--slice", default="1/1", help="of the edits, as 2/8")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=32768, help="training budget of a run")
    parser.add_argument("--hours", type=float, default=24.0, help="no run is begun after them")
    parser.add_argument("--half", choices=("tuning", "final", "all"), default="tuning")
    parser.add_argument("--orders", type=int, default=1000)
    parser.add_argument("--runs", type=float, default=60, help="budget of a rule, in runs of the plain file")
    args = parser.parse_args()
    lines = edits_of_pool()
    if args.what == "measure":
        measure(args.folder, {PLAIN: [], **{name: line["edits"] for name, line in lines.items()}}, args)
        return
    rows = rows_of(args.folder / "results.jsonl")
    pool = measured_pool(lines, rows)
    text = (args.folder / "workspace" / "train.py").read_text(encoding="utf-8")
    chains = chains_of(lines, pool, text)
    if args.what == "chains":
        stacks = {name: [e for part in parts for e in lines[part]["edits"]] for name, parts in chains.items()}
        measure(args.folder, stacks, args)
        return
    print(f"{len(rows)} runs, {len(pool.candidates)} edits; noise of a run {pool.noise:.4f} bpb; "
          f"a run of the plain file takes {pool.seconds:.1f} processor seconds; half: {args.half}\n")  # fmt: skip
    print("\n".join(table(half_of(pool, args.half), args.orders, args.runs)))
    print("\n| chain | sum of its parts | measured | standard error |\n|---|--:|--:|--:|")
    print("\n".join(added_up(chains, pool, rows)))


if __name__ == "__main__":
    main()
