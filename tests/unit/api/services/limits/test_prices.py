from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from api.services.limits import prices
from api.services.limits.prices import known_cost, known_window

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()


def cost_of(*conditions: ConditionalPrice, day: str = "2026-06-01") -> Any:
    info = ModelInfo("m", match=ClauseEquals("m"), prices=list(conditions))
    return prices._cost(info, datetime.fromisoformat(f"{day}T00:00+00:00"))


def mtok(read: str, wrote: str) -> ModelPrice:
    return ModelPrice(input_mtok=Decimal(read), output_mtok=Decimal(wrote))


def test_a_known_model_of_a_provider_has_a_price() -> None:
    cost = known_cost("OpenAI", "", "gpt-4o-mini", NOW)
    assert cost is not None
    assert cost.currency == "USD"
    assert (cost.input, cost.output, cost.cached_input) == (0.15, 0.6, 0.075)


def test_a_provider_is_also_known_by_its_address() -> None:
    url = "https://api.deepseek.com/v1"
    cost = known_cost("OpenAI", url, "deepseek-chat", NOW)
    assert cost is not None
    assert cost.input > 0
    assert known_cost("AzureOpenAI", "https://x.azure.com", "gpt-4o", NOW)


@pytest.mark.parametrize(
    ("sdk", "endpoint", "name"),
    [
        ("OpenAI", "", "no-such-model"),
        # Another's server may charge what it likes, or nothing.
        ("OpenAI", "http://127.0.0.1:8090/v1", "gpt-4o-mini"),
        ("test", "", "gpt-4o-mini"),
    ],
)
def test_what_is_not_known_has_no_price(
    sdk: str, endpoint: str, name: str
) -> None:
    assert known_cost(sdk, endpoint, name, NOW) is None


def test_a_long_context_has_the_prices_of_its_tier() -> None:
    cost = known_cost("Gemini", "", "gemini-2.5-pro", NOW)
    assert cost is not None
    assert cost.long_context is not None
    assert cost.long_context.above == 200_000
    assert cost.long_context.input > cost.input


def test_prices_hold_from_their_day_on() -> None:
    old = ConditionalPrice(prices=mtok("1", "2"))
    new = ConditionalPrice(
        StartDateConstraint(date(2026, 6, 1)), prices=mtok("3", "4")
    )
    assert cost_of(old, new, day="2026-05-31").input == 1.0
    assert cost_of(old, new).input == 3.0


def test_parts_of_the_day_become_bands() -> None:
    base = ConditionalPrice(prices=mtok("1", "2"))
    night = ConditionalPrice(
        TimeOfDateConstraint(time(16, 30), time(0, 30)),
        prices=mtok("0.5", "1"),
    )
    (band,) = cost_of(base, night).bands
    assert (band.from_, band.to) == ("16:30", "00:30")
    assert band.prices.input == 0.5
    # One that came before today's price is out of date.
    today = ConditionalPrice(
        StartDateConstraint(date(2026, 6, 1)), prices=mtok("3", "4")
    )
    assert cost_of(base, night, today).bands is None


def test_a_price_of_requests_counts_for_one() -> None:
    price = ModelPrice(
        input_mtok=TieredPrices(Decimal(1), [Tier(1000, Decimal(2))]),
        output_mtok=Decimal(3),
        requests_kcount=Decimal(5),
    )
    cost = cost_of(ConditionalPrice(prices=price))
    assert cost.per_request == 0.005
    assert cost.input == 1.0
    assert cost.long_context.input == 2.0
    assert cost.long_context.output == 3.0


def test_without_both_prices_there_is_none() -> None:
    price = ModelPrice(input_mtok=Decimal(1))
    assert cost_of(ConditionalPrice(prices=price)) is None


def test_the_length_that_a_model_takes_may_be_known() -> None:
    window = known_window("OpenAI", "", "gpt-4o-mini")
    assert window is not None
    assert window > 100_000
    assert known_window("OpenAI", "", "nothing-like-it") is None
    assert known_window("test", "", "gpt-4o-mini") is None
