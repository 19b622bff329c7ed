import json
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from operator import add
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.models.cost import Cost
from api.models.metrics import Metrics, ProcessingMetrics, add_up
from llm_sdks.base_sdk import Usage

USD = Cost(tokens=1000, currency="USD", input=1.0, output=2.0)
EUR = Cost(tokens=1_000_000, currency="EUR", input=3.0, output=15.0)

tokens = st.integers(min_value=0, max_value=10**9)
prices = st.floats(min_value=0, max_value=1000)
calls = st.lists(st.tuples(tokens, tokens, st.sampled_from([None, USD])))


def near(exact: Fraction) -> Any:
    # Amounts are kept to ten places.
    return pytest.approx(float(exact), rel=1e-12, abs=0.51e-10)


def test_a_call_is_priced_by_its_tokens() -> None:
    assert Metrics.of_call(250, 50, 1.5, USD).to_document() == {
        "inputTokens": 250,
        "outputTokens": 50,
        "totalTokens": 300,
        "duration": 1.5,
        "inputCost": 0.25,
        "outputCost": 0.1,
        "totalCost": 0.35,
        "currency": "USD",
    }


def test_amounts_have_no_noise_of_the_arithmetic() -> None:
    dime = Cost(tokens=10, currency="USD", input=1.0, output=2.0)
    document = Metrics.of_call(1, 1, 0, dime).to_document()
    # As floats, 0.1 + 0.2 is 0.30000000000000004.
    assert document["totalCost"] == 0.3


@given(tokens, tokens, prices, st.frozensets(st.text(max_size=4)))
def test_metrics_come_back_from_json_as_they_were(
    asked: int, answered: int, number: float, currencies: frozenset[str]
) -> None:
    metrics = Metrics(asked, answered, number, asked, answered, currencies)
    dumped = json.loads(json.dumps(metrics.dump()))
    assert Metrics.load(dumped) == metrics


def test_without_a_price_there_is_no_cost() -> None:
    assert Metrics.of_call(7, 3, 0.5, None).to_document() == {
        "inputTokens": 7,
        "outputTokens": 3,
        "totalTokens": 10,
        "duration": 0.5,
    }


def test_a_model_that_costs_nothing_costs_nothing() -> None:
    free = Cost(tokens=1, currency="USD", input=0, output=0)
    document = Metrics.of_call(7, 3, 0.5, free).to_document()
    assert document["totalCost"] == 0.0
    assert document["currency"] == "USD"


@given(tokens, tokens, st.integers(1, 10**7), prices, prices)
def test_the_cost_is_what_exact_arithmetic_says(
    asked: int, answered: int, per: int, price_in: float, price_out: float
) -> None:
    cost = Cost(tokens=per, currency="X", input=price_in, output=price_out)
    document = Metrics.of_call(asked, answered, 0, cost).to_document()
    exact_in = Fraction(asked) * Fraction(price_in) / per
    exact_out = Fraction(answered) * Fraction(price_out) / per
    assert document["inputCost"] == near(exact_in)
    assert document["outputCost"] == near(exact_out)
    # The sum of the two amounts as they are shown.
    assert document["totalCost"] == pytest.approx(
        float(exact_in + exact_out), rel=1e-12, abs=1.02e-10
    )


def test_calls_add_up() -> None:
    first = Metrics.of_call(1000, 100, 1.25, USD)
    second = Metrics.of_call(500, 50, 0.5, USD)
    assert (first + second).to_document() == {
        "inputTokens": 1500,
        "outputTokens": 150,
        "totalTokens": 1650,
        "duration": 1.75,
        "inputCost": 1.5,
        "outputCost": 0.3,
        "totalCost": 1.8,
        "currency": "USD",
    }


@given(calls)
def test_the_order_of_adding_does_not_matter(
    counted: list[tuple[int, int, Cost | None]],
) -> None:
    metrics = [Metrics.of_call(i, o, 0.25, cost) for i, o, cost in counted]
    forward = reduce(add, metrics, Metrics()).to_document()
    backward = reduce(add, reversed(metrics), Metrics()).to_document()
    assert forward == pytest.approx(backward)
    assert forward["totalTokens"] == sum(i + o for i, o, _ in counted)
    assert forward["duration"] == 0.25 * len(counted)
    assert ("totalCost" in forward) == any(cost for _, _, cost in counted)


