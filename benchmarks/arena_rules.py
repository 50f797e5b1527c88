"""The rules of keeping in the arena: each asks for runs of a candidate and of the incumbent, and says keep or not.

| rule | what it does |
|---|---|
| greedy | one run; better than the incumbent's one value is kept |
| greedy, MAD | likewise, when the gain is also twice the median absolute deviation of all values so far |
| bootstrap | three seeds of each; kept when 95 % of the resampled differences of the means are gains |
| two seeds | one run; if that is better, a second seed; kept when that is better too, and then worth the mean of both |
| screen and gate | one run; if that is better on the search split, kept when it is better on the other split too |
| ours | the decision function of this package, with its default rules |
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from autoresearch.experiments.evidence import gather
from autoresearch.journal.experiment import Experiment, Run, decided_runs
from autoresearch.journal.session import Segment, Session
from autoresearch.metrics import Metric
from autoresearch.statistics.decision import BASELINE_RUNS, Rules, next_step
from autoresearch.statistics.noise import mad_confidence

Pair = tuple[float, float]
"""A number on the search split, and on the locked one."""

METRIC = Metric("val_bpb", "lower")
CONFIDENT = 2.0
"""Above it the field calls a confidence high."""
BOOTSTRAP_SEEDS, RESAMPLED, SURE = 3, 400, 0.95


@dataclass(frozen=True, slots=True)
class Candidate:
    """One edit of the pool."""

    name: str
    kind: str
    gain: Pair | None
    """Over the plain file; None of one that crashes."""
    seconds: float
    """Of a run."""
    texts: frozenset[str] = frozenset()
    """What it replaces: two that replace the same cannot both be kept."""

    @property
    def confirmed(self) -> float:
        """What it gains, by both splits."""
        return sum(self.gain) / 2 if self.gain is not None else 0.0


@dataclass(frozen=True, slots=True)
class Pool:
    """Edits, and the luck of runs."""

    level: Pair
    """Of the plain file."""
    seconds: float
    """Of a run of it."""
    candidates: tuple[Candidate, ...]
    common: tuple[Pair, ...]
    """The luck of each seed that was run, common to all edits."""
    luck: tuple[Pair, ...]
    """The luck of each run beside it."""

    @property
    def noise(self) -> float:
        """The standard deviation of a run on the search split."""
        spread = [statistics.pvariance([pair[0] for pair in of]) for of in (self.common, self.luck)]
        return sum(spread) ** 0.5

    def of(self, candidates: Sequence[Candidate]) -> Pool:
        return replace(self, candidates=tuple(candidates))


class Bench:
    """What makes the runs of one session and counts their seconds."""

    def __init__(self, pool: Pool, rng: random.Random) -> None:
        self.pool, self.salt = pool, rng.random()
        self.seconds, self.gained = 0.0, 0.0
        self.gain: Pair = (0.0, 0.0)
        """Of what was kept."""
        self.kept: Candidate | None = None
        self.taken: set[str] = set()

    def run(self, candidate: Candidate | None, seed: int) -> Pair | None:
        """Return the values of a run of a candidate on top of what was kept, or of the incumbent; None of a crash.

        A seed has a luck that all edits share; a run of the same edit with the same seed gives the same again.
        """
        shown = candidate or self.kept
        self.seconds += shown.seconds if shown is not None else self.pool.seconds
        own = candidate.gain if candidate is not None else (0.0, 0.0)
        if own is None:
            return None
        common = random.Random(f"{self.salt} {seed}").choice(self.pool.common)
        name = f"{shown.name if shown is not None else ''} on {len(self.taken)}"
        luck = random.Random(f"{self.salt} {seed} {name}").choice(self.pool.luck)
        search, locked = (self.pool.level[k] - self.gain[k] - own[k] + common[k] + luck[k] for k in (0, 1))
        return search, locked

    def keep(self, candidate: Candidate) -> None:
        assert candidate.gain is not None
        self.gain = (self.gain[0] + candidate.gain[0], self.gain[1] + candidate.gain[1])
        self.gained += candidate.confirmed
        self.kept = candidate
        self.taken |= candidate.texts


class Rule(Protocol):
    def begin(self) -> None:
        """Measure the baseline."""

    def decide(self, candidate: Candidate) -> bool:
        """Return whether a candidate is kept; whoever asks puts it in place then."""


@dataclass
class Greedy:
    """One run decides."""

    bench: Bench
    best: Pair = (0.0, 0.0)
    values: list[float] = field(default_factory=list)
    seed: int = 1

    def begin(self) -> None:
        first = self.bench.run(None, self.seed)
        assert first is not None
        self.best = first
        self.values.append(first[0])

    def decide(self, candidate: Candidate) -> bool:
        self.seed += 1
        value = self.bench.run(candidate, self.seed)
        if value is None:
            return False
        self.values.append(value[0])
        kept = value[0] < self.best[0] and self.believed(candidate, value)
        if kept:
            self.best = value
        return kept

    def believed(self, candidate: Candidate, value: Pair) -> bool:
        """Return whether a better number is kept."""
        return True


class GreedyMad(Greedy):
    """Only what is far above the spread of all values so far."""

    def believed(self, candidate: Candidate, value: Pair) -> bool:
        confidence = mad_confidence(self.best[0] - value[0], self.values)
        return confidence is not None and confidence >= CONFIDENT


class ScreenAndGate(Greedy):
    """The same run must be better on another split, too."""

    def believed(self, candidate: Candidate, value: Pair) -> bool:
        return value[1] < self.best[1]


class TwoSeeds(Greedy):
    """A second seed for what was better; both together must be. The kept value is their mean."""

    mean: float | None = None

    def decide(self, candidate: Candidate) -> bool:
        self.seed += 1
        first = self.bench.run(candidate, self.seed)
        if first is None or first[0] >= self.best[0]:
            return False
        self.seed += 1
        second = self.bench.run(candidate, self.seed)
        assert second is not None
        mean = ((first[0] + second[0]) / 2, (first[1] + second[1]) / 2)
        if second[0] >= self.best[0]:
            return False
        self.best = mean
        return True


@dataclass
class Bootstrap:
    """Three seeds of each side; the difference of their means, resampled."""

    bench: Bench
    incumbent: list[float] = field(default_factory=list)
    seed: int = 0

    def runs(self, candidate: Candidate | None) -> list[float]:
        """Return the values of three fresh seeds, fewer where it crashes."""
        found = []
        for _ in range(BOOTSTRAP_SEEDS):
            self.seed += 1
            value = self.bench.run(candidate, self.seed)
            if value is None:
                break
            found.append(value[0])
        return found

    def begin(self) -> None:
        self.incumbent = self.runs(None)

    def decide(self, candidate: Candidate) -> bool:
        values = self.runs(candidate)
        if len(values) < BOOTSTRAP_SEEDS:
            return False
        rng = random.Random(f"bootstrap {self.seed} {candidate.name}")
        better = sum(
            statistics.fmean(rng.choices(values, k=len(values)))
            < statistics.fmean(rng.choices(self.incumbent, k=len(self.incumbent)))
            for _ in range(RESAMPLED)
        )
        if better < SURE * RESAMPLED:
            return False
        self.incumbent = values
        return True


class Ours:
    """The package's own decision, on experiments as the journal has them."""

    def __init__(self, bench: Bench, rules: Rules | None = None) -> None:
        self.bench, self.rules = bench, rules or Rules()
        self.experiments: dict[int, Experiment] = {}
        self.incumbent: Experiment

    def begin(self) -> None:
        values = {seed: self.run(None, seed) for seed in range(1, BASELINE_RUNS + 1)}
        runs = decided_runs([*values.values()], [*values], 1)
        self.incumbent = Experiment(1, 0, "1", status="keep", runs=runs)
        self.experiments[1] = self.incumbent

    def run(self, candidate: Candidate | None, seed: int) -> float:
        value = self.bench.run(candidate, seed)
        assert value is not None
        return value[0]

    def decide(self, candidate: Candidate) -> bool:
        n = len(self.experiments) + 1
        if candidate.gain is None:
            self.bench.run(candidate, 1)
            self.experiments[n] = Experiment(n, 0, str(n), self.incumbent.commit, status="crash", outcome="crash")
            return False
        session = Session((Segment(0, "arena", METRIC),), tuple(self.experiments.values()))
        values = {1: self.run(candidate, 1)}
        while True:
            known = gather(session, self.incumbent, values, now=n)
            step = next_step(known, self.rules)
            if step.action in ("keep", "discard"):
                break
            assert step.seed is not None
            if step.action == "run_candidate":
                values[step.seed] = self.run(candidate, step.seed)
            else:
                again = Run(step.seed, self.run(None, step.seed), "repeat", "", n)
                self.incumbent = self.incumbent.with_run(again)
        self.experiments[self.incumbent.number] = self.incumbent
        runs = decided_runs([*values.values()], [*values], n, screened=len(values) > 1)
        status = "keep" if step.action == "keep" else "discard"
        e = Experiment(n, 0, str(n), self.incumbent.commit, status=status, runs=runs, alpha=step.alpha)
        self.experiments[n] = e
        if status == "keep":
            self.incumbent = e
        return status == "keep"


RULES: dict[str, Callable[[Bench], Rule]] = {
    "greedy": Greedy,
    "greedy, MAD": GreedyMad,
    "bootstrap": Bootstrap,
    "two seeds": TwoSeeds,
    "screen and gate": ScreenAndGate,
    "ours": Ours,
}
