"""What followed the same few tokens in the text trained on: what compressors predict from (PPM; Cleary & Witten, 1984).
A network learns it from many more examples."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOST_TOKENS = 2**21
"""Of a text that is kept; 8 MiB of the weights."""


def too_long(vocab_size: int, most: int) -> str | None:
    """Why contexts of `most` tokens, COUNTS of a trainer, cannot be counted: their numbers would be too large. None
    where they can."""
    if vocab_size ** (most + 1) < 2**63:
        return None
    longest = next(n for n in range(most, -1, -1) if vocab_size ** (n + 1) < 2**63)
    return f"COUNTS = {most} is too long for {vocab_size} tokens; take at most {longest}"


class SeenText(nn.Module):
    """The rows that a run has trained on last, kept with the weights."""

    def __init__(self, seq_len: int, vocab_size: int, most: int) -> None:
        """Contexts are of 2 to `most` tokens; with `most` 0 nothing is kept, and nothing mixed in. Raises `ValueError`
        where the numbers of contexts would be too large."""
        super().__init__()
        if why := too_long(vocab_size, most):
            raise ValueError(why)
        self.vocab_size, self.most = vocab_size, most
        self.text: Tensor
        rows = max(1, MOST_TOKENS // seq_len) if most else 0
        # As numbers of 32 bits, since weights are nothing else
        self.register_buffer("text", torch.full((rows, seq_len), -1.0), persistent=most > 0)
        self.rows = 0
        self.counts: list[Counts] = []

    def remember(self, ids: Tensor) -> None:
        """Keep rows, int64 [B, T], in place of the oldest."""
        if self.most:
            places = torch.arange(self.rows, self.rows + len(ids), device=ids.device) % len(self.text)
            self.text[places], self.rows, self.counts = ids.float(), self.rows + len(ids), []

    def mixed(self, p: Tensor, ids: Tensor, places: Tensor | None, doubt: float) -> Tensor:
        """Probabilities of what comes next [B, T, V] and int64 [B, T] -> [B, T, V]; with places, [B], [B, V] of these.

        The shortest contexts come first, and each longer one goes on from what they made of p.
        """
        if self.most and not self.counts:
            text = self.text[self.text[:, 0] >= 0].long().unique(dim=0)  # once, however often it was trained on
            self.counts = [Counts(text, tokens, self.vocab_size) for tokens in range(2, self.most + 1)]
        for counts in self.counts:
            contexts = F.pad(ids, (counts.tokens - 1, 0), value=-1).unfold(1, counts.tokens, 1)  # [B, T, n]
            contexts = contexts if places is None else contexts[torch.arange(len(ids), device=ids.device), places]
            p = counts.mixed(p.flatten(0, -2), contexts.flatten(0, -2), doubt).view(p.shape)
        return p


class Counts:
    """For each context of n tokens in a text, which tokens followed it, and how often each did."""

    def __init__(self, rows: Tensor, tokens: int, vocab_size: int) -> None:
        """`rows` is int64 [R, T]; `tokens` is n."""
        self.tokens, self.vocab_size = tokens, vocab_size
        found = self.number(rows.unfold(1, tokens + 1, 1)).flatten()
        self.numbers, self.times = found.unique(return_counts=True)  # in the order of contexts, then of followers
        self.before = F.pad(self.times.cumsum(0), (1, 0))

    def number(self, tokens: Tensor) -> Tensor:
        """int64 [..., k], tokens in their order -> [...], one number for them; below 0 where the first is -1."""
        first, *others = tokens.unbind(-1)
        for each in others:  # a view of the rows each: nothing as large as all windows is made
            first = torch.add(each, first, alpha=self.vocab_size)
        return first

    def mixed(self, p: Tensor, contexts: Tensor, doubt: float) -> Tensor:
        """Probabilities [N, V] and the n tokens before each, int64 [N, n] -> [N, V]. Of the followers of a context, k
        different ones, each weighs 1 and p weighs doubt * k: method C of PPM (Moffat, 1990) where `doubt` is 1. Nothing
        is known of a new context, and p stays."""
        start = self.number(contexts) * self.vocab_size
        first, end = (torch.searchsorted(self.numbers, start + more) for more in (0, self.vocab_size))
        kinds = end - first
        weight = self.before[end] - self.before[first] + doubt * kinds
        place = torch.arange(len(p), device=p.device).repeat_interleave(kinds)
        entry = torch.arange(len(place), device=p.device) - (kinds.cumsum(0) - kinds - first)[place]
        p = p * torch.where(kinds > 0, doubt * kinds / weight, 1.0)[:, None]
        follower = self.numbers[entry] % self.vocab_size
        p.view(-1).index_add_(0, place * self.vocab_size + follower, self.times[entry] / weight[place])
        return p
