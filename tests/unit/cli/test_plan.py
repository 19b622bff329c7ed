import io
from typing import Any

import pytest
from rich.console import Console

from api.models.cost import Cost
from cli import plan
from cli.input_file import Item, Question
from cli.known_model import KnownModel, from_options
from cli.plan import Plan, plan_of
from cli.setup import ModelOptions
from cli.spending import CallPrice

COST = Cost(tokens=1_000_000, currency="USD", input=1.0, output=10.0)
MODEL = KnownModel("gpt", CallPrice(COST, 100), 100, 1000)
QUESTION = Question("gpt", "OpenAI", "Is it good?", 0.0)


def items(*texts: str) -> list[Item]:
    return [
        Item(n, f"key-{n}", None, None, {"text": text}, len(text))
        for n, text in enumerate(texts, 1)
    ]


def shown(found: Plan, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=120)
    plan.show(found, console, concurrency=10, **options)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_rows_tokens_and_price() -> None:
    found = plan_of(items(*["word " * 100] * 50), {}, QUESTION, MODEL)
    assert found.asked == 50
    assert 50 * 100 < found.input_tokens < 50 * 140
    cost = found.cost(100)
    assert cost == pytest.approx((found.input_tokens + 50 * 1000) / 1e6)


def test_what_is_answered_is_not_asked_and_tells_of_the_rest() -> None:
    metrics = {"outputTokens": 40, "duration": 3.0}
    kept = {f"key-{n}": {"metrics": metrics} for n in (1, 2)}
    found = plan_of(items("a", "b", "c"), kept, QUESTION, MODEL)
    assert (found.rows, found.kept, found.asked) == (3, 2, 1)
    assert (found.output_tokens, found.seconds_each) == (40, 3)
    assert "2 of 3 are answered" in shown(found)


def test_rows_that_are_too_long_are_named() -> None:
    found = plan_of(items("ok", "word " * 5000), {}, QUESTION, MODEL)
    assert list(found.refused) == [2]
    assert "the model takes 1,000" in found.refused[2]
    assert "line 2" in shown(found)


def test_rows_that_cannot_be_filled_are_named() -> None:
    question = Question(
        "gpt", "OpenAI", "{{ text | join }}", 0, is_template=True
    )
    found = plan_of(items("ok"), {}, question, MODEL)
    assert "join needs a list" in found.refused[1]


@pytest.mark.parametrize(
    ("limits", "seconds", "bound"),
    [
        ({"requestsPerMinute": 60}, 100, "60 requests a minute"),
        ({"tokensPerMinute": 600}, 100 * 11 / 10, "600 tokens a minute"),
        ({"maxConcurrency": 2}, 50, "2 calls at once"),
        ({}, 10, "10 calls at once"),
    ],
)
def test_the_tightest_limit_bounds_the_time(
    limits: dict[str, int], seconds: float, bound: str
) -> None:
    model = KnownModel("gpt", None, 100, limits=limits)
    found = Plan(100, 0, 1000, model, output_tokens=1, seconds_each=1.0)
    least, what = found.seconds(10)
    assert least == pytest.approx(seconds)
    assert what == bound


def test_nothing_is_made_up() -> None:
    found = Plan(10, 0, 100, KnownModel("odd", None, None))
    told = shown(found)
    assert "not known before the first answers" in told
    assert "give --input-price" in told
    assert "Cost" not in told


def test_budgets_are_shown() -> None:
    budget = {"remaining": 4.2, "amount": 5.0, "currency": "USD"}
    found = Plan(10, 0, 100, MODEL)
    told = shown(
        found, budgets=[{**budget, "scope": "client", "period": "day"}]
    )
    assert "4.20 of 5.00 USD (client, day)" in told


def test_a_known_model_has_its_published_price() -> None:
    found = from_options(ModelOptions("gpt-4o-mini"))
    assert found.price is not None
    assert found.price.cost.input == pytest.approx(0.15)
    given = from_options(ModelOptions("gpt-4o-mini", input_price=7))
    assert given.price is not None
    assert given.price.cost.input == 7
    nobodys = ModelOptions("gpt-4o-mini", endpoint="http://127.0.0.1:1/v1")
    assert from_options(nobodys).price is None
