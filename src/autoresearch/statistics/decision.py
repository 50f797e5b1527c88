"""Keep or discard: pure functions from what was measured to what to do next.

`next_step` is asked again after every run until it says keep or discard, so that a candidate costs one run when it
is clearly no better, and more only while they can change the answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from autoresearch.metrics import Metric
from autoresearch.statistics.distributions import student
from autoresearch.statistics.noise import Noise, pooled

SCREEN_Z = 0.8
"""A screening run must gain this many standard errors to be worth confirming: about a fifth of the changes without
effect and 97 % of gains of three standard deviations go on."""

FUTILE_Z = 0.5
"""After the first fresh seed a mean gain below this many standard errors is given up, and below 1 more before the last:
what is still so small is seldom confirmed, and most changes have no effect."""

LAST_RUNS = 5
"""Runs of the incumbent that a candidate is compared with, the last ones. Each confirmation makes new ones beside the
candidate's: neither the luck of old runs, nor what the machine was like then, meets every later candidate."""

PRESENT_RUNS = 3
"""Runs of the incumbent that must be younger than the candidate before it is kept, or `seeds` when that is less: speed
and temperature of a machine change, and the older runs of the incumbent may have had it harder."""

STALE_AFTER = 25
"""Experiments after which the incumbent is run once more: a machine that has become slower must not speak against
every new idea, nor one that has become faster for it."""

SIMPLER_SEEDS = 3
"""Fresh seeds after which less code that is not worse within noise is kept."""

BASELINE_RUNS = 3
"""Seeds of a baseline unless a person says otherwise: the least that tells a spread, and that its figure is rough."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Bounds of another metric than the one that is optimised; None is no bound."""

    name: str
    max: float | None = None
    min: float | None = None

    def broken(self, metrics: Mapping[str, float]) -> str | None:
        """Return how the metrics of a run break this, in a phrase; None when they do not, or do not tell it."""
        value = metrics.get(self.name)
        if value is not None and self.max is not None and value > self.max:
            return f"{self.name} is {value:.6g}, by {value - self.max:.3g} above the limit of {self.max:.6g}"
        if value is not None and self.min is not None and value < self.min:
            return f"{self.name} is {value:.6g}, by {self.min - value:.3g} below the limit of {self.min:.6g}"
        return None


