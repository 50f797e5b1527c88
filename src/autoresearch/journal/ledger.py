"""What proposals and runs have cost: dollars, tokens, seconds of the device. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """What one proposal cost."""

    model: str = ""
    """As its maker names it; empty where no model was asked."""
    input: int = 0
    """Tokens read, those of the cache among them."""
    cached: int = 0
    """Tokens of `input` that were read from the cache."""
    cache_written: int = 0
    """Tokens of `input` that were written to the cache."""
    output: int = 0
    usd: float | None = 0.0
    """None: tokens were spent, and nobody knows what they cost."""
