"""`--max-cost`: what is spent and what is open stay within it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.models.cost import Cost, to_units
from cli.errors import CommandError
from cli.input_file import Item
from cli.spending import CallPrice, Spending
from tests.support.examples import examples


def price(output: float = 10.0, currency: str = "USD") -> CallPrice:
    cost = Cost(tokens=1_000_000, currency=currency, input=1.0, output=output)
    return CallPrice(cost, 100)


PRICE = price()


def item(number: int, size: int = 100) -> Item:
    return Item(number, f"key-{number}", None, None, {}, size)


def spending(most: float, *prices: CallPrice, reasks: int = 0) -> Spending:
    return Spending(most, prices or [PRICE], prompt_bytes=50, reasks=reasks)


def test_a_row_is_asked_while_all_that_are_open_leave_enough() -> None:
    bound = spending(1).first_call(item(1))
    limit = spending(bound * 5 * 3)
    asked = [limit.begin(item(number)) for number in range(4)]
    assert asked == [True, True, True, False]
    limit.spend(bound / 10)
    limit.end(item(0))
    assert not limit.begin(item(4))
    limit.end(item(1))
    assert limit.begin(item(4))


def test_the_last_row_is_asked_alone() -> None:
    bound = spending(1).first_call(item(1))
    limit = spending(bound * 1.5)
    assert limit.begin(item(0))
    assert not limit.begin(item(1))
    limit.end(item(0))
    limit.spend(bound)
    assert not limit.begin(item(1))


def test_asking_again_costs_more() -> None:
    limits = [spending(0.5, reasks=reasks) for reasks in (0, 1, 5)]
    counts = [
        sum(limit.begin(item(number)) for number in range(1000))
        for limit in limits
    ]
    assert 1000 > counts[0] > 2 * counts[1] > 4 * counts[2]


def test_every_model_of_a_ladder_counts() -> None:
    dear = price(output=1000.0)
    assert spending(1, PRICE, dear).first_call(item(1)) > 50 * spending(
        1
    ).first_call(item(1))


def test_one_currency() -> None:
    euro = price(currency="EUR")
    with pytest.raises(CommandError, match="EUR, USD"):
        spending(1, PRICE, euro)


@settings(max_examples=examples(200))
@given(
    st.floats(0.0001, 0.2),
    st.lists(
        st.tuples(st.integers(0, 5000), st.floats(0, 1)),
        min_size=1,
        max_size=60,
    ),
    st.randoms(use_true_random=False),
)
def test_the_amount_is_never_passed(
    most: float, rows: list[tuple[int, float]], draw: object
) -> None:
    """Whatever each row costs up to its bound, and in whatever order."""
    limit, spent = spending(most), 0.0
    running: list[tuple[Item, float]] = []
    for number, (size, share) in enumerate(rows):
        each = item(number, size)
        while not limit.begin(each) and running:
            at = draw.randrange(len(running))  # type: ignore[attr-defined]
            done, cost = running.pop(at)
            spent += cost
            limit.spend(cost)
            limit.end(done)
        if each.key in limit._open:
            running.append((each, share * limit.first_call(each)))
    spent += sum(cost for _, cost in running)
    assert to_units(spent) <= to_units(most) + len(rows)
