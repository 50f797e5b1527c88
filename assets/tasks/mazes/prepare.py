"""Data and scoring rule of the mazes task; the trainer may not change this file. Its commands:
harness/command_line.py.

A maze is a square of walls and open cells, one of which is the goal. A model names for every open cell the move that
brings it nearer to the goal. `route_error` is the chance that a start, drawn from the cells at ten moves or more from
the goal, does not arrive when the moves are followed. Hidden mazes are drawn by chance, once in each cache, and nobody
can draw them again; the locked ones are larger by half, for a part.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from harness import finish as ends
from harness.base import BaseTask
from harness.command_line import main
from harness.errors import TaskError
from harness.files import data_path
from harness.models import Models
from harness.probes import check_alone, check_contamination
from harness.task import Allowances, Budget, read_task_file

if TYPE_CHECKING:
    from torch import nn

HERE = Path(__file__).resolve().parent
WALL, OPEN, GOAL = 0, 1, 2
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left: rows and columns
FAR = 10  # moves from a start to the goal at least


@dataclass(frozen=True, slots=True)
class Profile:
    """The sizes of one scale of the task. Results of different profiles are not comparable."""

    size: int  # S: cells of a side, walls included; odd
    larger: int  # the same of the larger mazes in the locked split
    train: int  # mazes to train on
    hidden: int  # mazes of each hidden split
    batch: int  # mazes of a request to a model process
    allowances: Allowances


PROFILES = {
    "full": Profile(41, 61, 20_000, 2000, 250, Allowances(60, 300, 2**31, 180)),
    "small": Profile(31, 45, 20_000, 2000, 250, Allowances(30, 180, 2**30, 120)),
    "tiny": Profile(17, 25, 10_000, 500, 125, Allowances(15, 60, 2**26, 120)),
}


@dataclass(frozen=True, slots=True)
class Options:
    """[options] of autoresearch.toml."""

    profile: str = field(default="tiny", metadata={"choices": tuple(PROFILES), "help": "the scale of the task"})

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise TaskError(f"no profile is called {self.profile!r}; choose from: {', '.join(PROFILES)}")


class Mazes(BaseTask):
    """The mazes task: `harness.task.Task`."""

    name = "mazes"

    def __init__(self, folder: Path, options: Options, budget: Budget) -> None:
        super().__init__(folder, options, budget)
        self.profile = PROFILES[options.profile]
        self.allowances = self.profile.allowances

    def data_folder(self) -> Path:
        return data_path(self.name, self.options.profile, self.version, asdict(self.profile))

    def make(self, workers: int) -> Mapping[str, Mapping[str, np.ndarray]]:
        p, chance = self.profile, np.random.default_rng(secrets.randbits(128))
        hidden = {name: draw(chance, p.hidden, p.size) for name in ("search", "control", "locked")}
        hidden["locked"][::2] = 0  # every other one is larger
        hidden["locked"] = framed(hidden["locked"], p.larger)
        hidden["locked"][::2] = draw(chance, len(hidden["locked"][::2]), p.larger)
        known = {maze.tobytes() for name in ("search", "control") for maze in hidden[name]}
        drawn = draw(np.random.default_rng(0), p.train, p.size)
        train = drawn[[maze.tobytes() not in known for maze in drawn]]
        return {
            name: {"maze": mazes, "moves": best_moves(mazes)[0]} for name, mazes in (hidden | {"train": train}).items()
        }

    def files(self, split: str) -> tuple[str, ...]:
        return (*super().files(split), *super().files("control"))

    def judge(self, models: Models, split: str, folder: Path) -> dict[str, float]:
        own, control = (np.array(self.arrays(name)["maze"]) for name in (split, "control"))
        mazes = np.concatenate((own, framed(control, own.shape[1])))
        orders = (np.arange(len(mazes)), np.random.default_rng(secrets.randbits(128)).permutation(len(mazes)))
        best, distance = best_moves(mazes)
        far, found = distance >= FAR, []
        for process, order in enumerate(orders):
            models.open(process, mazes[0], (len(MOVES), *mazes.shape[1:]), self.profile.batch)
            moves = np.empty(mazes.shape, np.int64)
            for part, logits in models.score(mazes[order]):
                moves[order[part]] = named_moves(logits)
            found.append(moves)
        arrived = [arrives(mazes, moves) for moves in found]
        check_alone(*(moves[distance > 0] for moves in found))
        check_alone(*(each[far] for each in arrived))
        lost = [~each & far for each in arrived]
        each = np.stack((lost[0].sum((1, 2)), far.sum((1, 2))), 1).astype(float)
        check_contamination(each[: len(own)], each[len(own) :], data="mazes", unit="routes a start")
        # Of what two orders made different, all that rounding allows, the worse counts.
        here = slice(len(own))
        worse = max(range(2), key=lambda process: lost[process][here].sum())
        wrong = (best >> found[worse] & 1 == 0)[here]
        return {
            "route_error": float(lost[worse][here].sum() / far[here].sum()),
            "cell_error": float(wrong[distance[here] > 0].mean()),
            "first_step_error": float(wrong[far[here]].mean()),
        }


def named_moves(logits: Any) -> np.ndarray:
    """The move of the largest of logits [n, 4, S, S], int64 [n, S, S]; none of the four where one is no number."""
    numbers = logits if isinstance(logits, np.ndarray) else logits.cpu().numpy()
    return np.where(np.isfinite(numbers).all(1), numbers.argmax(1), len(MOVES))


def shifted(cells: np.ndarray, move: tuple[int, int]) -> np.ndarray:
    """[N, S, S]: what is one `move` away from each cell; a border is wall, so nothing comes in at the other side."""
    return np.roll(cells, (-move[0], -move[1]), (1, 2))


def best_moves(mazes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 [N, S, S], int32 [N, S, S]): bit k where move k leads nearer to the goal; the distance, -1 in walls."""
    wave, unseen, steps = mazes == GOAL, mazes == OPEN, 0
    distance = np.where(wave, 0, -1).astype(np.int32)
    while wave.any():
        wave = np.logical_or.reduce([shifted(wave, move) for move in MOVES]) & unseen
        unseen &= ~wave
        steps += 1
        distance[wave] = steps
    moves = np.zeros(mazes.shape, np.uint8)
    for bit, move in enumerate(MOVES):
        moves |= ((distance > 0) & (shifted(distance, move) == distance - 1)).astype(np.uint8) << bit
    return moves, distance