@dataclass(frozen=True, slots=True)
class Rules:
    """The `[keep]` and `[guard]` tables."""

    policy: Literal["confirm", "greedy"] = "confirm"
    seeds: int = 5
    alpha: float = 0.02
    minimum_gain: float = 0.0
    simplicity: bool = True
    guards: tuple[Guard, ...] = ()


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
    """Repeats of each other commit of the segment, the incumbent too: the noise is pooled from them."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """What else the candidate's first run reported."""
    code_removed: bool = False
    """Whether the change leaves less code than there was."""
    recent: frozenset[int] = frozenset()
    """Seeds that the incumbent has run since the candidate began."""
    stale: bool = False
    """Whether the incumbent was last run long ago."""


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next, and why in one sentence."""

    action: Literal["keep", "discard", "run_candidate", "run_incumbent"]
    reason: str = ""
    seed: int | None = None
    noise: Noise = field(default_factory=lambda: Noise(None, 0))


def next_step(evidence: Evidence, rules: Rules) -> Step:
    """Return the next run to make, or the verdict with its reason."""
    broken = [words for guard in rules.guards if (words := guard.broken(evidence.metrics))]
    step = Step("discard", "; ".join(broken)) if broken else _next_step(evidence, rules)
    silent = silent_guards(rules, evidence.metrics)
    if step.action in ("keep", "discard") and silent:
        return replace(step, reason=f"{step.reason}; {silent}")
    return step


def silent_guards(rules: Rules, metrics: Mapping[str, float]) -> str:
    """Return in a phrase which guards a run could not break, as it did not report their metrics; empty for none."""
    unknown = [guard.name for guard in rules.guards if guard.name not in metrics]
    return f"{', '.join(unknown)} was not reported, so its guard tells nothing" if unknown else ""


def _next_step(evidence: Evidence, rules: Rules) -> Step:
    metric, screening = evidence.metric, next(iter(evidence.candidate.values()))
    noise = _noise(evidence)
    if evidence.reference is None:
        return Step("run_incumbent", "the incumbent has no run on this hardware", _new_seed(evidence), noise)
    gain = metric.gain(screening, evidence.reference)
    if rules.policy == "greedy" or noise.exact:
        return _by_one_run(gain, evidence, rules, noise)
    if len(evidence.candidate) > 1:
        return _confirm(evidence, rules, noise)
    return _screen(gain, evidence, rules, noise)


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


def _screen(gain: float, evidence: Evidence, rules: Rules, noise: Noise) -> Step:
    """Say from the first run whether the change is worth more of them."""
    if evidence.stale:
        return Step("run_incumbent", "the incumbent was last run long ago", _new_seed(evidence), noise)
    simpler = rules.simplicity and evidence.code_removed
    spread = noise.sd * math.sqrt(1 + 1 / max(1, len(evidence.incumbent))) if noise.sd else 0.0
    floor = -spread if simpler else SCREEN_Z * spread
    if gain < floor or (gain <= 0 and not simpler):
        return Step("discard", f"the first run is {_worse(gain, _unit(evidence))}{_against(noise)}", noise=noise)
    return Step("run_candidate", "the first run is promising", _fresh_seed(evidence), noise)


def _confirm(evidence: Evidence, rules: Rules, noise: Noise) -> Step:
    """Decide on the fresh seeds alone, each of which the incumbent runs, too; look after each, stop when decided."""
    fresh = list(evidence.candidate)[1:]
    unpaired = [seed for seed in fresh if seed not in evidence.incumbent.keys() | evidence.taken]
    if unpaired:
        return Step("run_incumbent", "the incumbent has no run of this seed", unpaired[0], noise)
    unit, n, m = _unit(evidence), len(fresh), len(evidence.incumbent)
    simpler = rules.simplicity and evidence.code_removed
    reference = math.fsum(evidence.incumbent.values()) / m
    mean = evidence.metric.gain(math.fsum(evidence.candidate[seed] for seed in fresh) / n, reference)
    summary = f"{_signed(mean, unit)} over {n} fresh seed{'s' if n > 1 else ''}"
    if noise.sd is None:  # one fresh seed and no repeat of any commit: there is no noise to judge against
        if n < rules.seeds and mean > 0:
            return Step("run_candidate", "not decided yet", _fresh_seed(evidence), noise)
        return Step("discard", f"not confirmed: {summary}, noise unknown", noise=noise)
    error = noise.sd * math.sqrt(1 / n + 1 / m)
    needed = max(student(1 - alpha_at(n, rules), noise.dof) * error, rules.minimum_gain)
    summary += f" (noise {noise.sd:.2g}, needed {needed:.2g})"
    if mean > 0 and mean >= needed:
        recent = [evidence.incumbent[seed] for seed in evidence.recent if seed in evidence.incumbent]
        if len(recent) < min(PRESENT_RUNS, rules.seeds):
            return Step("run_incumbent", "the machine may have changed", _new_seed(evidence), noise)
        present = mean + evidence.metric.gain(reference, math.fsum(recent) / len(recent))
        if present >= needed:
            return Step("keep", summary, noise=noise)
        summary += f", but {_signed(present, unit)} against the incumbent as it runs now"
    if simpler:
        return _simpler(mean, error, n, evidence, rules, noise)
    if n >= rules.seeds or mean < error * (FUTILE_Z + (n - 1) / (rules.seeds - 1)):
        return Step("discard", f"not confirmed: {summary}", noise=noise)
    return Step("run_candidate", "not decided yet", _fresh_seed(evidence), noise)


def _simpler(mean: float, error: float, n: int, evidence: Evidence, rules: Rules, noise: Noise) -> Step:
    """Keep less code when it is not worse within noise; a loss is given up as soon as it is twice that."""
    summary = f"{_signed(mean, _unit(evidence))} over {n} fresh seed{'s' if n > 1 else ''}"
    if mean < -2 * error or (n >= min(SIMPLER_SEEDS, rules.seeds) and mean < -error):
        return Step("discard", f"simpler, but {summary}{_against(noise)}", noise=noise)
    if n >= min(SIMPLER_SEEDS, rules.seeds):
        return Step("keep", f"simpler, and not worse within noise: {summary}{_against(noise)}", noise=noise)
    return Step("run_candidate", "not decided yet", _fresh_seed(evidence), noise)


def alpha_at(look: int, rules: Rules) -> float:
    """Return the part of alpha that may be spent at a look, from 1 to `rules.seeds`; the parts add up to alpha.

    Little is spent early, as O'Brien and Fleming (1979) do: the spent part grows with the square of the looks. Taking
    the looks for independent, which they are not, errs on the safe side.
    """
    return rules.alpha * (2 * look - 1) / rules.seeds**2


def _noise(evidence: Evidence) -> Noise:
    """Pool all repeats. The screening run was selected for being good, so it is left out, with one exception: a
    fresh seed that gives its very value shows, when nothing else is known, that the metric repeats exactly."""
    values = tuple(evidence.candidate.values())
    noise = pooled([*evidence.groups, values[1:]])
    if noise.dof == 0 and len(values) > 1 and len(set(values)) == 1:
        return pooled([values])
    return noise


def _fresh_seed(evidence: Evidence) -> int:
    """Return the candidate's next seed: one that the incumbent has just run, or else one that is new to both."""
    waiting = sorted(evidence.recent - evidence.candidate.keys())
    return waiting[0] if waiting else _new_seed(evidence)


def _new_seed(evidence: Evidence) -> int:
    return max([*evidence.taken, *evidence.incumbent, *evidence.candidate]) + 1


def _unit(evidence: Evidence) -> str:
    return f" {evidence.metric.unit}" if evidence.metric.unit else ""


def _against(noise: Noise) -> str:
    return f" against a noise of {noise.sd:.2g}" if noise.sd else ""


def _worse(gain: float, unit: str) -> str:
    return (
        "no better" if gain == 0 else f"worse by {-gain:.4g}{unit}" if gain < 0 else f"better by only {gain:.4g}{unit}"
    )


def _signed(gain: float, unit: str) -> str:
    return f"better by {gain:.4g}{unit}" if gain > 0 else _worse(gain, unit)
