"""The parts of train.py against plain computations: windows, loss, optimiser, sizes; and edits of one line."""

from __future__ import annotations

import functools
import importlib.util
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from drawn import drawn
from harness.device import PEAK_FLOPS, Machine, fit
from pretrain_workspace import ASSETS, Workspace


def cpu(train: ModuleType, dtype: Any = None, compiles: bool = False) -> Callable[[], Any]:
    """machine() of a CPU that multiplies in `dtype`, float32 by default."""
    own = Machine(torch.device("cpu"), dtype or torch.float32, None, 1e11, 2**34, compiles)
    return lambda: own


@pytest.fixture
def plain(train: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """train.py in float32 on the CPU."""
    monkeypatch.setattr(train, "machine", cpu(train))
    return train


# Windows


def test_a_layer_sees_its_window_and_no_more(plain: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "WINDOW_PATTERN", "S")
    monkeypatch.setattr(plain, "SHORT_WINDOW", 5 / plain.MAX_SEQ_LEN)
    assert plain.windows(3) == [5, 5, plain.MAX_SEQ_LEN]
    model = plain.GPT(2, 64)
    model.init_weights()
    model.windows = [5, 5]
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.02 * torch.randn_like(p))
        # No token comes twice: what is copied from where it was seen before is bound to no window.
        *ids, another = torch.randperm(plain.VOCAB_SIZE)[:41].tolist()
        ids = torch.tensor([ids])
        other = ids.clone()
        other[0, 10] = another
        changed = (model(ids) - model(other)).abs().amax(-1)[0] > 0
    assert changed.nonzero().flatten().tolist() == [*range(10, 21)]


# Copies


@pytest.mark.parametrize("power", [0.0, 3.0])
def test_copies_are_of_what_followed_the_same_tokens(
    plain: ModuleType, monkeypatch: pytest.MonkeyPatch, power: float
) -> None:
    """Against a plain loop: a match of n tokens that ended d places ago weighs n ** COPY_LENGTH / d ** COPY_AGE."""
    monkeypatch.setattr(plain, "COPY_LENGTH", power)
    ids = torch.randint(0, 5, (3, 24))
    copied, tokens = plain.copies(ids)
    for row, probabilities, of in zip(ids.tolist(), copied, tokens, strict=True):
        for t in range(24):
            weights, longest = [0.0] * 5, 0
            for d in range(1, t + 1):
                n = 0
                while n <= t - d and row[t - n] == row[t - d - n]:
                    n += 1
                weights[row[t - d + 1]] += (n > 0) * n**power / d**plain.COPY_AGE
                longest = max(longest, n)
            share = longest / (longest + plain.COPY_DOUBT)
            expected = [share * weight / max(sum(weights), 1e-9) for weight in weights]
            found = torch.zeros(5).scatter_add(0, of[t].clamp(min=0), probabilities[t])
            assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_a_place_copies_from_what_is_before_it_and_the_whole_sums_to_one(train: ModuleType) -> None:
    model = train.build_model().eval()
    ids = torch.randint(0, 9, (1, 40))
    other = ids.clone()
    other[:, 25:] = 9
    with torch.inference_mode():
        p, q = (model(x).exp() for x in (ids, other))
    assert torch.allclose(p.sum(-1), torch.ones(1, 40), atol=1e-5)
    assert torch.equal(p[:, :25], q[:, :25]) and not torch.equal(p[:, 25:], q[:, 25:])


# Counts


