"""The sampler's opening: the constants that a task names first, one at a time, one step up and one step down.

Which constants matter is known before a session more often than which values are good: of most programs a few constants
make most of the difference (van Rijn and Hutter, "Hyperparameter Importance Across Datasets", 2018). So these are moved
first, each alone, which also says of a gain where it comes from. A way that was kept is gone on (the pattern search of
Hooke and Jeeves, 1961); one that was measured and not kept is not gone again. After that the sampler draws as ever.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence

from autoresearch.search.measured import Measured, Point
from autoresearch.search.space import Knob, Space, Value

SHORTEST, LONGEST = 0.15, 0.3
"""Part of a range that one step covers; of ordered choices it goes to the next one."""


def opening(
    space: Space, here: Point, known: Sequence[Measured], first: Collection[str], free: Collection[int],
    rng: random.Random,
) -> Iterator[Point]:  # fmt: skip
    """Yield the points that are still to be tried, in the order of `first`, names of constants; each differs from
    `here` in one knob of the space, whose index is among `free`. Which way comes first is drawn, as is a step's length.
    """
    for name in first:
        for i, knob in enumerate(space):
            if knob.name == name and i in free:
                for way in rng.sample((1, -1), 2):
                    length = rng.uniform(SHORTEST, LONGEST)
                    value = stepped(knob, way, length)
                    if value is not None and not _gone(knob, i, way, known):
                        yield (*here[:i], value, *here[i + 1 :])


def stepped(knob: Knob, way: int, length: float) -> Value | None:
    """Return the value one step up (`way` 1) or down (-1); None where there is none, or where choices have no order."""
    where = knob.position(knob.value)
    if where is None or (knob.scale == "choice" and not knob.ordered):
        return None
    if knob.scale == "choice":
        there = where + way
        return knob.at(there) if 0 <= there < len(knob.choices) else None
    value = knob.at(min(1.0, max(0.0, where + way * length)))
    return value if value != knob.value else None


def _gone(knob: Knob, i: int, way: int, known: Sequence[Measured]) -> bool:
    """Whether something was measured that lies this way from the present value."""
    here = knob.position(knob.value)
    assert here is not None
    places = [knob.position(m.point[i]) for m in known]
    return any(there is not None and (there - here) * way > 0 for there in places)
