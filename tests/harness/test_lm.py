"""The fixed language model: what it writes, against a computation one token at a time, and that it learns."""

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


def one_by_one(model: lm.GPT, prompt: list[int], most: int) -> list[int]:
    """The likeliest continuation, each token by a forward pass over all that went before."""
    ids = list(prompt)
    for _ in range(most):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
        if ids[-1] == END:
            break
    return ids


def test_prompts_of_any_length_are_continued_as_each_would_be_alone(model: lm.GPT) -> None:
    rng, most = np.random.default_rng(1), 9
    lengths = [1, 4, 7, 7, 2, 5, 3, 6]
    prompts = rng.integers(0, END, (len(lengths), 7))
    model.head.weight.data[END] *= 2  # so that some end early
    written = lm.write(model, torch.from_numpy(prompts), torch.tensor(lengths), most, END, 0.0)
    assert written.shape == (8, 16)
    ended = set()
    for row, prompt, length in zip(written.tolist(), prompts.tolist(), lengths, strict=True):
        expected = one_by_one(model, prompt[:length], most)
        assert row == expected + [END] * (16 - len(expected))
        ended.add(expected[-1] == END)
    assert ended == {True, False}


def test_sampling_follows_the_probabilities_of_its_temperature(model: lm.GPT) -> None:
    count, generator = 20_000, torch.Generator().manual_seed(3)
    prompts = torch.tensor([[1, 2, 3]]).expand(count, 3)
    lengths = torch.full((count,), 3)
    with torch.no_grad():
        logits = model(prompts[:1])[0, -1].double()
    for temperature in (1.0, 0.5):
        written = lm.write(model, prompts, lengths, 1, END, temperature, generator)[:, 3]
        expected = (logits / temperature).softmax(-1)
        error = (expected * (1 - expected) / count).sqrt()
        assert ((torch.bincount(written, minlength=11) / count - expected).abs() < 5 * error + 1e-9).all()


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
