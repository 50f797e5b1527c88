"""How often luck is kept, and what is gained, by how many candidates are measured at once: simulated sessions.

    uv run python benchmarks/widths.py [--sessions N] [--widths 1,2,4,8,16] [--json]

The verdicts, what is begun ahead, and who has which lease are the package's own code: `next_step`, `gather`,
`likely_next` and `Pool`, with a back-end whose runs take one unit of a time that is only counted. A session is a
baseline and 50 candidates on a metric whose noise is 1. As many candidates wait as there are slots; their first runs
are made ahead; when one is kept, those that wait become new commits on it, whose runs are all made afresh. A proposal
costs no time, and every one can be applied to a new incumbent, so the times are those of the runs alone.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulated_session import SEGMENT, Machine
from verdicts import GAINS, NULL, effects_of

from autoresearch.experiments.decide import SCREENING_SEED, SeedRuns, likely_next
from autoresearch.experiments.evidence import gather
from autoresearch.journal.experiment import Experiment, Run, decided_runs
from autoresearch.journal.session import Session
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import RunSpec
from autoresearch.statistics.decision import BASELINE_RUNS, Rules, next_step
from autoresearch.workers.base import Attempt, Ended
from autoresearch.workers.pool import Pool

WIDTHS = (1, 2, 4, 8, 16)
PAIRING = 0.5
"""The part of a run's variance that it shares with other runs of its seed."""
MOST = 0.15
"""False keeps in 50 experiments that no width may have more of."""


@dataclass
class CountedTime:
    """A back-end whose runs take one unit each, of a time that passes when somebody waits."""

    slots: int
    machine: Machine
    levels: dict[str, float] = field(default_factory=dict)
    """Commit -> its true value."""
    now: float = 0.0
    busy: float = 0.0
    """Slots times units in which a run was made, those that were given up included."""
    working: dict[str, tuple[float, float, Attempt]] = field(default_factory=dict)
    """Attempt -> when it began, its value, and it."""

    def env(self) -> Mapping[str, object]:
        return {}

    def submit(self, attempt: Attempt) -> None:
        assert len(self.working) < self.slots
        spec = attempt.spec
        value = self.machine.run(self.levels[spec.commit], spec.seed, spec.commit)
        self.working[attempt.id] = (self.now, value, attempt)

    def poll(self, wait_s: float) -> list[Ended]:
        self.now = min(began for began, _, _ in self.working.values()) + 1.0
        done = [id for id, (began, _, _) in self.working.items() if began + 1.0 <= self.now]
        ended = [Ended(id, Measurement("ok", self.working.pop(id)[1])) for id in done]
        self.busy += len(ended)
        return ended

    def cancel(self, ids: Collection[str]) -> None:
        for id in ids:
            self.busy += self.now - self.working.pop(id)[0]


@dataclass(frozen=True)
class Width:
    """What one session ended with."""

    false_keeps: int
    gain: float
    runs: float
    """Units of slots that runs took."""
    time: float
    """Units from the first run to the last verdict."""