def test_counts_of_the_text_that_was_seen_are_mixed_in_shorter_contexts_first(plain: ModuleType) -> None:
    """Against a plain loop, of a text that was seen twice, and whose older rows have been replaced."""
    seen = plain.SeenText(plain.MAX_SEQ_LEN, 6, 3)
    rows, doubt = len(seen.text), 2.0
    text = torch.randint(0, 6, (5, plain.MAX_SEQ_LEN))
    seen.remember(text[:2])
    seen.remember(torch.randint(0, 6, (1, plain.MAX_SEQ_LEN)).expand(rows - 2, -1))
    for _ in range(2):
        seen.remember(text)
    kept = {tuple(row) for row in seen.text.long().tolist()}
    assert len(kept) == 6 and kept > {tuple(row) for row in text.tolist()}
    ids, p = torch.randint(0, 6, (2, 7)), torch.rand(2, 7, 6).softmax(-1)
    expected = p.tolist()
    for n in (2, 3):
        followers: dict[tuple[int, ...], list[int]] = {}
        for row in kept:
            for t in range(n, plain.MAX_SEQ_LEN):
                followers.setdefault(row[t - n : t], []).append(row[t])
        for row, of in zip(ids.tolist(), expected, strict=True):
            for t in range(n - 1, 7):
                found = followers.get(tuple(row[t - n + 1 : t + 1]), [])
                base = doubt * len(set(found))
                if found:
                    of[t] = [(found.count(y) + base * of[t][y]) / (len(found) + base) for y in range(6)]
    mixed = seen.mixed(p, ids, None, doubt)
    assert torch.allclose(mixed, torch.tensor(expected), atol=1e-6)
    places = torch.tensor([0, 5])
    assert torch.equal(seen.mixed(p[[0, 1], places], ids, places, doubt), mixed[[0, 1], places])


def test_a_model_goes_by_the_text_that_is_kept_with_its_weights(train: ModuleType) -> None:
    model = train.build_model().eval()
    ids = torch.randint(0, train.VOCAB_SIZE, (1, train.MAX_SEQ_LEN))
    with torch.inference_mode():
        before = model(ids)
        model.seen.remember(ids)
        after, again = model(ids), train.build_model().eval()
        again.load_state_dict(model.state_dict(), strict=True)
        followed = [x[0, :-1].gather(-1, ids[0, 1:, None]).mean() for x in (before, after)]
        assert torch.equal(again(ids), after) and followed[1] > followed[0]
        assert torch.allclose(after.exp().sum(-1), torch.ones(1, train.MAX_SEQ_LEN), atol=1e-5)


def test_what_cannot_be_numbered_is_refused_and_nothing_is_kept_without_counts(train: ModuleType) -> None:
    with pytest.raises(ValueError, match="too long"):
        train.SeenText(256, 65536, 3)
    none = train.SeenText(256, 65536, 0)
    none.remember(torch.zeros(2, 256, dtype=torch.long))
    p = torch.rand(2, 256, 4)
    assert none.mixed(p, torch.zeros(2, 256, dtype=torch.long), None, 1.0) is p and not none.state_dict()


# Loss


@pytest.mark.parametrize("cap", [0.0, 15.0])
@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_the_loss_and_its_gradients_equal_float64(
    plain: ModuleType, monkeypatch: pytest.MonkeyPatch, cap: float, chunk: int
) -> None:
    monkeypatch.setattr(plain, "LOGIT_CAP", cap)
    monkeypatch.setattr(plain, "loss_chunk", lambda: chunk)
    h, w, y = 3 * torch.randn(30, 16), torch.randn(50, 16), torch.randint(0, 50, (30,))
    own = [h.clone().requires_grad_(), w.clone().requires_grad_()]
    exact = [h.double().requires_grad_(), w.double().requires_grad_()]
    loss = plain.ChunkedLoss.apply(*own, y)
    logits = exact[0] @ exact[1].T
    expected = torch.nn.functional.cross_entropy(cap * torch.tanh(logits / cap) if cap else logits, y)
    (8 * loss).backward()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for a, b in zip(own, exact, strict=True):
        assert torch.allclose(a.grad.double(), 8 * b.grad, atol=1e-5)


