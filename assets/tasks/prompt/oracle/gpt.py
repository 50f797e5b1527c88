"""A small GPT, and how set-up trains it. What is measured is the search, so the model is plain.

B rows, S tokens of a row, D width, H heads, K width of a head, V vocabulary, L tokens of the string that is looked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def embedded(table: Tensor, ids: Tensor, x: Tensor | None) -> Tensor:
    """[B, S, D] of ids [B, S]; with x [B, L, V], the L behind the first are sums of embeddings by its weights."""
    e = F.embedding(ids, table)
    return e if x is None else torch.cat((e[:, :1], x @ table, e[:, 1 + x.size(1) :]), 1)


class Block(nn.Module):
    """Attention, then an MLP, each on the normalised residual stream. `out` and `down` end its two branches."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:
        """[B, S, D] -> [B, S, D]; mask [S, S] is added to the scores."""
        B, S, D = h.shape
        q, k, v = self.qkv(self.norm1(h)).view(B, S, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # [B, H, S, K] each
        scores = q @ k.mT / math.sqrt(q.size(-1)) + mask  # written out, so that every product is counted everywhere
        h = h + self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(B, S, D))
        return h + self.down(F.gelu(self.up(self.norm2(h))))


class GPT(nn.Module):
    """Decoder-only transformer with learned positions (Radford et al., 2019) and an untied head."""

    def __init__(self, vocab: int, context: int, layers: int, width: int, heads: int) -> None:
        super().__init__()
        self.context = context
        self.embedding, self.position = nn.Embedding(vocab, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab, bias=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                last = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * layers) if last else 0.02)

    @property
    def table(self) -> Tensor:
        """The embeddings [V, D]."""
        return self.embedding.weight

    def forward(self, ids: Tensor, x: Tensor | None = None, last: int | None = None) -> Tensor:
        """int64 [B, S] -> logits [B, S, V], or of the `last` places alone; `x` as in `embedded`."""
        S = ids.size(1)
        h = embedded(self.table, ids, x) + self.position.weight[:S]
        mask = torch.full((S, S), -math.inf, device=ids.device).triu(1)
        for block in self.blocks:
            h = block(h, mask)
        return self.head(self.norm(h[:, -(last or S) :]))


def train(model: GPT, rows: np.ndarray, steps: int, batch: int, seed: int, told: Callable[[int, float], None]) -> float:
    """Train `model` where it is on rows [N, S + 1] of token ids; return the mean loss of the last tenth, in nats a
    token. `told` hears of each step and its loss."""
    rng, device = np.random.default_rng(seed), model.table.device
    optimizer = torch.optim.AdamW(model.parameters(), 0.003, (0.9, 0.99), weight_decay=0.1)
    losses = []
    for step in range(steps):
        rate = min(1.0, (step + 1) / (0.05 * steps)) * (0.55 + 0.45 * math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = 0.003 * rate
        chosen = rows[rng.integers(0, len(rows), batch)].astype(np.int64)
        ids = torch.from_numpy(chosen).to(device)
        loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        told(step + 1, losses[-1])
    return float(np.mean(losses[-max(1, steps // 10) :]))
