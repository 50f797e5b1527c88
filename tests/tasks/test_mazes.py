"""The mazes task: how mazes are drawn, which moves are best, who arrives, and what its grader makes of models."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from harness.errors import Verdict
from harness.task import Allowances, Budget
from task_programs import graded, prepare_of, train_of


@pytest.fixture(scope="module")
def mazes() -> ModuleType:
    return prepare_of("mazes")


@pytest.fixture
def task(mazes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Small mazes, drawn anew."""
    monkeypatch.setenv("AUTORESEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(mazes.PROFILES, "tiny", mazes.Profile(11, 15, 300, 200, 50, Allowances()))
    made = mazes.Mazes(mazes.HERE, mazes.Options(), Budget("steps", 20))
    made.prepare()
    return made


def distances(maze: np.ndarray, mazes: ModuleType) -> dict[tuple[int, int], int]:
    """Of every cell that can be reached, by the textbook."""
    [(row, column)] = np.argwhere(maze == mazes.GOAL)
    found: dict[tuple[int, int], int] = {}
    waiting = [(0, int(row), int(column))]
    while waiting:
        steps, row, column = heapq.heappop(waiting)
        if (row, column) not in found:
            found[row, column] = steps
            waiting_next = [(steps + 1, row + a, column + b) for a, b in mazes.MOVES if maze[row + a, column + b]]
            for item in waiting_next:
                heapq.heappush(waiting, item)
    return found


def test_every_open_cell_has_a_way_and_the_best_moves_are_those_of_the_textbook(mazes: ModuleType) -> None:
    drawn = mazes.draw(np.random.default_rng(3), 40, 13)
    best, distance = mazes.best_moves(drawn)
    ways = set()
    for maze, moves, steps in zip(drawn, best, distance, strict=True):
        assert not maze[[0, -1]].any() and not maze[:, [0, -1]].any() and (maze == mazes.GOAL).sum() == 1
        known = distances(maze, mazes)
        assert len(known) == (maze > 0).sum() == (steps >= 0).sum()
        for (row, column), far in known.items():
            assert steps[row, column] == far
            right = [far - 1 == known.get((row + a, column + b)) for a, b in mazes.MOVES]
            assert [bool(moves[row, column] >> k & 1) for k in range(4)] == right
        ways.add((maze > 0).sum() - (2 * 36 - 1))  # passages beyond those of a tree
    assert min(ways) == 0 < max(ways)


def test_the_two_kinds_of_trees_are_different_and_follow_the_seed(mazes: ModuleType) -> None:
    drawn = mazes.draw(np.random.default_rng(5), 800, 15)
    assert (drawn == mazes.draw(np.random.default_rng(5), 800, 15)).all()
    longest = mazes.best_moves(drawn)[1].max((1, 2))
    assert longest[0::4].mean() > 1.3 * longest[1::4].mean()  # depth-first search makes long ways
    assert len({maze.tobytes() for maze in drawn}) == 800


def test_who_follows_moves_arrives_or_does_not(mazes: ModuleType) -> None:
    maze = np.array(
        [[0] * 7, [0, 1, 1, 1, 1, 2, 0], [0, 1, 0, 0, 0, 1, 0], [0, 1, 1, 1, 0, 1, 0], [0] * 7, [0] * 7, [0] * 7]
    )
    moves = np.ones((7, 7), int)  # right
    moves[2, 1] = moves[2, 5] = moves[3, 5] = 0  # up
    moves[3, 1] = 0
    moves[3, 2], moves[3, 3] = 1, 3  # round and round
    arrived = mazes.arrives(maze[None], moves[None])[0]
    assert arrived[1, 1:6].all() and arrived[2, 1] and arrived[3, 1] and arrived[3, 5] and arrived[2, 5]
    assert not arrived[3, 2] and not arrived[3, 3] and not arrived[maze == 0].any()
    moves[1, 2] = 2  # into a wall
    assert not mazes.arrives(maze[None], moves[None])[0, 1, 1]


def test_no_hidden_maze_is_one_to_train_on_and_the_locked_ones_are_larger_for_a_part(task: Any) -> None:
    found = {name: np.array(task.arrays(name)["maze"]) for name in ("train", "search", "control", "locked")}
    keys = {name: {maze.tobytes() for maze in part} for name, part in found.items()}
    assert not keys["train"] & (keys["search"] | keys["control"])
    assert [found[name].shape for name in ("search", "locked")] == [(200, 11, 11), (200, 15, 15)]
    larger = found["locked"][:, 11:].any((1, 2))
    assert larger.sum() == 100
    assert {len(array) for array in task.training({}).arrays} == {len(found["train"])}


class Guide(torch.nn.Module):
    """Knows the way, but not from the cells of which `lost` says so."""

    def __init__(self, mazes: ModuleType, lost: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.mazes, self.lost = mazes, lost
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        best = torch.from_numpy(self.mazes.best_moves(given.numpy().astype(np.uint8))[0])
        logits = (best[:, None] >> torch.arange(4)[:, None, None] & 1).float()
        wrong = self.lost(given)[:, None]
        return torch.where(wrong, -logits, logits)


def test_the_score_counts_the_routes_that_a_wrong_move_loses(
    mazes: ModuleType, task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def some(given: torch.Tensor) -> torch.Tensor:  # by place and maze, the same in any order
        return (given.sum((1, 2)) % 3 == 0)[:, None, None] & (torch.arange(given.size(2)) == 5)

    metrics = graded(monkeypatch, task, Guide(mazes, some), tmp_path / "run")

    split = np.array(task.arrays("search")["maze"])
    lost = far = wrong = cells = first = 0
    for maze in split:
        known = distances(maze, mazes)
        missed = maze.sum() % 3 == 0
        for (row, column), steps in known.items():
            here, length = (row, column), steps
            while missed and length and here[1] != 5:  # one of the shortest ways, as the model names them
                bits = [
                    k for k, (a, b) in enumerate(mazes.MOVES) if known.get((here[0] + a, here[1] + b)) == length - 1
                ]
                here, length = (here[0] + mazes.MOVES[bits[0]][0], here[1] + mazes.MOVES[bits[0]][1]), length - 1
            bad = missed and column == 5 and steps > 0
            lost += (steps >= 10) and missed and length > 0
            far += steps >= 10
            wrong += bad
            cells += steps > 0
            first += bad and steps >= 10
    assert metrics == {
        **metrics, "route_error": pytest.approx(lost / far), "cell_error": pytest.approx(wrong / cells),
        "first_step_error": pytest.approx(first / far),
    }  # fmt: skip
    assert 0 < metrics["cell_error"] < metrics["route_error"] < 1
    perfect = graded(monkeypatch, task, Guide(mazes, lambda x: x < 0), tmp_path / "run", "locked")
    assert perfect["route_error"] == perfect["cell_error"] == 0


def test_a_model_that_looks_at_other_mazes_is_tampering(
    mazes: ModuleType, task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def beside(given: torch.Tensor) -> torch.Tensor:
        return (given.roll(1, 0).sum((1, 2)) % 2 == 0)[:, None, None].expand_as(given)

    with pytest.raises(Verdict, match="another answer among others") as caught:
        graded(monkeypatch, task, Guide(mazes, beside), tmp_path / "run")
    assert caught.value.outcome == "tampered"


def test_a_model_that_knows_the_split_by_heart_is_tampering(
    mazes: ModuleType, task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {maze.tobytes() for maze in np.array(task.arrays("search")["maze"])}

    def unknown(given: torch.Tensor) -> torch.Tensor:
        new = [maze.astype(np.uint8).tobytes() not in known for maze in given.numpy()]
        return torch.tensor(new)[:, None, None].expand_as(given)

    with pytest.raises(Verdict, match="easier than other held-out mazes"):
        graded(monkeypatch, task, Guide(mazes, unknown), tmp_path / "run")


def test_a_logit_that_is_no_number_names_no_move(mazes: ModuleType) -> None:
    logits = np.zeros((1, 4, 2, 2), np.float32)
    logits[0, 2] = 1
    logits[0, 3, 0, 0] = np.nan
    assert mazes.named_moves(logits).tolist() == [[[4, 2], [2, 2]]]


def test_the_loss_of_the_trainer_is_that_of_naming_any_best_move(mazes: ModuleType) -> None:
    with train_of("mazes", mazes) as train:
        logits = torch.zeros(1, 4, 2, 2)
        moves = torch.tensor([[[0, 1], [3, 15]]], dtype=torch.uint8)  # a wall; one, two and four of four
        assert train.loss_of(logits, moves).item() == pytest.approx((np.log(4) + np.log(2) + 0) / 3, abs=1e-6)
        model = train.build_model()
        maze = torch.from_numpy(mazes.draw(np.random.default_rng(0), 2, 11).astype("i8"))
        framed = torch.nn.functional.pad(maze, (0, 4, 0, 4))
        assert model(framed).shape == (2, 4, 15, 15)
        # Outside is wall to it; only the number of steps depends on the size of the square.
        twice = model(maze)
        train.TURNS = 22 / 15
        torch.testing.assert_close(model(framed)[:, :, :11, :11], twice)


def test_a_model_of_one_size_is_told_so_before_it_is_measured(mazes: ModuleType) -> None:
    class Fixed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, mazes: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(mazes), 4, 17, 17)

    with pytest.raises(SystemExit, match="for mazes"):
        mazes.finish(Fixed())
