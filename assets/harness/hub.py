"""Language models of the Hugging Face hub, by transformers: weights as tensors alone, and no code of the hub.

A `revision` is the commit of a model, so that all of it is of one, whenever it is read; none of a model in a folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import TaskError

CONFIG = "config.json"
"""The file that such a model's folder has."""

TODAY = "main"
"""The branch of the hub that a model without a revision is taken from."""

UNBOUND = 2**20
"""Tokens of a row that a model takes whose file names no most."""


@contextmanager
def transformers(source: str) -> Iterator[Any]:
    """The library, while it does something with the model `source`; its errors become TaskErrors."""
    try:
        import transformers
    except ImportError:
        told = "a model of the hub needs transformers; install it (uv pip install 'transformers>=4.57')"
        raise TaskError(f"{told}, or name another model") from None
    try:
        yield transformers
    except TaskError:
        raise
    except Exception as error:  # for the user, every error of hub and network is the same
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise TaskError(f"{source} cannot be loaded ({reason}); try again, or name another model") from None


def revision_of(source: str) -> str:
    """The commit that a model of the hub has now; nothing for one in a folder. Raises TaskError."""
    if Path(source).is_dir():
        return ""
    with transformers(source):
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(source, CONFIG)).parent.name  # of snapshots/REVISION/config.json in the hub's cache


def sizes(source: str, revision: str = "") -> tuple[int, int]:
    """(numbers of the weights, its head counted apart; the most tokens of a row) of a model, by its small files alone.
    Raises TaskError."""
    with transformers(source) as library, torch.device("meta"):
        config = library.AutoConfig.from_pretrained(source, revision=revision or TODAY, trust_remote_code=False)
        model = library.AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        numbers = sum(p.numel() for p in model.parameters())
        return numbers + (_table(model).numel() if _is_tied(model) else 0), context_of(model)


def loaded(source: str, revision: str = "", attention: str | None = None, offline: bool = False) -> nn.Module:
    """Causal model in float32 on the CPU of the id, or the folder, of a model. Raises TaskError.

    `attention` is how transformers computes it: `eager` writes it out, None is its own choice. With `offline` no
    network is asked.
    """
    with transformers(source) as library:
        model: nn.Module = library.AutoModelForCausalLM.from_pretrained(
            source, revision=revision or TODAY, dtype=torch.float32, attn_implementation=attention,
            use_safetensors=True, trust_remote_code=False, local_files_only=offline,
        )  # fmt: skip
        return model.eval()


def tokenizer(source: str, revision: str = "") -> Any:
    """The tokenizer of such a model. Raises TaskError."""
    with transformers(source) as library:
        return library.AutoTokenizer.from_pretrained(source, revision=revision or TODAY, trust_remote_code=False)


def context_of(model: Any) -> int:
    """The most tokens of a row that a model of transformers takes."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None) or UNBOUND


def _table(model: Any) -> Tensor:
    return model.get_input_embeddings().weight


def _is_tied(model: Any) -> bool:
    return model.get_output_embeddings().weight is _table(model) or bool(model.config.tie_word_embeddings)


class Causal(nn.Module):
    """Such a model as one from ids to logits, and nothing beside."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.context = model, context_of(model)

    def forward(self, ids: Tensor) -> Tensor:
        """int64 [B, T] -> logits [B, T, V]"""
        return self.model(input_ids=ids, use_cache=False).logits


def with_linear(model: nn.Module) -> nn.Module:
    """The model, computing the same, with a Linear in the place of each Conv1D, which is how transformers has the
    matrices of GPT-2: the other way round. Who changes matrices looks for one kind of them."""
    from transformers.pytorch_utils import Conv1D

    for module in list(model.modules()):
        for name, own in list(module.named_children()):
            if isinstance(own, Conv1D):
                setattr(module, name, _linear(own))
    return model


def _linear(own: Any) -> nn.Linear:
    made = nn.Linear(*own.weight.shape, device="meta")
    made.weight, made.bias = nn.Parameter(own.weight.detach().T.contiguous()), own.bias
    return made


def copy(source: str, folder: Path, revision: str = "") -> Causal:
    """Save model and tokenizer of `source` in `folder`, and return the model as it is read again there. Raises
    TaskError, also for one that does not come back the same, or that looks at what follows a token.

    A head that is one tensor with the embedding becomes one of its own, so that either can be changed by itself.
    """
    model, tokens = loaded(source, revision), tokenizer(source, revision)
    with transformers(source):
        table = _table(model)
        rows = torch.arange(32).view(2, 16) * 7 % len(table)
        before = _logits(model, rows)
        head = model.get_output_embeddings()
        if head.weight is table:
            head.weight = nn.Parameter(table.detach().clone())
        model.config.tie_word_embeddings = False
        model.save_pretrained(folder)
        tokens.save_pretrained(folder)
        again = copied(folder)
        if not torch.allclose(_logits(again.model, rows), before, rtol=1e-4, atol=1e-4):
            raise TaskError(f"{source} computes something else once it was saved; name another model")
        rows[:, -1] = (rows[:, -1] + 1) % len(table)
        if not torch.allclose(_logits(model, rows)[:, :-1], before[:, :-1], rtol=1e-4, atol=1e-4):
            raise TaskError(f"{source} looks at the tokens that follow, where its answer is; name another model")
    return again


@torch.no_grad()
def _logits(model: nn.Module, rows: Tensor) -> Tensor:
    return model(input_ids=rows, use_cache=False).logits.float()


def copied(folder: Path) -> Causal:
    """What `copy` has saved there, on the CPU. Raises TaskError."""
    model = loaded(str(folder), offline=True)
    with transformers(str(folder)):
        return Causal(with_linear(model))