def arrives(mazes: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """bool [N, S, S]: whether who starts in a cell and follows `moves` [N, S, S] comes to the goal. A move into a wall
    ends the way."""
    count, size, _ = mazes.shape
    here = np.broadcast_to(np.arange(size * size).reshape(size, size), mazes.shape)
    follows = here.copy()
    for number, move in enumerate(MOVES):
        free = (moves == number) & (shifted(mazes, move) != WALL) & (mazes == OPEN)
        follows = np.where(free, here + move[0] * size + move[1], follows)
    follows = follows.reshape(count, -1)
    for _ in range(int(size * size).bit_length()):  # twice as far each time
        follows = np.take_along_axis(follows, follows, 1)
    return np.take_along_axis((mazes == GOAL).reshape(count, -1), follows, 1).reshape(mazes.shape) & (mazes != WALL)


def framed(mazes: np.ndarray, size: int) -> np.ndarray:
    """The same mazes in squares of `size`, with walls below and to the right."""
    return np.pad(mazes, ((0, 0), *[(0, size - mazes.shape[1])] * 2))


# ------------------------------------------------------------------------------------------------------------
# Drawing
# ------------------------------------------------------------------------------------------------------------


def draw(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """uint8 [count, size, size]: mazes of two kinds in equal parts, in half of which walls are opened, so that there
    is more than one way."""
    parts, n = [], size // 2
    for start in range(0, count, 1000):
        some = min(1000, count - start)
        mazes = np.zeros((some, size, size), np.uint8)
        mazes[:, 1::2, 1::2] = OPEN
        tree = spanning_tree(rng, n, some, np.arange(some) % 2 == 0)
        opened = rng.random((some, 1)) * 0.25 * (np.arange(some) % 4 > 1)[:, None]
        for (at, other), passage in zip(edges(n), (tree | (rng.random(tree.shape) < opened)).T, strict=True):
            row, column = (1 + at // n + other // n, 1 + at % n + other % n)
            mazes[:, row, column] = passage * OPEN
        goal = rng.integers(0, n * n, some)
        mazes[np.arange(some), 1 + 2 * (goal // n), 1 + 2 * (goal % n)] = GOAL
        parts.append(mazes)
    return np.concatenate(parts)


def edges(n: int) -> list[tuple[int, int]]:
    """The pairs of neighbours of n x n cells."""
    cells = range(n * n)
    return [(c, c + 1) for c in cells if (c + 1) % n] + [(c, c + n) for c in cells if c + n < n * n]


def spanning_tree(rng: np.random.Generator, n: int, count: int, deep: np.ndarray) -> np.ndarray:
    """bool [count, edges]: the passages of one maze each, a tree over n x n cells.

    Each step opens the best edge that leads out of what is reached. Where `deep` [count] the best one begins at the
    cell that was reached last (depth-first search, long ways); else every edge has a weight by chance, which gives
    Kruskal's tree (short ways with many dead ends).
    """
    ends = np.array(edges(n))
    reached, order = np.zeros((count, n * n), bool), np.zeros((count, n * n))
    reached[np.arange(count), rng.integers(0, n * n, count)] = True
    tree, weights = np.zeros((count, len(ends)), bool), rng.random((count, len(ends)))
    for step in range(1, n * n):
        inside = reached[:, ends]  # [count, edges, 2]
        leads_out = inside[..., 0] != inside[..., 1]
        last = np.where(inside, order[:, ends], 0).sum(2)  # when the end that is inside was reached
        best = np.where(leads_out, weights + deep[:, None] * last, -1).argmax(1)
        tree[np.arange(count), best] = True
        both = ends[best]  # [count, 2]
        new = np.where(reached[np.arange(count), both[:, 0]], both[:, 1], both[:, 0])
        reached[np.arange(count), new], order[np.arange(count), new] = True, step
    return tree


# ------------------------------------------------------------------------------------------------------------
# For the trainer
# ------------------------------------------------------------------------------------------------------------

try:
    TASK = Mazes(HERE, *read_task_file(HERE, Options))
except TaskError as error:
    raise SystemExit(f"error: {error}") from None
PROFILE, SIZE, LARGER = TASK.options.profile, TASK.profile.size, TASK.profile.larger


def finish(model: nn.Module, **stats: float) -> None:
    """Give the weights to the feeder, if the model takes larger mazes too: `confirm` will ask it for these."""
    import torch

    maze = torch.zeros(1, LARGER, LARGER, dtype=torch.long, device=next(model.parameters()).device)
    with torch.no_grad():
        shape = tuple(model.eval()(maze).shape)
    if shape != (1, len(MOVES), LARGER, LARGER):
        raise SystemExit(
            f"error: for mazes [1, {LARGER}, {LARGER}] the model gives {shape}, not [1, 4, {LARGER}, {LARGER}]"
        )
    ends.finish(HERE, model, **stats)


if __name__ == "__main__":
    main(HERE, Options, Mazes)
