"""Language models of the Hugging Face hub, by transformers: weights as tensors alone, and no code of the hub."""

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


def loaded(source: str, attention: str = "sdpa", offline: bool = False) -> tuple[nn.Module, Any]:
    """(causal model in float32 on the CPU, tokenizer) of the id, or the folder, of a model. Raises TaskError.

    `attention` is how transformers computes it: `eager` writes it out. With `offline` no network is asked.
    """
    with _transformers(source) as library:
        model = library.AutoModelForCausalLM.from_pretrained(
            source, dtype=torch.float32, attn_implementation=attention, use_safetensors=True,
            trust_remote_code=False, local_files_only=offline,
        )  # fmt: skip
    return model, tokenizer(source, offline)


def tokenizer(source: str, offline: bool = False) -> Any:
    """The tokenizer of such a model. Raises TaskError."""
    with _transformers(source) as library:
        return library.AutoTokenizer.from_pretrained(source, trust_remote_code=False, local_files_only=offline)


@contextmanager
def _transformers(source: str) -> Iterator[Any]:
    """The library, while `source` is loaded by it; its errors become TaskErrors."""
    try:
        import transformers
    except ImportError:
        told = "a model of the hub needs transformers; install it (uv pip install transformers)"
        raise TaskError(f"{told}, or name another model") from None
    try:
        yield transformers
    except Exception as error:  # for the user, every error of hub and network is the same
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:160]
        raise TaskError(f"{source} cannot be loaded ({reason}); try again, or name another model") from None


class Causal(nn.Module):
    """Such a model as one from ids to logits, and nothing beside."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.context: int = model.config.max_position_embeddings

    def forward(self, ids: Tensor) -> Tensor:
        """int64 [B, T] -> logits [B, T, V]"""
        return self.model(input_ids=ids, use_cache=False).logits


def copy(source: str, folder: Path) -> Causal:
    """Save model and tokenizer of `source` in `folder`, and return the model. Raises TaskError.

    A head that is one tensor with the embedding becomes one of its own, so that either can be changed by itself.
    """
    model, tokens = loaded(source)
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    if head.weight is table.weight:
        head.weight = nn.Parameter(table.weight.detach().clone())
    model.config.tie_word_embeddings = False
    model.save_pretrained(folder, safe_serialization=True)
    tokens.save_pretrained(folder)
    return Causal(model.eval())


def copied(folder: Path) -> Causal:
    """What `copy` has saved there, on the CPU. Raises TaskError."""
    return Causal(loaded(str(folder), offline=True)[0].eval())
