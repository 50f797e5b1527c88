"""The score, and what is refused. The models here are small modules written for one test each."""

from __future__ import annotations

import math
import os
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROWS, T, V = 24, 16, 40
CLOCK = {"seconds": 10.0, "finished_after": 10.5, "steps": 20, "tokens": 2000, "flops": 4e6, "cores": 2, "cpu": 19.0}


@pytest.fixture(scope="module")
def setting(prepare: ModuleType) -> Any:
    """An evaluator on random rows, four special tokens at the end of the vocabulary."""
    import torch

    rng = np.random.default_rng(0)
    rows = rng.integers(0, V - 4, (ROWS, T + 1)).astype(np.uint16)
    rows[:, 0] = rows[:, 9] = V - 4  # a document starts here
    sizes = np.concatenate((rng.integers(1, 7, V - 4), np.zeros(4))).astype(np.int64)
    return prepare.Evaluator(rows, sizes, V - 4, torch.device("cpu"))


def honest(x: Any) -> Any:
    """Logits from a running mean of what came before in the row: causal, each row by itself."""
    import torch

    table = torch.randn(V, V, generator=torch.Generator().manual_seed(1))
    return table[x].cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]


def judged(prepare: ModuleType, setting: Any, model: Any) -> None:
    import torch

    with torch.no_grad():
        nats, _ = setting.score(model, 8)
        setting.probe(model, nats, ROWS)


def plain_scores(setting: Any, documents: bool = False) -> list[tuple[float, float]]:
    """(bits, bytes) of each row, or of each document, in float64 and one token at a time."""
    rows, sizes = setting.rows.numpy(), setting.bytes.numpy()
    logits = honest(setting.rows[:, :-1].long()).double().numpy()
    found: list[tuple[float, float]] = []
    for r in range(ROWS):
        for t in range(T):
            if t == 0 or (documents and rows[r, t] == V - 4):
                found.append((0.0, 0.0))
            target = rows[r, t + 1]
            if target < V - 4:
                nats = math.log(sum(math.exp(z) for z in logits[r, t])) - logits[r, t, target]
                found[-1] = (found[-1][0] + nats / math.log(2), found[-1][1] + sizes[target])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 3, 16, 96])
def test_the_score_equals_a_plain_float64_computation(setting: Any, batch_size: int) -> None:
    nats, documents = setting.score(honest, batch_size)
    plain = plain_scores(setting)
    assert (nats / math.log(2)).tolist() == pytest.approx([bits for bits, _ in plain], rel=1e-6)
    assert documents.tolist() == [pytest.approx(pair, rel=1e-6) for pair in plain_scores(setting, documents=True)]
    assert documents[:, 0].sum().item() == pytest.approx(sum(bits for bits, _ in plain), rel=1e-6)


