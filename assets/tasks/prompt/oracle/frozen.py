"""A model whose weights never change, the three things that may be asked of it, and what each costs.

A model is a module with `table`, the embeddings [V, D], and `context`, the most tokens of a row; called with ids
int64 [B, S] it gives logits, with x [B, L, V] and `last` as `oracle.gpt.GPT` does.

The row that is scored is: beginning of text, the string (L tokens), the target (T tokens, the last of them not fed).
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

BRANCH_ENDS = ("out", "down", "o_proj", "down_proj", "c_proj", "dense_4h_to_h", "fc2", "out_proj")
"""Names of the modules that end a residual branch."""

CHUNK = 128
"""Strings of one forward pass; what is charged does not depend on it."""


def nats(model: nn.Module, bos: int, ids: Tensor, target: Tensor, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(nats of each target token [B, T], logits [B, T, V]) behind strings ids [B, L], or behind x instead of them."""
    B = len(ids)
    row = torch.cat((ids.new_full((B, 1), bos), ids, target[:-1].expand(B, -1)), 1)
    logits = model(row, x, len(target)).float()
    return F.cross_entropy(logits.transpose(1, 2), target.expand(B, -1), reduction="none"), logits


def gradient(model: nn.Module, bos: int, x: Tensor, target: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """(loss [B], how many target tokens are not the likeliest [B], gradient of the loss [B, L, V]) at x [B, L, V]."""
    x = x.detach().requires_grad_()
    ids = x.detach().argmax(-1)  # for what a model does with tokens beside looking them up
    with torch.enable_grad(), scaled_branches(model, scale):
        each, logits = nats(model, bos, ids, target, x)
        loss = each.mean(1)
        loss.sum().backward()  # to x alone, since no weight has a gradient
    assert x.grad is not None
    return loss.detach(), (logits.detach().argmax(-1) != target).sum(1), x.grad


def following(model: nn.Module, bos: int, ids: Tensor) -> Tensor:
    """Log-probabilities [B, V] of what follows ids [B, l]."""
    return model(torch.cat((ids.new_full((len(ids), 1), bos), ids), 1), None, 1)[:, 0].float().log_softmax(-1)


@contextmanager
def scaled_branches(model: nn.Module, scale: float) -> Iterator[None]:
    """What goes back through residual branches is multiplied by `scale` (Li et al., 2024: LSGM)."""
    ends = branch_ends(model) if scale != 1 else []
    hooks = [end.register_full_backward_hook(lambda _, given, __: (scale * given[0], *given[1:])) for end in ends]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def branch_ends(model: nn.Module) -> list[nn.Module]:
    return [module for name, module in model.named_modules() if name.rpartition(".")[2] in BRANCH_ENDS]


class Frozen:
    """One model and one length of strings and targets. Everything in and out is numpy."""

    def __init__(self, model: nn.Module, bos: int, length: int, targets: int) -> None:
        """`model` is on its device; `length` L, `targets` T."""
        self.model, self.bos, self.length, self.targets = model.eval().requires_grad_(False), bos, length, targets
        self.vocab, self.width = model.table.shape
        self.device = model.table.device
        self.scales = bool(branch_ends(model))  # whether it has residual branches that can be scaled

    @functools.cached_property
    def _counted(self) -> nn.Module:
        """The model on the meta device, where nothing is computed; itself where it cannot be there."""
        return copy.deepcopy(self.model).to("meta") if getattr(self.model, "on_meta", True) else self.model

    @functools.cache  # noqa: B019  (one for each evaluation)
    def price(self, kind: str, length: int) -> int:
        """FLOPs of one string of `length` tokens in a request: `LOSS`, `GRAD` or `NEXT`. Products are linear in the
        number of strings, so n of them cost n times as much (tests/tasks/test_prompt.py compares with what is done)."""
        model, bos = self._counted, self.bos
        with model.table.device:
            ids, target = torch.zeros(1, length, dtype=torch.long), torch.zeros(self.targets, dtype=torch.long)
            x = torch.zeros(1, length, self.vocab)
        asked: dict[str, Callable[[], object]] = {
            "LOSS": lambda: nats(model, bos, ids, target),
            "GRAD": lambda: gradient(model, bos, x, target, 1.0),
            "NEXT": lambda: following(model, bos, ids),
        }
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            asked[kind]()
        return counter.get_total_flops()

    @torch.no_grad()
    def losses(self, ids: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Mean nats of a target token behind each of the strings [B, l], float32 [B]."""
        aim = self._tensor(target)
        parts = [
            nats(self.model, self.bos, self._tensor(ids[start : start + CHUNK]), aim)[0].mean(1)
            for start in range(0, len(ids), CHUNK)
        ]
        return torch.cat(parts).cpu().numpy()

    def gradients(
        self, x: np.ndarray, target: np.ndarray, scale: float = 1.0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`gradient` at ids [B, L] or weights float32 [B, L, V]."""
        if x.ndim == 2:
            given = F.one_hot(self._tensor(x), self.vocab).float()
        else:
            given = torch.from_numpy(x).to(self.device)
        found = gradient(self.model, self.bos, given, self._tensor(target), scale)
        loss, wrong, slope = (each.cpu().numpy() for each in found)
        return loss, wrong, slope

    @torch.no_grad()
    def following(self, ids: np.ndarray) -> np.ndarray:
        return following(self.model, self.bos, self._tensor(ids)).cpu().numpy()

    @torch.no_grad()
    def score(self, ids: np.ndarray, target: np.ndarray) -> tuple[float, float]:
        """(mean nats of a target token, part of the target that is the likeliest token) behind one string [l], by
        itself and summed in float64: what counts."""
        _, logits = nats(self.model, self.bos, self._tensor(ids)[None], self._tensor(target))
        exact = logits[0].double().log_softmax(-1).cpu().numpy()
        return float(-exact[np.arange(len(target)), target].mean()), float((exact.argmax(-1) == target).mean())

    def _tensor(self, ids: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(ids, np.int64)).to(self.device)
