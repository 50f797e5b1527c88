"""Keep or discard: one pure function from what was measured to the next run, or the verdict.

`next_step` is asked again after every run until it says keep or discard. A candidate costs one run when it is clearly
no better. Else pairs decide: candidate and incumbent one after the other on the same fresh seed, the order alternating,
a look after each, only while it can change the answer. The screening run has no part in that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from autoresearch.statistics.alpha import alpha_at, spent_on
from autoresearch.statistics.base_noise import BaseNoise, of_base
from autoresearch.statistics.distributions import student
from autoresearch.statistics.evidence import Evidence, Step
from autoresearch.statistics.guards import before_a_keep, broken_at_once
from autoresearch.statistics.noise import Noise, median, pooled
from autoresearch.statistics.rules import Guard, Rules, silent_guards

__all__ = ["BASELINE_RUNS", "Evidence", "Guard", "Rules", "Step", "next_step", "silent_guards"]

SCREEN_Z = 1.0
"""A screening run must gain this many standard errors to be worth confirming."""

HALF_Z = -0.3
"""After the candidate's half of the first pair a gain below this many standard errors is given up."""

FUTILE_Z = 0.5
"""After the first pair a mean gain below this many standard errors is given up, and below 1 more before the last:
what is still so small is seldom confirmed, and most changes have no effect."""

LAST_RUNS = 5
"""Runs of the incumbent that a candidate is compared with, the last ones. Each confirmation makes new ones beside the
candidate's: neither the luck of old runs, nor what the machine was like then, meets every later candidate."""

CONTROLS = (3, 6)
"""A screening run is compared with its neighbours, the last changes of this base on the same seed and the incumbent
itself, when there are so many, and with so many at most: most changes do nothing, so the middle of them is what this
seed and this machine give now."""

STALE_AFTER = 25
"""Experiments after which the incumbent is run once more: a machine that has become slower must not speak against
every new idea, nor one that has become faster for it."""

COMES_AGAIN = 2
"""More runs in which a gain must be the same where every repeat was equal so far and the task does not say `exact`."""

HERE_DOF = 2
"""Repeats of the present base before a gain is given up after one run: noise shrinks from base to base, and what is
borrowed from older ones would hide every gain of a later one."""

SIMPLER_SEEDS = 3
"""Fresh seeds after which less code that is not worse within noise is kept."""

BASELINE_RUNS = 3
"""Seeds of a baseline unless a person says otherwise: the least that tells a spread, and that its figure is rough."""

MOST_PAIRS = 64
"""More than this nobody makes; a difference that needs them is too small for this noise."""


def next_step(evidence: Evidence, rules: Rules) -> Step:
    """Return the next run to make, or the verdict with its reason."""
    broken = broken_at_once(evidence, rules)
    step = Step("discard", "; ".join(broken)) if broken else _next_step(evidence, rules)
    step = before_a_keep(step, evidence, rules) if step.action == "keep" else step
    looks = 0 if rules.policy == "greedy" or step.noise.exact else len(_pairs(evidence))
    step = replace(step, alpha=spent_on(min(looks, rules.seeds), rules, evidence.spent))
    silent = silent_guards(rules, evidence.metrics)
    if step.action in ("keep", "discard") and silent:
        return replace(step, reason=f"{step.reason}; {silent}")
    return step


def _next_step(evidence: Evidence, rules: Rules) -> Step:
    metric, screening = evidence.metric, next(iter(evidence.candidate.values()))
    noise = _noise(evidence)
    if evidence.reference is None:
        return Step("run_incumbent", "the incumbent has no run on this hardware", _new_seed(evidence), noise)
    gain = metric.gain(screening, evidence.reference)
    if rules.policy == "greedy" or rules.exact:
        return _by_one_run(gain, evidence, rules, noise)
    if noise.exact:
        return _by_equal_runs(gain, evidence, rules, noise)
    if len(evidence.candidate) > 1:
        return _confirm(evidence, rules, noise)
    return _screen(evidence, rules, noise)