@pytest.mark.slow
def test_the_loss_is_computed_in_parts_when_the_vocabulary_is_large(
    prepare: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    size = 2**15
    rows = np.random.default_rng(2).integers(0, size - 4, (2, 700)).astype(np.uint16)
    large = prepare.Evaluator(rows, np.ones(size, dtype=np.int64), size - 4, torch.device("cpu"))
    table = torch.randn(64, size, generator=torch.Generator().manual_seed(3)).bfloat16()
    sizes: list[int] = []
    whole = large.logsumexp

    def counted(chunk: Any, dim: int) -> Any:
        sizes.append(chunk.numel())
        return whole(chunk, dim)

    large.logsumexp = counted
    nats, _ = large.score(lambda x: table[x % 64], 2)
    logits = table.double()[torch.from_numpy(rows.astype(np.int64))[:, :-1] % 64]
    targets = torch.from_numpy(rows.astype(np.int64))[:, 1:, None]
    expected = (logits.logsumexp(-1) - logits.gather(-1, targets)[..., 0]).sum(1)
    assert nats.tolist() == pytest.approx(expected.tolist(), rel=1e-6)
    assert len(sizes) > 2
    assert max(sizes) <= 2**24


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
    assert setting.score(small_memory, 16)[0].tolist() == pytest.approx(setting.score(honest, 16)[0].tolist())
    most = 0
    with pytest.raises(prepare.Verdict) as refused:
        setting.score(small_memory, 16)
    assert refused.value.outcome == "oom"


# The clock


def verdict(prepare: ModuleType, kind: str, budget: float, lived: float | None, **clock: float) -> str:
    config = prepare.Config(budget_kind=kind, budget=budget)
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
    assert verdict(prepare, "flops", 3.9e6, 30) == "ok"


def test_a_run_over_its_budget_is_refused(prepare: ModuleType) -> None:
    assert verdict(prepare, "seconds", 7, None) == "over_budget"
    assert verdict(prepare, "seconds", 10, 500) == "over_budget"  # far more life than training
    assert verdict(prepare, "steps", 19, None) == "over_budget"
    assert verdict(prepare, "tokens", 1900, None) == "over_budget"
    assert verdict(prepare, "flops", 3.8e6, None) == "over_budget"


@pytest.mark.parametrize("kind", ["seconds", "steps"])
def test_training_on_after_the_last_batch_is_refused(prepare: ModuleType, kind: str) -> None:
    assert verdict(prepare, kind, 20, None, finished_after=11.4) == "ok"  # less than three steps
    assert verdict(prepare, kind, 20, None, finished_after=11.6) == "over_budget"


def test_a_run_that_an_overloaded_machine_held_up_says_nothing_about_the_trainer(prepare: ModuleType) -> None:
    assert verdict(prepare, "seconds", 7, None, cpu=8.0, load=90.0 * (os.cpu_count() or 1)) == "killed"
    assert verdict(prepare, "seconds", 7, None, cpu=19.0, load=90.0 * (os.cpu_count() or 1)) == "over_budget"
    assert verdict(prepare, "seconds", 7, None, cpu=8.0, load=0.1) == "over_budget"


def test_a_clock_that_shows_more_than_the_process_lived_is_refused(prepare: ModuleType) -> None:
    assert verdict(prepare, "seconds", 10, 5) == "tampered"


def clock(prepare: ModuleType, monkeypatch: pytest.MonkeyPatch, now: list[float], **budget: float) -> Any:
    [(kind, amount)] = budget.items()
    monkeypatch.setattr(prepare, "monotonic", lambda: now[0])
    monkeypatch.setattr(prepare, "process_age", lambda: now[0])
    return prepare.Clock(prepare.Config(budget_kind=kind, budget=amount))


def test_time_before_the_first_batch_is_charged_beyond_what_is_free(
    prepare: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, free = [0.0], prepare.PROFILES["tiny"].startup_s
    quick = clock(prepare, monkeypatch, now, seconds=30)
    now[0] = free
    quick.begin()
    assert quick.progress == 0
    slow = clock(prepare, monkeypatch, now, seconds=30)
    now[0] = free + 6
    slow.begin()
    assert slow.progress == pytest.approx(0.2)
    compiling = clock(prepare, monkeypatch, now, seconds=30)
    compiling.warmup = 5.0
    compiling.begin()
    assert compiling.seconds == pytest.approx(1.0)


def test_the_clock_starts_once(prepare: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1.0]
    one = clock(prepare, monkeypatch, now, seconds=10)
    one.begin()
    now[0] = 6.0
    one.begin()
    assert one.progress == pytest.approx(0.5)


def test_operations_are_counted_as_on_paper(prepare: ModuleType) -> None:
    import torch

    d, v, t = 32, 50, prepare.MAX_SEQ_LEN

    class Tiny(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = torch.nn.Embedding(v, d), torch.nn.Linear(d, v, bias=False)

        def forward(self, ids: Any) -> Any:
            x = self.table(ids)[:, None]  # [B, 1, T, d]: one head
            x = torch.nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True)
            return self.head(x[:, 0])

    state = torch.get_rng_state()
    assert prepare.flops_per_token(Tiny) == 3 * (2 * d * v + 2 * 2 * t * d)
    assert torch.equal(torch.get_rng_state(), state)
