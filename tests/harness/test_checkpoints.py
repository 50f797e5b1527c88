"""The feeder that keeps checkpoints: where the data and the clock go on, and who gets none.

That a killed training ends with the same weights is in tests/tasks/test_resumed.py.
"""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness import clock
from harness.channel import Channel, Gone, Message
from harness.checkpoints import Checkpoints, KeepingFeeder
from harness.loaders import order
from harness.task import Budget
from harness.text.rows import open_rows
from small_task import SmallTask
from test_feeder import Trainer
from waiting import PATIENCE_S


class Keeping(Trainer):
    """A connection to such a feeder."""

    def __init__(self, task: SmallTask, folder: Path) -> None:
        self.channel, other = Channel.pair()
        self.feeder = KeepingFeeder(task, other, folder, seed=1, begun=math.inf)
        self.thread = threading.Thread(target=self._serve, args=[other], daemon=True)
        self.thread.start()

    def save(self, data: bytes = b"learned") -> Message:
        file = os.memfd_create("checkpoint")
        os.write(file, data)
        return self.ask("SAVE", {"of": "this"}, file)


@pytest.fixture
def make(tmp_path: Path) -> Any:
    def trainer(**budget: float) -> Keeping:
        task = SmallTask(tmp_path / "ws", Budget(*next(iter(budget.items()))))
        task.prepare()
        (tmp_path / "run").mkdir(exist_ok=True)
        return Keeping(task, tmp_path / "run")

    return trainer


def test_each_loader_goes_on_behind_what_it_had_handed_out(make: Any, tmp_path: Path) -> None:
    rows = np.asarray(open_rows(make(steps=1).feeder.task.data_folder() / "train.bin"))
    expected = [rows[chosen] for chosen, _ in zip(order(len(rows), 4, 1), range(20), strict=False)]
    before = make(steps=20)
    (first, _), (second, _) = before.open(), before.open()
    for number in (first, second, first, first):
        before.next(number)
    before.channel.send("LINE", {"loss": 1.0})
    assert before.save().kind == "SAFE"
    before.next(second)  # after the checkpoint: lost with the process
    before.channel.send("LINE", {"loss": 2.0})
    before.channel.close()
    before.thread.join(PATIENCE_S)

    assert make(steps=20).ask("BACK", {"of": "that"}).kind == "FAIL"
    after = make(steps=20)
    answer = after.ask("BACK", {"of": "this"})
    assert (tmp_path / "run" / "curve.jsonl").read_text() == '{"loss": 1.0}\n'
    kept = os.pread(answer.descriptors[0], 1000, 0)
    assert answer.json() == {"steps": 4} and kept.endswith(b'}\n{"loss": 1.0}\nlearned')
    for number, count in ((0, 3), (1, 1)):
        _, slots = after.open()
        slot, progress = after.next(number)
        assert np.array_equal(slots[slot], expected[count]) and progress == (4 + number) / 20
    while after.next(0):
        pass
    assert after.feeder.clock.ended["steps"] == 20


def test_seconds_that_were_spent_before_the_checkpoint_are_spent(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(clock.time, "monotonic", lambda: now[0])
    before = make(seconds=100)
    number, _ = before.open()
    before.next(number)
    now[0] += 70
    before.save()
    before.channel.close()
    before.thread.join(PATIENCE_S)

    now[0] = 5000.0
    after = make(seconds=100)
    assert after.ask("BACK", {"of": "this"}).kind == "BACK"
    now[0] += 20  # spent with what was brought along, before any batch
    number, _ = after.open()
    found = after.next(number)
    assert found is not None and found[1] == pytest.approx(0.9)
    now[0] += 10
    assert after.next(number) is None and after.feeder.clock.ended["seconds"] == pytest.approx(100)


def test_a_checkpoint_of_something_else_or_none_is_refused_with_a_reason(make: Any) -> None:
    trainer = make(steps=5)
    assert "there is no checkpoint" in trainer.ask("BACK", {"of": "this"}).json()["reason"]
    number, _ = trainer.open()
    trainer.next(number)
    trainer.save()
    trainer.channel.close()
    trainer.thread.join(PATIENCE_S)
    assert "of another trainer" in make(steps=5).ask("BACK", {"of": "that"}).json()["reason"]


def test_nobody_goes_back_within_a_training(make: Any) -> None:
    trainer = make(steps=5)
    number, _ = trainer.open()
    trainer.next(number)
    trainer.save()
    trainer.channel.send("BACK", {"of": "this"})
    assert trainer.gone()


@pytest.mark.parametrize("kind", ["SAVE", "BACK"])
def test_a_run_of_the_engine_has_no_checkpoints(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("AUTORESEARCH_RUN_DIR", str(tmp_path / "run"))
    trainer = make(steps=5)
    if kind == "SAVE":
        trainer.next(trainer.open()[0])
    trainer.channel.send(kind, {"of": "this"})
    assert trainer.gone() and not (tmp_path / "run" / "checkpoint").exists()


def test_a_checkpoint_before_the_first_batch_or_without_a_file_ends_the_training(make: Any) -> None:
    trainer = make(steps=5)
    with pytest.raises(Gone):
        trainer.save()
    trainer = make(steps=5)
    trainer.next(trainer.open()[0])
    trainer.channel.send("SAVE", {"of": "this"})
    assert trainer.gone()


def test_a_checkpoint_of_a_model_with_other_tensors_is_refused_in_one_line(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of GPT-2 in `sft`, whose matrices the harness had the other way round before an upgrade."""
    task = tmp_path / "ws/autoresearch.toml"
    train, before = tmp_path / "train.py", make(steps=20)
    for file in (task, train):
        file.write_text("")
    monkeypatch.setattr("sys.argv", [str(train)])

    def checkpoints(trainer: Keeping, *sizes: int) -> Checkpoints:
        class Connection:
            by_hand = True

            def ask(self, kind: str, body: Any, descriptors: Any = ()) -> Message:
                return trainer.ask(kind, body, *descriptors)

        monkeypatch.setattr("harness.checkpoints.feed", lambda folder: Connection())
        optimizer: Any = torch.nn.Linear(1, 1)  # a state to load, too; a second of imports less
        return Checkpoints(task.parent, torch.nn.Linear(*sizes, bias=False), optimizer)

    before.next(before.open()[0])
    first = checkpoints(before, 2, 6)
    first.save(0.5, 7.0)
    before.channel.close()
    before.thread.join(PATIENCE_S)
    monkeypatch.setattr("sys.argv", [str(train), "--resume"])
    again = checkpoints(make(steps=20), 2, 6)
    assert again.resume(0.0) == (7.0,) and torch.equal(again.model.weight, first.model.weight)
    with pytest.raises(SystemExit, match=r"^error: the checkpoint is of another model[^\n]*; start without --resume$"):
        checkpoints(make(steps=20), 6, 2).resume(0.0)
    assert (tmp_path / "run/checkpoint").exists()


def test_half_a_word_begins_no_training_that_would_replace_the_checkpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unused: Any = None
    for word in ("--resum", "--r"):
        monkeypatch.setattr("sys.argv", ["train.py", word])
        with pytest.raises(SystemExit, match=f"error: {word} is no option.*type --resume"):
            Checkpoints(tmp_path, unused, unused).resume(0)
    monkeypatch.setattr("sys.argv", ["train.py", "--lr"])
    assert Checkpoints(tmp_path, unused, unused).resume(0) == (0,)
