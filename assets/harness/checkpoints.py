"""Checkpoints of a training by hand: a kill costs what came after the last one.

The trainer sends what it has learned; the feeder adds the clock and the place in the data, and keeps all in one file:

    SAVE  {"of": what is trained} and a file  ->  SAFE, when it is on the disk
    BACK  {"of": what is trained}             ->  BACK and that file, and the clock goes on; or FAIL {reason}

A run of the engine has none, and its feeder knows neither message: a run is one process, and what it brought along from
another would be training that no clock has seen.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.batches import feed
from harness.channel import Channel, Gone, Message, private_copy
from harness.feeder import BLOCK, CURVE, Feeder
from harness.files import written
from harness.finish import run_seed, unnamed_file

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

CHECKPOINT, RESUME = "checkpoint", "--resume"
"""The file, in the folder of the run; and the word on the command line."""

PARTS = 10
"""A checkpoint is saved each time that another of so many parts of the budget is spent."""


class Checkpoints:
    """The trainer's side."""

    def __init__(self, folder: Path, model: nn.Module, optimizer: Optimizer) -> None:
        """Both are saved and put back with the states of torch's generators."""
        self.folder, self.model, self.optimizer, self.last = folder, model, optimizer, 0

    def resume(self, *numbers: float) -> tuple[float, ...]:
        """With --resume on the command line, put back the last checkpoint and return the numbers that were saved with
        it; else return these. To be called before the first loader is made, since the clock goes on from here. Exits
        with one line when there is no checkpoint of this trainer, seed and task file, or the model has other tensors:
        the base was made anew, or the harness makes another model of it since an upgrade."""
        if cut := [word for word in sys.argv[1:] if len(word) > 2 and RESUME.startswith(word) and word != RESUME]:
            sys.exit(f"error: {cut[0]} is no option, and a new training would replace the checkpoint; type {RESUME}")
        if RESUME not in sys.argv:
            return numbers
        import torch

        connection = feed(self.folder)
        if not connection.by_hand:
            sys.exit(f"error: a run of the engine begins at the beginning; leave out {RESUME}")
        answer = connection.ask("BACK", {"of": self.trained()})
        with os.fdopen(answer.descriptors[0], "rb") as file:
            file.seek(json.loads(file.readline())["curve"], os.SEEK_CUR)  # the feeder's part
            held = torch.load(io.BytesIO(file.read()), map_location="cpu", weights_only=True)
        try:
            self.model.load_state_dict(held["model"])
            self.optimizer.load_state_dict(held["optimizer"])
        except (RuntimeError, ValueError):  # other names or shapes: `trained` knows neither the base nor the harness
            sys.exit(f"error: the checkpoint is of another model, by its base or harness; start without {RESUME}")
        torch.set_rng_state(held["generators"][0])
        torch.cuda.set_rng_state_all(held["generators"][1:])
        print(f"resumed   after {answer.json()['steps']} batches", flush=True)
        return tuple(held["numbers"])

    def save(self, progress: float, *numbers: float) -> None:
        """Save a checkpoint when another part of the budget is spent. To be called at the end of a step, with its
        `progress` and what else of the loop is to go on. In a run of the engine it does nothing."""
        import torch

        part, connection = int(PARTS * progress), feed(self.folder)
        if part == self.last or not connection.by_hand:
            return
        self.last = part
        generators = [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]
        held = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "generators": generators}
        with unnamed_file() as file:
            torch.save({**held, "numbers": numbers}, file)
            file.flush()
            connection.ask("SAVE", {"of": self.trained()}, [file.fileno()])

    def trained(self) -> str:
        """A hash of what decides how the training goes on: the trainer, the task file, the seed."""
        files = (Path(sys.argv[0]), self.folder / "autoresearch.toml")
        return hashlib.sha256(b"\0".join([*(file.read_bytes() for file in files), b"%d" % run_seed()])).hexdigest()


class KeepingFeeder(Feeder):
    """A feeder that keeps checkpoints where nobody measures."""

    def __init__(self, task: Any, channel: Channel, folder: Path, **more: Any) -> None:
        super().__init__(task, channel, folder, **more)
        self.handed: list[int] = []  # batches of each loader
        self.handed_before: list[int] = []

    def answers(self) -> dict[str, Callable[[Message], None]]:
        measured = os.environ.get("AUTORESEARCH_RUN_DIR")
        return super().answers() | ({} if measured else {"SAVE": self.save, "BACK": self.back})

    def place(self) -> dict[str, Any]:
        """Where the training is, as JSON."""
        own = {name: self.clock.state()[name] for name in ("seconds", "steps", "tokens")}
        return own | {"handed": self.handed, "curve": self.curve.tell()}

    def go_on(self, place: dict[str, Any], curve: bytes) -> None:
        """Be there again, with this learning curve. What the trainer does from now on is on the clock."""
        self.clock.begin()
        self.clock.start -= place["seconds"]
        self.clock.started -= place["seconds"]
        self.clock.steps, self.clock.tokens = place["steps"], place["tokens"]
        self.handed_before = place["handed"]
        self.curve.write(curve)
        self.curve.flush()

    def save(self, message: Message) -> None:
        if not self.clock.running or not message.descriptors:
            raise Gone("a checkpoint is a file, after the first batch")
        [source, *_] = message.descriptors
        with written(self.folder / CHECKPOINT) as part, part.open("wb") as target:
            target.write(json.dumps({**message.json(), **self.place()}).encode() + b"\n")
            target.write((self.folder / CURVE).read_bytes())
            for start in range(0, os.fstat(source).st_size, BLOCK):
                target.write(os.pread(source, BLOCK, start))
            target.flush()
            os.fsync(target.fileno())  # also a machine may be lost
        self.channel.send("SAFE")

    def back(self, message: Message) -> None:
        path = self.folder / CHECKPOINT
        if self.loaders or self.clock.running:
            raise Gone("a training is resumed before its first loader")
        if not path.exists():
            return self.channel.send("FAIL", {"reason": f"there is no checkpoint; start without {RESUME}"})
        with path.open("rb") as file:
            place = json.loads(file.readline())
            curve = file.read(place["curve"])
        if place["of"] != message.json().get("of"):
            reason = f"the checkpoint is of another trainer, task file or seed; start without {RESUME}"
            return self.channel.send("FAIL", {"reason": reason})
        self.go_on(place, curve)
        descriptor = private_copy(path)
        self.channel.send("BACK", {"steps": place["steps"]}, [descriptor])
        os.close(descriptor)
        return None

    def open(self, message: Message) -> None:
        super().open(message)
        if len(self.loaders) > len(self.handed):  # it was not refused
            before = self.handed_before[len(self.handed) :][:1]
            self.handed += before or [0]
            deque(itertools.islice(self.loaders[-1].choices, self.handed[-1]), maxlen=0)

    def batch(self, message: Message) -> None:
        steps = self.clock.steps
        super().batch(message)
        self.handed[int.from_bytes(message.body[:4], "little")] += self.clock.steps - steps

    def done(self, message: Message) -> None:
        super().done(message)
        (self.folder / CHECKPOINT).unlink(missing_ok=True)