def _by_one_run(gain: float, evidence: Evidence, rules: Rules, noise: Noise) -> Step:
    unit = _unit(evidence)
    exact = rules.exact or noise.exact
    how = "the metric repeats exactly" if exact and rules.policy != "greedy" else "greedy: one run decides"
    if gain > 0 and gain >= rules.minimum_gain:
        return Step("keep", f"better by {gain:.6g}{unit} ({how})", noise=noise)
    if gain == 0 and rules.simplicity and evidence.code_removed:
        return Step("keep", f"equal, and simpler ({how})", noise=noise)
    if gain > 0:
        reason = f"better by {gain:.6g}{unit}, less than the minimum gain of {rules.minimum_gain:.6g}"
        return Step("discard", reason, noise=noise)
    return Step("discard", f"{_worse(gain, unit)} ({how})", noise=noise)


def _by_equal_runs(gain: float, evidence: Evidence, rules: Rules, noise: Noise) -> Step:
    """Every repeat gave the same value so far, which proves nothing where nobody says so: a gain must come again.

    A metric that differs in one of a hundred runs looks like this for a whole night, and keeps a lucky run of it.
    """
    found = _by_one_run(gain, evidence, rules, noise)
    if found.action != "keep":
        return found
    if len(evidence.candidate) <= min(COMES_AGAIN, rules.seeds):
        return Step("run_candidate", "equal repeats prove nothing: a gain must come again", _new_seed(evidence), noise)
    missing = [seed for seed in [*evidence.candidate][1:] if seed not in evidence.taken | evidence.incumbent.keys()]
    if missing and not (evidence.pairs or evidence.older):
        return Step("run_incumbent", "the first gain is run again on both sides", missing[0], noise)
    told = "one draw: no value depends on its seed"
    return replace(found, reason=found.reason.replace("the metric repeats exactly", f"it came again; {told}"))


def _screen(evidence: Evidence, rules: Rules, noise: BaseNoise) -> Step:
    """Say from the first run whether the change is worth pairs."""
    if evidence.stale:
        return Step("run_incumbent", "the incumbent was last run long ago", _new_seed(evidence), noise)
    simpler = rules.simplicity and evidence.code_removed
    views = _screened(evidence, noise)
    gain, spread, what = views[0]
    floor = -spread if simpler else SCREEN_Z * spread
    good = [got >= (-error if simpler else SCREEN_Z * error) and (got > 0 or simpler) for got, error, _ in views]
    if evidence.asked or good[0] or (any(good) and gain > 0):
        return Step("run_candidate", "the first run is promising", _fresh_seed(evidence), noise)
    if gain > 0 and noise.here < HERE_DOF and noise.dof > noise.here:
        return Step("run_incumbent", "the noise here is known from earlier bests alone", _new_seed(evidence), noise)
    reason = f"the first run is {_worse(gain, _unit(evidence))}{what}"
    if gain <= 0 or not spread:
        return Step("discard", f"{reason}{_against(noise)}", noise=noise, error=spread or None)
    short = floor - gain
    reason += f", needed {floor:.2g} to go on, {short:.2g} short{_against(noise)}"
    step = Step("discard", reason, noise=noise, short=short, error=spread)
    return _closing(evidence, rules, noise, step, gain, nearness=0.5)


def _screened(evidence: Evidence, noise: BaseNoise) -> list[tuple[float, float, str]]:
    """Return the gain of the screening run, its standard error, and over what: the neighbours, if there are enough of
    them, and the incumbent, for where the neighbours are gains themselves."""
    screening, controls = next(iter(evidence.candidate.values())), evidence.controls[-CONTROLS[1] :]
    assert evidence.reference is not None
    sd = noise.sd or 0.0
    spread = sd * math.sqrt(1 + 1 / max(1, len(evidence.incumbent)))
    than = " than the mean" if len(evidence.incumbent) > 1 else ""
    found = [(evidence.metric.gain(screening, evidence.reference), spread, than)]
    if len(controls) >= CONTROLS[0]:
        pair = of_base(pooled(evidence.pairs), evidence.older_pairs)
        own = min(sd, pair.sd / math.sqrt(2)) if pair.sd and pair.dof > 2 else sd
        spread = own * math.sqrt(1 + 1.57 / len(controls))
        what = f" than the median of the last {len(controls)} first runs"
        found.insert(0, (evidence.metric.gain(screening, median(controls)), spread, what))
    return found


