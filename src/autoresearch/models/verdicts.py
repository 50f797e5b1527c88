"""What a judge said of pairs of answers, and what to make of it: who won, and what the judge itself prefers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from autoresearch.statistics.agreement import FEW, agreement, kappa_estimate
from autoresearch.statistics.win_rate import Dice, Estimate, Part, bootstrap, share, sign_test, win_rate

Side = Literal["one", "other", "tie"]
"""Which of the two answers of a pair."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One pair of answers, `one` and `other`, and the verdicts on it."""

    about: str
    """The property that its prompt tests."""
    forward: Side | None
    """The verdict where `one` was shown first; None where there is none that could be read."""
    backward: Side | None
    """The verdict where `other` was."""
    lengths: tuple[int, int]
    """Characters of both answers."""
    own: Side | None = None
    """Which of them the judge itself has written; None for neither or both."""
    label: Side | None = None
    """What a person said."""
    asked: bool = True
    """Whether the judge was asked at all: two answers that are the same are a tie without it."""

    @property
    def outcome(self) -> Side | None:
        """What both orders together say: what is said in one order alone is a tie."""
        if self.forward is None or self.backward is None:
            return None
        return self.forward if self.forward == self.backward else "tie"

    @property
    def longer(self) -> Side | None:
        one, other = self.lengths
        return None if one == other else "one" if one > other else "other"

    @property
    def choices(self) -> list[tuple[Side, bool]]:
        """Each verdict that is no tie: which answer, and whether that was shown first."""
        said: list[tuple[Side | None, Side]] = [(self.forward, "one"), (self.backward, "other")]
        return [(side, side == first) for side, first in said if side in ("one", "other")]


def decided(judged: Iterable[Judged]) -> list[Judged]:
    """Return the pairs with a verdict in both orders."""
    return [pair for pair in judged if pair.outcome is not None]


@dataclass(frozen=True, slots=True)
class Tally:
    """How often `other` was better than `one`."""

    won: int
    tied: int
    lost: int
    rate: Estimate
    chance: float | None
    """Of wins and losses at least as uneven if both were equally likely."""
    longer: Estimate
    """Characters by which `other` is longer, on average."""

    def as_view(self) -> dict[str, Any]:
        counts = {"prompts": self.won + self.tied + self.lost, "won": self.won, "tied": self.tied, "lost": self.lost}
        rates = {"win_rate": self.rate.as_view(), "sign_test": self.chance, "longer_by": self.longer.as_view()}
        return {**counts, **rates}


def tally(judged: Sequence[Judged], dice: Dice) -> Tally:
    pairs = decided(judged)
    won, tied, lost = (sum(pair.outcome == side for pair in pairs) for side in ("other", "tie", "one"))
    differences = [float(other - one) for one, other in (pair.lengths for pair in pairs)]
    longer = bootstrap(differences, lambda values: sum(values) / len(values), dice)
    return Tally(won, tied, lost, win_rate(won, tied, lost, dice), sign_test(won, lost), longer)


@dataclass(frozen=True, slots=True)
class Preference:
    """How often the judge takes an answer of some kind where it takes one, and how often people do."""

    judge: Estimate
    people: Estimate
    excess: Estimate
    """What the judge has more than people; without labels there is none."""

    def as_view(self) -> dict[str, Any]:
        return {name: getattr(self, name).as_view() for name in ("judge", "people", "excess")}


NOTHING = Estimate(None)


def position(judged: Sequence[Judged], dice: Dice) -> Estimate:
    """Return the share of verdicts that take the answer which was shown first: a half, where order plays no part."""
    return share([Part(sum(first for _, first in pair.choices), len(pair.choices)) for pair in judged], dice)


