"""How much too good a claim can be made by reading the locked split again and again.

    python benchmarks/locked_reads.py [--sessions 4000] [--attempts 500] [--worst]

An adversary asks for a confirmation `--attempts` times, sees all that was measured, raw numbers too, and claims the
best number that was told. No change has an effect, so that whatever is claimed is luck: the bias. It is in standard
errors of a read, in which both the luck of its seeds and the luck of its rows are counted; the rows stay the same from
read to read, so that their luck can be learned. Reads are decided and told by the real functions of
`statistics/locked.py` and `confirmation.py`.

`--worst` works out what the best adversary of all gets where all luck is in the rows and the standard error is known:
by dynamic programming over how much of the luck is known and the best number so far.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autoresearch.metrics import Metric
from autoresearch.statistics.confirmation import confirmation
from autoresearch.statistics.locked import PRICES, refusal

METRIC = Metric("loss", "lower")


@dataclass(frozen=True, slots=True)
class Read:
    """One read: which mixture of independent changes it is of, the gains of its pairs, and what was told."""

    mixture: tuple[float, ...]
    gains: tuple[float, ...]
    told: float


Adversary = Callable[[Sequence[Read], int], tuple[float, ...]]
"""From the reads so far and how many more there may be to the next mixture, of length 1."""


def another(reads: Sequence[Read], left: int) -> tuple[float, ...]:
    """Read a change that has nothing to do with those before."""
    return (*[0.0] * len(reads), 1.0)


def at_the_end(reads: Sequence[Read], left: int) -> tuple[float, ...]:
    """Read other changes, and with the last read one put together from their luck."""
    return another(reads, left) if left > 1 or not reads else together(reads)


def from_the_second(reads: Sequence[Read], left: int) -> tuple[float, ...]:
    """Read by turns another change, and one put together from all before."""
    return together(reads) if len(reads) % 2 else another(reads, left)


def together(reads: Sequence[Read]) -> tuple[float, ...]:
    """Put together what was read in proportion to what it showed."""
    size = max(len(read.mixture) for read in reads)
    found = [0.0] * size
    for read in reads:
        mean = sum(read.gains) / len(read.gains)
        for at, part in enumerate(read.mixture):
            found[at] += part * mean
    length = math.sqrt(sum(part * part for part in found)) or 1.0
    return tuple(part / length for part in found)


ADVERSARIES: dict[str, Adversary] = {
    "best of others": another,
    "put together at the end": at_the_end,
    "put together every second time": from_the_second,
}


def claim(
    rng: random.Random, adversary: Adversary, attempts: int, seeds: int, rows: float, *, plain: bool = False
) -> float:
    """Return what one adversary claims over its first read, which is as often too low as too high.

    In standard errors of a read; `rows` is the share of its variance that the rows have. With `plain` each attempt is
    answered, by what was measured.
    """
    luck: list[float] = []
    reads: list[Read] = []
    for attempt in range(attempts):
        earlier = [read.gains for read in reads]
        if not plain and refusal(len(reads), earlier) is not None:
            break  # every later attempt is refused as well
        left = (attempts if plain else min(attempts, len(PRICES))) - attempt
        mixture = adversary(reads, left)
        luck += [rng.gauss(0, 1) for _ in range(len(mixture) - len(luck))]
        mine = math.sqrt(rows) * sum(part * known for part, known in zip(mixture, luck, strict=False))
        own = math.sqrt((1 - rows) * seeds)
        gains = tuple(mine + rng.gauss(0, own) for _ in range(seeds))
        if plain:
            told = sum(gains) / seeds
        else:
            best = {seed: -gain for seed, gain in enumerate(gains)}
            told = confirmation(METRIC, 1.0, dict.fromkeys(best, 0.0), best, earlier).gain
        reads.append(Read(mixture, gains, told))
    return max(read.told for read in reads) - reads[0].told


def bias(
    name: str, sessions: int, attempts: int, seeds: int, rows: float, *, plain: bool = False
) -> tuple[float, float]:
    """Return how much too good the claims of so many adversaries are on average, and the standard error of that."""
    rng = random.Random(f"{name} {seeds} {rows}")
    found = [claim(rng, ADVERSARIES[name], attempts, seeds, rows, plain=plain) for _ in range(sessions)]
    mean = sum(found) / sessions
    return mean, math.sqrt(sum((value - mean) ** 2 for value in found) / (sessions - 1) / sessions)


def worst(prices: Sequence[float] = PRICES, cells: int = 61) -> float:
    """Return the bias of the best adversary, where all luck is in the rows and its size is known.

    After some reads an adversary knows the luck of a part of all directions, whose length r is all that counts. A read
    in a direction of which the part a is known shows a r + sqrt(1 - a^2) g with a new normal g, and adds g to what is
    known. The best number so far is the other part of the state.
    """
    import numpy as np
    from scipy.interpolate import RegularGridInterpolator

    lengths, best = np.linspace(0, 6, cells), np.linspace(-3, 5, cells + 20)
    normals, weights = np.polynomial.hermite_e.hermegauss(41)
    weights = weights / weights.sum()

    def expected(value: RegularGridInterpolator, r: np.ndarray, number: np.ndarray) -> np.ndarray:
        at = np.stack([np.clip(r, 0, 6), np.clip(number, -3, 5)], -1)
        return (value(at) * weights).sum(-1)

    value = np.broadcast_to(best, (len(lengths), len(best))).copy()
    for price in reversed(prices[1:]):
        after, stay = RegularGridInterpolator((lengths, best), value), value
        for part in np.linspace(0, 1, 11):
            shown = part * lengths[:, None] + math.sqrt(1 - part * part) * normals - price
            number = np.maximum(best[None, :, None], shown[:, None, :])
            known = np.broadcast_to(np.hypot(lengths[:, None], normals)[:, None, :], number.shape)
            stay = np.maximum(stay, expected(after, known, number))
        value = stay
    first = RegularGridInterpolator((lengths, best), value)
    return float(expected(first, abs(normals), normals - prices[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=4000)
    parser.add_argument("--attempts", type=int, default=500)
    parser.add_argument("--worst", action="store_true")
    args = parser.parse_args()
    if args.worst:
        print(f"the best adversary of all, luck in the rows and of known size: {worst():+.3f} standard errors")
        return
    print("| adversary | seeds of a read | luck in the rows | bias | standard error of it |")
    print("|---|--:|--:|--:|--:|")
    for name in ADVERSARIES:
        for seeds in (2, 3, 10):
            for rows in (0.0, 0.25, 0.5):
                mean, error = bias(name, args.sessions, args.attempts, seeds, rows)
                print(f"| {name} | {seeds} | {rows:.0%} | {mean:+.3f} | {error:.3f} |", flush=True)
    few = max(args.sessions // 40, 20)
    for name in ADVERSARIES:
        for attempts in (10, args.attempts):
            if name != "best of others" and attempts > 10:
                continue  # putting 500 together takes a while, and shows the same
            mean, error = bias(name, few, attempts, 3, 0.5, plain=True)
            print(f"| {name}, {attempts} plain reads | 3 | 50% | {mean:+.2f} | {error:.2f} |", flush=True)
    print("done", file=sys.stderr)


if __name__ == "__main__":
    main()
