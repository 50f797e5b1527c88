"""The noise of where a session is now: what was seen there, and what older bases say as far as they agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autoresearch.statistics.distributions import beta_cdf
from autoresearch.statistics.noise import Noise

PRIOR_DOF = 10
"""What older bases together may count for, in repeats: a scale that shrinks from base to base is the rule."""


@dataclass(frozen=True, slots=True)
class BaseNoise(Noise):
    """A noise with its origin."""

    here: int = 0
    """Degrees of freedom that come from the present base; the others are borrowed."""

    @property
    def origin(self) -> str:
        """Where it comes from, in a phrase; empty when it is all of this base."""
        if self.dof == 0 or self.here >= self.dof:
            return ""
        return f"{self.dof - self.here} of {self.dof} repeats from earlier bests"


def of_base(here: Noise, older: Sequence[Noise]) -> BaseNoise:
    """Return the noise of the present base; `older` are those of the bases before, the newest last.

    An older base counts as far as the two spreads agree (the two-sided p of their F test, twice it, at most 1), the
    newer ones first, all of them together for `PRIOR_DOF` repeats. A spread of nothing says that nothing was seen yet,
    not that there is none: then the older ones count in full.
    """
    squares, dof = (here.sd or 0.0) ** 2 * here.dof, float(here.dof)
    room = float(PRIOR_DOF)
    for noise in reversed(older):
        if noise.sd is None or room <= 0:
            continue
        taken = min(room, noise.dof * agreement(here, noise))
        squares, dof, room = squares + taken * noise.sd**2, dof + taken, room - taken
    if dof < 1:
        known = next((noise for noise in reversed(older) if noise.sd is not None), None)
        return BaseNoise(known.sd, 1, 0) if known else BaseNoise(here.sd, here.dof, here.dof)
    if squares == 0 and any(noise.sd for noise in older):
        all_of_them = [(noise.sd or 0.0, noise.dof) for noise in (here, *older)]
        dof = sum(n for _, n in all_of_them)
        squares = sum(sd**2 * n for sd, n in all_of_them)
    return BaseNoise(math.sqrt(squares / dof), max(here.dof, math.floor(dof)), here.dof)


def agreement(here: Noise, other: Noise) -> float:
    """Return how far two spreads agree, from 0 to 1."""
    if not here.dof or not here.sd or not other.sd or not math.isfinite(here.sd) or not math.isfinite(other.sd):
        return 1.0
    ratio = here.dof * (here.sd / other.sd) ** 2
    p = beta_cdf(ratio / (ratio + other.dof), here.dof / 2, other.dof / 2)
    return min(1.0, 4 * min(p, 1 - p))
