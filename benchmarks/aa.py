"""How often A/A candidates would be kept, beside how often luck is: simulated sessions with the package's own verdicts.

    uv run python benchmarks/aa.py [--sessions N] [--every K] [--json]

A session is a baseline and 50 candidates on a metric whose noise is 1, half of its variance shared by runs of one
seed. After every K of them the incumbent's own code is put through the same verdict, with runs of its own on both sides
that no later decision sees, as `run --aa-every` does. In the end stand the rate of these, that of the candidates
without effect which were kept, and what the rules let be kept at most.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simulated_session import SEGMENT, Machine
from verdicts import GAINS, NULL, effects_of

from autoresearch.experiments.decide import SCREENING_SEED
from autoresearch.experiments.evidence import gather
from autoresearch.journal.experiment import Experiment, Run, decided_runs
from autoresearch.journal.session import Session
from autoresearch.statistics.alpha import chance_of_luck
from autoresearch.statistics.decision import BASELINE_RUNS, Rules, Step, next_step
from autoresearch.statistics.rates import interval_of

PAIRING = 0.5


@dataclass
class Counts:
    """Verdicts of sessions: on A/A candidates, and on changes without effect."""

    made: int = 0
    kept: int = 0
    null: int = 0
    lucky: int = 0


def verdict(
    machine: Machine, experiments: Mapping[int, Experiment], incumbent: Experiment, level: float, effect: float, n: int
) -> tuple[Step, dict[int, float], Experiment]:
    """Return the verdict on a change of this effect, its values, and the incumbent with the runs made for it."""
    session, name = Session((SEGMENT,), tuple(experiments.values())), object()
    values = {SCREENING_SEED: machine.run(level - effect, SCREENING_SEED, name)}
    while True:
        step = next_step(gather(session, incumbent, values, now=n), Rules())
        if step.action in ("keep", "discard"):
            return step, values, incumbent
        assert step.seed is not None
        if step.action == "run_candidate":
            values[step.seed] = machine.run(level - effect, step.seed, name)
        else:
            value = machine.run(level, step.seed, incumbent.number)
            incumbent = incumbent.with_run(Run(step.seed, value, "repeat", "", n))


def simulate(number: str, effects: Sequence[float], every: int, counts: Counts) -> None:
    """Add the verdicts of one session; `number` seeds its random numbers."""
    machine, level = Machine(random.Random(number), PAIRING), 0.0
    seeds = range(1, BASELINE_RUNS + 1)
    runs = decided_runs([machine.run(level, seed, 1) for seed in seeds], [*seeds], 1)
    incumbent = Experiment(1, 0, "1", status="keep", runs=runs)
    experiments = {1: incumbent}
    for n, effect in enumerate(effects, 2):
        step, values, incumbent = verdict(machine, experiments, incumbent, level, effect, n)
        kept = step.action == "keep"
        counts.null, counts.lucky = counts.null + (effect <= 0), counts.lucky + (effect <= 0 and kept)
        experiments[incumbent.number] = incumbent
        runs = decided_runs([*values.values()], [*values], n, screened=len(values) > 1)
        status = "keep" if kept else "discard"
        experiments[n] = Experiment(n, 0, str(n), incumbent.commit, status=status, runs=runs, alpha=step.alpha)  # type: ignore[arg-type]
        if kept:
            incumbent, level = experiments[n], level - effect
        if (n - 1) % every == 0:
            step, _, _ = verdict(machine, experiments, incumbent, level, 0.0, n + 1)
            counts.made, counts.kept = counts.made + 1, counts.kept + (step.action == "keep")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=400)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    for scenario in (NULL, GAINS):
        counts = Counts()
        for n in range(options.sessions):
            simulate(f"aa {scenario} {n}", effects_of(scenario, n), options.every, counts)
        rows.append({"scenario": scenario, "candidates": counts.made, "kept": counts.kept,
                     "interval": interval_of(counts.kept, counts.made), "null": counts.null, "lucky": counts.lucky,
                     "null_interval": interval_of(counts.lucky, counts.null)})  # fmt: skip
    if options.json:
        print(json.dumps({"sessions": options.sessions, "at_most": chance_of_luck(Rules()), "rows": rows}))
        return
    print(f"at most {chance_of_luck(Rules()):g} of those without effect\n")
    print("| scenario | A/A candidates | would have been kept | rate | without effect | kept | rate |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        (low, high), (least, most) = row["interval"], row["null_interval"]
        print(f"| {row['scenario']} | {row['candidates']} | {row['kept']} | {low:.4f} to {high:.4f} |"
              f" {row['null']} | {row['lucky']} | {least:.4f} to {most:.4f} |")  # fmt: skip


if __name__ == "__main__":
    main()
