"""The language model of the tasks after pretraining: a plain GPT, how set-up trains one, how it writes.

What `sft` and `rl` measure is how weights are changed, so the forward pass is fixed: trainer and grader run this one,
and what a run leaves is numbers (`weights.py`).

B rows, T tokens of a row, D width, H heads, K width of a head, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.files import read_json, write_json

WEIGHTS, SIZES = "model.pt", "sizes.json"
"""Files of a saved model."""

Past = list[tuple[Tensor, Tensor]]
"""Keys and values, [B, H, T, K] each, of the tokens that every block has seen."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of one model."""

    layers: int
    width: int
    heads: int
    vocab: int
    context: int  # tokens of the longest row


class Block(nn.Module):
    """Attention, then an MLP, each on the normalised residual stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, h: Tensor, past: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """[B, T, D] -> [B, T, D], and keys and values of all tokens so far. With `past`, T is 1."""
        B, T, D = h.shape
        q, k, v = self.qkv(self.norm1(h)).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # [B, H, T, K] each
        if past is not None:
            k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=past is None)
        h = h + self.out(mixed.transpose(1, 2).reshape(B, T, D))
        return h + self.down(F.gelu(self.up(self.norm2(h)))), (k, v)


class GPT(nn.Module):
    """Decoder-only transformer with learned positions (Radford et al., 2019) and an untied head."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.embedding = nn.Embedding(sizes.vocab, sizes.width)
        self.position = nn.Embedding(sizes.context, sizes.width)
        self.blocks = nn.ModuleList(Block(sizes.width, sizes.heads) for _ in range(sizes.layers))
        self.norm = nn.LayerNorm(sizes.width)
        self.head = nn.Linear(sizes.width, sizes.vocab, bias=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                last = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * sizes.layers) if last else 0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """int64 [B, T] -> logits [B, T, V]"""
        return self.head(self.norm(self.seen(ids, [])[0]))

    def seen(self, ids: Tensor, past: Past) -> tuple[Tensor, Past]:
        """int64 [B, T] -> [B, T, D] of the last block, and the past with these tokens; T is 1 when there is one."""
        start = past[0][0].size(2) if past else 0
        h = self.embedding(ids) + self.position.weight[start : start + ids.size(1)]
        kept: Past = []
        for number, block in enumerate(self.blocks):
            h, own = block(h, past[number] if past else None)
            kept.append(own)
        return h, kept


def save(model: GPT, folder: Path) -> None:
    """Write weights and sizes into `folder`."""
    torch.save({name: tensor.cpu() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)
    write_json(folder / SIZES, asdict(model.sizes))


def load(folder: Path) -> GPT:
    """What `save` has written there, on the CPU. Raises TaskError when it is not there."""
    model = GPT(Sizes(**read_json(folder / SIZES)))
    model.load_state_dict(torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True))
    return model


@torch.no_grad()
def write(
    model: GPT, prompts: Tensor, lengths: Tensor, most: int, end: int, temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:  # fmt: skip
    """int64 [B, P + most]: prompts [B, P], of which each is as long as `lengths` [B] says, continued by at most `most`
    tokens up to the first `end`; behind that, `end` alone. A temperature of 0 takes the likeliest token."""
    B, P = prompts.shape
    rows = torch.full((B, P + most), end, dtype=torch.long, device=prompts.device)
    rows[:, :P] = torch.where(torch.arange(P, device=rows.device) < lengths[:, None], prompts, end)
    done = torch.zeros(B, dtype=torch.bool, device=rows.device)
    at = int(lengths.min())
    fed, past = rows[:, :at], Past()
    while at < P + most:
        h, past = model.seen(fed, past)
        logits = model.head(model.norm(h[:, -1])).float()
        if temperature > 0:
            chosen = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)[:, 0]
        else:
            chosen = logits.argmax(-1)
        writes = (at >= lengths) & ~done
        rows[:, at] = torch.where(writes, chosen, rows[:, at])
        done |= (writes & (chosen == end)) | (at + 1 >= lengths + most)
        if done.all():
            break
        fed, at = rows[:, at : at + 1], at + 1
    return rows


def train(
    model: GPT, draw: Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]], steps: int, seed: int,
    told: Callable[[int, float], None], rate: float = 0.003,
) -> float:  # fmt: skip
    """Train `model` where it is, for set-up; return the mean loss of the last tenth, in nats a token.

    `draw` gives ids int64 [B, T + 1] and which targets count, bool [B, T]; `told` hears of each step and its loss."""
    rng, device = np.random.default_rng(seed), model.head.weight.device
    optimizer = torch.optim.AdamW(model.parameters(), rate, (0.9, 0.99), weight_decay=0.1)
    losses = []
    for step in range(steps):
        part = min(1.0, (step + 1) / (0.05 * steps)) * (0.55 + 0.45 * math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = rate * part
        ids, counted = (torch.from_numpy(array).to(device) for array in draw(rng))
        nats = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        loss = (nats * counted.flatten()).sum() / counted.sum()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        told(step + 1, losses[-1])
    return float(np.mean(losses[-max(1, steps // 10) :]))
