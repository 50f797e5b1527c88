"""The score, and what is refused. The models here are small modules written for one test each."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROWS, T, V = 24, 16, 40
CLOCK = {"started": 0.0, "seconds": 10.0, "finished_after": 10.5, "steps": 20, "tokens": 2000}


@pytest.fixture(scope="module")
def setting(prepare: ModuleType) -> Any:
    """An evaluator on random rows, four special tokens at the end of the vocabulary."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    rows = rng.integers(0, V - 4, (ROWS, T + 1)).astype(np.uint16)
    rows[:, 0] = rows[:, 9] = V - 4  # a document starts here
    sizes = np.concatenate((rng.integers(1, 7, V - 4), np.zeros(4))).astype(np.int64)
    return prepare.Evaluator(rows, sizes, torch.device("cpu"))


def honest(x: Any) -> Any:
    """Logits from a running mean of what came before in the row: causal, each row by itself."""
    import torch

    table = torch.randn(V, V, generator=torch.Generator().manual_seed(1))
    return table[x].cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]


def judged(prepare: ModuleType, setting: Any, model: Any) -> None:
    import torch

    with torch.no_grad():
        _, nats = setting.score(model, 8)
        setting.probe(model, nats, ROWS)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 5, 8, 100])
def test_bits_per_byte_equal_a_plain_float64_computation(setting: Any, batch_size: int) -> None:
    rows, sizes = setting.rows.numpy(), setting.bytes.numpy()
    logits = honest(setting.rows[:, :-1]).double().numpy()
    nats = bits = 0.0
    for r in range(ROWS):
        for t in range(T):
            target = rows[r, t + 1]
            if target < V - 4:
                nats += math.log(sum(math.exp(z) for z in logits[r, t])) - logits[r, t, target]
                bits += sizes[target]
    bpb, by_row = setting.score(honest, batch_size)
    assert bpb == pytest.approx(nats / math.log(2) / bits, rel=1e-6)
    assert by_row.sum().item() == pytest.approx(nats, rel=1e-6)


@pytest.mark.slow
def test_an_honest_model_passes_the_probes(prepare: ModuleType, setting: Any) -> None:
    judged(prepare, setting, honest)


def looks_ahead(x: Any) -> Any:
    out = honest(x)
    out[:, :-1].scatter_(2, x[:, 1:, None], 20.0)
    return out


def looks_ahead_a_little(x: Any) -> Any:
    out = honest(x)
    out[:, :-1] += 0.01 * honest(x)[:, 1:]
    return out


def sees_other_rows(x: Any) -> Any:
    return honest(x) + 0.1 * honest(x).mean(0)


def is_not_a_number(x: Any) -> Any:
    out = honest(x)
    out[-1, -1, 0] = math.nan
    return out


def returns_a_loss(x: Any) -> Any:
    return honest(x).mean()


def returns_a_pair(x: Any) -> Any:
    return honest(x), None


def has_a_smaller_vocabulary(x: Any) -> Any:
    return honest(x)[..., :-4]


def brings_its_own_arithmetic(x: Any) -> Any:
    import torch

    class Flattering(torch.Tensor):
        pass

    return honest(x).as_subclass(Flattering)


class Remembers:
    """Better on every row that it has met before."""

    def __init__(self) -> None:
        self.met: set[tuple[int, ...]] = set()

    def __call__(self, x: Any) -> Any:
        out = honest(x)
        for i, row in enumerate(x.tolist()):
            if tuple(row) in self.met:
                out[i, :-1].scatter_(1, x[i, 1:, None], 5.0)
            self.met.add(tuple(row))
        return out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "outcome", "words"),
    [
        (looks_ahead, "tampered", "later tokens"),
        (looks_ahead_a_little, "tampered", "later tokens"),
        (sees_other_rows, "tampered", "other rows"),
        (Remembers(), "tampered", "seen again"),
        (is_not_a_number, "no_metric", "not finite"),
        (returns_a_loss, "tampered", "must return logits"),
        (returns_a_pair, "tampered", "must return logits"),
        (brings_its_own_arithmetic, "tampered", "must return logits"),
        (has_a_smaller_vocabulary, "tampered", "must return logits"),
    ],
)
def test_a_cheating_or_broken_model_is_refused(
    prepare: ModuleType, setting: Any, model: Any, outcome: str, words: str
) -> None:
    with pytest.raises(prepare.Verdict, match=words) as refused:
        judged(prepare, setting, model)
    assert refused.value.outcome == outcome


@pytest.mark.slow
def test_a_batch_that_does_not_fit_is_halved(prepare: ModuleType, setting: Any) -> None:
    import torch

    def small_memory(x: Any) -> Any:
        if len(x) > most:
            raise torch.OutOfMemoryError("no room")
        return honest(x)

    most = 3
    assert setting.score(small_memory, 16)[0] == pytest.approx(setting.score(honest, 16)[0])
    most = 0
    with pytest.raises(prepare.Verdict) as refused:
        setting.score(small_memory, 16)
    assert refused.value.outcome == "oom"


# The clock


def verdict(prepare: ModuleType, kind: str, budget: float, lived: float | None, **clock: float) -> str:
    config = prepare.Config("tiny", "python", "text", 0, kind, budget)
    try:
        prepare.check_clock({**CLOCK, **clock}, config, lived)
    except prepare.Verdict as refused:
        return refused.outcome
    return "ok"


def test_a_run_within_its_budget_is_accepted(prepare: ModuleType) -> None:
    assert verdict(prepare, "seconds", 10, None) == "ok"
    assert verdict(prepare, "seconds", 10, 30) == "ok"
    assert verdict(prepare, "steps", 20, 30) == "ok"
    assert verdict(prepare, "tokens", 1950, 30) == "ok"  # the last batch passed the mark


def test_a_run_over_its_budget_is_refused(prepare: ModuleType) -> None:
    assert verdict(prepare, "seconds", 7, None) == "over_budget"
    assert verdict(prepare, "seconds", 10, None, finished_after=14.0) == "over_budget"  # trained on
    assert verdict(prepare, "seconds", 10, 500) == "over_budget"  # far more life than training
    assert verdict(prepare, "steps", 19, None) == "over_budget"
    assert verdict(prepare, "tokens", 1900, None) == "over_budget"


def test_a_clock_that_shows_more_than_the_process_lived_is_refused(prepare: ModuleType) -> None:
    assert verdict(prepare, "seconds", 10, 5) == "tampered"
