"""`client.map` of the Python client: a real server, a simulated provider."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from metasync import (
    AllFailAlikeError,
    AsyncMetasync,
    BadRequestError,
    ConfigurationError,
    Metasync,
    NoWorkerError,
    Result,
    ResultsError,
    RowFailedError,
)
from metasync._async import mapping as async_mapping
from metasync._sync import mapping
from provider_simulator.running import Simulator
from tests.support.api_user import ApiUser
from tests.support.python_client import (
    BOTH,
    MOOD,
    PROMPT,
    Mood,
    Reader,
    either,
    no_threads,
    people,
)
from tests.support.waiting import eventually


@dataclass
class Person:
    name: str
    n: int


@pytest.fixture
def reader(user: ApiUser, shared_simulator: Simulator) -> Reader:
    reader = Reader(user, shared_simulator)
    reader.answer_with_moods()
    return reader


@pytest.fixture(params=BOTH)
def client(
    reader: Reader, request: pytest.FixtureRequest
) -> Iterator[Metasync]:
    with either(request.param, reader) as client:
        yield client


def test_rows_become_typed_results(client: Metasync, reader: Reader) -> None:
    results = client.map(
        PROMPT, people(30), model=reader.model, schema=Mood, concurrency=20
    )
    found = {result.index: result for result in results}
    assert sorted(found) == list(range(30))
    assert found[3].row == {"name": "eve", "n": 3}
    assert found[3].value == Mood(happy=False)
    assert found[4].require() == Mood(happy=True)
    assert found[4].text == '{"happy": true}'
    assert found[4].usage.input_tokens > 0
    assert found[4].cost
    assert found[4].currency == "USD"
    assert found[4].job_id
    assert (results.ended, results.failed) == (30, 0)
    assert results.cost == pytest.approx(
        sum(result.cost or 0 for result in found.values())
    )
    assert reader.calls == 30


def test_the_same_with_an_event_loop(reader: Reader) -> None:
    async def program(client: AsyncMetasync) -> list[bool]:
        results = client.map(
            PROMPT, people(20), model=reader.model, schema=Mood, concurrency=20
        )
        return [result.require().happy async for result in results]

    assert sorted(reader.run(program)) == [False] * 10 + [True] * 10


def test_what_was_answered_is_not_asked_again(
    client: Metasync, reader: Reader
) -> None:
    def run(count: int, **options: Any) -> list[bool]:
        results = client.map(
            PROMPT,
            people(count),
            model=reader.model,
            schema=Mood,
            concurrency=20,
            **options,
        )
        return [result.require().happy for result in results.all()]

    assert run(10) == [True, False] * 5
    assert run(12) == [True, False] * 6
    assert reader.calls == 12
    # Control: what is another question is asked.
    assert run(12, temperature=0.5) == [True, False] * 6
    assert reader.calls == 24
    assert run(12, sample=1) == [True, False] * 6
    assert reader.calls == 36


def test_rows_that_are_the_same_are_asked_once(
    client: Metasync, reader: Reader
) -> None:
    rows = [{"name": "ada", "n": n % 2} for n in range(50)]
    results = client.map(PROMPT, rows, model=reader.model, concurrency=20)
    assert len(results.all()) == 50
    assert reader.calls == 2


def test_a_row_that_fails_stops_no_other(
    client: Metasync, reader: Reader
) -> None:
    rows = [*people(4), {"name": "broken", "n": 4}, {"name": "ada"}, 7]
    results = client.map(
        PROMPT, rows, model=reader.model, schema=Mood, concurrency=20
    ).all()
    assert [result.ok for result in results] == [True] * 4 + [False] * 3
    broken, without, no_row = (result.error for result in results[4:])
    assert broken is not None
    assert broken.error_type == "JSON_PARSING_ERROR"
    assert broken.answer == results[4].text == "I do not know"
    assert results[4].cost
    assert without is not None
    assert without.error_type == "REFUSED"
    assert "'n' is not known" in without.message
    assert no_row is not None
    assert "is no mapping" in no_row.message
    with pytest.raises(RowFailedError, match=r"^row 4: JSON_PARSING_ERROR"):
        results[4].require()


def test_failed_rows_are_asked_again_by_the_next_run(
    client: Metasync, reader: Reader
) -> None:
    def run(**options: Any) -> bool:
        rows = [{"name": "broken", "n": 1}] * 2
        results = client.map(
            PROMPT, rows, model=reader.model, schema=Mood, **options
        ).all()
        assert len({result.ok for result in results}) == 1
        return results[0].ok

    client.workers.ensure(10)
    assert not run()
    # Its twin in the same run is no reason to ask again.
    assert reader.calls == 1
    assert not run(retry_failed=False)
    assert reader.calls == 1
    reader.simulator.script({"pattern": ".", "json": {"happy": True}})
    assert run()
    assert reader.calls == 2


def test_the_first_failure_can_end_it(
    client: Metasync, reader: Reader
) -> None:
    reader.simulator.configure(latency_ms=200)
    rows = [{"name": "broken", "n": n} for n in range(40)]
    results = client.map(
        PROMPT,
        rows,
        model=reader.model,
        schema=Mood,
        on_error="raise",
        concurrency=1,
    )
    with pytest.raises(RowFailedError, match="JSON_PARSING_ERROR"):
        results.all()
    # The others were canceled: nobody pays for them.
    summary = client.jobs.summary(batch_key=results.batch_key)
    assert summary.canceled > 20
    assert summary.pending == 0

    def is_idle() -> bool:
        key = results.batch_key
        return client.jobs.summary(batch_key=key).going_on == 0

    eventually(is_idle, what="the end of the running call")
    # The same call goes on where it ended, with other jobs for those.
    reader.simulator.configure(latency_ms=0)
    reader.simulator.script({"pattern": ".", "json": {"happy": True}})
    again = client.map(
        PROMPT, rows, model=reader.model, schema=Mood, concurrency=20
    ).all()
    assert all(result.ok for result in again)


def test_rows_that_all_fail_alike_end_it(
    client: Metasync, reader: Reader
) -> None:
    reader.simulator.script({"pattern": ".", "text": "no JSON"})
    reader.simulator.configure(latency_ms=100)
    client.workers.ensure(1)

    def asked(count: int, **options: Any) -> list[Result[Mood]]:
        return client.map(
            PROMPT, people(count), model=reader.model, schema=Mood, **options
        ).all()

    with pytest.raises(AllFailAlikeError, match=r"5 rows .*JSON_PARSING") as e:
        asked(40, give_up_after=5)
    assert e.value.error.answer == "no JSON"
    # The others were canceled, but for what had just begun.
    assert 5 <= reader.calls < 38
    reader.simulator.configure(latency_ms=0)
    # Fewer say little, and whoever wants can have it all.
    assert len(asked(10)) == 10
    assert len(asked(40, give_up_after=0)) == 40
    reader.answer_with_moods()
    assert all(result.ok for result in asked(40))


def test_to_leave_early_cancels_what_waits(
    client: Metasync, reader: Reader
) -> None:
    reader.simulator.configure(latency_ms=200)
    with client.map(
        PROMPT, people(50), model=reader.model, concurrency=1
    ) as results:
        next(results)
    summary = client.jobs.summary(batch_key=results.batch_key)
    assert summary.canceled > 40
    assert summary.pending == 0


def test_results_come_in_order_if_wanted(
    client: Metasync, reader: Reader
) -> None:
    reader.simulator.configure(
        latency_ms=30, latency_distribution="uniform", latency_spread_ms=30
    )
    results = client.map(
        PROMPT,
        people(60),
        model=reader.model,
        concurrency=20,
        in_flight=8,
        ordered=True,
    )
    assert [result.index for result in results] == list(range(60))


def test_an_iterator_is_read_as_far_as_there_is_room(
    client: Metasync, reader: Reader
) -> None:
    taken = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal taken
        for row in people(100):
            taken += 1
            yield row

    results = client.map(
        PROMPT, rows(), model=reader.model, concurrency=20, in_flight=10
    )
    for ended, _ in enumerate(results, 1):
        # In flight, and a block that has ended and was not given yet.
        assert taken - ended <= 20
    assert taken == 100
    with pytest.raises(ResultsError, match="iterator"):
        results.all()


def test_prompts_rows_and_answers_of_all_kinds(
    client: Metasync, reader: Reader
) -> None:
    client.workers.ensure(20)
    reader.simulator.script()

    def asked(prompt: str, row: Any, **options: Any) -> str:
        result: Result[Any]
        (result,) = client.map(
            prompt, [row], model=reader.model, schema=Any, **options
        )
        echo = result.require()["echo"]
        return echo if isinstance(echo, str) else json.dumps(echo)

    assert asked("Hi {{ text }}!", "you") == "Hi you!"
    assert asked("Hi {{ name }}!", Person("Ada", 1)) == "Hi Ada!"
    assert asked("{{ happy }}", Mood(happy=True)) == "true"
    # Without a column in it, the prompt is the system's text.
    assert asked("Be brief.", {"a": 1, "b": 2}) == '{"a": 1, "b": 2}'
    assert asked("Be brief.", {"a": 1, "b": 2}, columns=["b"]) == '{"b": 2}'
    assert asked("{{ a }}", {"a": 1}, system="Be {{ a }}.") == "1"
    (text,) = client.map("Hi {{ text }}", ["you"], model=reader.model)
    assert isinstance(text.value, str)
    (row,) = client.map("{{ text }}", ["x"], model=reader.model, schema=MOOD)
    assert isinstance(row.require()["happy"], bool)


def test_an_answer_that_does_not_fit_the_model_is_an_error(
    client: Metasync, reader: Reader
) -> None:
    class Strict(BaseModel):
        happy: bool

        @classmethod
        def __get_pydantic_json_schema__(cls, *_: Any) -> dict[str, Any]:
            return {"type": "object"}

    reader.simulator.script({"pattern": ".", "json": {"happy": "perhaps"}})
    (result,) = client.map(
        "{{ text }}", ["x"], model=reader.model, schema=Strict, concurrency=5
    )
    assert result.error is not None
    assert result.error.error_type == "INVALID_ANSWER"
    assert "happy" in result.error.message
    assert result.cost


def test_what_is_wrong_as_a_whole_is_said_once(
    client: Metasync, reader: Reader
) -> None:
    rows = people(10)
    with pytest.raises(ConfigurationError, match=f"mean '{reader.model}'"):
        client.map(PROMPT, rows, model=f"{reader.model}x").all()
    with pytest.raises(NoWorkerError, match="concurrency=50"):
        client.map(PROMPT, rows, model=reader.model).all()
    client.workers.ensure(5)
    with pytest.raises(BadRequestError, match="'txet' is not known"):
        client.map("{{ txet }}", rows, model=reader.model).all()
    assert reader.calls == 0
    for wrong in ("text", {"a": 1}, 7):
        with pytest.raises(ConfigurationError, match="rows"):
            client.map(PROMPT, wrong, model=reader.model)
    with pytest.raises(ConfigurationError, match="schema"):
        client.map(PROMPT, rows, model=reader.model, schema=object())
    with pytest.raises(ConfigurationError, match="no option 'priority'"):
        client.map(PROMPT, rows, model=reader.model, priority=1)  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match="in_flight"):
        client.map(PROMPT, rows, model=reader.model, in_flight=0)


def test_jobs_that_others_end_are_results_too(
    client: Metasync, reader: Reader
) -> None:
    no_threads(client)
    worker = client.workers.ensure(5)
    client.workers.stop(worker.worker_id)
    client.workers.create(
        "idle", model_filter=reader.model, poll_interval=3600
    )
    reader.simulator.configure(latency_ms=60_000)
    client.workers.start(worker.worker_id)
    results = client.map(PROMPT, people(3), model=reader.model)

    def is_running() -> bool:
        return client.jobs.summary(operation="map").processing == 3

    # Whoever asks for the first result waits: others act meanwhile.
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.extend(results))
    waiting.start()
    eventually(is_running, what="three running jobs")
    first, second, third = list(client.jobs.list(operation="map"))
    client.jobs.cancel(first.job_id)
    client.jobs.delete(second.job_id)
    client.jobs.delete(third.job_id)
    waiting.join(30)
    kinds = sorted(result.error.error_type for result in found)
    assert kinds == ["CANCELED", "DELETED", "DELETED"]
    # What was deleted is asked anew, under another key.
    reader.simulator.configure(latency_ms=0)
    again = client.map(PROMPT, people(3), model=reader.model).all()
    assert all(result.ok for result in again)


def test_large_rows_are_submitted_in_small_blocks(
    client: Metasync, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (mapping, async_mapping):
        monkeypatch.setattr(module, "_BLOCK_BYTES", 2_000_000)
    rows = [{"name": "x" * 900_000, "n": n} for n in range(6)]
    results = client.map(
        PROMPT, rows, model=reader.model, concurrency=5, in_flight=100
    )
    assert all(result.ok for result in results)


def test_rows_may_come_with_async_for(reader: Reader) -> None:
    async def rows() -> AsyncIterator[dict[str, Any]]:
        for row in people(15):
            await asyncio.sleep(0)
            yield row

    async def program(client: AsyncMetasync) -> list[int]:
        results = client.map(
            PROMPT, rows(), model=reader.model, concurrency=5, in_flight=4
        )
        return [result.index async for result in results if result.ok]

    assert sorted(reader.run(program)) == list(range(15))
    with (
        reader.client() as client,
        pytest.raises(ConfigurationError, match="AsyncMetasync"),
    ):
        client.map(PROMPT, rows(), model=reader.model)