def test_nothing_added_changes_nothing() -> None:
    metrics = Metrics.of_call(7, 3, 0.5, USD)
    assert metrics + Metrics() == metrics
    assert Metrics() + metrics == metrics


def test_costs_in_two_currencies_are_not_added() -> None:
    both = Metrics.of_call(10, 5, 1, USD) + Metrics.of_call(20, 7, 2, EUR)
    assert both.to_document() == {
        "inputTokens": 30,
        "outputTokens": 12,
        "totalTokens": 42,
        "duration": 3,
    }


def test_once_mixed_costs_stay_out_whatever_is_added() -> None:
    both = Metrics.of_call(1, 1, 1, USD) + Metrics.of_call(1, 1, 1, EUR)
    assert "totalCost" not in (both + both).to_document()
    again = both + Metrics.of_call(1, 1, 1, USD)
    assert "currency" not in again.to_document()


def test_an_unpriced_call_does_not_hide_the_cost_of_the_others() -> None:
    both = Metrics.of_call(1000, 0, 1, USD) + Metrics.of_call(9, 9, 1, None)
    document = both.to_document()
    assert document["totalCost"] == 1.0
    assert document["currency"] == "USD"
    assert document["inputTokens"] == 1009


def test_the_duration_is_kept_to_the_microsecond() -> None:
    document = Metrics(duration=0.1234567891).to_document()
    assert document["duration"] == 0.123457


def test_the_stored_fields_are_those_of_the_interface() -> None:
    document = Metrics.of_call(250, 50, 1.5, USD).to_document()
    shown = ProcessingMetrics.model_validate(document)
    assert shown.model_dump(by_alias=True) == document


def job(
    asked: int, answered: int, seconds: float, cost: Cost | None
) -> ProcessingMetrics:
    """Give a job's metrics as the store has them."""
    metrics = Metrics.of_call(asked, answered, seconds, cost)
    return ProcessingMetrics.model_validate(metrics.to_document())


def test_the_metrics_of_several_jobs_add_up() -> None:
    jobs = [job(1000, 100, 1.5, USD), None, job(500, 50, 0.5, USD)]
    assert add_up(jobs).model_dump(by_alias=True) == {
        "inputTokens": 1500,
        "outputTokens": 150,
        "totalTokens": 1650,
        "duration": 2.0,
        "inputCost": 1.5,
        "outputCost": 0.3,
        "totalCost": 1.8,
        "currency": "USD",
    }


@pytest.mark.parametrize("cost", [EUR, None])
def test_costs_that_cannot_be_added_are_left_out_for_good(
    cost: Cost | None,
) -> None:
    both = add_up([job(1000, 1000, 1, USD), job(1000, 1000, 1, cost)])
    for total in (both, add_up([both, job(1, 1, 1, USD)])):
        assert total.input_tokens >= 2000
        assert total.input_cost is None
        assert total.output_cost is None
        assert total.total_cost is None
        assert total.currency is None


@pytest.mark.parametrize("nothing", [None, ProcessingMetrics()])
def test_a_job_that_used_nothing_does_not_hide_a_cost(
    nothing: ProcessingMetrics | None,
) -> None:
    one = job(1000, 100, 1.5, USD)
    assert add_up([nothing, one, nothing]) == one


def test_no_jobs_add_up_to_nothing() -> None:
    assert add_up([]) == ProcessingMetrics()
    assert add_up([None]) == ProcessingMetrics()


def test_tokens_count_whatever_time_they_took() -> None:
    jobs = [job(1000, 100, 1.5, USD), job(7, 3, 0, USD)]
    assert add_up(jobs).input_tokens == 1007


class CachedCost(Cost):
    cached_input: float | None = None
    cache_write: float | None = None


def cached(**prices: float) -> CachedCost:
    return CachedCost(
        tokens=1_000_000, currency="USD", input=1.0, output=2.0, **prices
    )


