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


@pytest.mark.slow
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


def written_one_by_one(model: lm.GPT, prompt: list[int], count: int) -> list[int]:
    """A prompt and the likeliest tokens behind it up to the first END, each computed anew from all before."""
    ids = list(prompt)
    while len(ids) < len(prompt) + count and (len(ids) == len(prompt) or ids[-1] != END):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids


def test_what_is_written_is_the_likeliest_token_by_token_whatever_the_lengths_beside_it(model: lm.GPT) -> None:
    model, rng = model.double(), torch.Generator().manual_seed(1)
    model.head.weight.data[END] *= 1.5  # so that some come to their end
    lengths = torch.tensor([1, 9, 4, 12, 6, 2, 12, 3])
    prompts = torch.randint(END, (8, 12), generator=rng)
    rows = lm.write(model, prompts, lengths, 10, END, 0.0)
    assert rows.shape == (8, 22)
    ended = 0
    for row, prompt, length in zip(rows.tolist(), prompts.tolist(), lengths.tolist(), strict=True):
        expected = written_one_by_one(model, prompt[:length], 10)
        assert row == expected + [END] * (22 - len(expected))
        ended += END in expected
    assert 0 < ended < 8
    behind = lm.behind(rows, lengths, 10)
    assert all(row.tolist() == own[n : n + 10].tolist() for row, own, n in zip(behind, rows, lengths, strict=True))


def test_tokens_are_drawn_as_often_as_their_probability_at_the_temperature(model: lm.GPT) -> None:
    prompts, lengths = torch.tensor([[3, 1, 4]]).repeat(5_000, 1), torch.full((5_000,), 3)
    rows = lm.write(model, prompts, lengths, 1, END, 0.5, torch.Generator().manual_seed(2))
    expected = (model(prompts[:1])[0, -1] / 0.5).softmax(-1)
    found = torch.bincount(rows[:, 3], minlength=11) / 5_000
    torch.testing.assert_close(found, expected.detach(), atol=0.03, rtol=0)
    again = lm.write(model, prompts, lengths, 1, END, 0.5, torch.Generator().manual_seed(2))
    assert torch.equal(rows, again)


@pytest.mark.parametrize("value", [3e38, float("inf"), float("nan")])
def test_a_model_of_which_nothing_is_a_number_still_writes_tokens(model: lm.GPT, value: float) -> None:
    for parameter in model.parameters():
        parameter.data.fill_(value)
    for temperature in (0.0, 1.0):
        rows = lm.write(model, torch.tensor([[3, 1]]), torch.tensor([2]), 5, END, temperature)
        assert rows.shape == (1, 7) and rows.min() >= 0 and rows.max() <= END
