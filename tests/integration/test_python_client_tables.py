"""What `client.map` gives beside its results: tables, a bar, types."""

import itertools
from collections.abc import Iterator
from typing import Any, assert_type

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from metasync import AsyncMetasync, AsyncResults, Metasync, Results
from metasync._sync import mapping
from provider_simulator.running import Simulator
from tests.support.api_user import ApiUser
from tests.support.python_client import MOOD, PROMPT, Mood, Reader, people


@pytest.fixture
def reader(user: ApiUser, shared_simulator: Simulator) -> Reader:
    reader = Reader(user, shared_simulator)
    reader.answer_with_moods()
    return reader


@pytest.fixture
def client(reader: Reader) -> Iterator[Metasync]:
    with reader.client() as client:
        yield client


def test_tables_of_all_kinds_come_back_with_answers(
    client: Metasync, reader: Reader
) -> None:
    client.workers.ensure(20)
    rows = people(6)
    frame = pd.DataFrame(rows, index=list("uvwxyz")).astype({"n": "int16"})

    def asked(table: Any) -> Results[Mood]:
        return client.map(PROMPT, table, model=reader.model, schema=Mood)

    rated = asked(frame).to_pandas()
    assert list(rated.index) == list("uvwxyz")
    assert list(rated.columns) == ["name", "n", "happy"]
    assert str(rated["n"].dtype) == "int16"
    assert rated["happy"].tolist() == [True, False] * 3
    assert asked(pl.DataFrame(rows)).to_polars().shape == (6, 3)
    arrow = asked(pa.Table.from_pylist(rows)).to_arrow()
    assert arrow["happy"].to_pylist() == [True, False] * 3
    # The same rows, in whichever table: asked once.
    assert reader.calls == 6

    async def program(other: AsyncMetasync) -> list[str]:
        results = other.map(PROMPT, frame, model=reader.model, schema=Mood)
        return list((await results.to_pandas(usage=True)).columns)

    assert reader.run(program)[-3:] == [
        "input_tokens",
        "output_tokens",
        "cost",
    ]


def test_results_that_were_looked_at_are_in_the_table_too(
    client: Metasync, reader: Reader
) -> None:
    results = client.map(
        PROMPT, people(8), model=reader.model, schema=Mood, concurrency=5
    )
    for result in itertools.islice(results, 3):
        assert result.ok
    assert len(results.to_arrow()) == 8
    # Once more: nothing is left to be asked.
    assert [result.index for result in results.all()] == list(range(8))


def test_the_bar_shows_where_it_stands(
    client: Metasync, reader: Reader, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*people(3), {"name": "broken", "n": 3}]
    options: dict[str, Any] = {
        "model": reader.model,
        "schema": Mood,
        "concurrency": 5,
    }
    client.map(PROMPT, rows, progress=True, **options).all()
    shown = capsys.readouterr().err
    assert "4/4" in shown
    assert "failed=1" in shown
    assert "cost=" in shown
    # Nobody looks at a pipe.
    client.map(PROMPT, rows, **options).all()
    assert not capsys.readouterr().err


def test_why_nothing_comes_is_said_once(
    client: Metasync,
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The worker is stopped; it starts once that has been said twice.

    Whether it has begun with the rows before it stops is open: a call would
    take longer than it waits for.
    """
    worker = client.workers.ensure(5)
    reader.simulator.configure(latency_ms=60_000)
    monkeypatch.setattr(mapping, "_PATIENCE_SECONDS", 0.1)
    results = client.map(PROMPT, people(2), model=reader.model)
    prepare, look, said = results._prepare, results._look_for_trouble, 0

    def and_stop() -> str:
        prompt_id = prepare()
        client.workers.stop(worker.worker_id)
        return prompt_id

    def counted() -> None:
        nonlocal said
        look()
        said += "WORKER_STOPPED" in caplog.text
        if said == 2:
            reader.simulator.configure(latency_ms=0)
            client.workers.start(worker.worker_id)

    monkeypatch.setattr(results, "_prepare", and_stop)
    monkeypatch.setattr(results, "_look_for_trouble", counted)
    assert all(result.ok for result in results)
    messages = [r.message for r in caplog.records if r.name == "metasync"]
    assert any("WORKER_STOPPED" in each for each in messages)
    assert said >= 2
    assert len(messages) == len(set(messages))


def typed(client: Metasync, other: AsyncMetasync) -> None:
    """Show what a type checker knows; `make lint` checks it."""
    assert_type(client.map("", [], model="m"), Results[str])
    assert_type(client.map("", [], model="m", schema=Mood), Results[Mood])
    assert_type(client.map("", [], model="m", schema=MOOD), Results[Any])
    assert_type(other.map("", [], model="m", schema=Mood), AsyncResults[Mood])
    for result in client.map("", [], model="m", schema=Mood):
        assert_type(result.require(), Mood)
