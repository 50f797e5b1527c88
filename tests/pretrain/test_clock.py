"""The clock and the loader against trainers that want more than their share: real processes, small models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from drawn import drawn
from harness.text.rows import open_rows
from made_once import made_once
from pretrain_workspace import Workspace, engine_run, evaluation, new_workspace

TRIES = 5
"""Runs of one case; a machine that is too busy for all of them is no place to test in."""

HEAD = """
from prepare import MAX_SEQ_LEN, VOCAB_SIZE, finish, make_dataloader, seed_everything
import os, time
import torch
from torch import nn


class Bigram(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(VOCAB_SIZE, 16), nn.Linear(16, VOCAB_SIZE, bias=False)

    def forward(self, ids):
        return self.head(self.table(ids))


def build_model():
    return Bigram()


def step(x, y):
    loss = nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def busy(seconds, x, y):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        step(x, y)


if __name__ == "__main__":
    seed_everything()
    model = build_model()
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    loader = make_dataloader(4, MAX_SEQ_LEN, "train")
"""
HONEST = """
    for x, y, progress in loader:
        step(x, y)
    finish(model)
"""
CHEATS = {
    "trains on for a while with the last batch": """
    for x, y, progress in loader:
        step(x, y)
    busy(2.0, x, y)
    finish(model)
""",
    "draws half of the batches, then begins with a new loader": """
    for x, y, progress in loader:
        step(x, y)
        if progress >= 0.5:
            break
    for x, y, progress in make_dataloader(4, MAX_SEQ_LEN, "train"):
        step(x, y)
    for x, y, progress in make_dataloader(4, MAX_SEQ_LEN, "train"):
        step(x, y)
    finish(model)
""",
    "trains in the warm-up": """
    for x, y in loader.warmup_batches(30, model.parameters()):
        step(x, y)
"""
    + HONEST,
    "sets the environment": """
    os.environ.update(AUTORESEARCH_SEED="77", AUTORESEARCH_RUN_DIR="elsewhere", AUTORESEARCH_TRAIN_SECONDS="1")
"""
    + HONEST,
    "draws batches without stepping": """
    for number, (x, y, progress) in enumerate(loader):
        if number < 3:
            step(x, y)
    finish(model)
""",
}


def trainer(workspace: Workspace, folder: Path, loop: str, budget: str = "steps = 6") -> Workspace:
    """A workspace on the same data with another train.py."""
    made = new_workspace(folder, "unused", budget, folder)
    text = (workspace.folder / "autoresearch.toml").read_text()
    (made.folder / "autoresearch.toml").write_text(text.replace("steps = 6", budget))
    (made.folder / "train.py").write_text(HEAD + loop)
    return Workspace(made.folder, workspace.env)


NO_SCORE = ("over_budget", "killed")
"""What a run that took too long is; the second where the machine was so busy that it could have been the machine."""


def run(workspace: Workspace, tmp_path: Path, loop: str, budget: str = "steps = 6") -> dict[str, object]:
    """Train and evaluate, once."""
    made = trainer(workspace, tmp_path / "ws", loop, budget)
    return judged(made, tmp_path / "run")


def judged(made: Workspace, run_dir: Path) -> dict[str, object]:
    done = engine_run(made, run_dir)
    assert done.returncode == 0, done.stderr
    return evaluation(made, run_dir)


def scored(workspace: Workspace, tmp_path: Path, loop: str, budget: str = "steps = 6") -> dict[str, object]:
    """Train and evaluate until the evaluator does not say that the machine was too busy to tell."""
    made = trainer(workspace, tmp_path / "ws", loop, budget)
    results = (judged(made, tmp_path / f"run{attempt}") for attempt in range(TRIES))
    return next((result for result in results if result["outcome"] != "killed"), {"outcome": "killed", "reason": ""})


@pytest.fixture(scope="module")
def honest(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> float:

    def make(folder: Path) -> None:
        result = scored(workspace, folder, HONEST)
        assert result["outcome"] == "ok"
        (folder / "score").write_text(repr(result["metrics"]["val_bpb"]))

    return float((made_once(tmp_path_factory, "honest", make) / "score").read_text())


@pytest.mark.slow
@pytest.mark.sampled(0.08, "trainings")
@pytest.mark.parametrize("name", drawn(CHEATS, 0.1, "more than the budget"))
def test_more_than_the_budget_is_refused_or_gains_nothing(
    workspace: Workspace, honest: float, tmp_path: Path, name: str
) -> None:
    if name.startswith("trains on"):
        result = run(workspace, tmp_path, CHEATS[name])
        assert result["outcome"] in NO_SCORE
        assert "between the last batch and the arrival" in result["reason"]
        assert not result["metrics"]
        return
    result = scored(workspace, tmp_path, CHEATS[name])
    assert result["outcome"] == "ok", result["reason"]
    assert result["metrics"]["num_steps"] == 6
    if name.startswith("draws batches"):
        assert result["metrics"]["val_bpb"] > honest
    elif not name.startswith("draws"):
        assert result["metrics"]["val_bpb"] == honest


@pytest.mark.slow
@pytest.mark.sampled(0.08, "trainings")
def test_one_batch_that_takes_far_longer_than_the_budget_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    loop = """
    for x, y, progress in loader:
        busy(2.6, x, y)
    finish(model)
"""
    result = run(workspace, tmp_path, loop, "seconds = 0.3")
    assert result["outcome"] in NO_SCORE
    assert "too much for a budget of 0.3 s" in result["reason"]


@pytest.mark.slow
@pytest.mark.sampled(0.08, "trainings")
def test_a_budget_of_operations_ends_where_tokens_would(workspace: Workspace, tmp_path: Path) -> None:
    table = json.loads(next(Path(workspace.env["AUTORESEARCH_CACHE"]).rglob("manifest.json")).read_text())
    T, V = table["profile"]["seq_len"], table["profile"]["vocab_size"]
    a_batch = 4 * T * 3 * 2 * 16 * V
    result = scored(workspace, tmp_path, HONEST, f"flops = {6 * a_batch}")
    assert result["outcome"] == "ok", result["reason"]
    assert result["metrics"]["num_steps"] == 6


LOADED = """
    seen = []
    for x, y, progress in loader:
        assert x.shape == y.shape == (4, 100) and x.dtype == torch.int64
        assert torch.equal(x[:, 1:], y[:, :-1])
        seen.append(x.clone())
    torch.save(torch.cat(seen), os.environ["SAVE_TO"])
"""


@pytest.mark.slow
@pytest.mark.sampled(0.08, "trainings")
def test_every_row_comes_once_an_epoch_in_an_order_that_the_seed_decides(
    prepare: object, workspace: Workspace, tmp_path: Path
) -> None:
    import torch

    [path] = Path(workspace.env["AUTORESEARCH_CACHE"]).rglob("train.bin")
    rows = open_rows(path)
    batches = 2 * (len(rows) // 4) + 2
    seen = []
    for number, seed in enumerate(("3", "3", "4")):
        loop = LOADED
        made = trainer(workspace, tmp_path / f"ws{number}", loop, f"steps = {batches}")
        made.edit("train.py", "make_dataloader\\(4, MAX_SEQ_LEN", "make_dataloader(4, 100")
        env = {"AUTORESEARCH_SEED": seed, "AUTORESEARCH_RUN_DIR": str(tmp_path), "SAVE_TO": str(tmp_path / "seen.pt")}
        done = made.run("train.py", **env)
        assert done.returncode == 0, done.stderr
        seen.append(torch.load(tmp_path / "seen.pt").numpy())
    assert np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[0], seen[2])
    for part in (seen[0][: len(rows)], seen[0][len(rows) : 2 * len(rows)]):
        assert np.array_equal(np.sort(part, axis=0), np.sort(rows[:, :100], axis=0))
    assert not np.array_equal(seen[0][: len(rows)], seen[0][len(rows) : 2 * len(rows)])
