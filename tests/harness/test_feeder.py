"""The feeder, asked over a connection as a trainer asks, and as none should."""

from __future__ import annotations

import fcntl
import json
import math
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness.channel import Channel, Gone, Message, SharedMemory
from harness.feeder import BATCH, Feeder
from harness.loaders import SLOTS, order
from harness.task import Budget
from harness.text.rows import open_rows
from small_task import SmallTask, T
from waiting import PATIENCE_S, wait_for


class Trainer:
    """A connection to a feeder that is a thread."""

    def __init__(self, task: SmallTask, folder: Path, seed: int = 1) -> None:
        self.channel, other = Channel.pair()
        self.feeder = Feeder(task, other, folder, seed=seed, begun=math.inf)
        self.thread = threading.Thread(target=self._serve, args=[other], daemon=True)
        self.thread.start()

    def _serve(self, other: Channel) -> None:
        self.feeder.serve()
        other.close()

    def ask(self, kind: str, body: Any = b"", *descriptors: int) -> Message:
        self.channel.send(kind, body, descriptors)
        return self.channel.receive(PATIENCE_S)

    def open(self, **asked: Any) -> tuple[int, list[np.ndarray]]:
        """(number, the slots of the one array) of a new loader."""
        answer = self.ask("OPEN", {"batch_size": 4, **asked})
        about, memory = answer.json(), SharedMemory.given(answer.descriptors[0])
        [array] = about["arrays"]
        slots = [memory.array(array["dtype"], array["shape"], n * about["bytes"]) for n in range(about["slots"])]
        return about["number"], slots

    def next(self, number: int) -> tuple[int, float] | None:
        answer = self.ask("NEXT", number.to_bytes(4, "little"))
        return BATCH.unpack(answer.body) if answer.kind == "HERE" else None

    def gone(self) -> bool:
        with pytest.raises(Gone):  # an answer shows at once that it goes on
            self.channel.receive(PATIENCE_S)
        self.thread.join(PATIENCE_S)
        return True


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Any]:
    def trainer(**budget: float) -> Trainer:
        task = SmallTask(tmp_path / "ws", Budget(*next(iter(budget.items()))), weights_bytes=10_000)
        task.prepare()
        (tmp_path / "run").mkdir(exist_ok=True)
        return Trainer(task, tmp_path / "run")

    yield trainer


def weights(data: bytes = b"weights", seal: bool = True) -> int:
    descriptor = os.memfd_create("weights", os.MFD_ALLOW_SEALING)
    os.write(descriptor, data)
    if seal:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    return descriptor


def test_batches_are_the_rows_in_the_order_of_the_seed_until_the_budget_is_spent(make: Any, tmp_path: Path) -> None:
    trainer = make(steps=30)
    rows = open_rows(tmp_path / "ws" / "data" / "train.bin")
    number, slots = trainer.open(seq_len=T)
    for expected, step in zip(order(len(rows), 4, 1), range(30), strict=False):
        slot, progress = trainer.next(number)
        assert progress == step / 30
        assert np.array_equal(slots[slot], rows[expected])
    assert trainer.next(number) is None
    assert trainer.next(number) is None
    assert trainer.feeder.clock.ended["tokens"] == 30 * 4 * T


def test_each_row_comes_once_an_epoch() -> None:
    batches = [each.tolist() for each, _ in zip(order(10, 4, 7), range(5), strict=False)]
    flat = [number for batch in batches for number in batch]
    assert sorted(flat[:10]) == sorted(flat[10:]) == list(range(10))
    assert flat[:10] != flat[10:]


def test_nothing_lies_in_the_memory_before_it_is_asked_for(make: Any) -> None:
    """Else a trainer would have data before the clock runs, or, with a budget of steps, that was not counted."""
    trainer = make(steps=5)
    first, slots = trainer.open(seq_len=T)
    _, others = trainer.open(seq_len=T)
    assert not any(slot.any() for slot in (*slots, *others))
    trainer.next(first)
    assert sum(slot.any() for slot in slots) == 1
    assert not any(slot.any() for slot in others)


def test_a_budget_of_seconds_has_one_batch_ready(make: Any) -> None:
    trainer = make(seconds=1000)
    number, slots = trainer.open(seq_len=T)
    assert not any(slot.any() for slot in slots)
    for count in (2, 3):
        trainer.next(number)
        wait_for(lambda count=count: sum(slot.any() for slot in slots) == count, "the next batch")
    assert len(slots) == SLOTS


