"""Models that set-up did not train: a kept one of the task pretrain, and those of the hub.

Both splits have the same model; their targets differ by key. Weights are loaded as tensors alone: no pickle, and no
code of the hub.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from harness import hub, kept
from harness.files import write_json
from harness.text.tokenizer import Tokenizer
from torch import Tensor, nn

from oracle.bases import Base, printable_ids, with_tokens
from oracle.frozen import Frozen
from oracle.gpt import embedded


def make(folder: Path, source: str) -> dict[str, Any]:
    """Fill `folder` with what `load` reads; return what the manifest says of it. Raises TaskError."""
    if Path(source).name != "model.pt":
        revision = hub.revision_of(source)
        write_json(folder / "model.json", {"kind": "hub", "id": source, "revision": revision})
        model, _ = from_hub(source, revision)
        at = f" at revision {revision}" if revision else ""
        return {"model": source, "revision": revision, "told": f"{source}{at}: {millions(model)}"}
    weights = kept.copied(source, folder)
    write_json(folder / "model.json", {"kind": "pretrain"})
    return {"model": source, "told": f"{weights}: {millions(from_pretrain(folder))}"}


def millions(model: nn.Module) -> str:
    return f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters"


def load(data: Path, about: dict[str, Any], device: torch.device, length: int, wanted: int) -> Base:
    """What `make` has left. Raises TaskError."""
    if about["kind"] == "pretrain":
        model = from_pretrain(data).to(device)
        return with_tokens(model, Tokenizer.load(data / kept.TOKENS), length, wanted)
    model, tokens = from_hub(about["id"], about.get("revision", ""))
    special = set(tokens.all_special_ids)
    ids = printable_ids("" if i in special else tokens.decode([i]) for i in range(len(model.table)))
    bos = next(i for i in (tokens.bos_token_id, tokens.eos_token_id, 0) if i is not None)
    return Base(
        Frozen(model.to(device), bos, length, wanted), ids, tokens.decode,
        lambda text: tokens.encode(text, add_special_tokens=False),
    )  # fmt: skip


class Hub(nn.Module):
    """A causal language model of transformers in the words of `oracle.frozen`."""

    on_meta = False  # some read a number of their masks

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.context = hub.context_of(model)

    @property
    def table(self) -> Tensor:
        return self.model.get_input_embeddings().weight

    def forward(self, ids: Tensor, x: Tensor | None = None, last: int | None = None) -> Tensor:
        e = embedded(self.table, ids, x)
        return self.model(inputs_embeds=e, logits_to_keep=last or 0, use_cache=False).logits


def from_hub(name: str, revision: str) -> tuple[Hub, Any]:
    """(model, tokenizer) by the id, or the folder, of a model at a commit. Raises TaskError.

    Attention is written out, so that each of its products is counted on every device.
    """
    model = hub.loaded(name, revision, attention="eager")
    with hub.transformers(name):
        return Hub(model), hub.tokenizer(name, revision)


class Pretrained(nn.Module):
    """A model of the task pretrain in the words of `oracle.frozen`: its tables of embeddings read weights, too."""

    def __init__(self, model: nn.Module, context: int) -> None:
        super().__init__()
        self.model, self.context = model, context

    @property
    def table(self) -> Tensor:
        """Of the first of its tables, by which a search measures how far tokens are from each other."""
        return self.tables()[0].weight

    def tables(self) -> list[nn.Embedding]:
        return [module for module in self.model.modules() if isinstance(module, nn.Embedding)]

    def forward(self, ids: Tensor, x: Tensor | None = None, last: int | None = None) -> Tensor:
        hooks = [
            table.register_forward_hook(lambda own, _, __: embedded(own.weight, ids, x)) for table in self.tables()
        ]
        try:
            return self.model(ids)[:, -(last or ids.size(1)) :]
        finally:
            for hook in hooks:
                hook.remove()


def from_pretrain(folder: Path) -> Pretrained:
    """The model whose program and weights are in `folder`. Raises TaskError."""
    return Pretrained(*kept.loaded(folder))