def simulate(number: str, effects: Sequence[float], rules: Rules, slots: int) -> Width:
    """Run one session of candidates with these true gains; `number` seeds its random numbers."""
    workers = CountedTime(slots, Machine(random.Random(number), PAIRING))
    pool = Pool(workers, 1.0)

    def spec(commit: str, experiment: int, seed: int) -> RunSpec:
        return RunSpec(commit, experiment, seed, Path(commit) / str(seed))

    def value(commit: str, experiment: int, seed: int) -> float:
        made = pool.measure(spec(commit, experiment, seed)).value
        assert made is not None
        return made

    workers.levels["1"] = 0.0
    seeds = range(1, BASELINE_RUNS + 1)
    pool.ahead([spec("1", 1, seed) for seed in seeds])
    runs = decided_runs([value("1", 1, seed) for seed in seeds], [*seeds], 1)
    incumbent = Experiment(1, 0, "1", status="keep", runs=runs)
    experiments, kept = {1: incumbent}, list[float]()
    for n, effect in enumerate(effects, 2):
        # A commit is a change on an incumbent: after a keep, what waits is another one.
        waiting = {k: f"{k} on {incumbent.number}" for k in range(n, min(len(effects) + 2, n + slots))}
        level = workers.levels[incumbent.commit or ""]
        workers.levels |= {commit: level - effects[k - 2] for k, commit in waiting.items()}
        pool.behind([spec(commit, k, SCREENING_SEED) for k, commit in waiting.items()])
        session, commit, known = Session((SEGMENT,), tuple(experiments.values())), waiting[n], SeedRuns(n)
        known.values[SCREENING_SEED] = value(commit, n, SCREENING_SEED)
        while True:
            step = next_step(gather(session, incumbent, known.values, now=n), rules)
            if step.action in ("keep", "discard"):
                break
            whose = {"candidate": (commit, n), "incumbent": (incumbent.commit or "", incumbent.number)}
            likely = likely_next(step, known, rules, incumbent.by_seed)
            pool.ahead([spec(*whose[side], seed) for side, seed in likely])
            assert step.seed is not None
            if step.action == "run_candidate":
                known.values[step.seed] = value(commit, n, step.seed)
            else:
                run = Run(step.seed, value(*whose["incumbent"], step.seed), "repeat", "", n)
                incumbent = incumbent.with_run(run)
        pool.drop()
        experiments[incumbent.number] = incumbent
        runs = decided_runs([*known.values.values()], [*known.values], n, screened=len(known.values) > 1)
        status: Any = step.action
        e = Experiment(n, 0, commit, incumbent.commit, status=status, runs=runs, alpha=step.alpha)
        experiments[n] = e
        if step.action == "keep":
            incumbent = e
            kept.append(effect)
    pool.close()
    return Width(sum(effect <= 0 for effect in kept), math.fsum(kept), workers.busy, workers.now)


def many(job: tuple[str, int, range]) -> list[Width]:
    """Run a block of sessions; the same number has the same candidates in the same order at each width."""
    scenario, slots, numbers = job
    return [simulate(f"{scenario} {slots} {n}", effects_of(scenario, n), Rules(), slots) for n in numbers]


def row(scenario: str, slots: int, made: Sequence[Width]) -> dict[str, float | str]:
    """Return means over sessions, with the standard error of the false keeps."""
    false = [each.false_keeps for each in made]
    gain, runs, time = (statistics.fmean(getattr(each, name) for each in made) for name in ("gain", "runs", "time"))
    error = statistics.stdev(false) / math.sqrt(len(false))
    return {"scenario": scenario, "slots": slots, "false_keeps": round(statistics.fmean(false), 4),
            "error": round(error, 4), "gain": round(gain, 3), "runs": round(runs, 1), "time": round(time, 1),
            "gain_per_100_runs": round(100 * gain / runs, 2),
            "gain_per_100_units": round(100 * gain / time, 2)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--widths", default=",".join(map(str, WIDTHS)))
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cells = [(scenario, int(width)) for scenario in (NULL, GAINS) for width in options.widths.split(",")]
    with ProcessPoolExecutor(options.processes) as pool:
        made = pool.map(many, [(scenario, slots, range(options.sessions)) for scenario, slots in cells])
        rows = [row(scenario, slots, sessions) for (scenario, slots), sessions in zip(cells, made, strict=True)]
    if options.json:
        print(json.dumps({"sessions": options.sessions, "most": MOST, "rows": rows}))
    else:
        print(
            "| scenario | slots | false keeps in 50 | true gain | runs | time | gain in 100 runs | gain in 100 units |"
        )
        print("|---|---|---|---|---|---|---|---|")
        for each in rows:
            print(f"| {each['scenario']} | {each['slots']} | {each['false_keeps']:.3f} ± {each['error']:.3f} | "
                  f"{each['gain']} | {each['runs']} | {each['time']} | {each['gain_per_100_runs']} | "
                  f"{each['gain_per_100_units']} |")  # fmt: skip
    if any(float(each["false_keeps"]) > MOST for each in rows):
        raise SystemExit(f"more than {MOST} false keeps in 50")


if __name__ == "__main__":
    main()
