"""Problems, base model and scoring rule of the rl task; the trainer may not change this file. Its commands:
harness/command_line.py.

A GPT that set-up has shown some solutions learns to solve more problems from rewards alone: a process hands out
problems, takes completions and says which are right (rewards.py). The score is the part of held-out problems that the
model solves when it writes the likeliest tokens. The forward pass is the harness's, and what a run leaves is weights:
the grader runs no code of the trainer. Where problems come from: problems.py.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from harness.base import BaseTask
from harness.command_line import main
from harness.device import pick_device, prepare_cpu
from harness.errors import TaskError
from harness.files import Progress, data_path, read_json, write_json
from harness.probes import check_contamination
from harness.task import Allowances, Budget, Training, read_task_file
from harness.weights import grade_weights
from problems import SOURCES, Writing, arithmetic, gsm8k, is_right, prompts, solutions
from rewards import LOG, TESTS, RewardFeeder, check_learned, last_reward, tested

if TYPE_CHECKING:
    import torch
    from harness.lm import GPT
    from torch import Tensor

HERE = Path(__file__).resolve().parent
PROGRAMS = ("problems.py", "rewards.py")
"""What decides a score beside this file."""

BASE = "base"
"""The folder of the data that a run may read: the base."""

SAMPLES = 8
"""Completions of a problem for pass@8, drawn at a temperature of 1."""

SCORED = 512
"""Problems that are written at a time where they are scored."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The sizes of one scale of the task. Results of different profiles are not comparable."""

    layers: int  # of the base that set-up trains, as what follows
    width: int
    heads: int
    steps: int
    batch: int
    numbers: tuple[int, ...]  # of a sum; of half of the locked ones, one more than the most
    below: int  # every number of a sum
    train: int  # sums
    held_out: int  # sums of search and of locked; the control has half as many
    vocab: int  # of GSM8K, as what follows
    prompt: int  # tokens of the longest problem that is taken
    completion: int  # and of the longest solution
    allowances: Allowances


PROFILES = {
    "full": Profile(8, 512, 8, 6000, 128, (3, 4, 5), 100, 200_000, 2000, 4096, 160, 240, Allowances(60, 300, 2**31)),
    "small": Profile(4, 256, 4, 3000, 128, (3, 4, 5), 30, 100_000, 2000, 2048, 160, 240, Allowances(30, 180, 2**30)),
    "tiny": Profile(2, 64, 4, 800, 128, (3, 4), 10, 30_000, 1000, 1024, 128, 160, Allowances(15, 60, 2**26)),
}


@dataclass(frozen=True, slots=True)
class Options:
    """[options] of autoresearch.toml."""

    profile: str = field(default="tiny", metadata={"choices": tuple(PROFILES), "help": "the scale of the task"})
    source: str = field(default="arithmetic", metadata={"choices": SOURCES, "help": "where the problems come from"})

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise TaskError(f"no profile is called {self.profile!r}; choose from: {', '.join(PROFILES)}")
        if self.source not in SOURCES:
            raise TaskError(f"no source is called {self.source!r}; choose from: {', '.join(SOURCES)}")


