"""What a second model process, which saw only beginnings, says of the scores of the first.

A model may use what comes before a place and nothing else. Process A scored whole rows, so it could have looked at the
answer, at other rows, or at earlier calls. Process B gets a row up to one place, filled up with tokens of that
beginning, and scores that place; where it is right, A and B agree to rounding. Of a row B sees shorter beginnings
first, so that what it was shown never says what follows. The mean difference is what A gained by what it may not use,
whatever that was, so it is added to the score; a difference beyond rounding ends the run as tampered.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harness.errors import Verdict

TOLERANCE = 1e-3
"""Nats by which the two may differ at one place: kernels whose order of summation depends on the machine's load."""

ROUNDING = 1e-5
"""Nats of the mean that count as rounding, and are not added: 0.000005 bits a byte."""

SURE = 4.0
"""Standard errors beyond which a mean difference is no chance."""

ALONE = 0.002
"""Part of the answers that rounding may turn, where two of them are as good as equal."""

CONTAMINATED = 5.0
"""Standard errors by which a split may be easier than held-out text on which no decision rests."""

FEWEST_DOCUMENTS = 30
"""Documents on each side below which contamination is not looked for."""


@dataclass(frozen=True, slots=True)
class Prefixes:
    """Places to ask process B about."""

    rows: np.ndarray
    """int64 [n]: the row of each."""
    places: np.ndarray
    """int64 [n]: the place, whose output rests on the tokens up to and with it."""


def draw_prefixes(scored: np.ndarray, count: int) -> Prefixes:
    """`count` places of `scored`, bool [R, T], evenly over the length of the rows and else by chance.

    The chance is the system's, since a model that knew the places could behave there. Fewer where there are fewer."""
    rng = random.SystemRandom()
    rows, places = np.nonzero(scored)
    by_place = np.lexsort((rows, places))
    count = min(count, len(rows))
    edges = [number * len(rows) // count for number in range(count + 1)] if count else [0]
    chosen = by_place[[rng.randrange(a, b) for a, b in itertools.pairwise(edges)]]
    order = rng.sample(range(count), count)
    return Prefixes(rows[chosen][order], places[chosen][order])


def fill_up(prefixes: Prefixes, inputs: np.ndarray) -> np.ndarray:
    """[n, T]: each prefix, followed by tokens drawn from itself: other text would tell process B of other rows."""
    rows, length = inputs[prefixes.rows], prefixes.places[:, None] + 1
    drawn = (np.random.default_rng().random(rows.shape) * length).astype(np.int64)
    return np.where(np.arange(rows.shape[1]) < length, rows, np.take_along_axis(rows, drawn, 1))


def turns(prefixes: Prefixes) -> Iterator[np.ndarray]:
    """Indices of the prefixes, in turns: the shortest of each row, then the next of each that has more, and so on.

    Process B is asked turn by turn, so that no row comes twice in one request, and none longer before it comes shorter:
    else what it has seen would say what follows."""
    order = np.lexsort((prefixes.places, prefixes.rows))
    begins = np.flatnonzero(np.diff(prefixes.rows[order], prepend=-1))
    turn = np.arange(len(order)) - np.repeat(begins, np.diff(begins, append=len(order)))
    for number in range(int(turn.max(initial=-1)) + 1):
        yield np.random.default_rng().permutation(order[turn == number])


def correction(whole: np.ndarray, prefix: np.ndarray) -> float:
    """What to add to the mean of the scores: nats by which process A (`whole` [n]) was better than B (`prefix` [n]).

    0 when they agree to rounding. Raises Verdict tampered when they do not agree.
    """
    difference = prefix - whole
    worst = float(np.abs(difference).max(initial=0.0))
    if not worst <= TOLERANCE:
        share = float((np.abs(difference) > TOLERANCE).mean())
        raise Verdict(
            "tampered",
            f"a token's score depends on more than the tokens before it: with only these it differs by up to "
            f"{worst:.3g} nats, at {100 * share:.3g} % of {len(difference)} places "
            "(later tokens, other rows, or earlier calls)",
        )
    mean = float(difference.mean()) if len(difference) else 0.0
    if abs(mean) <= ROUNDING:
        return 0.0
    error = float(difference.std(ddof=1)) / math.sqrt(len(difference)) if len(difference) > 1 else 0.0
    if mean > SURE * error:
        raise Verdict(
            "tampered",
            f"scores are {mean:.3g} nats a token better with later tokens in view, over {SURE:g} standard errors",
        )
    return mean


def check_alone(first: np.ndarray, second: np.ndarray, within: float = 0.0) -> None:
    """Raise Verdict tampered when an example has another answer among other examples: for tasks without prefixes.

    Both are the scores of the same examples [n], the second from process B, in another order. Scores that are no
    further apart than `within` are the same: nats differ by rounding, and show what right and wrong alone do not where
    a model is wrong nearly always."""
    apart = np.abs(first.astype(np.float64) - second.astype(np.float64)) > within
    differing = float(apart.mean()) if len(first) else 0.0
    if differing > ALONE:
        raise Verdict(
            "tampered",
            f"{100 * differing:.3g} % of {len(first)} examples have another answer among others: the model uses more "
            "than the example itself (other rows, or earlier calls)",
        )


def check_contamination(
    split: np.ndarray, control: np.ndarray, *, data: str = "text", unit: str = "nats a byte"
) -> None:
    """Raise Verdict tampered when a split is much easier than other held-out data: somebody has seen it.

    Both are [D, 2], the losses of each document or example and its size: nats and bytes, or another `unit` of `data`.
    """
    if min(len(split), len(control)) < FEWEST_DOCUMENTS:
        return
    means, errors = [], []
    for losses, size in (split.T, control.T):
        mean = losses.sum() / size.sum()
        means.append(mean)
        errors.append(math.sqrt(len(losses) * np.var(losses - mean * size, ddof=1)) / size.sum())
    lead = (means[1] - means[0]) / max(math.hypot(*errors), 1e-12)
    if lead > CONTAMINATED:
        raise Verdict(
            "tampered",
            f"the split is easier than other held-out {data} by {means[1] - means[0]:.3g} {unit}, {lead:.1f} "
            "standard errors: it is in the training data, or the run has seen it",
        )
