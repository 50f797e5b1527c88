"""Keep or discard: pure functions from what was measured to what to do next.

`next_step` is asked again after every run until it says keep or discard, so that a candidate costs one run when it
is clearly no better, and more only while they can change the answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from autoresearch.core.metrics import Metric
from autoresearch.core.noise import Noise, pooled

SCREEN_Z = 0.5
"""A screening run must gain this many standard errors to be worth confirming: it lets 31 % of changes without effect
and 99 % of gains of three standard deviations go on."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The `[keep]` table."""

    policy: Literal["confirm", "greedy"] = "confirm"
    seeds: int = 3
    alpha: float = 0.01
    minimum_gain: float = 0.0
    simplicity: bool = True
    max_memory_mb: float | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known when a decision is asked for."""

    metric: Metric
    candidate: Mapping[int, float]
    """Seed -> value of the candidate in the order of running; the first is the screening run."""
    incumbent: Mapping[int, float]
    """Seed -> value of the incumbent, all its runs."""
    reference: float
    """The incumbent's reference value: the mean of its unbiased runs."""
    others: tuple[tuple[float, ...], ...] = ()
    """Groups of repeats of every other commit of the segment, for the noise."""
    incumbent_unbiased: tuple[float, ...] = ()
    incumbent_chosen_on: frozenset[int] = frozenset()
    """Seeds of the runs that got the incumbent kept: its luck is in them, so nothing is paired with them."""
    memory_mb: float | None = None
    code_removed: bool = False
    """Whether the change only takes code away."""


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next, and why in one sentence."""

    action: Literal["keep", "discard", "run_candidate", "run_incumbent"]
    reason: str = ""
    seed: int | None = None
    noise: Noise = field(default_factory=lambda: Noise(None, 0))


def next_step(evidence: Evidence, rules: Rules) -> Step:
    """Return the next run to make, or the verdict with its reason."""
    metric, screening = evidence.metric, next(iter(evidence.candidate.values()))
    gain = metric.gain(screening, evidence.reference)
    if rules.max_memory_mb is not None and (evidence.memory_mb or 0) > rules.max_memory_mb:
        return Step("discard", f"uses {evidence.memory_mb:.0f} MB, above the limit of {rules.max_memory_mb:.0f} MB")
    noise = _noise(evidence)
    if rules.policy == "greedy" or noise.exact:
        return _by_one_run(gain, evidence, rules, noise)
    return _confirm(gain, evidence, rules, noise)


def _by_one_run(gain: float, evidence: Evidence, rules: Rules, noise: Noise) -> Step:
    unit = _unit(evidence)
    how = "the metric repeats exactly" if noise.exact else "greedy: one run decides"
    if gain > 0 and gain >= rules.minimum_gain:
        return Step("keep", f"better by {gain:.6g}{unit} ({how})", noise=noise)
    if gain == 0 and rules.simplicity and evidence.code_removed:
        return Step("keep", f"equal, and simpler ({how})", noise=noise)
    if gain > 0:
        reason = f"better by {gain:.6g}{unit}, less than the minimum gain of {rules.minimum_gain:.6g}"
        return Step("discard", reason, noise=noise)
    return Step("discard", f"{_worse(gain, unit)} ({how})", noise=noise)


def _confirm(gain: float, evidence: Evidence, rules: Rules, noise: Noise) -> Step:
    """Screen on one run; then decide on fresh seeds alone, each paired with the incumbent's run of that seed."""
    unit = _unit(evidence)
    simpler = rules.simplicity and evidence.code_removed
    fresh = list(evidence.candidate)[1:]
    if not fresh:
        spread = noise.sd * math.sqrt(1 + 1 / max(1, len(evidence.incumbent_unbiased))) if noise.sd else 0.0
        floor = -spread if simpler else SCREEN_Z * spread
        if gain < floor or (gain <= 0 and not simpler):
            by = f" against a noise of {noise.sd:.2g}" if noise.sd else ""
            return Step("discard", f"the first run is {_worse(gain, unit)}{by}", noise=noise)
        return Step("run_candidate", "the first run is promising", _fresh_seed(evidence), noise)

    unpaired = [seed for seed in fresh if seed not in evidence.incumbent]
    if unpaired:
        return Step("run_incumbent", "the incumbent has no run of this seed", unpaired[0], noise)
    gains = [evidence.metric.gain(evidence.candidate[seed], evidence.incumbent[seed]) for seed in fresh]
    mean, n = math.fsum(gains) / len(gains), len(gains)
    told = f"{n} fresh seed{'s' if n > 1 else ''}"
    if noise.sd is not None:
        error = noise.sd * math.sqrt(2 / n)
        # alpha is shared out over the looks, so that looking several times does not raise it
        needed = _student(1 - rules.alpha / rules.seeds, noise.dof) * error
        with_noise = f"noise {noise.sd:.2g}, needed {needed:.2g}"
        if mean > 0 and mean >= needed and mean >= rules.minimum_gain:
            return Step("keep", f"better by {mean:.4g}{unit} over {told} ({with_noise})", noise=noise)
        if simpler and n == rules.seeds and mean >= -error:
            return Step("keep", f"not worse within noise ({mean:+.4g}{unit} over {told}), and simpler", noise=noise)
        if n >= rules.seeds or (mean <= 0 and not simpler):
            if mean <= 0:
                return Step("discard", f"not confirmed: {_worse(mean, unit)} over {told}", noise=noise)
            return Step("discard", f"not confirmed: better by {mean:.4g}{unit} over {told} ({with_noise})", noise=noise)
    elif n >= rules.seeds or mean <= 0:
        # One fresh seed and no repeat of any commit: there is no noise to judge against.
        return Step("discard", f"not confirmed: {_signed(mean, unit)} over {told}, noise unknown", noise=noise)
    return Step("run_candidate", "not decided yet", _fresh_seed(evidence), noise)


def _noise(evidence: Evidence) -> Noise:
    """Pool all repeats. The screening run was selected for being good, so it is left out, with one exception: a
    fresh seed that gives its very value shows, when nothing else is known, that the metric repeats exactly."""
    values = tuple(evidence.candidate.values())
    noise = pooled([*evidence.others, evidence.incumbent_unbiased, values[1:]])
    if noise.dof == 0 and len(values) > 1 and len(set(values)) == 1:
        return pooled([values])
    return noise


def _fresh_seed(evidence: Evidence) -> int:
    """Return the next seed: one that the incumbent has already run when there is one, else a new one."""
    for seed in evidence.incumbent:
        if seed not in evidence.candidate and seed not in evidence.incumbent_chosen_on:
            return seed
    return max([*evidence.incumbent, *evidence.candidate]) + 1


def _student(quantile: float, dof: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(dof, quantile))


def _unit(evidence: Evidence) -> str:
    return f" {evidence.metric.unit}" if evidence.metric.unit else ""


def _worse(gain: float, unit: str) -> str:
    return (
        "no better" if gain == 0 else f"worse by {-gain:.4g}{unit}" if gain < 0 else f"better by only {gain:.4g}{unit}"
    )


def _signed(gain: float, unit: str) -> str:
    return f"better by {gain:.4g}{unit}" if gain > 0 else _worse(gain, unit)