def test_cached_tokens_have_a_price_of_their_own() -> None:
    usage = Usage(10_000, 5, cached_tokens=9000)
    document = Metrics.of_usage(
        usage, 1.0, cached(cached_input=0.1)
    ).to_document()
    assert document["inputCost"] == 0.0019
    assert document["totalCost"] == 0.00191
    assert document["cachedTokens"] == 9000
    assert "reasoningTokens" not in document


def test_without_a_price_of_their_own_they_cost_what_input_costs() -> None:
    usage = Usage(10_000, 5, cached_tokens=9000)
    document = Metrics.of_usage(usage, 1.0, cached()).to_document()
    assert document["inputCost"] == 0.01


@dataclass(frozen=True)
class Counted:
    input_tokens: Any = 0
    output_tokens: Any = 0
    cached_tokens: Any = 0
    cache_write_tokens: Any = 0
    reasoning_tokens: Any = 0


def test_tokens_written_to_a_cache_have_a_price_of_their_own() -> None:
    usage = Counted(1000, 10, 200, 300, 4)
    priced = Metrics.of_usage(usage, 0, cached(cache_write=2.0))
    assert priced.to_document() == {
        "inputTokens": 1000,
        "outputTokens": 10,
        "totalTokens": 1010,
        "cachedTokens": 200,
        "cacheWriteTokens": 300,
        "reasoningTokens": 4,
        "duration": 0,
        "inputCost": 0.0013,
        "outputCost": 0.00002,
        "totalCost": 0.00132,
        "currency": "USD",
    }


@pytest.mark.parametrize(
    "odd", [18446744073709551615, -1, 1.5, None, "7", float("nan"), 10**40]
)
def test_numbers_that_no_call_has_are_zero(odd: Any) -> None:
    usage = Counted(odd, odd, odd, odd, odd)
    assert Metrics.of_usage(usage, 0.5, USD).to_document() == {
        "inputTokens": 0,
        "outputTokens": 0,
        "totalTokens": 0,
        "duration": 0.5,
        "inputCost": 0.0,
        "outputCost": 0.0,
        "totalCost": 0.0,
        "currency": "USD",
    }


def test_parts_are_never_more_than_the_whole() -> None:
    metrics = Metrics.of_usage(Counted(10, 5, 99, 99, 99), 0, USD)
    assert metrics.cached_tokens == 10
    assert metrics.cache_write_tokens == 0
    assert metrics.reasoning_tokens == 5


@given(
    st.lists(
        st.builds(Counted, *(st.integers(0, 10**6) for _ in range(5))),
        max_size=20,
    ),
    st.integers(10**6, 10**7),
    st.lists(st.floats(0, 100), min_size=4, max_size=4),
)
def test_the_parts_that_are_shown_make_the_total_that_is_shown(
    used: list[Counted], per: int, prices: list[float]
) -> None:
    cost = CachedCost(
        tokens=per,
        currency="USD",
        input=prices[0],
        output=prices[1],
        cached_input=prices[2],
        cache_write=prices[3],
    )
    each = [Metrics.of_usage(usage, 0, cost) for usage in used]
    total = reduce(add, each, Metrics.of_call(0, 0, 0, cost)).to_document()
    shown = [one.to_document() for one in each]
    for name in ("inputCost", "outputCost", "totalCost"):
        decimals = [Decimal(repr(one[name])) for one in shown]
        assert total[name] == float(sum(decimals, Decimal(0)))
    parts = Decimal(repr(total["inputCost"])) + Decimal(
        repr(total["outputCost"])
    )
    assert total["totalCost"] == float(parts)


def test_details_add_up() -> None:
    jobs = [
        ProcessingMetrics(input_tokens=5, total_tokens=5, cached_tokens=3),
        ProcessingMetrics(output_tokens=5, total_tokens=5, reasoning_tokens=2),
    ]
    total = add_up(jobs).model_dump(by_alias=True)
    assert (total["cachedTokens"], total["reasoningTokens"]) == (3, 2)
    assert "cacheWriteTokens" not in total
