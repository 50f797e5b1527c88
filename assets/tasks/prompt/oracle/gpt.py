"""The language model of the harness as the search asks it: rows may hold sums of embeddings, and every product counts.

B rows, S tokens of a row, D width, H heads, K width of a head, V vocabulary, L tokens of the string that is looked for.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from harness import lm
from torch import Tensor


def embedded(table: Tensor, ids: Tensor, x: Tensor | None) -> Tensor:
    """[B, S, D] of ids [B, S]; with x [B, L, V], the L behind the first are sums of embeddings by its weights."""
    e = F.embedding(ids, table)
    return e if x is None else torch.cat((e[:, :1], x @ table, e[:, 1 + x.size(1) :]), 1)


class GPT(lm.GPT):
    """The same weights and the same numbers; attention is written out, so that every product is counted everywhere."""

    @property
    def context(self) -> int:
        """Tokens of the longest row."""
        return self.sizes.context

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
            h = h + block.out(attended(block, block.norm1(h), mask))
            h = h + block.down(F.gelu(block.up(block.norm2(h))))
        return self.head(self.norm(h[:, -(last or S) :]))


def attended(block: lm.Block, h: Tensor, mask: Tensor) -> Tensor:
    """[B, S, D] -> [B, S, D], what the heads mix; mask [S, S] is added to the scores."""
    B, S, D = h.shape
    q, k, v = block.qkv(h).view(B, S, 3, block.heads, -1).permute(2, 0, 3, 1, 4)  # [B, H, S, K] each
    scores = q @ k.mT / math.sqrt(q.size(-1)) + mask
    return (scores.softmax(-1) @ v).transpose(1, 2).reshape(B, S, D)
