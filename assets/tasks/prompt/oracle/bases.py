"""The models that strings are looked for in: one that set-up trains, a kept one of `pretrain`, or one of the hub.

`make` puts all that an evaluation needs into a folder of the cache, but for a model of the hub, which stays where
transformers keeps it; `load` reads it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import lm
from harness.device import pick_device, prepare_cpu
from harness.errors import TaskError
from harness.files import Progress, read_json, write_json
from harness.task import Allowances, Budget
from harness.text import documents
from harness.text.rows import open_rows
from harness.text.task import Profile as TextProfile
from harness.text.task import TextTask
from harness.text.tokenizer import SPECIAL_TOKENS, Tokenizer

from oracle.frozen import Frozen
from oracle.gpt import GPT

HELP = "trained (by set-up), the model.pt of a kept run of pretrain, or a model of the hub: its id or its folder"

SEEDS = {"search": 1, "locked": 2}
"""Of the models that set-up trains, one for each split."""


@dataclass(frozen=True, slots=True)
class Sizes(lm.Sizes):
    """Of a model that set-up trains, and of the training."""

    text_bytes: int  # of Python's own text
    steps: int
    batch: int


@dataclass(frozen=True, slots=True)
class Base:
    """One model, ready to be asked, and its tokens."""

    frozen: Frozen
    allowed: np.ndarray
    """Ids that strings and targets are made of: text that can be printed, no special token."""
    decode: Callable[[list[int]], str]
    encode: Callable[[str], list[int]]

    def spelled_loss(self, ids: np.ndarray, target: np.ndarray) -> float:
        """The loss behind the ids that the text of a string is read as, as many of them as the model takes."""
        most = self.frozen.model.context - self.frozen.targets
        again = self.encode(self.decode(ids.tolist()))[:most]
        return self.frozen.score(np.array(again, np.int64), target)[0]


@dataclass(frozen=True, slots=True)
class TextOptions:
    """What `TextTask` reads."""

    tokenizer: str
    profile: str = "model"
    source: str = "python"
    column: str = "text"
    seq_len: int = 0


class ModelText(TextTask):
    """Python's own text, for the models that set-up trains; of it nothing has to be held out."""

    name = "prompt"

    def share(self, total: int) -> documents.Share:
        return lambda path: (0.1, True)


def make(folder: Path, workspace: Path, source: str, sizes: Sizes, workers: int) -> dict[str, Any]:
    """Fill `folder`; return what the manifest says of it. Raises TaskError."""
    if source == "trained":
        return make_trained(folder, workspace, sizes, workers)
    from oracle import adopted

    return adopted.make(folder, source)


def make_trained(folder: Path, workspace: Path, sizes: Sizes, workers: int) -> dict[str, Any]:
    kind = "byte" if sizes.vocab == 256 + len(SPECIAL_TOKENS) else "bpe"
    own = TextProfile(sizes.context, sizes.vocab, 2**14, 64, 0, sizes.text_bytes, 4 * 10**6, 0, True, Allowances())
    text = ModelText(workspace, TextOptions(kind), Budget("steps", sizes.steps), own).prepare(workers=workers)
    rows, device, losses = np.asarray(open_rows(text / "train.bin")), pick_device(), {}
    if device.type == "cpu":
        prepare_cpu()
    for split, seed in SEEDS.items():
        progress = Progress("model")
        torch.manual_seed(seed)
        model = GPT(sizes).to(device)

        def told(step: int, loss: float, progress: Progress = progress) -> None:
            progress.update(f"step {step} of {sizes.steps}, loss {loss:.3f}")

        def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
            chosen = rows[rng.integers(0, len(rows), sizes.batch)].astype(np.int64)
            return chosen, np.ones(chosen[:, 1:].shape, bool)

        losses[split] = lm.train(model, draw, sizes.steps, seed, told)
        progress.done(f"{split}: loss {losses[split]:.3f} after {sizes.steps} steps")
        torch.save({name: tensor.cpu() for name, tensor in model.state_dict().items()}, folder / f"{split}.pt")
    (folder / "tokenizer.json").write_bytes((text / "tokenizer.json").read_bytes())
    write_json(folder / "model.json", {"kind": "trained", **asdict(sizes)})
    told_of = ", ".join(f"{split} {loss:.3f} nats a token" for split, loss in losses.items())
    return {"model": asdict(sizes), "losses": losses, "told": f"models of {sizes.layers} x {sizes.width}: {told_of}"}


def load(data: Path, split: str, device: torch.device, length: int, wanted: int) -> Base:
    """The model of a split for strings of `length` and targets of `wanted` tokens. Raises TaskError."""
    about = read_json(data / "model.json")
    if about["kind"] != "trained":
        from oracle import adopted

        return adopted.load(data, about, device, length, wanted)
    del about["kind"]
    model = GPT(Sizes(**about))
    model.load_state_dict(torch.load(data / f"{split}.pt", map_location="cpu", weights_only=True))
    return with_tokens(model.to(device), Tokenizer.load(data / "tokenizer.json"), length, wanted)


def with_tokens(model: torch.nn.Module, tokens: Tokenizer, length: int, wanted: int) -> Base:
    """A model whose tokens are the harness's. Raises TaskError where its rows are too short."""
    if model.context < length + wanted:
        raise TaskError(f"the model takes {model.context} tokens, and string and target have {length + wanted}")
    return Base(
        Frozen(model, tokens.bos, length, wanted), printable(tokens), tokens.decode,
        lambda text: tokens.encode(text)[1:].tolist(),
    )  # fmt: skip


def printable(tokens: Tokenizer) -> np.ndarray:
    """Ids of tokens that are text by themselves, in characters that can be printed."""
    return printable_ids(token.decode("utf-8", "replace") for token in tokens.tokens)


def printable_ids(texts: Iterable[str]) -> np.ndarray:
    """The numbers of the texts that are not empty, and in characters that can be printed."""
    return np.array([i for i, text in enumerate(texts) if text and text.isprintable() and "\ufffd" not in text])
