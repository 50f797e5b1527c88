"""What tokens cost."""

from __future__ import annotations

import pytest

from autoresearch.journal.ledger import Usage
from autoresearch.models.prices import Prices, source
from autoresearch.workspace.task_file import PriceTable

OWN = {"mine": PriceTable(input=3, output=15, cached=0.3, cache_written=3.75), "plain": PriceTable(input=2, output=4)}


def test_the_prices_of_the_task_go_first() -> None:
    prices = Prices(OWN)
    assert prices.usd(Usage("mine", 1_000_000, 500_000, 100_000, 10_000)) == pytest.approx(
        0.4 * 3 + 0.5 * 0.3 + 0.1 * 3.75 + 0.01 * 15
    )
    assert prices.usd(Usage("plain", 1_000_000, 500_000, 0, 0)) == 2.0
    assert Prices({"claude-sonnet-4-5": OWN["plain"]}).usd(Usage("claude-sonnet-4-5", 1_000_000)) == 2.0


def test_known_models_have_listed_prices() -> None:
    # 3 dollars a million read, 0.3 from the cache, 3.75 into it, 15 written: as Anthropic has them since 2025.
    usage = Usage("claude-sonnet-4-5", 100_000, 50_000, 10_000, 1_000)
    assert Prices({}, "anthropic").usd(usage) == pytest.approx(0.12 + 0.015 + 0.0375 + 0.015)
    assert Prices({}).priced(usage).usd == Prices({}, "anthropic").usd(usage)
    assert source().startswith("genai-prices ")


def test_a_model_that_nobody_knows_has_no_price() -> None:
    for prices in (Prices({}), Prices({}, "openai"), Prices(OWN, url="http://127.0.0.1:8000/v1")):
        assert prices.usd(Usage("qwen3-of-mine", 100)) is None
        assert prices.at_most("qwen3-of-mine", 100, 100) is None
    assert Prices({}).usd(Usage("", 100)) is None
    # Another seller has other prices, also for a model of that name.
    assert Prices({}, url="http://127.0.0.1:8000/v1").usd(Usage("gpt-5.5", 100)) is None


def test_a_bound_is_above_what_a_request_costs() -> None:
    prices = Prices(OWN)
    most = prices.at_most("mine", 8_000, 1_000)
    assert most == pytest.approx((4_000 * 3.75 + 1_000 * 15) / 1e6)
    assert most is not None and most > (prices.usd(Usage("mine", 2_500, output=1_000)) or 0)
