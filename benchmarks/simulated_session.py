"""One simulated session: a machine whose runs have a known noise, and the package's own decision on them.

Machines whose speed drifts, in units of the noise: one that wanders (standard deviation 1, two thirds
forgotten after 30 runs), one that is loaded half of the time (worse by 3, for 12 runs on average), and one on which
the first 6 runs are worse by 3: the baseline and what follows it are measured while something else works there;
one that `swings` (standard deviation 2, two thirds forgotten after 4 runs), so that the runs of a pair share it; one
that is `disturbed` in 15 % of its runs (worse by 3), of which nine in ten are seen from outside and made again.

Metrics that are not normal: one that `flips` in so many of its runs, by 1 up or down, and is exact else; a `fixed seed`
(each commit has one draw, whatever the seed); a noise that `shrinks` by a third with each keep (gains are in units of
the present one).

With a guard a run has another number of noise 1, whose luck may be that of the metric to a part, and each of the
changes that gain costs so much of it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from autoresearch.experiments.evidence import gather
from autoresearch.journal.experiment import Experiment, Run, decided_runs
from autoresearch.journal.session import Segment, Session
from autoresearch.metrics import Metric
from autoresearch.statistics.decision import BASELINE_RUNS, Rules, next_step

Drift = Literal["steady", "wanders", "loaded", "slow at first", "swings", "disturbed"]
MEMORY, LOADED_RUNS, FIRST_RUNS, LOAD = 30, 12, 6, 3.0
SWING, SWING_MEMORY, DISTURBED = 2.0, 4, 0.15
"""Of a machine that drifts: see above."""
METRIC = Metric("loss", "lower")
SEGMENT = Segment(0, "simulated", METRIC)
FIXED_SEED, SHRINKS = -1.0, -2.0
"""Shapes of a metric beside how often it flips."""
SHRINKING = 2 / 3
SEEN, MOST_AGAIN = 0.9, 2
"""The part of the disturbed runs that is seen, and how often one is made again."""
OTHER, BEYOND = "other", "and may be by"
"""The metric that has a guard, and the words of a verdict that says it is broken."""


@dataclass(frozen=True)
class Outcome:
    """What one session ended with."""

    false_keeps: int
    """Kept experiments without a true gain."""
    gain: float
    """Summed true gains and losses of what was kept, in units of the noise."""
    runs: int
    guarded: tuple[tuple[float, float, str], ...] = ()
    """Of each change that gains: what it and all that was kept before cost of the metric with a guard, what it alone
    costs, and its verdict: `keep`, `discard` or `broken`."""
    undecided: int = 0
    """Gains that were kept, and of which the guard says that it cannot tell."""


class Machine:
    """Runs with noise 1, of which the part `pairing` is common to all runs of a seed; and a speed that may drift."""

    def __init__(self, rng: random.Random, pairing: float, drift: Drift = "steady", shape: float = 0.0) -> None:
        self.shape, self.scale, self.draws = shape, 1.0, dict[object, float]()
        self.rng, self.common, self.own = rng, math.sqrt(pairing), math.sqrt(1 - pairing)
        self.luck: dict[int, float] = {}
        self.runs = 0
        self.drift, self.worse = drift, 0.0
        if drift == "wanders":
            self.worse = rng.gauss(0, 1)
        elif drift == "swings":
            self.worse = rng.gauss(0, SWING)
        elif drift == "loaded":
            self.worse = rng.choice((0.0, LOAD))

    def run(self, level: float, seed: int, commit: object = None) -> float:
        """Return the value of a run, made again while it is seen to be disturbed; `commit` names the code."""
        for _ in range(MOST_AGAIN + 1):
            value = self._run(level, seed, commit)
            if not (self.drift == "disturbed" and self.worse and self.rng.random() < SEEN):
                break
        return value

    def _run(self, level: float, seed: int, commit: object) -> float:
        self.runs += 1
        if self.shape > 0:
            return level + (self.rng.choice((-1.0, 1.0)) if self.rng.random() < self.shape else 0.0)
        if self.shape == FIXED_SEED:
            return level + self.draws.setdefault(commit, self.rng.gauss(0, 1))
        if self.drift == "wanders":
            stays = math.exp(-1 / MEMORY)
            self.worse = stays * self.worse + math.sqrt(1 - stays**2) * self.rng.gauss(0, 1)
        elif self.drift == "loaded" and self.rng.random() < 1 / LOADED_RUNS:
            self.worse = LOAD - self.worse
        elif self.drift == "swings":
            stays = math.exp(-1 / SWING_MEMORY)
            self.worse = stays * self.worse + math.sqrt(1 - stays**2) * self.rng.gauss(0, SWING)
        elif self.drift == "disturbed":
            self.worse = LOAD if self.rng.random() < DISTURBED else 0.0
        elif self.drift == "slow at first":
            self.worse = LOAD if self.runs <= FIRST_RUNS else 0.0
        if seed not in self.luck:
            self.luck[seed] = self.rng.gauss(0, 1)
        return level + self.scale * (self.worse + self.common * self.luck[seed] + self.own * self.rng.gauss(0, 1))


def simulate(
    number: str,
    effects: Sequence[float],
    rules: Rules,
    pairing: float,
    drift: Drift = "steady",
    shape: float = 0.0,
    cost: float = 0.0,
    shared: float = 0.0,
) -> Outcome:
    """Run one session of experiments with these true gains; `number` seeds its random numbers.

    With a guard each gain costs so much of another metric, whose luck is that of the metric to the part `shared`.
    """
    machine, own = Machine(random.Random(number), pairing, drift, shape), random.Random(f"{number} other")
    seeds = range(1, (BASELINE_RUNS if rules.policy == "confirm" else 1) + 1)
    level = spent = 0.0

    def beside(luck: float, spent: float) -> dict[str, float]:
        return {OTHER: spent + shared * luck + math.sqrt(1 - shared**2) * own.gauss(0, 1)} if rules.relative else {}

    values = {seed: machine.run(level, seed, 1) for seed in seeds}
    others = {seed: beside(value - level, spent) for seed, value in values.items()}
    runs = decided_runs([*values.values()], [*values], 1, guarded=[*others.values()])
    first = Experiment(1, 0, "1", status="keep", runs=runs)
    experiments, incumbent, guarded, undecided = {1: first}, first, list[tuple[float, float, str]](), 0
    for n, effect in enumerate(effects, 2):
        session = Session((SEGMENT,), tuple(experiments.values()))
        effect *= machine.scale
        price = cost if effect > 0 else 0.0
        values = {1: machine.run(level - effect, 1, n)}
        others = {1: beside(values[1] - level + effect, spent + price)}
        while True:
            known = gather(session, incumbent, values, now=n, metrics=others[1], guards=rules.relative, guarded=others)
            if (step := next_step(known, rules)).action in ("keep", "discard"):
                break
            assert step.seed is not None
            if step.action == "run_candidate":
                assert step.seed not in values
                values[step.seed] = machine.run(level - effect, step.seed, n)
                others[step.seed] = beside(values[step.seed] - level + effect, spent + price)
            else:
                assert step.seed not in incumbent.by_seed
                value = machine.run(level, step.seed, incumbent.number)
                run = Run(step.seed, value, "repeat", "", n, guarded=beside(value - level, spent))
                incumbent = incumbent.with_run(run)
        experiments[incumbent.number] = incumbent
        runs = decided_runs([*values.values()], [*values], n, screened=len(values) > 1, guarded=[*others.values()])
        e = Experiment(n, 0, str(n), incumbent.commit, status=step.action, runs=runs, alpha=step.alpha)  # type: ignore[arg-type]
        experiments[n] = e
        if effect > 0 and rules.relative:
            guarded.append((spent + price, price, "broken" if BEYOND in step.reason else step.action))
        if step.action == "keep":
            level, incumbent, spent = level - effect, e, spent + price
            undecided += effect > 0 and "not decided" in step.reason
            machine.scale *= SHRINKING if shape == SHRINKS else 1.0
    kept = [effect for n, effect in enumerate(effects, 2) if experiments[n].status == "keep"]
    return Outcome(sum(effect <= 0 for effect in kept), math.fsum(kept), machine.runs, tuple(guarded), undecided)