class Rl(BaseTask):
    """The rl task: `harness.weights.FixedTask` and `rewards.RewardTask`."""

    name = "rl"

    def __init__(self, folder: Path, options: Options, budget: Budget) -> None:
        super().__init__(folder, options, budget)
        self.profile = p = PROFILES[options.profile]
        self.allowances = p.allowances
        most, own = max(p.numbers) + 1, options.source == "arithmetic"
        self.prompt = 1 + 2 * most if own else p.prompt
        """Tokens of the longest prompt."""
        self.completion = 2 * (most - 1) if own else p.completion
        """And of the longest completion: of a sum a result and the end of its line for each sign."""
        # Of a sum fewer than there are numbers, so that no answer is found by going through all of them.
        self.tests = TESTS if not own else min(TESTS, (p.below - 1) * (most - 1))
        """Completions of one problem that may be tested in a run."""

    def data_folder(self) -> Path:
        sizes = {name: size for name, size in asdict(self.profile).items() if name != "allowances"}
        return data_path(self.name, self.options.profile, self.version, sizes, self.options.source)

    # -- data ----------------------------------------------------------------------------------------------

    def make(self, workers: int) -> Mapping[str, Mapping[str, np.ndarray]]:
        p, own = self.profile, self.options.source == "arithmetic"
        found, self.writing = arithmetic(p.numbers, p.below, p.train, p.held_out) if own else gsm8k(workers, p.vocab)
        shown = [each for each in found if each.split in ("train", "shown")]
        sizes = (self.writing, self.prompt, self.completion)
        splits = ("train", "search", "control", "locked")
        made = {split: prompts([each for each in found if each.split == split], *sizes) for split in splits}
        return made | {"shown": solutions(shown, *sizes)}

    def complete(self, folder: Path) -> None:
        """Train the base on solutions, and score it."""
        import torch
        from harness import lm

        p, progress, writing = self.profile, Progress("base"), self.writing
        write_json(folder / "writing.json", [base64.b64encode(piece).decode() for piece in writing.pieces])
        rows, span = (np.load(folder / "shown" / f"{name}.npy") for name in ("ids", "span"))
        torch.manual_seed(1)
        sizes = lm.Sizes(p.layers, p.width, p.heads, writing.vocab, self.prompt + self.completion)
        model = lm.GPT(sizes).to(device())

        def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
            chosen = rng.integers(0, len(rows), p.batch)
            ids, places = rows[chosen].astype(np.int64), np.arange(1, rows.shape[1])
            return ids, (places >= span[chosen, :1]) & (places < span[chosen, 1:])

        loss = lm.train(model, draw, p.steps, 1, lambda n, at: progress.update(f"step {n} of {p.steps}, loss {at:.3f}"))
        (folder / BASE).mkdir()
        lm.save(model, folder / BASE)
        scores = {}
        for split in ("search", "locked", "control"):
            own = {name: np.load(folder / split / f"{name}.npy") for name in ("ids", "lengths", "answers")}
            scores[split] = float(self.solved(model, own, None).mean())
        write_json(folder / BASE / "scores.json", scores)
        progress.done(f"loss {loss:.3f} nats a token, pass@1 {scores['search']:.3f}")

    def files(self, split: str) -> tuple[str, ...]:
        return ("writing.json", *(name for part in (split, "control", BASE) for name in super(Rl, self).files(part)))

    def training(self, asked: Mapping[str, Any]) -> Training:
        """Prompts, their lengths, and their numbers; the answers stay here."""
        own = self.arrays("train")
        return Training((own["ids"], own["lengths"], np.arange(len(own["ids"]))), self.tokens_per_example)

    def base(self) -> GPT:
        """The model that a run begins with, on the CPU. Raises TaskError."""
        from harness import lm

        return lm.load(self.data_folder() / BASE)  # not `prepared`, whose folder a run cannot list

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in self.base().state_dict().items()}

    # -- scores --------------------------------------------------------------------------------------------

    @cached_property
    def writing(self) -> Writing:
        return Writing([base64.b64decode(piece) for piece in read_json(self.prepared() / "writing.json")])

    @cached_property
    def answers(self) -> np.ndarray:
        """Of the training problems, int64 [N]."""
        return np.array(self.arrays("train")["answers"])

    def right(self, number: int, completion: np.ndarray) -> bool:
        return is_right(self.options.source, self.writing.read(completion), self.answers[number])

    def solved(self, model: GPT, own: Mapping[str, np.ndarray], seed: int | None) -> np.ndarray:
        """Which problems of a split the model solves, bool [N]: by the likeliest tokens, or by those drawn with a
        `seed` at a temperature of 1."""
        import torch
        from harness import lm

        at, texts = model.head.weight.device, list[str | None]()
        generator, temperature = (None, 0.0) if seed is None else (torch.Generator(at).manual_seed(seed), 1.0)
        for start in range(0, len(own["ids"]), SCORED):
            ids, lengths = (torch.from_numpy(np.array(own[name][start : start + SCORED], np.int64)).to(at)
                            for name in ("ids", "lengths"))  # fmt: skip
            rows = lm.write(model, ids, lengths, self.completion, self.writing.end, temperature, generator)
            texts += map(self.writing.read, lm.behind(rows, lengths, self.completion).cpu().numpy())
        return np.array([is_right(self.options.source, *pair) for pair in zip(texts, own["answers"], strict=True)])

    def score(self, weights: Mapping[str, np.ndarray], split: str, folder: Path) -> dict[str, float]:
        import torch

        model = self.base().to(device())
        model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
        own, control = self.arrays(split), self.arrays("control")
        rewarded, base = last_reward(read_json(folder / LOG)), read_json(self.data_folder() / BASE / "scores.json")
        check_learned(float(self.solved(model, control, 1).mean()), max(rewarded, base["control"]))
        once, others = (self.solved(model, problems, None) for problems in (own, control))
        if split == "search":  # the control is no measure of the locked problems, which are harder
            losses = (np.stack((~solved, np.ones(len(solved))), 1) for solved in (once, others))
            check_contamination(*losses, data="problems", unit="errors a problem")
        any_of = np.any([self.solved(model, own, seed) for seed in range(1, SAMPLES + 1)], 0)
        return {
            "pass_at_1": float(once.mean()), "pass_at_8": float(any_of.mean()), "base_pass_at_1": base[split],
            "last_reward": rewarded,
        }  # fmt: skip


def device() -> torch.device:
    """What to compute on, set up for it."""
    own = pick_device()
    if own.type == "cpu":
        prepare_cpu()
    return own


# ------------------------------------------------------------------------------------------------------------
# For the trainer
# ------------------------------------------------------------------------------------------------------------

try:
    TASK = Rl(HERE, *read_task_file(HERE, Options))
except TaskError as error:
    raise SystemExit(f"error: {error}") from None
PROFILE, LENGTH, MOST_TESTS = TASK.options.profile, TASK.completion, TASK.tests


def base_model() -> GPT:
    """The model to improve, on the CPU; the last of its ids is the end. Exits with one line when it is not there."""
    try:
        return TASK.base()
    except TaskError as error:
        raise SystemExit(f"error: {error}") from None


def rewards(numbers: Tensor, completions: Tensor) -> Tensor:
    """float32 [N]: 1 where a completion [N, LENGTH] of the problem with this number [N] is right, else 0. It must come
    to an end, and its last line must be the answer. Exits with one line when the reward process refuses."""
    return tested(HERE, numbers, completions)


if __name__ == "__main__":
    main(HERE, Options, Rl, grade=grade_weights, feeder=RewardFeeder, programs=PROGRAMS)