def test_a_shorter_row_holds_no_token_beyond_it(make: Any) -> None:
    trainer = make(tokens=1000)
    number, slots = trainer.open(seq_len=5)
    slot, _ = trainer.next(number)
    assert slots[slot].shape == (4, 6)
    assert trainer.feeder.clock.tokens == 20


@pytest.mark.parametrize("asked", [{"batch_size": 0}, {"batch_size": True}, {"batch_size": "4"}, {"batch_size": 2**31}])
def test_impossible_sizes_are_refused_with_a_reason(make: Any, asked: dict[str, Any]) -> None:
    trainer = make(steps=5)
    answer = trainer.ask("OPEN", asked)
    assert answer.kind == "FAIL"
    assert "batch" in answer.json()["reason"]
    assert trainer.open(seq_len=T)[0] == 0  # and it may ask again


def test_a_run_has_a_bounded_number_of_loaders(make: Any) -> None:
    trainer = make(steps=5)
    for _ in range(64):
        trainer.open(seq_len=T)
    assert "at most 64 loaders" in trainer.ask("OPEN", {"batch_size": 4, "seq_len": T}).json()["reason"]


def test_the_weights_are_kept_with_the_time_at_which_they_came(make: Any, tmp_path: Path) -> None:
    trainer = make(steps=1)
    number, _ = trainer.open(seq_len=T)
    trainer.channel.send("LINE", {"step": 1, "loss": 2.5, "what": "text", "deep": {"a": 1}, "none": None})
    trainer.next(number)
    assert trainer.next(number) is None
    assert trainer.ask("DONE", {"loss": 2.5, "text": "no", "flag": True}, weights()).kind == "DONE"
    assert trainer.gone()
    run = tmp_path / "run"
    assert (run / "model.pt").read_bytes() == b"weights"
    assert json.loads((run / "summary.json").read_text()) == {"loss": 2.5}
    assert json.loads((run / "curve.jsonl").read_text()) == {"step": 1, "loss": 2.5, "none": None}
    clock = json.loads((run / "clock.json").read_text())
    assert (clock["steps"], clock["tokens"]) == (1, 4 * T)
    assert clock["finished_after"] >= clock["seconds"] >= 0


def test_weights_that_are_too_large_are_not_kept(make: Any, tmp_path: Path) -> None:
    trainer = make(steps=1)
    trainer.next(trainer.open(seq_len=T)[0])
    trainer.ask("DONE", {}, weights(b"x" * 10_001))
    assert json.loads((tmp_path / "run" / "clock.json").read_text())["weights_over"] == 10_001
    assert not (tmp_path / "run" / "model.pt").exists()


@pytest.mark.parametrize("case", ["not sealed", "no weights", "before the first batch", "another kind", "no loader"])
def test_what_no_trainer_sends_ends_the_run_without_weights(make: Any, tmp_path: Path, case: str) -> None:
    trainer = make(steps=2)
    number, _ = trainer.open(seq_len=T)
    if case != "before the first batch":
        trainer.next(number)
    if case == "not sealed":
        trainer.channel.send("DONE", {}, [weights(seal=False)])
    elif case == "no weights":
        trainer.channel.send("DONE", {})
    elif case == "before the first batch":
        trainer.channel.send("DONE", {}, [weights()])
    elif case == "another kind":
        trainer.channel.send("CLCK", {"seconds": 0})
    else:
        trainer.channel.send("NEXT", (7).to_bytes(4, "little"))
    assert trainer.gone()
    assert not (tmp_path / "run" / "clock.json").exists()
    assert not (tmp_path / "run" / "model.pt").exists()


def test_what_an_earlier_run_left_is_gone_when_a_run_begins(make: Any, tmp_path: Path) -> None:
    make(steps=1)
    (tmp_path / "run" / "clock.json").write_text("{}")
    make(steps=1)
    assert not (tmp_path / "run" / "clock.json").exists()


def test_warm_up_is_timed_by_the_feeder_and_only_before_the_first_batch(make: Any) -> None:
    trainer = make(seconds=1000)
    number, _ = trainer.open(seq_len=T)
    trainer.channel.send("WARM", {"begin": True})
    trainer.channel.send("WARM", {"begin": False})
    trainer.next(number)
    warmup = trainer.feeder.clock.warmup
    assert warmup > 0
    trainer.channel.send("WARM", {"begin": True})
    trainer.channel.send("WARM", {"begin": False})
    trainer.next(number)
    assert trainer.feeder.clock.warmup == warmup