@dataclass(frozen=True, slots=True)
class _Gain:
    """A mean gain with its standard error, and the repeats that this rests on."""

    mean: float
    error: float
    dof: int
    words: str
    last: int = 0
    """Of how many runs of the incumbent the mean is what it is a gain over; 0 where it is that of the pairs."""

    def summary(self, pairs: int, unit: str) -> str:
        """Return the gain, and over what, as the beginning of a reason."""
        after = f"{pairs} pair{'s' if pairs > 1 else ''}"
        if self.last:
            return f"{_signed(self.mean, unit)} than the mean of the incumbent's last {self.last} runs, after {after}"
        return f"{_signed(self.mean, unit)} over {after}"

    def needed(self, alpha: float) -> float:
        return student(1 - alpha, self.dof) * self.error if alpha > 0 else math.inf


def _confirm(evidence: Evidence, rules: Rules, noise: BaseNoise) -> Step:
    """Decide on the pairs alone; look after each, stop when decided."""
    fresh = [*evidence.candidate][1:]
    alone = [seed for seed in fresh if seed not in evidence.incumbent.keys() | evidence.taken]
    if alone:
        given_up = _half(evidence, rules, noise, alone[0]) if len(fresh) == 1 else None
        return given_up or Step("run_incumbent", "the incumbent has no run of this seed", alone[0], noise)
    n, unit = len(fresh), _unit(evidence)
    simpler = rules.simplicity and evidence.code_removed
    found = _gain(evidence, rules, noise)
    if found is None:  # one fresh seed and no repeat of any commit: there is no noise to judge against
        mean = evidence.metric.gain(evidence.candidate[fresh[-1]], evidence.reference or 0.0)
        if n < rules.seeds and mean > 0:
            return _next_run(evidence, n, noise)
        return Step("discard", f"not confirmed: {_signed(mean, unit)} over {n} pairs, noise unknown", noise=noise)
    summary = found.summary(n, unit)
    needed = max(found.needed(alpha_at(n, rules, evidence.spent)), rules.minimum_gain)
    if _stepped(evidence) and n < min(2, rules.seeds):
        needed = max(needed, math.nextafter(found.mean, math.inf))
    told = f"{summary} ({found.words}, needed {needed:.2g})"
    if found.mean > 0 and found.mean >= needed:
        return Step("keep", told, noise=noise, error=found.error)
    if simpler:
        return _simpler(found, n, evidence, rules, noise)
    floor = found.error * (FUTILE_Z + (n - 1) / max(1, rules.seeds - 1))
    if n < rules.seeds and (evidence.asked or found.mean >= floor):
        return _next_run(evidence, n, noise)
    if found.mean <= 0:
        return Step("discard", f"not confirmed: {told}", noise=noise, error=found.error)
    short = needed - found.mean
    told = f"{summary} ({found.words}, needed {needed:.2g}, {short:.2g} short)"
    step = Step("discard", f"not confirmed: {told}", noise=noise, short=short, error=found.error)
    return _closing(evidence, rules, noise, step, found.mean)


def _half(evidence: Evidence, rules: Rules, noise: BaseNoise, seed: int) -> Step | None:
    """Give up after the candidate's half of the first pair, when that is clearly no gain; this can keep nothing."""
    if evidence.asked or not noise.sd or evidence.reference is None or (rules.simplicity and evidence.code_removed):
        return None
    gain = evidence.metric.gain(evidence.candidate[seed], evidence.reference)
    error = noise.sd * math.sqrt(1 + 1 / max(1, len(evidence.incumbent)))
    if gain >= HALF_Z * error:
        return None
    reason = f"not confirmed: the second run is {_worse(gain, _unit(evidence))}{_against(noise)}"
    return Step("discard", reason, noise=noise, error=error)


