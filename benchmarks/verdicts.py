"""How often a policy is fooled by luck, and what it misses, in simulated sessions.

    python benchmarks/verdicts.py [--json | --markdown] [--sessions N] [--only WORDS]
    python benchmarks/verdicts.py --nights N [--json]      a budget for the night: `night_alpha = 0.05`
    python benchmarks/verdicts.py --guards N               another metric that may be worse by 1 sigma

The policy is the package's code. A session is a baseline and 50 experiments on a metric whose noise is 1. The policy
does not know that: it estimates the noise from the session's own repeats, and all experiments share the runs of their
incumbent, with its luck. Runs of one seed are independent (pairing 0), or share half of their variance (pairing 0.5).
What machines, metrics and guards there are stands in simulated_session.py.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import random
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace

from simulated_session import (
    DISTURBED,
    FIRST_RUNS,
    FIXED_SEED,
    LOAD,
    LOADED_RUNS,
    MEMORY,
    MOST_AGAIN,
    OTHER,
    SEEN,
    SHRINKS,
    SWING,
    SWING_MEMORY,
    Drift,
    Outcome,
    simulate,
)  # fmt: skip

import autoresearch
from autoresearch.statistics import decision
from autoresearch.statistics.decision import Guard, Rules
from autoresearch.system.hardware import detect

EXPERIMENTS = 50
SCENARIOS: dict[str, dict[float, int]] = {
    "no effect": {},
    "10 % gain 3 sigma": {3.0: 5},
    "10 % gain 3, 40 % lose 2 sigma": {3.0: 5, -2.0: 20},
    "10 % gain 1.5 sigma": {1.5: 5},
}
"""Name -> true gain in units of the noise -> how many of the experiments have it; the others have no effect."""
NULL, GAINS = [*SCENARIOS][:2]
DRIFTS: dict[str, Drift] = {}
for drift in ("wanders", "loaded", "slow at first", "swings", "disturbed"):
    for scenario in (NULL, GAINS):
        DRIFTS[f"{scenario}, machine {drift}"] = drift  # type: ignore[assignment]
        SCENARIOS[f"{scenario}, machine {drift}"] = SCENARIOS[scenario]
SHAPES: dict[str, float] = {}
"""Name -> how often the metric flips, or one of the two shapes of simulated_session.py."""
for rate in (0.01, 0.05, 0.2, 0.5):
    for scenario in (NULL, GAINS):
        SHAPES[f"{scenario}, flips in {100 * rate:.0f} %"] = rate
for scenario in (NULL, GAINS, "10 % gain 1.5 sigma"):
    SHAPES[f"{scenario}, noise shrinks"] = SHRINKS
SHAPES[f"{NULL}, fixed seed"] = FIXED_SEED
SCENARIOS |= {name: SCENARIOS[name.split(", flips")[0].split(", noise s")[0].split(", fixed")[0]] for name in SHAPES}
BOUNDS = {"false keeps": 0.1, "false keeps with gains": 0.1, "gain of greedy's": 0.95}
NIGHTS = (50, 200, 1000)
COSTS = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0)
"""What each change that gains costs of it, in units of its noise; 1 is allowed."""


def effects_of(scenario: str, number: int) -> list[float]:
    """Return the true gain of each experiment of a session, in an order of its own."""
    effects = [gain for gain, count in SCENARIOS[scenario].items() for _ in range(count)]
    effects += [0.0] * (EXPERIMENTS - len(effects))
    random.Random(f"effects {number}").shuffle(effects)
    return effects


def many(job: tuple[str, Rules, float, range]) -> list[Outcome]:
    """Run a block of sessions."""
    scenario, rules, pairing, numbers = job
    name = f"{scenario} {rules.policy} {pairing}"
    drift = DRIFTS.get(scenario, "steady")
    shape = SHAPES.get(scenario, 0.0)
    return [simulate(f"{name} {n}", effects_of(scenario, n), rules, pairing, drift, shape) for n in numbers]


def table(sessions: int, rules: Rules, scenarios: Sequence[str], processes: int = 2) -> list[dict[str, object]]:
    """Return a row for each policy, scenario and pairing: means over the sessions, and the standard error of the
    false keeps."""
    greedy = Rules(policy="greedy")
    cells = [
        (scenario, pairing, policy)
        for scenario in scenarios
        for pairing in ((0.0,) if SHAPES.get(scenario, SHRINKS) != SHRINKS else (0.0, 0.5))
        for policy in (greedy, rules)
    ]
    half = range(0, sessions, max(1, math.ceil(sessions / processes)))
    blocks = [range(at, min(sessions, at + half.step)) for at in half]
    jobs = [(scenario, policy, pairing, block) for scenario, pairing, policy in cells for block in blocks]
    with ProcessPoolExecutor(processes) as pool:
        results = [*pool.map(many, jobs)]
    rows: list[dict[str, object]] = []
    beside = 0.0
    for k, (scenario, pairing, policy) in enumerate(cells):
        outcomes = [o for block in results[k * len(blocks) : (k + 1) * len(blocks)] for o in block]
        false = [o.false_keeps for o in outcomes]
        gain = statistics.fmean(o.gain for o in outcomes)
        beside = gain if policy.policy == "greedy" else beside
        rows.append(
            {
                "scenario": scenario,
                "pairing": pairing,
                "policy": policy.policy,
                "false_keeps": round(statistics.fmean(false), 4),
                "false_keeps_error": round(statistics.stdev(false) / math.sqrt(len(false)), 4)
                if len(false) > 1
                else None,
                "true_gain": round(gain, 3),
                "gain_of_greedys": round(gain / beside, 4) if beside > 0 else None,
                "runs": round(statistics.fmean(o.runs for o in outcomes) / (EXPERIMENTS + 1), 4),
            }
        )
    return rows


def nights(count: int, experiments: int, gains: int, drift: Drift, rules: Rules) -> dict[str, object]:
    """Return how many of so many nights kept a change without effect at any moment, and the part of the true gains that
    they kept: `gains` of the experiments are worth 3 sigma each."""
    false, kept, runs = 0, 0, 0
    for night in range(count):
        effects = [3.0] * gains + [0.0] * (experiments - gains)
        random.Random(f"night {night}").shuffle(effects)
        found = simulate(f"night {drift} {experiments} {gains} {night}", effects, rules, 0.5, drift)
        false, kept, runs = false + bool(found.false_keeps), kept + round(found.gain / 3), runs + found.runs
    return {"experiments": experiments, "gains": gains, "machine": drift, "nights": count, "kept_anything_false": false,
            "rate": false / count, "error": math.sqrt(false / count * (1 - false / count) / count),
            "power": kept / gains / count if gains else None, "runs": runs / count / (experiments + 1)}  # fmt: skip


def guards(sessions: int, cost: float, shared: float, guard: Guard) -> dict[str, object]:
    """Return how often a guard is broken, rightly and wrongly, in sessions of which a tenth of the changes gains 3
    sigma and costs so much of its metric; and what all that was kept has cost in the end."""
    effects = [effects_of(GAINS, n) for n in range(sessions)]
    rules, name = Rules(guards=(guard,)), f"guards {cost} {shared} {guard.against}"
    found = [simulate(f"{name} {n}", e, rules, 0.5, cost=cost, shared=shared) for n, e in enumerate(effects)]
    allowed = guard.worse_by or 0.0
    seen = [((own if guard.against == "incumbent" else total) > allowed, verdict)
            for outcome in found for total, own, verdict in outcome.guarded if verdict != "discard"]  # fmt: skip
    right, wrong = ([verdict == "broken" for beyond, verdict in seen if beyond is which] for which in (True, False))
    first = [outcome.guarded[0][2] == "broken" for outcome in found if outcome.guarded[0][2] != "discard"]
    ends = [sum(own for _, own, verdict in outcome.guarded if verdict == "keep") for outcome in found]
    kept = sum(verdict == "keep" for _, verdict in seen)

    def share(of: list[bool]) -> float | None:
        return round(sum(of) / len(of), 4) if of else None

    return {"against": guard.against, "costs": cost, "shared": shared, "sessions": sessions,
            "first_gain_broken": share(first), "beyond": len(right), "found": share(right), "within": len(wrong),
            "wrongly_broken": share(wrong), "undecided": round(sum(o.undecided for o in found) / max(1, kept), 3),
            "cost_in_the_end": round(statistics.fmean(ends), 2), "most": round(max(ends), 2),
            "runs": round(statistics.fmean(o.runs for o in found) / (EXPERIMENTS + 1), 3)}  # fmt: skip


def judged(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return each bound with what was found, worst over the pairings."""

    def worst(scenario: str, key: str, pick: object = max) -> float:
        found = [row[key] for row in rows if row["scenario"] == scenario and row["policy"] == "confirm"]
        return float(pick(found))  # type: ignore[operator]

    found = {
        "false keeps": worst(NULL, "false_keeps"),
        "false keeps with gains": worst(GAINS, "false_keeps"),
        "gain of greedy's": worst(GAINS, "gain_of_greedys", min),
    }
    bounds: list[dict[str, object]] = []
    for what, bound in BOUNDS.items():
        ok = found[what] >= bound if "gain of" in what else found[what] <= bound
        bounds.append({"what": what, "found": found[what], "bound": bound, "ok": ok})
    return bounds