def test_what_is_trained_is_the_loss_that_the_evaluator_takes(plain: ModuleType) -> None:
    model = plain.build_model()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.02 * torch.randn_like(p))
    ids = torch.randint(0, 40, (2, plain.MAX_SEQ_LEN + 1))
    loss, _ = plain.train_step(model, plain.Optimizer(model), ids[:, :-1], ids[:, 1:], 1)
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    expected = torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for name, p in model.named_parameters():
        assert torch.allclose(found[name], p.grad, atol=1e-6), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_place_alone_has_the_logits_that_it_has_among_all(
    train: ModuleType, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    """Or the second model process, which is asked for one place of a row, would not agree with the first."""
    monkeypatch.setattr(train, "machine", cpu(train, dtype))
    model = train.build_model().eval()
    with torch.inference_mode():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
        ids, places = torch.randint(0, train.VOCAB_SIZE, (16, 64)), torch.randint(0, 64, (16,))
        whole = model(ids)[torch.arange(16), places].log_softmax(-1)
        alone = model(ids, places).log_softmax(-1)
    assert alone.shape == (16, train.VOCAB_SIZE)
    assert (alone - whole).abs().max() < 2e-5, "nats; 1e-3 is what the evaluator allows"


# Optimiser


@pytest.mark.parametrize("shape", [(3, 24, 24), (2, 48, 12), (1, 12, 48)])
def test_orthogonalising_brings_all_singular_values_near_one(plain: ModuleType, shape: tuple[int, ...]) -> None:
    u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    g = u @ torch.diag_embed(torch.logspace(-2, 0, u.size(-1)).expand(shape[0], -1)) @ v
    found = plain.orthogonalize(g, torch.float32)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.6
    assert values.max() < 1.3
    assert torch.nn.functional.cosine_similarity(found.flatten(1), (u @ v).flatten(1)).min() > 0.97


@pytest.mark.parametrize("shape", [(8, 4), (4, 8)])
def test_a_step_of_muon_equals_a_plain_one(
    plain: ModuleType, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]
) -> None:
    def exact(g: Any, dtype: torch.dtype) -> Any:
        u, _, v = torch.linalg.svd(g, full_matrices=False)
        return u @ v

    monkeypatch.setattr(plain, "orthogonalize", exact)
    rows, columns = shape
    tall = rows >= columns
    momentum, second = torch.zeros(1, *shape).double(), torch.zeros(1, rows if tall else 1, 1 if tall else columns)
    p, second = torch.randn(1, *shape).double(), second.double()
    plain_p, plain_m, plain_v = p[0].clone(), momentum[0].clone(), torch.zeros(max(shape)).double()
    settings = [torch.tensor(value).double() for value in (0.95, 0.9, 0.1)]
    for _ in range(4):
        g = torch.randn(1, *shape).double()
        p = plain.muon(p, g, momentum, second, torch.tensor(0.02).double(), settings, torch.float64)
        plain_m = 0.95 * plain_m + 0.05 * g[0]
        u = exact(0.05 * g[0] + 0.95 * plain_m, torch.float64)
        neurons = u if tall else u.T
        for i, neuron in enumerate(neurons):
            plain_v[i] = 0.9 * plain_v[i] + 0.1 * (neuron**2).mean()
        scaled = neurons / (plain_v[:, None] + 1e-10).sqrt()
        scaled = (scaled * u.norm() / scaled.norm()).view_as(neurons)
        scaled = scaled if tall else scaled.T
        agree = scaled * plain_p >= 0
        plain_p = plain_p - 0.02 * max(1, rows / columns) ** 0.5 * scaled - 0.02 * 0.1 * plain_p * agree
        assert torch.allclose(p[0], plain_p, atol=1e-6)


