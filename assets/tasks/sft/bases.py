"""The model that is tuned: a small GPT that set-up trains on Python's text, a kept one of the task pretrain, or one of
the Hugging Face hub.

Its folder has weights and tokenizer, and of a model of pretrain the program, too. A run may read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from chat_ids import ChatIds, HubIds, OwnIds
from harness.errors import TaskError
from harness.files import Progress, digest
from harness.task import Allowances, Budget
from harness.text import documents
from harness.text.rows import open_rows
from harness.text.task import Profile as TextProfile
from harness.text.task import TextTask

if TYPE_CHECKING:
    from torch import nn

TRAINED = "trained"
"""The base that set-up trains."""

AROUND = 1024
"""Bytes that a file of torch may have around a tensor."""

HELP = "trained (by set-up), the model.pt of a kept run of pretrain, or a model of the hub: its id or its folder"


@dataclass(frozen=True, slots=True)
class TextOptions:
    """What `TextTask` reads."""

    tokenizer: str = "bpe"
    source: str = "python"
    column: str = "text"
    seq_len: int = 0
    profile: str = "text"


class BaseText(TextTask):
    """What the base is trained on: Python's own text, without the folders whose functions are held out. Nobody reads
    the small splits of it."""

    name = "sft"

    def source_files(self, workers: int = 4) -> dict[Path, int]:
        files = [path for path in documents.python_files() if not documents.held_out_of_python(path)]
        return documents.limited(files, self.profile.text_bytes)

    def share(self, total: int) -> documents.Share:
        return lambda path: (0.02, True)


def text_of(workspace: Path, budget: Budget, p: Any) -> BaseText:
    """Text and tokenizer of the base that set-up trains, made unless they are there; `p` is the profile."""
    sizes = TextProfile(p.length, p.vocab, 2**14, 64, 0, p.text_bytes, 4 * 10**6, 0, True, Allowances())
    made = BaseText(workspace, TextOptions(), budget, sizes)
    made.prepare()
    return made


def train(folder: Path, text: BaseText, p: Any, device: Any) -> None:
    """Train a base, and save it in `folder`."""
    import torch
    from harness import lm

    rows, progress = np.asarray(open_rows(text.prepared() / "train.bin")), Progress("base")
    torch.manual_seed(1)
    model = lm.GPT(lm.Sizes(p.layers, p.width, p.heads, p.vocab, p.length)).to(device)

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        ids = rows[rng.integers(0, len(rows), p.batch)].astype(np.int64)
        return ids, np.ones((p.batch, p.length), bool)

    loss = lm.train(model, draw, p.steps, 1, lambda n, at: progress.update(f"step {n} of {p.steps}, loss {at:.3f}"))
    progress.done(f"loss {loss:.3f} nats a token after {p.steps} steps")
    lm.save(model, folder)
    text.tokenizer().save(folder / "tokenizer.json")


def is_kept(source: str) -> bool:
    """Whether a base that set-up has not trained is one of pretrain, and not of the hub."""
    path = Path(source).expanduser()
    return path.is_file() or path.name == "model.pt"


def path_of(source: str) -> Path | None:
    """Where such a base lies on this machine; None for an id of the hub, as which any other relative path is taken: it
    would be another one in the folder of a run."""
    path = Path(source).expanduser()
    return path.resolve() if is_kept(source) or path.is_absolute() else None


def fingerprint(source: str) -> str:
    """What tells a base at a path from what it was before; nothing for an id, or when it is gone."""
    path = path_of(source)
    if path is None or not path.exists():
        return ""
    return " ".join(digest(file) for file in (sorted(path.iterdir()) if path.is_dir() else [path]) if file.is_file())


def revision_of(source: str) -> str:
    """The commit that a base of the hub has now; nothing for any other base. Raises TaskError."""
    if source == TRAINED or path_of(source) is not None:
        return ""
    from harness import hub

    return hub.revision_of(source)


def spelled(source: str, length: int, most: int, revision: str = "") -> ChatIds:
    """How conversations are spelled for a base that set-up has not trained. Raises TaskError, also as `copy` does where
    that can be told before a model of the hub is downloaded."""
    if is_kept(source):
        from harness import kept

        return OwnIds(kept.tokenizer(source))
    from harness import hub

    numbers, context = hub.sizes(source, revision)
    check_sizes(source, 4 * numbers, most, context, length)
    return HubIds(source, hub.tokenizer(source, revision))


def copy(source: str, folder: Path, length: int, most: int, revision: str = "") -> None:
    """Copy a kept model of pretrain, or one of the hub, into `folder`. Raises TaskError when its rows are shorter than
    `length`, or it has more bytes of weights than `most`."""
    from harness import hub, kept

    if is_kept(source):
        size = kept.copied(source, folder).stat().st_size
        model, context = kept.loaded(folder)
    else:
        own = hub.copy(source, folder, revision)
        model, context = own, own.context
        size = sum(4 * tensor.numel() + AROUND for tensor in own.state_dict().values())
    whole = [name for name, tensor in model.state_dict().items() if not tensor.is_floating_point()]
    if whole:
        raise TaskError(f"{source} has {whole[0]}, which is no number that could be tuned; name another model")
    check_sizes(source, size, most, context, length)


def check_sizes(source: str, size: int, most: int, context: int, length: int) -> None:
    """Raise TaskError for a base of more bytes of weights than `most`, or of rows shorter than `length`."""
    if size > most:
        told = f"{source} has {size / 2**20:.0f} MiB of weights, and this profile takes {most / 2**20:.0f}"
        raise TaskError(f"{told}; choose a larger profile, or a smaller model")
    if context < length:
        raise TaskError(f"{source} takes rows of {context} tokens, and this profile has {length}; choose a smaller one")


def load(folder: Path) -> nn.Module:
    """The model that lies in `folder`, on the CPU. Raises TaskError."""
    from harness import hub, kept, lm

    if (folder / hub.CONFIG).exists():
        return hub.copied(folder)
    return kept.loaded(folder)[0] if (folder / kept.PROGRAM[0]).exists() else lm.load(folder)
