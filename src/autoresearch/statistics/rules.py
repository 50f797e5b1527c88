"""The rules of keeping, as the task file says them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from autoresearch.metrics import Direction

Against = Literal["baseline", "incumbent"]


@dataclass(frozen=True, slots=True)
class Guard:
    """Bounds of another metric than the one that is optimised; None is no bound."""

    name: str
    max: float | None = None
    min: float | None = None
    worse_by: float | None = None
    """How much worse than `against` it may be, in its own unit; judged with its noise, in `guards.py`."""
    direction: Direction = "lower"
    """Which way it is better; it matters for `worse_by` alone."""
    against: Against = "baseline"
    """What it is compared with. Of the incumbent, losses that are each allowed would add up."""

    @property
    def words(self) -> str:
        """What it allows, behind the name of the metric and `must be`."""
        bounds = [f"{word} {bound:g}" for word, bound in (("at most", self.max), ("at least", self.min))
                  if bound is not None]  # fmt: skip
        if self.worse_by is not None:
            way = f"{self.direction} is better"
            bounds.append(f"no more than {self.worse_by:g} worse than the {self.against}'s ({way})")
        return " and ".join(bounds)

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
    """The `[keep]` and `[guard]` tables, and what `[metric]` says of the metric's exactness."""

    policy: Literal["confirm", "greedy"] = "confirm"
    seeds: int = 7
    """Most pairs behind a verdict."""
    alpha: float = 0.012
    """The chance of a keep for a change without effect that reaches its pairs."""
    night_alpha: float | None = None
    """The chance of any such keep in the whole session; None leaves it to `alpha`."""
    minimum_gain: float = 0.0
    simplicity: bool = True
    exact: bool = False
    """Whether one run is the whole truth, as the task says."""
    guards: tuple[Guard, ...] = ()

    @property
    def relative(self) -> tuple[Guard, ...]:
        """The guards that compare with another commit."""
        return tuple([guard for guard in self.guards if guard.worse_by is not None])


def silent_guards(rules: Rules, metrics: Mapping[str, float]) -> str:
    """Return in a phrase which guards a run could not break, as it did not report their metrics; empty for none."""
    unknown = [guard.name for guard in rules.guards if guard.name not in metrics]
    return f"{', '.join(unknown)} was not reported, so its guard tells nothing" if unknown else ""
