"""Data, base model and scoring rule of the sft task; no trainer may change this. Commands: harness/command_line.py.

A GPT that set-up has trained on text, a kept one of pretrain, or one of the hub is tuned to answer; the score is bits
per byte of held-out responses. The forward pass is that of the base, and what a run leaves is weights: the grader runs
no code of the trainer. A model that knows the split by heart shows against a control on which no decision rests. Two
sources:

    python    documented functions of Python's library: from signature and docstring to body; offline
    a path    a jsonl or parquet file of chats, as `autoresearch generate` writes them
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bases
import numpy as np
from chat_ids import OwnIds
from harness.base import BaseTask
from harness.checkpoints import KeepingFeeder
from harness.command_line import main
from harness.device import pick_device, prepare_cpu
from harness.errors import TaskError
from harness.files import data_path, read_json, write_json
from harness.probes import FEWEST_DOCUMENTS, check_contamination
from harness.scores import cross_entropy
from harness.task import Allowances, Budget, read_task_file
from harness.weights import grade_weights
from pairs import arrays, chats, library

if TYPE_CHECKING:
    from torch import nn

HERE = Path(__file__).resolve().parent
PROGRAMS = ("bases.py", "chat_ids.py", "pairs.py")
"""What decides a score beside this file."""

MOST_LOGITS = 2**28
"""Numbers of a model's logits that scoring holds at once; a vocabulary of the hub has a hundred thousand tokens."""

BASE = "base"
"""The folder of the data that a run may read: weights and tokenizer of the base."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The sizes of one scale of the task. Results of different profiles are not comparable."""

    layers: int  # of the base that set-up trains, as what follows
    width: int
    heads: int
    vocab: int
    length: int  # T: tokens of the longest conversation
    text_bytes: int  # of Python's own text
    steps: int
    batch: int  # also of a scoring
    most: int  # responses of a held-out split
    allowances: Allowances


PROFILES = {
    "full": Profile(8, 512, 8, 4096, 512, 32 * 10**6, 6000, 32, 2000, Allowances(60, 120, 2**31)),
    "small": Profile(4, 256, 4, 2048, 256, 16 * 10**6, 2000, 32, 2000, Allowances(30, 60, 2**30)),
    "tiny": Profile(2, 128, 4, 1024, 128, 8 * 10**6, 500, 32, 500, Allowances(15, 0, 2**26)),
}


@dataclass(frozen=True, slots=True)
class Options:
    """[options] of autoresearch.toml."""

    profile: str = field(default="tiny", metadata={"choices": tuple(PROFILES), "help": "the scale of the task"})
    source: str = field(default="python", metadata={"help": "python, or the path of a jsonl or parquet file of chats"})
    base: str = field(default=bases.TRAINED, metadata={"help": bases.HELP})

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise TaskError(f"no profile is called {self.profile!r}; choose from: {', '.join(PROFILES)}")