def _gain(evidence: Evidence, rules: Rules, noise: BaseNoise) -> _Gain | None:
    """Return the mean gain over the pairs, or over the last runs of both where these tell more; None without noise.

    Which of the two it is follows from the noise alone, not from the gain. Where the incumbent's older runs differ from
    those of the pairs by more than their error the lesser gain counts: speed and temperature of a machine change. A
    budget of alpha rests on pairs only: an incumbent's last runs meet one candidate after the other, and so their luck.
    """
    gains = _pairs(evidence)
    n = len(gains)
    alpha = alpha_at(n, rules, evidence.spent)
    pair = of_base(pooled([*evidence.pairs, gains]), evidence.older_pairs)
    mean, found = math.fsum(gains) / n, list[_Gain]()
    known = pair.sd or (pair.sd == 0.0 and len(gains) > 2)  # pairs that agree to the last digit have no noise
    if pair.sd is not None and known and not (noise.sd and _stepped(evidence)):
        words = f"noise of a pair {pair.sd:.2g}{_origin(pair)}"
        found.append(_Gain(mean, pair.sd / math.sqrt(n), pair.dof, words))
    if noise.sd:
        words = f"noise {noise.sd:.2g}{_origin(noise)}"
        found.append(_Gain(mean, noise.sd * math.sqrt(2 / n), noise.dof, words))
        old = [value for seed, value in evidence.incumbent.items() if seed not in evidence.candidate]
        if rules.night_alpha is None and old:
            m = len(evidence.incumbent)
            ours = math.fsum(evidence.candidate[seed] for seed in [*evidence.candidate][1:]) / n
            last = evidence.metric.gain(ours, math.fsum(evidence.incumbent.values()) / m)
            apart = abs(evidence.metric.gain(ours, math.fsum(old) / len(old)) - mean)
            if apart > noise.sd * math.sqrt(1 / n + 1 / len(old)):  # the machine may have changed
                last = min(last, mean)
            of_pairs = last == mean
            found.append(_Gain(last, noise.sd * math.sqrt(1 / n + 1 / m), noise.dof, words, 0 if of_pairs else m))
    if alpha <= 0:
        return min(found, key=lambda gain: gain.error, default=None)
    return min(found, key=lambda gain: gain.needed(alpha), default=None)


def _closing(
    evidence: Evidence, rules: Rules, noise: BaseNoise, step: Step, gain: float, nearness: float = 1.0
) -> Step:
    """Say of a discard that is nearer than its own error that it is a close call, and what decides it.

    After one run half an error counts: every gain below the first threshold is within a whole one of it.
    """
    if step.short is None or not step.error or step.short > step.error * nearness or gain <= 0:
        return step
    pairs = pairs_needed(gain, _noises(evidence, noise), rules, evidence.spent)
    if pairs is None:
        return replace(step, reason=f"{step.reason}; a close call, but too small for this noise")
    how = f"autoresearch try --again {evidence.number} --pairs {pairs}"
    return replace(
        step, pairs=pairs, reason=f"{step.reason}; a close call, to decide: {how} (at most {2 * pairs + 1} runs)"
    )


def pairs_needed(gain: float, known: Sequence[tuple[float, int]], rules: Rules, spent: float = 0.0) -> int | None:
    """Return how many pairs would keep a gain that stays as it is; None when nobody would make so many.

    `known` are noises of a pair with the repeats that they rest on; the best of them counts.
    """
    if gain <= 0 or gain < rules.minimum_gain or not known:
        return None
    least = 4 * (min(sd for sd, _ in known) / gain) ** 2  # no alpha that is asked for is met by two standard errors
    for n in range(max(3, rules.seeds, math.floor(min(least, MOST_PAIRS + 1))), MOST_PAIRS + 1):
        alpha = alpha_at(n, replace(rules, seeds=n), spent)
        if alpha > 0 and any(gain >= student(1 - alpha, dof + n - 1) * sd / math.sqrt(n) for sd, dof in known):
            return n
    return None