def test_a_step_updates_every_parameter_by_the_rule_of_its_group(
    plain: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain, "VALUE_EMBEDDINGS", True)
    model = plain.GPT(2, 64)
    model.init_weights()
    optimizer = plain.Optimizer(model)
    assert {id(p) for p in optimizer.parameters} == {id(p) for p in model.parameters()}
    reference = torch.optim.AdamW(
        [
            {"params": [p.detach().clone().requires_grad_() for p in group], "lr": 0.5 * lr, "weight_decay": decay}
            for group, lr, decay in optimizer.groups
        ],
        betas=(plain.ADAM_BETA1, plain.ADAM_BETA2),
        eps=1e-10,
    )
    copies = [p for group in reference.param_groups for p in group["params"]]
    before = [p.detach().clone() for p in model.parameters()]
    for _ in range(3):
        for p in model.parameters():
            p.grad = torch.randn_like(p)
        for p, copy in zip(optimizer.others, copies, strict=True):
            copy.grad = p.grad.clone()
        size = math.sqrt(sum(p.grad.square().sum().item() for p in model.parameters()))
        assert optimizer.step(0.5).item() == pytest.approx(size, rel=1e-5)
        reference.step()
    for p, copy in zip(optimizer.others, copies, strict=True):
        assert torch.allclose(p, copy, atol=1e-6)
    assert all(p.grad is None and not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


def test_float16_halves_its_scale_on_overflow_and_leaves_that_step_out(
    train: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "machine", cpu(train, torch.float16))
    model = train.GPT(1, 64)
    model.init_weights()
    optimizer = train.Optimizer(model)
    for number, value in enumerate((1.0, math.inf, 1.0)):
        before, scale = model.head.weight.detach().clone(), optimizer.scale
        for p in model.parameters():
            p.grad = torch.full_like(p, scale * value)
        size = optimizer.step(1.0)
        moved = not torch.equal(model.head.weight, before)
        assert moved == (number != 1)
        assert optimizer.scale == (scale / 2 if number == 1 else scale)
        assert number == 1 or size.item() == pytest.approx(math.sqrt(sum(p.numel() for p in model.parameters())))


# Compilation


def test_a_change_of_hyperparameters_compiles_nothing_anew(plain: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.testing import CompileCounter

    counter = CompileCounter()
    step = torch.compile(plain.muon, backend=counter, dynamic=False, fullgraph=True)
    p, g, momentum, second = torch.randn(2, 8, 8), torch.randn(2, 8, 8), torch.zeros(2, 8, 8), torch.zeros(2, 8, 1)
    for lr, beta in ((0.02, 0.95), (0.03, 0.9), (0.01, 0.85)):
        settings = [torch.tensor(value) for value in (beta, beta, 0.1)]
        step(p, g, momentum, second, torch.tensor(lr), settings, torch.float32)
    part = torch.compile(plain.loss_part, backend=counter, dynamic=False, fullgraph=True)
    for cap in (15.0, 20.0):
        part(torch.randn(6, 4), torch.randn(9, 4), torch.randint(0, 9, (6,)), torch.tensor(cap))
    assert counter.frame_count == 2


@pytest.mark.slow
@pytest.mark.sampled(0.08, "trainings")
def test_the_model_is_one_graph_that_gives_the_same(plain: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_ = functools.partial(torch.compile, backend="aot_eager", fullgraph=True, dynamic=False)
    monkeypatch.setattr(plain, "VALUE_EMBEDDINGS", True)
    model = plain.GPT(3, 64)
    model.init_weights()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.02 * torch.randn_like(p))
    ids = torch.randint(0, plain.VOCAB_SIZE, (2, plain.MAX_SEQ_LEN + 1))
    losses, gradients = [], []
    for compiled, checkpoint in ((lambda f: f, False), (compile_, False), (compile_, True)):
        monkeypatch.setattr(plain, "compiled", compiled)
        model.checkpoint = checkpoint
        loss, _ = plain.train_step(model, plain.Optimizer(model), ids[:, :-1], ids[:, 1:], 1)
        losses.append(loss.item())
        gradients.append([p.grad.clone() for p in model.parameters()])
        model.zero_grad()
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)
    for own in gradients[1:]:
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(own, gradients[0], strict=True))


# Sizes


@pytest.fixture
def gpu(train: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, float], ModuleType]:
    """train.py with the sizes of the profile full, on a GPU that is told by name and memory."""
    sizes = {"MAX_SEQ_LEN": 2048, "VOCAB_SIZE": 8192, "HEAD_DIM": 128, "COPIES": False, "TIME_BUDGET": 300.0,
             "MAX_WEIGHTS": 2**33}  # fmt: skip
    for name, value in sizes.items():
        monkeypatch.setattr(train, name, value)
    monkeypatch.setattr(train.attention, "attention_paths", lambda *_: ["varlen", "flex", "sdpa"])

    def of(card: str, gigabytes: float) -> ModuleType:
        peak = PEAK_FLOPS[card]
        own = Machine(torch.device("cuda"), torch.bfloat16, peak, 0.4 * peak, gigabytes * 1e9, True)
        monkeypatch.setattr(train, "machine", lambda: own)
        return train

    return of


@pytest.mark.parametrize("gigabytes", [4, 6, 8, 11, 12, 16, 24, 32, 40, 80, 141])
@pytest.mark.parametrize("size", [(4, 256), (9, 640), (11, 768)])
def test_every_memory_has_a_configuration_that_fits(
    gpu: Callable[[str, float], ModuleType], gigabytes: float, size: tuple[int, int]
) -> None:
    train = gpu("H100", gigabytes)
    rows, again = fit(lambda *how: train.memory_bytes(*how, size), gigabytes * 1e9, 128)
    assert 128 % rows == 0
    assert train.memory_bytes(rows, again, size) <= 0.9 * gigabytes * 1e9
    more = [n for n in range(rows + 1, 129) if 128 % n == 0]
    assert all(train.memory_bytes(n, again, size) > 0.9 * gigabytes * 1e9 for n in more)
    assert not again or train.memory_bytes(1, False, size) > 0.9 * gigabytes * 1e9


