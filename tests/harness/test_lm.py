"""The fixed language model: it is saved and loaded, and it learns what counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from harness import lm
from harness.errors import TaskError

SIZES = lm.Sizes(2, 16, 2, 11, 24)
END = 10


@pytest.fixture
def model() -> lm.GPT:
    torch.manual_seed(0)
    made = lm.GPT(SIZES)
    for parameter in made.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.5)
    return made


def test_what_is_saved_is_loaded_again_and_a_missing_one_is_told(model: lm.GPT, tmp_path: Path) -> None:
    lm.save(model, tmp_path)
    again = lm.load(tmp_path)
    ids = torch.randint(11, (3, 20), generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(ids), model(ids)) and again.sizes == SIZES
    with pytest.raises(TaskError, match="is missing or damaged"):
        lm.load(tmp_path / "nowhere")


def test_training_lowers_the_loss_of_what_counts_and_of_nothing_else() -> None:
    torch.manual_seed(0)
    model = lm.GPT(SIZES)
    heard: list[int] = []

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        ids = rng.integers(0, END, (8, 13))
        ids[:, 7:] = ids[:, :6]  # the second half repeats the first; only that counts
        counted = np.zeros((8, 12), bool)
        counted[:, 6:] = True
        return ids, counted

    loss = lm.train(model, draw, 250, 1, lambda step, _: heard.append(step), 0.01)
    assert heard == [*range(1, 251)]
    assert loss < 0.7 < np.log(10)  # what comes again is learned
    ids, _ = draw(np.random.default_rng(5))
    with torch.no_grad():
        nats = torch.nn.functional.cross_entropy(
            model(torch.from_numpy(ids[:, :-1])).transpose(1, 2), torch.from_numpy(ids[:, 1:]), reduction="none"
        )
    assert nats[:, :5].mean() > 2 > 0.7 > nats[:, 6:].mean()
