"""Whether a change costs too much of another metric: the guards, as one pure function of the evidence.

`max` and `min` bound what the first run reports. `worse_by` is judged with the noise of its own metric, on the runs
that the decision makes anyway: broken is what is worse by more than allowed, and by more than its noise explains. It is
looked at twice: after the first run, to spare the others, and before a keep. There the first run has no part, as it has
none in the decision: it was selected for its value, and the luck of the two metrics may be one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from autoresearch.statistics.base_noise import of_base
from autoresearch.statistics.distributions import student
from autoresearch.statistics.evidence import Evidence, Step
from autoresearch.statistics.noise import pooled
from autoresearch.statistics.rules import Guard, Rules

ALPHA = 0.02
"""The chance that a change which is worse by just what is allowed is taken for one that breaks its guard."""

EARLY = 0.25
"""The part of it that the look after the first run may spend."""

HELD = 0.05
"""The chance of a loss beyond what is allowed that is still called allowed; between the two it is not decided."""

SLACK = 1e-9
"""Of the values: a difference of sums is not exact, and what is just allowed is allowed."""


@dataclass(frozen=True, slots=True)
class Loss:
    """How much worse the candidate is than what it is compared with, in the unit of the guard's metric."""

    guard: Guard
    mean: float
    """Negative is better."""
    error: float | None
    """Its standard error: 0 where every run repeats, None where nothing was run twice."""
    dof: int
    slack: float
    certain: bool
    """Whether no run speaks against it: each of the candidate's is worse by more than allowed."""

    def broken(self, alpha: float) -> bool:
        return self.error is not None and self.mean - self._reach(alpha) > self._allowed

    def held(self) -> bool:
        return self.error is not None and self.mean + self._reach(HELD) <= self._allowed

    @property
    def _allowed(self) -> float:
        return (self.guard.worse_by or 0.0) + self.slack

    def _reach(self, alpha: float) -> float:
        return student(1 - alpha, self.dof) * self.error if self.error else 0.0

    @property
    def words(self) -> str:
        told = "as good" if self.mean == 0 else f"{'worse' if self.mean > 0 else 'better'} by {abs(self.mean):.3g}"
        return f"{told} ± {self.error:.2g}" if self.error else told


def broken_at_once(evidence: Evidence, rules: Rules) -> list[str]:
    """Return which guards the candidate's first run breaks, a phrase each: nothing more needs to be run then.

    Where every repeat was equal so far a second run must say the same: equal repeats prove nothing.
    """
    broken = [words for guard in rules.guards if (words := guard.broken(evidence.metrics))]
    for loss in _losses(evidence, rules):
        by_one = len(evidence.candidate) == 1 and bool(loss.error)
        by_equals = len(evidence.candidate) > 1 and loss.error == 0.0 and loss.certain
        if (by_one and loss.broken(EARLY * ALPHA)) or (by_equals and loss.broken(ALPHA)):
            broken.append(_broken(loss))
    return broken


def before_a_keep(step: Step, evidence: Evidence, rules: Rules) -> Step:
    """Return a keep with what its guards leave open; a discard that names those that are broken."""
    losses = [*_losses(evidence, rules)]
    broken = [_broken(loss) for loss in losses if loss.broken((1 - EARLY) * ALPHA)]
    if broken:
        return replace(step, action="discard", reason=f"{'; '.join(broken)}; else a keep: {step.reason}")
    left = [_undecided(loss) for loss in losses if not loss.held()]
    left += [f"{guard.name} of the {guard.against} is not known here, so its guard tells nothing"
             for guard in rules.relative if guard.name in evidence.guards and not evidence.guards[guard.name].reference
             and guard.name in evidence.metrics]  # fmt: skip
    return replace(step, reason="; ".join([step.reason, *left]))


def _losses(evidence: Evidence, rules: Rules) -> Iterator[Loss]:
    """Yield the loss for each guard that compares, where there are runs of both sides."""
    by_one = rules.policy == "greedy"
    for guard in rules.relative:
        known = evidence.guards.get(guard.name)
        if known is None or not known.candidate or not known.reference:
            continue
        first = next(iter(evidence.candidate))
        fresh = [value for seed, value in known.candidate.items() if seed != first]
        values, theirs = fresh or [*known.candidate.values()], known.reference
        noise = of_base(pooled([*known.groups, values]), (known.older,))
        error = None if noise.sd is None else noise.sd * math.sqrt(1 / len(values) + 1 / len(theirs))
        slack = SLACK * max(map(abs, (*values, *theirs)))
        sign = 1 if guard.direction == "lower" else -1
        ours, other = _mean(values), _mean(theirs)
        limit = (guard.worse_by or 0.0) + slack
        certain = all(sign * (value - other) > limit for value in known.candidate.values())
        yield Loss(guard, sign * (ours - other), 0.0 if by_one else error, noise.dof, slack, certain)


def _broken(loss: Loss) -> str:
    guard = loss.guard
    return f"{guard.name} is {loss.words} than the {guard.against}'s, and may be by {guard.worse_by:g}"


def _undecided(loss: Loss) -> str:
    guard = loss.guard
    why = "" if loss.error is not None else ", and its noise is not known"
    whether = f"whether {guard.name} is worse than the {guard.against}'s by more than {guard.worse_by:g}"
    return f"{whether} is not decided: {loss.words}{why}"


def _mean(values: Sequence[float]) -> float:
    return math.fsum([value / len(values) for value in values])
