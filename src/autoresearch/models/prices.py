"""What tokens cost: by the task's own prices, else by those that come with genai-prices; nothing is asked online."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from autoresearch.journal.ledger import Usage
from autoresearch.workspace.task_file import PriceTable

MILLION = 1_000_000

BYTES_A_TOKEN = 2
"""What a bound on tokens takes for a token. The prompts of `loop/prompt.py` have 3.5 to 4.2 bytes in each (o200k)."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of models by name."""

    own: Mapping[str, PriceTable]
    """Those that the task file gives; they go before all others."""
    provider: str | None = None
    """Who sells the model, in the words of genai-prices: `anthropic`, `openai`, `google`. None: whoever has it."""
    url: str | None = None
    """Where the model is asked, when it is somebody else's server; then only that seller's prices hold."""

    def priced(self, usage: Usage) -> Usage:
        """Return `usage` with what its tokens cost; None when nobody knows."""
        return replace(usage, usd=self.usd(usage))

    def usd(self, usage: Usage) -> float | None:
        """Return what the tokens of `usage` cost, in dollars; None for a model whose price is unknown."""
        own = self.own.get(usage.model)
        if own is None:
            return self._listed(usage)
        fresh = usage.input - usage.cached - usage.cache_written
        cached = own.input if own.cached is None else own.cached
        written = own.input if own.cache_written is None else own.cache_written
        total = fresh * own.input + usage.cached * cached + usage.cache_written * written + usage.output * own.output
        return total / MILLION

    def at_most(self, model: str, sent: int, output: int) -> float | None:
        """Return the most that a request costs that sends `sent` bytes and may answer with `output` tokens.

        All of it is taken to be written to the cache, which is the dearest way to read it.
        """
        tokens = -(-sent // BYTES_A_TOKEN)
        plain = self.usd(Usage(model, tokens, output=output))
        written = self.usd(Usage(model, tokens, cache_written=tokens, output=output))
        return None if plain is None or written is None else max(plain, written)

    def _listed(self, usage: Usage) -> float | None:
        try:
            import genai_prices
        except ImportError:  # the extra `agents` is not installed
            return None
        if not usage.model:
            return None
        tokens = genai_prices.Usage(
            input_tokens=usage.input,
            cache_read_tokens=usage.cached,
            cache_write_tokens=usage.cache_written,
            output_tokens=usage.output,
        )
        seller = {"provider_api_url": self.url} if self.url else {"provider_id": self.provider}
        try:
            return float(genai_prices.calc_price(tokens, usage.model, **seller).total_price)
        except (LookupError, ValueError):  # no such model; counts that contradict each other
            return None


def source() -> str:
    """Return where the prices come from, with the version: `genai-prices 0.2.3`; empty where it is not installed."""
    try:
        import genai_prices
    except ImportError:
        return ""
    return f"genai-prices {genai_prices.__version__}"
