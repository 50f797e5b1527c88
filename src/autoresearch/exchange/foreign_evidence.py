"""What the numbers of a foreign log show of its metric, where its name alone does not say it.

The decisions are asked first: what was kept is better than what was kept before it. Columns that belong together are
the other witnesses: one with the value before a change, one with the best value so far, one of a quality whose way is
known and that moves alike. What neither shows is left open, for a person to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from autoresearch.exchange.foreign_words import is_beside, is_cost, says_metric, surely_better, words_of
from autoresearch.journal.statuses import Status
from autoresearch.metrics import Direction

MANY_VOTES, FEW_VOTES, AGREED, MOSTLY = 5, 3, 0.8, 0.7
"""Decisions tell a direction when of `MANY_VOTES` the share `AGREED` says it. Fewer tell it when all do; a single one
must be a row that was kept after another, for a discarded row that is better is common, where a gain was too small."""

_AFTER, _BEFORE = frozenset(("after", "new")), frozenset(("before", "old", "previous", "prev", "prior"))
_TRAINED_ON = frozenset(("train", "tr", "training", "precision", "recall"))
"""Words of columns that often stand first and seldom are what is decided on."""

Numbers = Mapping[str, Sequence[float | None]]
"""Column -> its number in each row."""


@dataclass(frozen=True, slots=True)
class Votes:
    """How many decisions say that a column is better when it is lower, and how many when it is higher."""

    lower: int = 0
    higher: int = 0
    kept: int = 0
    """How many of them are rows that were kept."""

    @property
    def all(self) -> int:
        return self.lower + self.higher

    @property
    def way(self) -> Direction | None:
        most = max(self.lower, self.higher)
        if (most == self.all and (self.kept or self.all > 1)) or (self.all >= MANY_VOTES and most >= AGREED * self.all):
            return "lower" if self.lower > self.higher else "higher"
        return None

    def share(self, way: Direction | None) -> float:
        """Return the share that agrees with a direction, or with the better of both."""
        mine = max(self.lower, self.higher) if way is None else self.lower if way == "lower" else self.higher
        return mine / self.all if self.all else 0.0


def votes_of(values: Sequence[float | None], statuses: Sequence[Status | None]) -> Votes:
    """Return what the decisions say: a kept row is better than the one kept before it, a discarded one is not."""
    best: float | None = None
    lower = higher = kept = 0
    for value, status in zip(values, statuses, strict=True):
        if value is None or status not in ("keep", "discard"):
            continue
        if best is not None and value != best:
            up = (value > best) == (status == "keep")
            lower, higher, kept = lower + (not up), higher + up, kept + (status == "keep")
        best = value if status == "keep" else best
    return Votes(lower, higher, kept)


def votes_of_pairs(
    before: Sequence[float | None], after: Sequence[float | None], statuses: Sequence[Status | None]
) -> Votes:
    """Return what the kept rows say that have their own value from before the change."""
    pairs = [
        (old, new)
        for old, new, status in zip(before, after, statuses, strict=True)
        if status == "keep" and old is not None and new is not None and old != new
    ]
    higher = sum(new > old for old, new in pairs)
    return Votes(len(pairs) - higher, higher, len(pairs))


def before_of(name: str, columns: Sequence[str]) -> str | None:
    """Return the column with the values from before the changes: `old_score` for `new_score`."""
    words = words_of(name)
    if _AFTER.isdisjoint(words):
        return None
    bare = [word for word in words if word not in _AFTER]
    if bare in ([], ["value"]):
        return None  # the values of a parameter
    partners = [c for c in columns if not _BEFORE.isdisjoint(words_of(c))]
    return next((c for c in partners if [word for word in words_of(c) if word not in _BEFORE] == bare), None)


def of_several(likely: Sequence[str], numbers: Numbers, statuses: Sequence[Status | None]) -> str | None:
    """Return the one of several columns that is the metric, or None where that is not sure.

    That is the one that its name makes the metric, that has a column of the values before it or of the best so far, or
    that moved as the decisions say. The first column is the metric in the usual layout, so of several that moved alike
    it is the first one, and so it is where its name says which way is better and the decisions are too few to say more.
    """
    found = _by_name(likely, numbers) or _followed(likely, numbers, statuses)
    return found or _moved(likely, numbers, statuses)


def _by_name(likely: Sequence[str], numbers: Numbers) -> str | None:
    plain = [c for c in likely if says_metric(c)]
    changed = [c for c in likely if before_of(c, [*numbers]) is not None]
    scored = [c for c in likely if words_of(c)[:1] in (["val"], ["validation"]) and says_metric(words_of(c)[-1])]
    return next((names[0] for names in (plain, changed, scored) if len(names) == 1), None)


def _followed(likely: Sequence[str], numbers: Numbers, statuses: Sequence[Status | None]) -> str | None:
    """Return the only column whose best value so far stands in another column, which changes at least once."""
    running = [
        cells for c, cells in numbers.items() if "best" in words_of(c) and len({v for v in cells if v is not None}) > 1
    ]
    found = [c for c in likely if any(_is_best_so_far(numbers[c], cells, statuses) for cells in running)]
    return found[0] if len(found) == 1 else None


def _is_best_so_far(
    values: Sequence[float | None], running: Sequence[float | None], statuses: Sequence[Status | None]
) -> bool:
    """Whether that is what `running` says, of all rows that ran or of those that were kept."""
    for pick, counts in product((min, max), (("keep", "discard", None), ("keep",))):
        best: float | None = None
        same = True
        for value, told, status in zip(values, running, statuses, strict=True):
            if value is not None and status in counts:
                best = value if best is None else pick(best, value)
            same &= told is None or told == best
        if same:
            return True
    return False


def _moved(likely: Sequence[str], numbers: Numbers, statuses: Sequence[Status | None]) -> str | None:
    votes = {c: votes_of(numbers[c], statuses) for c in likely}
    share = {c: votes[c].share(surely_better(c)) for c in likely}
    moved = [c for c in likely if votes[c].all >= MANY_VOTES and share[c] >= AGREED]
    measured = [c for c in likely if "val" in words_of(c)[:2]]
    if len(measured) == 1 and (measured[0] in moved or not moved):
        return measured[0]
    first = likely[0]
    if _alone_is_whole(first, likely, numbers, statuses) and votes[first].all >= FEW_VOTES and share[first] == 1.0:
        return first
    if _leads(first, likely, votes, share):
        return first
    rest = [share[c] for c in likely if c not in moved and votes[c].all >= MANY_VOTES]
    if len(moved) == 1 and share[moved[0]] - max(rest, default=0.0) >= 1 - AGREED:
        return moved[0]
    earlier = likely[: likely.index(moved[0])] if moved else ()
    if earlier and all(votes[c].all >= FEW_VOTES and share[c] <= 0.5 for c in earlier):
        return moved[0]  # what stands before it went against the decisions
    return None


def _alone_is_whole(first: str, likely: Sequence[str], numbers: Numbers, statuses: Sequence[Status | None]) -> bool:
    """Whether a column, and no other, has a number in every row that was decided on."""
    rows = [at for at, status in enumerate(statuses) if status in ("keep", "discard")]
    return [c for c in likely if all(numbers[c][at] is not None for at in rows)] == [first]


def _leads(first: str, likely: Sequence[str], votes: Mapping[str, Votes], share: Mapping[str, float]) -> bool:
    """Whether the first column is the metric, as it is in the usual layout."""
    named = surely_better(first) is not None
    if votes[first].all >= FEW_VOTES:
        best = max((share[c] for c in likely if c != first and votes[c].all >= FEW_VOTES), default=0.0)
        if share[first] >= AGREED and (named or votes[first].all >= MANY_VOTES):
            return share[first] >= best - (1 - AGREED)
        return named and votes[first].all >= MANY_VOTES and share[first] >= max(MOSTLY, best)
    alike = any(words_of(c)[-1:] == words_of(first)[-1:] for c in likely if c != first)
    alike &= len(words_of(first)) > 1  # else the others are parts of it: `loss`, `policy_loss`, `value_loss`
    if alike or "." in first or not _TRAINED_ON.isdisjoint(words_of(first)):
        return False  # the order of nested tables says nothing
    return named and (votes[first].all == 0 or share[first] == 1.0)


def way_of_companions(metric: str, numbers: Numbers) -> tuple[Direction, str] | None:
    """Return the way of a metric that a column of a known quality moves with, and that column; None where none does.

    What a run costs and how fast it is do not count: a larger model is slower and better.
    """
    found: dict[str, Direction] = {}
    for column, cells in numbers.items():
        way = surely_better(column)
        if column == metric or way is None or is_beside(column) or is_cost(column):
            continue
        pairs = [(a, b) for a, b in zip(numbers[metric], cells, strict=True) if a is not None and b is not None]
        if min(len({a for a, _ in pairs}), len({b for _, b in pairs})) < MANY_VOTES:
            continue
        alike = [(a - c) * (b - d) > 0 for (a, b), (c, d) in combinations(pairs[:200], 2) if a != c and b != d]
        together = sum(alike) / len(alike)
        if together >= 1 - (1 - AGREED) / 2:
            found[column] = way
        elif together <= (1 - AGREED) / 2:
            found[column] = "higher" if way == "lower" else "lower"
        else:
            return None  # a quality that goes its own way
    ways = set(found.values())
    return (ways.pop(), next(iter(found))) if len(ways) == 1 else None