@pytest.mark.parametrize(("rows", "taken_mb"), [(64, 26_184), (256, 101_856)])
def test_the_memory_of_a_step_is_expected_as_it_was_measured_on_an_h200(
    gpu: Callable[[str, float], ModuleType], rows: int, taken_mb: float
) -> None:
    # benchmarks/results/gpu.md; less than was taken would fill a card to the brim, much more would waste it
    expected = gpu("H200", 150).memory_bytes(rows, False, (8, 512)) / 2**20
    assert taken_mb <= expected <= 1.08 * taken_mb


def test_size_and_batch_grow_with_the_speed_of_the_device_and_the_budget(
    gpu: Callable[[str, float], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    cards = ("T4", "RTX 3090", "A100", "H100", "B200")
    chosen = [(gpu(card, 80).model_size(), gpu(card, 80).batch_rows()) for card in cards]
    assert chosen == sorted(chosen)
    assert chosen[3] == ((9, 640), 128)
    assert len(set(chosen)) >= 4
    train = gpu("H100", 80)
    budgets = []
    for seconds in (3.0, 30.0, 300.0, 3000.0):
        monkeypatch.setattr(train, "TIME_BUDGET", seconds)
        budgets.append((train.model_size(), train.batch_rows()))
    assert budgets == sorted(budgets)
    monkeypatch.setattr(train, "MAX_WEIGHTS", 2**26)
    assert train.weights_bytes(train.model_size()) <= 2**26 < train.weights_bytes(budgets[-1][0])
    monkeypatch.setattr(train, "MAX_WEIGHTS", 2**33)
    layers, width = budgets[-1][0]
    monkeypatch.setattr(train, "MORE_DEPTH", 2)
    monkeypatch.setattr(train, "MORE_WIDTH", -1)
    assert train.model_size() == (layers + 2, width - train.HEAD_DIM)
    monkeypatch.setattr(train, "DEPTH", 3)
    assert train.model_size()[0] == 5
    monkeypatch.setattr(train, "MORE_DEPTH", -9)
    monkeypatch.setattr(train, "MORE_WIDTH", -99)
    assert train.model_size() == (1, train.HEAD_DIM)


def test_twice_the_steps_are_half_the_batch(
    gpu: Callable[[str, float], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = gpu("H100", 80)
    for seconds in (30.0, 300.0, math.inf):
        monkeypatch.setattr(train, "TIME_BUDGET", seconds)
        rows = []
        for steps in (300, 600, 1200, 2400, 4800):
            monkeypatch.setattr(train, "STEPS", steps)
            rows.append(train.batch_rows())
        assert rows == [rows[0] // 2**halvings for halvings in range(5)] and rows[-1] >= 1


def test_a_micro_batch_that_does_not_fit_is_halved_at_the_same_total(
    train: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "machine", cpu(train, compiles=True))
    monkeypatch.setattr(train, "compiled", lambda function: function)
    monkeypatch.setattr(train, "BATCH_ROWS", 12)
    honest, warmed = train.train_step, []

    class Loader:
        def __init__(self, rows: int) -> None:
            self.rows = rows

        def warmup_batches(self, count: int, tensors: Any) -> Any:
            held = [x.detach().clone() for x in tensors]
            for _ in range(count):
                ids = torch.randint(0, train.VOCAB_SIZE, (self.rows, 9))
                yield ids[:, :-1], ids[:, 1:]
            for x, old in zip(tensors, held, strict=True):
                x.detach().copy_(old)

    def step(model: Any, optimizer: Any, x: Any, y: Any, parts: int) -> Any:
        warmed.append(len(x))
        if len(x) > 4:
            raise torch.OutOfMemoryError("too much")
        return honest(model, optimizer, x, y, parts)

    monkeypatch.setattr(train, "make_dataloader", lambda rows, *_: Loader(rows))
    monkeypatch.setattr(train, "train_step", step)
    model = train.GPT(1, 64)
    model.init_weights()
    loader, parts, _ = train.fitting_loader(model, train.Optimizer(model))
    assert (loader.rows, parts) == (4, 3)
    assert warmed == [12, 6, 4, 4, 4]
    assert capsys.readouterr().out.count("rows in a forward pass from here on") == 2
    assert all(p.grad is None for p in model.parameters())


# Constants


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"WIDTH": 100}, "WIDTH = 100 must be a multiple of HEAD_DIM = 64, such as 128"),
        ({"HEAD_DIM": 33}, "HEAD_DIM = 33 must be even"),
        ({"DEPTH": -1}, "must not be negative; 0 chooses"),
        ({"WINDOW_PATTERN": "SX"}, "WINDOW_PATTERN = 'SX' must be letters S and L"),
        ({"BATCH_ROWS": 8, "MICRO_ROWS": 3}, "must divide the 8 rows of a batch: one of [1, 2, 4, 8], or 0"),
        ({"WARMDOWN": 1.2}, "the sum at most 1"),
        ({"VOCAB_SIZE": 2**15, "COUNTS": 4}, "COUNTS = 4 is too long for 32768 tokens; take at most 3"),
    ],
)
def test_constants_that_do_not_go_together_are_one_line(
    plain: ModuleType, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], words: str
) -> None:
    for name, value in changes.items():
        monkeypatch.setattr(plain, name, value)
    with pytest.raises(SystemExit, match=r"^error: train\.py: [^\n]+$") as stopped:
        plain.build_model()
    assert words in str(stopped.value)


