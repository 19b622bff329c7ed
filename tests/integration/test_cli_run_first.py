"""`metasync run`: looking before paying, and ending before all is lost."""

import json

import pytest
from aiohttp import web

from tests.support.fake_provider import (
    Body,
    FakeProvider,
    completion,
    failure,
)
from tests.support.run_commands import (
    KEY,
    Refusing,
    RunCommands,
    asked,
    numbered,
)

# The fake provider says that a call had these tokens.
PRICES = ("--input-price", "1000", "--output-price", "1000")
ONE_AT_A_TIME = ("--concurrency", "1")


def test_a_plan_makes_no_call_and_leaves_nothing(
    on_provider: RunCommands, provider: FakeProvider
) -> None:
    on_provider.write(numbered(3))
    ended = on_provider.run_file("--plan", *PRICES)
    assert ended.status == 0, ended.output
    assert "Rows to ask" in ended.output
    assert provider.requests == []
    assert on_provider.files() == {"in.jsonl"}


def test_a_pilot_asks_some_rows_and_the_same_command_the_rest(
    on_provider: RunCommands, provider: FakeProvider
) -> None:
    on_provider.write(numbered(40))
    ended = on_provider.run_file("--pilot", "5", *PRICES)
    assert ended.status == 0, ended.output
    assert "They cost" in ended.output
    assert "Stopped after the pilot" in ended.output
    first = asked(provider)
    assert len(first) == 5
    ended = on_provider.run_file("--pilot", "5", "--yes", *PRICES)
    assert ended.status == 0, ended.output
    assert sorted(asked(provider)) == list(range(1, 41))
    assert len(on_provider.rows()) == 40


def test_a_limit_keeps_what_other_rows_have_answered(
    on_provider: RunCommands, provider: FakeProvider
) -> None:
    on_provider.write(numbered(6))
    for options in (("--limit", "2"), ("--limit", "3", "--seed", "1"), ()):
        ended = on_provider.run_file("--in-order", *options)
        assert ended.status == 0, ended.output
    assert sorted(asked(provider)) == [1, 2, 3, 4, 5, 6]
    assert [row["line"] for row in on_provider.rows()] == [1, 2, 3, 4, 5, 6]
    assert "results.earlier.jsonl" not in on_provider.files()


def test_max_cost_is_not_passed(
    on_provider: RunCommands, provider: FakeProvider
) -> None:
    on_provider.write(numbered(60))
    options = (*PRICES, "--max-tokens", "10", "--max-cost", "1")
    ended = on_provider.run_file(*options)
    assert ended.status == 1, ended.output
    assert "were not asked" in ended.output
    spent = sum(row["metrics"]["totalCost"] for row in on_provider.rows())
    assert 0 < spent <= 1
    assert len(provider.requests) == len(on_provider.rows()) < 60
    # It ends only where the next row might not be paid for.
    ended = on_provider.run_file(*options[:-1], "100")
    assert ended.status == 0, ended.output
    assert sorted(asked(provider)) == list(range(1, 61))


def test_max_cost_needs_a_price(
    on_provider: RunCommands, provider: FakeProvider
) -> None:
    on_provider.write(numbered(2))
    ended = on_provider.run_file("--max-cost", "5")
    assert ended.status == 2
    assert "--input-price" in ended.output
    assert provider.requests == []


def test_a_wrong_key_ends_the_run_with_what_helps(
    on_provider: RunCommands, provider: FakeProvider
) -> None:
    async def refusing(_body: Body) -> web.StreamResponse:
        return failure(401, "Incorrect API key provided")

    provider.handler = refusing
    on_provider.write(numbered(300))
    ended = on_provider.run_file()
    assert ended.status == 2, ended.output
    assert "does not accept the model's key" in ended.output
    assert "--key-env" in ended.output
    assert KEY not in ended.output
    assert len(provider.requests) < 100
    provider.handler = provider.echo
    ended = on_provider.run_file()
    assert ended.status == 0, ended.output
    assert len(on_provider.rows()) == 300


@pytest.mark.long
def test_rows_that_fail_alike_end_the_run(
    on_provider: RunCommands, provider: FakeProvider
) -> None:
    async def refusing(body: Body) -> web.StreamResponse:
        number = json.loads(body["messages"][-1]["content"])["n"]
        return failure(400, f"schema {number} is not supported by gpt")

    provider.handler = refusing
    on_provider.write(numbered(600))
    ended = on_provider.run_file(*ONE_AT_A_TIME, "--give-up-after", "10")
    assert ended.status == 2, ended.output
    assert ended.output.count("is not supported") == 1
    assert "the first 10 rows all failed alike" in ended.output
    assert len(provider.requests) < 300
    provider.handler = provider.echo
    ended = on_provider.run_file()
    assert ended.status == 0, ended.output
    assert len(on_provider.rows()) == 600


def test_failed_rows_can_be_left_out(
    on_provider: RunCommands, provider: FakeProvider
) -> None:
    refusing = Refusing(provider, 2)
    on_provider.write(numbered(3))
    assert on_provider.run_file().status == 1
    refusing.numbers.clear()
    provider.requests.clear()
    ended = on_provider.run_file("--skip-failed")
    assert ended.status == 1, ended.output
    assert provider.requests == []
    assert "1 failed" in ended.output
    ended = on_provider.run_file()
    assert ended.status == 0, ended.output
    assert asked(provider) == [2]


def test_answers_are_judged_at_a_path(
    on_provider: RunCommands, provider: FakeProvider
) -> None:
    del provider
    lines = [{"n": n, "right": n * (n % 2)} for n in range(1, 5)]
    on_provider.write(lines)
    ended = on_provider.run_file(
        *("--label-field", "right", "--answer-field", "echo.n"),
        *("--html", "page.html"),
    )
    assert ended.status == 0, ended.output
    assert "Accuracy by class" in ended.output
    assert "50.0%" in ended.output
    page = (on_provider.directory / "page.html").read_text()
    assert "4 of 4 rows answered" in page
    assert "50.0 %" in page


def test_images_and_files_that_rows_name(
    on_provider: RunCommands, provider: FakeProvider
) -> None:
    async def answer(_body: Body) -> web.StreamResponse:
        return completion('{"seen": true}')

    provider.handler = answer
    (on_provider.directory / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (on_provider.directory / "a.txt").write_text("of the sea")
    on_provider.write([{"photo": "a.png", "about": "a.txt"}])
    needed = ("run", "in.jsonl", "--model", "gpt", *on_provider.options)
    prompt = "A photo {{@file:about}}: {{@image:photo}}"
    ended = on_provider.run(*needed, "--prompt", prompt)
    assert ended.status == 0, ended.output
    (message,) = provider.requests[0]["messages"]
    text, image = message["content"]
    assert text["text"].strip() == "A photo of the sea:"
    assert image["image_url"]["url"].startswith("data:image/png;base64,")
