"""What a decision on a candidate rests on, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from autoresearch.metrics import Metric
from autoresearch.statistics.noise import Noise


@dataclass(frozen=True, slots=True)
class GuardRuns:
    """What the same runs say of another metric, which has a guard."""

    candidate: Mapping[int, float]
    """Seed -> value of the candidate's runs that reported it, in their order."""
    reference: tuple[float, ...]
    """Its values for the baseline or the incumbent, from runs that did not decide on it where there are such."""
    groups: tuple[tuple[float, ...], ...] = ()
    """Repeats of each commit of the present base, and of the reference."""
    older: Noise = field(default_factory=lambda: Noise(None, 0))
    """Its noise on the bases before."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known when a decision is asked for."""

    metric: Metric
    candidate: Mapping[int, float]
    """Seed -> value of the candidate in the order of running; the first is the screening run."""
    incumbent: Mapping[int, float]
    """Seed -> value of the incumbent's last runs that did not decide on it."""
    reference: float | None
    """The incumbent's reference value; None when it has no run on this hardware."""
    taken: frozenset[int] = frozenset()
    """Seeds that the incumbent has run at all: another run of one of them would tell nothing new."""
    groups: tuple[tuple[float, ...], ...] = ()
    """Repeats of each commit of the present base: the incumbent, and the changes of it that were run more than once."""
    older: tuple[Noise, ...] = ()
    """The noise of each base before this one, the newest last."""
    pairs: tuple[tuple[float, ...], ...] = ()
    """Of each earlier change of this base, its gains over the incumbent in the pairs that were made for it."""
    older_pairs: tuple[Noise, ...] = ()
    """The noise of pairs of each base before this one, the newest last."""
    controls: tuple[float, ...] = ()
    """Values of the last changes of this base on the seed of the screening run, and the incumbent's own."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """What else the candidate's first run reported."""
    guards: Mapping[str, GuardRuns] = field(default_factory=dict)
    """What is known of each metric whose guard compares it with another commit."""
    code_removed: bool = False
    """Whether the change leaves less code than there was."""
    recent: frozenset[int] = frozenset()
    """Seeds that the incumbent has run since the candidate began."""
    stale: bool = False
    """Whether the incumbent was last run long ago."""
    spent: float = 0.0
    """What the session's earlier experiments have spent of a budget of alpha."""
    asked: bool = False
    """Whether a person or agent asked for these pairs (`try --again N --pairs P`): nothing is given up early."""
    number: int = 0
    """Of the candidate, for what is told."""


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next, and why in one sentence."""

    action: Literal["keep", "discard", "run_candidate", "run_incumbent"]
    reason: str = ""
    seed: int | None = None
    noise: Noise = field(default_factory=lambda: Noise(None, 0))
    short: float | None = None
    """Of a discard: how much more gain would have gone on or been kept, in the metric's unit."""
    error: float | None = None
    """The standard error of the gain that was judged."""
    pairs: int | None = None
    """Of a close call: how many pairs would decide it, if the gain stays as it is."""
    alpha: float = 0.0
    """What the looks at the candidate have spent so far."""