class Sft(BaseTask):
    """The sft task: `harness.weights.FixedTask`."""

    name = "sft"
    version = 2

    def __init__(self, folder: Path, options: Options, budget: Budget) -> None:
        super().__init__(folder, options, budget)
        self.profile = PROFILES[options.profile]
        self.allowances = self.profile.allowances

    def data_folder(self) -> Path:
        source, o = self.options.source, self.options
        about = sys.version if source == "python" else str(Path(source).expanduser().resolve())
        sizes = {name: size for name, size in asdict(self.profile).items() if name != "allowances"}
        more = [] if source == "python" else ["split by what is asked"]
        more += [] if o.base == bases.TRAINED else [str(bases.path_of(o.base) or o.base)]
        return data_path(self.name, o.profile, self.version, sizes, source == "python", about, *more)

    @cached_property
    def text(self) -> bases.BaseText:
        """Text and tokenizer of the base that set-up trains."""
        return bases.text_of(self.folder, self.budget, self.profile)

    @cached_property
    def revision(self) -> str:
        """The commit of a base of the hub, asked for once, so that tokenizer and weights are of the same."""
        return bases.revision_of(self.options.base)

    def origin(self) -> dict[str, str]:
        return {"base": self.options.base, "revision": self.revision} if self.revision else {}

    def fingerprint(self) -> dict[str, str]:
        base = bases.fingerprint(self.options.base)
        return super().fingerprint() | ({"base": base} if base else {})

    def make(self, workers: int) -> Mapping[str, Mapping[str, np.ndarray]]:
        p, source = self.profile, self.options.source
        found = library() if source == "python" else chats(Path(source).expanduser())
        trained = self.options.base == bases.TRAINED
        limits = (p.length, p.allowances.weights_bytes)
        base, revision = self.options.base, self.revision
        if revision:
            print(f"base      {base} at revision {revision}", flush=True)
        spelled = OwnIds(self.text.tokenizer()) if trained else bases.spelled(base, *limits, revision)
        made = arrays(found, spelled, p.length, p.most)
        for split, own in made.items():
            if len(own["ids"]) < FEWEST_DOCUMENTS:  # who knows the split would not show
                told = f"{source} has {len(own['ids'])} conversations of at most {p.length} tokens for {split}"
                raise TaskError(f"{told}, and {FEWEST_DOCUMENTS} are needed; give --source a file with more of them")
        return made

    def complete(self, folder: Path) -> None:
        """Train or copy the base, and score it as it is."""
        p = self.profile
        (folder / BASE).mkdir()
        if self.options.base == bases.TRAINED:
            bases.train(folder / BASE, self.text, p, device())
        else:
            bases.copy(self.options.base, folder / BASE, p.length, p.allowances.weights_bytes, self.revision)
        model, scores = bases.load(folder / BASE).to(device()), {}
        for split in ("search", "locked"):
            own = [np.load(folder / split / f"{name}.npy") for name in ("ids", "span", "size")]
            scores[split], _ = summed(answers(model, *own, p.batch))
        write_json(folder / BASE / "scores.json", scores)

    def files(self, split: str) -> tuple[str, ...]:
        return (*super().files(split), *super().files("control"), *super().files(BASE))

    def base(self) -> nn.Module:
        """The model that a run begins with, on the CPU. Raises TaskError."""
        return bases.load(self.data_folder() / BASE)  # not `prepared`, whose folder a run cannot list

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in self.base().state_dict().items()}

    def score(self, weights: Mapping[str, np.ndarray], split: str, folder: Path) -> dict[str, float]:
        import torch

        model = self.base().to(device())
        model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
        own, control = (self.arrays(name) for name in (split, "control"))
        count = len(own["ids"])
        both = (np.concatenate((own[name], control[name])) for name in ("ids", "span", "size"))
        found = answers(model, *both, self.profile.batch)
        check_contamination(found[:count, :2], found[count:, :2], data="responses")
        bits, exact = summed(found[:count])
        base = read_json(self.data_folder() / BASE / "scores.json")[split]
        return {"response_bpb": bits, "exact_match": exact, "base_bpb": base}


def device() -> Any:
    """What to compute on, set up for it."""
    own = pick_device()
    if own.type == "cpu":
        prepare_cpu()
    return own


def answers(model: nn.Module, ids: np.ndarray, span: np.ndarray, size: np.ndarray, batch: int) -> np.ndarray:
    """float64 [N, 3] of conversations `ids` [N, T + 1] with a response at `span` [N, 2] of `size` [N] bytes: its nats,
    those of its end among them; its bytes; and whether it is what the model writes, token for token the likeliest."""
    import torch

    found, where = np.empty((len(ids), 3)), next(model.parameters()).device
    model.eval()
    start, count = 0, 1  # the first row alone, which tells how large the vocabulary is
    while start < len(ids):
        here = slice(start, start + count)
        rows = ids[here, : span[here, 1].max()].astype(np.int64)  # behind the longest there is nothing to score
        places = np.arange(1, rows.shape[1])
        counted = (places >= span[here, :1]) & (places < span[here, 1:])
        with torch.inference_mode():
            whole = model(torch.from_numpy(rows[:, :-1]).to(where))
            logits = whole[torch.from_numpy(counted).to(where)].float()  # [n, V]
            likeliest = logits.argmax(-1).cpu().numpy()
        targets, row = rows[:, 1:][counted], np.nonzero(counted)[0]
        nats = cross_entropy(logits if where.type == "cuda" else logits.cpu().numpy(), targets)
        right = np.bincount(row, likeliest == targets, len(rows)) == counted.sum(1)
        found[here] = np.stack((np.bincount(row, nats, len(rows)), size[here], right), 1)
        start, count = start + count, max(1, min(batch, MOST_LOGITS // (ids.shape[1] * whole.size(-1))))
    return found


def summed(found: np.ndarray) -> tuple[float, float]:
    """(bits per byte, part of the responses that are exact) of what `answers` has found."""
    nats, size, exact = found.sum(0)
    return float(nats / size / math.log(2)), float(exact / len(found))


try:
    TASK = Sft(HERE, *read_task_file(HERE, Options))
except TaskError as error:
    raise SystemExit(f"error: {error}") from None
PROFILE = TASK.options.profile


def base_model() -> nn.Module:
    """The model to tune, on the CPU. Exits with one line when it is not there."""
    try:
        return TASK.base()
    except TaskError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main(HERE, Options, Sft, grade=grade_weights, feeder=KeepingFeeder, programs=PROGRAMS)