def _noises(evidence: Evidence, noise: BaseNoise) -> list[tuple[float, int]]:
    """Return what is known of the noise of a pair: from pairs, and from single runs."""
    pair = of_base(pooled([*evidence.pairs, _pairs(evidence)]), evidence.older_pairs)
    known = [(pair.sd, pair.dof)] if pair.sd and not _stepped(evidence) else []
    return known + ([(noise.sd * math.sqrt(2), noise.dof)] if noise.sd else [])


def _simpler(found: _Gain, n: int, evidence: Evidence, rules: Rules, noise: BaseNoise) -> Step:
    """Keep less code when it is not worse within noise; a loss is given up as soon as it is twice that."""
    summary = found.summary(n, _unit(evidence))
    if found.mean < -2 * found.error or (n >= min(SIMPLER_SEEDS, rules.seeds) and found.mean < -found.error):
        return Step("discard", f"simpler, but {summary}{_against(noise)}", noise=noise, error=found.error)
    if n >= min(SIMPLER_SEEDS, rules.seeds):
        reason = f"simpler, and not worse within noise: {summary}{_against(noise)}"
        return Step("keep", reason, noise=noise, error=found.error)
    return _next_run(evidence, n, noise)


def _next_run(evidence: Evidence, pairs: int, noise: BaseNoise) -> Step:
    """Ask for the first run of the next pair: in every second one the incumbent goes first."""
    waiting = evidence.recent - evidence.candidate.keys()
    if pairs % 2 and not waiting:
        return Step("run_incumbent", "not decided yet", _new_seed(evidence), noise)
    return Step("run_candidate", "not decided yet", _fresh_seed(evidence), noise)


def _pairs(evidence: Evidence) -> tuple[float, ...]:
    """Return the gains of the candidate over the incumbent on the fresh seeds that both have run."""
    gain, theirs = evidence.metric.gain, evidence.incumbent
    return tuple(gain(evidence.candidate[s], theirs[s]) for s in [*evidence.candidate][1:] if s in theirs)


def _noise(evidence: Evidence) -> BaseNoise:
    """Return the noise of one run. The screening run was selected for being good, so it is left out, with one
    exception: a fresh seed that gives its very value shows, when nothing else is known, that the metric repeats."""
    values = tuple(evidence.candidate.values())
    here = pooled([*evidence.groups, values[1:]])
    if here.dof == 0 and not evidence.older and len(values) > 1 and len(set(values)) == 1:
        here = pooled([values])
    elif not here.sd and len(values) > 1 and values[1] != values[0] and not any(n.sd for n in evidence.older):
        here = pooled([*evidence.groups, values])  # the same commit gave two values: it does not repeat
    return of_base(here, evidence.older)


def _stepped(evidence: Evidence) -> bool:
    """Whether repeats tie, as those of a metric do that jumps: then one pair proves nothing, and the spread of a few
    pairs, which may well tie, is no noise."""
    return any(len(set(group)) < len(group) for group in evidence.groups)


def _fresh_seed(evidence: Evidence) -> int:
    """Return the candidate's next seed: one that the incumbent has just run, or else one that is new to both."""
    waiting = sorted(evidence.recent - evidence.candidate.keys())
    return waiting[0] if waiting else _new_seed(evidence)


def _new_seed(evidence: Evidence) -> int:
    return max([*evidence.taken, *evidence.incumbent, *evidence.candidate]) + 1


def _unit(evidence: Evidence) -> str:
    return f" {evidence.metric.unit}" if evidence.metric.unit else ""


def _origin(noise: BaseNoise) -> str:
    return f" ({noise.origin})" if noise.origin else ""


def _against(noise: BaseNoise) -> str:
    return f" against a noise of {noise.sd:.2g}{_origin(noise)}" if noise.sd else ""


def _worse(gain: float, unit: str) -> str:
    return (
        "no better" if gain == 0 else f"worse by {-gain:.4g}{unit}" if gain < 0 else f"better by only {gain:.4g}{unit}"
    )


def _signed(gain: float, unit: str) -> str:
    return f"better by {gain:.4g}{unit}" if gain > 0 else _worse(gain, unit)