def preference(judged: Sequence[Judged], of: Callable[[Judged], Side | None], dice: Dice) -> Preference:
    """Return the preference for the answer that `of` names in a pair; None there is a pair that tells nothing."""
    parts: list[tuple[Part, Part]] = []
    for pair in judged:
        kind = of(pair)
        if kind is not None:
            choices = [side for side, _ in pair.choices]
            said = pair.label in ("one", "other")
            parts.append((Part(choices.count(kind), len(choices)), Part(pair.label == kind, said)))
    judge, people = (share([part[at] for part in parts], dice) for at in (0, 1))
    both = [part for part in parts if part[0].of and part[1].of]
    excess = bootstrap(both, _excess, dice) if people else NOTHING
    if excess.value is not None and excess.low is None and both:  # all alike: what both shares leave possible
        shares = [share([part[at] for part in both], dice) for at in (0, 1)]
        (low, high), (least, most) = ((each.low or 0.0, each.high or 0.0) for each in shares)
        excess = replace(excess, low=low - most, high=high - least)
    return Preference(judge, people, excess)


def _excess(parts: Sequence[tuple[Part, Part]]) -> float:
    judge, people = (sum(p[at].hits for p in parts) / sum(p[at].of for p in parts) for at in (0, 1))
    return judge - people


@dataclass(frozen=True, slots=True)
class Judge:
    """What is known of the judge from the pairs that it was shown."""

    pairs: int
    """Those with a verdict in both orders."""
    consistent: Estimate
    """Share of pairs on which both orders agree."""
    first: Estimate
    longer: Preference
    own: Preference
    agreed: Estimate
    """Share of labelled pairs on which it says what people say."""
    kappa: Estimate

    def as_view(self) -> dict[str, Any]:
        return {
            "pairs": self.pairs,
            "swap_consistency": self.consistent.as_view(),
            "takes_first": self.first.as_view(),
            "takes_longer": self.longer.as_view(),
            "takes_own": self.own.as_view(),
            "agreement": self.agreed.as_view(),
            "kappa": self.kappa.as_view(),
        }


def judge_of(judged: Sequence[Judged], dice: Dice) -> Judge:
    pairs = [pair for pair in decided(judged) if pair.asked]
    labelled = [(str(pair.outcome), str(pair.label)) for pair in pairs if pair.label is not None]
    return Judge(
        len(pairs),
        share([Part(pair.forward == pair.backward, 1) for pair in pairs], dice),
        position(pairs, dice),
        preference(pairs, lambda pair: pair.longer, dice),
        preference(pairs, lambda pair: pair.own, dice),
        agreement(labelled, dice),
        kappa_estimate(labelled, dice),
    )


def warnings(judge: Judge, labelled: Judge | None) -> list[str]:
    """Return what its verdicts say against a judge, a sentence each: from the pairs that it was asked about, and from
    those that people have judged."""
    found: list[str] = []
    for first in (judge.first, labelled.first if labelled else NOTHING):
        if _apart(first, 0.5) and not found:
            found.append(
                f"the judge takes the answer that it is shown first in {percent(first)} of its verdicts (50 % would be "
                "fair); a pair on which only the order decides counts as a tie"
            )
    known = labelled or judge
    for what, alone, preference in (
        ("the longer answer", judge.longer, known.longer),
        ("its own answer", judge.own, known.own),
    ):
        if preference.people:
            if _apart(preference.excess, 0.0):
                found.append(
                    f"the judge takes {what} in {percent(preference.judge)} of its verdicts, people in "
                    f"{percent(preference.people)}"
                )
        elif _apart(alone.judge, 0.5):
            found.append(
                f"the judge takes {what} in {percent(alone.judge)} of its verdicts; whether that is a bias, only pairs "
                "that people have judged can tell: --labels"
            )
    if labelled is not None and labelled.agreed.n < FEW:
        found.append(f"{labelled.agreed.n} labelled pairs are few: from {FEW} on the agreement is known well enough")
    return found


def _apart(estimate: Estimate, from_: float) -> bool:
    """Whether the interval of an estimate lies on one side of a number."""
    return estimate.low is not None and estimate.high is not None and not estimate.low <= from_ <= estimate.high


def percent(estimate: Estimate) -> str:
    return "-" if estimate.value is None else f"{100 * estimate.value:.0f} %"