def markdown(report: dict[str, object]) -> str:
    """Return the report as a page."""
    rows, bounds = report["rows"], report["bounds"]
    assert isinstance(rows, list) and isinstance(bounds, list)
    lines = [
        "# How often a policy is fooled by luck",
        "",
        *(f"- {key}: {report[key]}" for key in ("date", "machine", "versions", "rules", "sessions", "command")),
        "",
        f"Simulated sessions of {EXPERIMENTS} experiments against the package's own `statistics/decision.py` and",
        "`experiments/evidence.py`. The noise is 1 and unknown to the policy. `pairing`: the part of a run's",
        "variance that it shares with other runs of its seed. `runs`: of the whole session, baseline and incumbents",
        "included, in units of greedy's 51. `true gain`: summed over what was kept, in units of the noise.",
        "",
        "Machines that drift, in units of the noise: one `wanders` with a standard deviation of 1 and a memory of",
        f"{MEMORY} runs; one is `loaded` half of the time, worse by {LOAD:g} then, for {LOADED_RUNS} runs on average;",
        f"one is `slow at first`, worse by {LOAD:g} in its first {FIRST_RUNS} runs; one `swings` with {SWING:g} and a",
        f"memory of {SWING_MEMORY} runs, which the runs of a pair share; one is `disturbed` in",
        f"{100 * DISTURBED:.0f} % of its runs, worse by {LOAD:g}, of which {100 * SEEN:.0f} % are seen and made again,",
        f"at most {MOST_AGAIN} times, and counted as runs.",
        "",
        "A metric that `flips` is exact but for so many of its runs, which are 1 better or worse. With a `fixed seed`",
        "each commit has one draw: no repeat can tell, and every such keep is marked so. Where the `noise shrinks`,",
        "each keep takes a third of it, and gains are in units of the present one.",
        "",
        "| scenario | pairing | policy | false keeps | true gain | of greedy's | runs |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        share = "" if row["gain_of_greedys"] is None else f"{100 * row['gain_of_greedys']:.0f} %"
        lines.append(
            f"| {row['scenario']} | {row['pairing']} | {row['policy']} | {row['false_keeps']:.3f} ± "
            f"{row['false_keeps_error']:.3f} | {row['true_gain']:.2f} | {share} | {row['runs']:.2f} |"
        )
    lines += ["", "| bound, worst pairing | found | asked | ok |", "|---|---|---|---|"]
    for bound in bounds:
        way = "at least" if "gain of" in bound["what"] else "at most"
        lines.append(
            f"| {bound['what']} | {bound['found']:.3f} | {way} {bound['bound']} | {'yes' if bound['ok'] else 'NO'} |"
        )
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true", help="what is printed without --json")
    parser.add_argument("--sessions", type=int, default=600)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", help="Only the scenarios with these words.")
    parser.add_argument("--rules", default="{}", help="[keep] keys to put in place of the defaults, as JSON.")
    parser.add_argument("--screen", type=float, help="Another SCREEN_Z, for the curve of gain against runs.")
    parser.add_argument("--nights", type=int, default=0, help="Nights of 200 changes without effect, with a budget.")
    parser.add_argument("--guards", type=int, default=0, help="Sessions with another metric that has a guard.")
    args = parser.parse_args(argv)
    rules = Rules(**json.loads(args.rules))
    decision.SCREEN_Z = decision.SCREEN_Z if args.screen is None else args.screen
    if args.guards:
        for against in ("baseline", "incumbent"):
            for shared, cost in ((shared, cost) for shared in (0.0, 0.7) for cost in COSTS):
                print(json.dumps(guards(args.guards, cost, shared, Guard(OTHER, worse_by=1.0, against=against))))
        return 0
    if args.nights:
        budget = replace(rules, night_alpha=0.05)
        asked: list[tuple[int, int, int, Drift]] = [(args.nights, 200, 0, "steady"), (args.nights, 200, 0, "wanders")]
        asked += [(max(4, args.nights * 10 // length // 10), length, length // 10, "steady") for length in NIGHTS]
        for count, length, gains, drift in asked:
            print(json.dumps(nights(count, length, gains, drift, budget)), flush=True)
        return 0
    rows = table(args.sessions, rules, [name for name in SCENARIOS if args.only in name], args.processes)
    if args.only:
        print("\n".join(json.dumps(row) for row in rows))
        return 0
    report: dict[str, object] = {
        "date": datetime.date.today().isoformat(),
        "machine": detect().describe(),
        "versions": f"autoresearch {autoresearch.__version__}, Python {sys.version.split()[0]}",
        "rules": ", ".join(f"{key} {value}" for key, value in asdict(rules).items() if value is not None),
        "sessions": f"{args.sessions} of each kind",
        "command": f"`python benchmarks/verdicts.py --sessions {args.sessions}`",
        "rows": rows,
        "bounds": judged(rows),
    }
    print(json.dumps(report) if args.json else markdown(report))
    return 0 if all(bound["ok"] for bound in judged(rows)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
