from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from api.models.cost import (
    UNITS,
    Cost,
    LongContext,
    PriceBand,
    TokenPrices,
    from_units,
    to_units,
)
from api.models.metrics import Metrics
from api.models.model_models import CostInput

# Shorter and longer decimals, as people write prices.
decimals = st.decimals(0, 1000, places=6).map(float)
maybe = st.none() | decimals
counts = st.integers(0, 10**7)


@dataclass(frozen=True)
class Counted:
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


usages = st.builds(Counted, counts, counts, counts, counts, counts)
prices = st.fixed_dictionaries(
    {
        "input": decimals,
        "output": decimals,
        "cached_input": maybe,
        "cache_write": maybe,
        "reasoning": maybe,
    }
)


def at(clock: str) -> float:
    hours, minutes = clock.split(":")
    day = datetime(2026, 3, 1, int(hours), int(minutes), tzinfo=UTC)
    return day.timestamp()


def paid(cost: Cost, usage: Counted, **how: Any) -> float:
    return Metrics.of_usage(usage, 0, cost, **how).total_cost


def plain(**fields: Any) -> Cost:
    fields = {"input": 1.0, "output": 2.0, **fields}
    return Cost(tokens=1_000_000, currency="USD", **fields)


@given(st.decimals(0, 10**6, places=10).map(float))
def test_amounts_come_back_from_units(amount: float) -> None:
    assert from_units(to_units(amount)) == amount


def exact(price: float | None, otherwise: float = 0.0) -> Fraction:
    return Fraction(repr(otherwise if price is None else price))


@given(usages, prices, maybe, st.integers(1, 10**7))
def test_each_part_is_rounded_once_from_the_exact_cost(
    usage: Counted,
    of: dict[str, Any],
    per_request: float | None,
    tokens: int,
) -> None:
    cost = Cost(tokens=tokens, currency="X", per_request=per_request, **of)
    used = Metrics.of_usage(usage, 0, cost)
    full = used.input_tokens - used.cached_tokens - used.cache_write_tokens
    read = (
        full * exact(of["input"])
        + used.cached_tokens * exact(of["cached_input"], of["input"])
        + used.cache_write_tokens * exact(of["cache_write"], of["input"])
    )
    wrote = (used.output_tokens - used.reasoning_tokens) * exact(of["output"])
    wrote += used.reasoning_tokens * exact(of["reasoning"], of["output"])
    request = exact(per_request) * UNITS
    assert used.input_units == round(read * UNITS / tokens + request)
    assert used.output_units == round(wrote * UNITS / tokens)


@given(st.lists(usages, max_size=30), prices)
def test_a_sum_of_calls_does_not_drift(
    used: list[Counted], of: dict[str, Any]
) -> None:
    cost = Cost(tokens=1_000_000, currency="X", **of)
    each = [Metrics.of_usage(usage, 0, cost) for usage in used]
    total = sum(each, Metrics())
    assert total.units == sum(one.units for one in each)


def test_a_request_has_a_price_if_it_was_answered() -> None:
    cost = plain(per_request=0.005)
    assert paid(cost, Counted(1000, 0)) == 0.006
    assert paid(cost, Counted(), requests=0) == 0.0


def test_a_batch_costs_less() -> None:
    cost = plain(batch_discount=0.5, per_request=0.01)
    assert paid(cost, Counted(10_000, 10_000)) == 0.04
    assert paid(cost, Counted(10_000, 10_000), is_batch=True) == 0.02


def test_a_long_input_makes_every_token_dearer() -> None:
    long = LongContext(above=200_000, input=2.0, output=4.0, reasoning=8.0)
    cost = plain(long_context=long)
    assert paid(cost, Counted(200_000, 1000)) == 0.202
    # Cached tokens are of the input, too.
    usage = Counted(200_001, 1000, 100_000, 0, 500)
    assert paid(cost, usage) == 0.406002


@pytest.mark.parametrize(
    ("clock", "wanted"),
    [
        ("16:29", 1.0),
        ("16:30", 0.25),
        ("23:59", 0.25),
        ("00:29", 0.25),
        ("00:30", 1.0),
        ("06:00", 3.0),
        ("07:00", 1.0),
    ],
)
def test_a_band_of_the_day_has_prices_of_its_own(
    clock: str, wanted: float
) -> None:
    night = PriceBand(from_="16:30", to="00:30", factor=0.25)
    peak = PriceBand(
        from_="06:00", to="07:00", prices=TokenPrices(input=3, output=9)
    )
    cost = plain(bands=[night, peak])
    assert paid(cost, Counted(1_000_000), at=at(clock)) == wanted
    # Of a call whose end is not known, the price of most of the day.
    assert paid(cost, Counted(1_000_000)) == 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"input": -1},
        {"reasoning": -1},
        {"longContext": {"above": 1, "input": -1, "output": 1}},
        {
            "bands": [
                {
                    "from": "00:00",
                    "to": "01:00",
                    "prices": {"input": 1, "output": -1},
                }
            ]
        },
        {"bands": []},
        {"bands": [{"from": "00:00", "to": "00:00", "factor": 1}]},
        {"bands": [{"from": "00:00", "to": "24:00", "factor": 1}]},
        {"bands": [{"from": "00:00", "to": "01:00"}]},
        {"batchDiscount": 1.1},
        {"perRequest": -1},
        {"longContext": {"above": 0, "input": 1, "output": 1}},
    ],
)
def test_prices_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CostInput.model_validate({"input": 1, "output": 1, **wrong})


def test_what_is_not_set_is_not_shown() -> None:
    assert plain().model_dump(by_alias=True) == {
        "tokens": 1_000_000,
        "currency": "USD",
        "input": 1.0,
        "output": 2.0,
    }
