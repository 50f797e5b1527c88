"""The language model of the tasks that do not ask for one: a plain GPT, and how set-up trains one.

What `sft` and `rl` measure is how its weights are changed, and what `prompt` measures is a search in it, so the forward
pass is fixed: trainer and grader of the first two run this one, and what a run leaves is numbers (`weights.py`).

B rows, T tokens of a row, D width, H heads, K width of a head, V vocabulary, C tokens of the longest row.
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

    def forward(self, h: Tensor, past: Tensor | None = None, begin: int = 0) -> Tensor:
        """[B, T, D] -> [B, T, D]. With `past` [2, B, H, C, K], the keys and values of the `begin` tokens before, T is 1
        or `begin` is 0; those of `h` are put behind them."""
        B, T, D = h.shape
        q, k, v = self.qkv(self.norm1(h)).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # [B, H, T, K] each
        if past is not None:
            past[0, :, :, begin : begin + T], past[1, :, :, begin : begin + T] = k, v
            k, v = past[:, :, :, : begin + T]
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=T > 1)
        h = h + self.out(mixed.transpose(1, 2).reshape(B, T, D))
        return h + self.down(F.gelu(self.up(self.norm2(h))))


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

    def forward(self, ids: Tensor, past: Tensor | None = None, begin: int = 0) -> Tensor:
        """int64 [B, T] -> logits [B, T, V]. `past` [layers, 2, B, H, C, K] is as in `Block.forward`."""
        h = self.embedding(ids) + self.position.weight[begin : begin + ids.size(1)]
        for number, block in enumerate(self.blocks):
            h = block(h, None if past is None else past[number], begin)
        return self.head(self.norm(h))


@torch.no_grad()
def write(
    model: GPT, prompts: Tensor, lengths: Tensor, count: int, end: int, temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:  # fmt: skip
    """int64 [B, P + count]: prompts [B, P] of these `lengths` [B], and directly behind each what the model writes, at
    most `count` tokens up to the first `end`; the rest is filled up with `end`.

    At a temperature of 0 each token is the likeliest; else it is drawn from the softmax of logits / temperature."""
    B, P = prompts.shape
    sizes, first = model.sizes, int(lengths.min())
    rows = torch.full((B, P + count), end, dtype=torch.int64, device=prompts.device)
    rows[:, :P] = torch.where(torch.arange(P, device=prompts.device) < lengths[:, None], prompts, end)
    shape = (sizes.layers, 2, B, sizes.heads, P + count, sizes.width // sizes.heads)
    past = torch.zeros(shape, device=prompts.device, dtype=model.head.weight.dtype)
    done = torch.zeros(B, dtype=torch.bool, device=prompts.device)
    logits = model(rows[:, :first], past)[:, -1]  # [B, V]
    for place in range(first, P + count):
        if temperature:
            sane = (logits / temperature).nan_to_num(0.0, 1e30, -1e30)  # nothing is drawn from what is no number
            token = torch.multinomial(sane.softmax(-1), 1, generator=generator)[:, 0]
        else:
            token = logits.argmax(-1)
        prompted = place < lengths
        done = done | (place >= lengths + count)
        rows[:, place] = torch.where(prompted, rows[:, place], torch.where(done, end, token))
        done = done | ~prompted & (rows[:, place] == end)
        if place + 1 == P + count or done.all():
            break
        logits = model(rows[:, place : place + 1], past, place)[:, -1]
    return rows


def behind(rows: Tensor, lengths: Tensor, count: int) -> Tensor:
    """[B, count]: what `write` put behind prompts of these `lengths` [B] into `rows` [B, P + count]."""
    return rows.gather(1, lengths[:, None] + torch.arange(count, device=rows.device))


def save(model: GPT, folder: Path) -> None:
    """Write weights and sizes into `folder`."""
    torch.save({name: tensor.cpu() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)
    write_json(folder / SIZES, asdict(model.sizes))


def load(folder: Path) -> GPT:
    """What `save` has written there, on the CPU. Raises TaskError when it is not there."""
    model = GPT(Sizes(**read_json(folder / SIZES)))
    model.load_state_dict(torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True))
    return model


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