EDITS = (
    *("DEPTH = 3", "WIDTH = 192", 'WINDOW_PATTERN = "L"', "SHORT_WINDOW = 1.0", "MATRIX_LR = 0.05", "HEAD_LR = 0.01"),
    *("BATCH_ROWS = 6", "MICRO_ROWS = 1", "INIT_SCALE = 0.7", "HEAD_DIM = 32", "LOGIT_CAP = 15.0", "MOMENTUM = 0.9"),
    *("VALUE_EMBEDDINGS = False", "BACKOUT_INIT = 0.2", "WARMUP = 0.0", "WARMDOWN = 0.0", "MLP_RATIO = 3"),
)


def edited(source: str, *edits: str) -> str:
    for edit in edits:
        source, count = re.subn(rf"(?m)^{edit.split()[0]} = .*$", edit, source)
        assert count == 1, f"{edit} is not one line"
    return source


@pytest.mark.slow
@pytest.mark.sampled(0.08, "trainings")
@pytest.mark.parametrize("edit", drawn(EDITS, 0.3, "one constant"))
def test_a_constant_changes_in_one_line_and_training_goes_on(
    train: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, edit: str
) -> None:
    (tmp_path / "train.py").write_text(edited((ASSETS / "train.py").read_text(), edit))
    spec = importlib.util.spec_from_file_location("edited_train", tmp_path / "train.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "edited_train", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "COMPILE", False)
    device = module.machine().device
    model = module.build_model().to(device)
    optimizer, ids = module.Optimizer(model), torch.randint(0, module.VOCAB_SIZE, (2, 33), device=device)
    for progress in (0.0, 0.5, 0.999):
        loss, _ = module.train_step(model, optimizer, ids[:, :-1], ids[:, 1:], 1)
        optimizer.step(module.rate_at(progress))
    assert loss.item() < math.log(module.VOCAB_SIZE) - 0.01


@pytest.mark.slow
@pytest.mark.sampled(0.08, "trainings")
def test_many_constants_changed_at_once_train_and_are_evaluated(prepared: Workspace, tmp_path: Path) -> None:
    workspace = prepared.copy(tmp_path / "ws")
    workspace.edit("autoresearch.toml", "steps = 6", "steps = 12")
    train = workspace.folder / "train.py"
    train.write_text(edited(train.read_text(), *EDITS))
    done = workspace.run("train.py")
    assert done.returncode == 0, done.stderr
    assert "3 layers x 192" in done.stdout
    assert "6 rows in 6 parts" in done.stdout
    assert re.search(r"(?m)^METRIC val_bpb=\d", done.stdout)
    assert "\r" not in done.stdout
