import asyncio
import contextlib
from collections.abc import AsyncIterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from bson import ObjectId
from bson.errors import InvalidDocument
from pymongo.errors import (
    AutoReconnect,
    DocumentTooLarge,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from api.models.metrics import Metrics
from api.services.queue.job_outcomes import Result
from api.services.queue.job_queue import JobQueue
from api.services.queue.job_work import Failed, Succeeded
from llm_workers.results import result_writer as module
from llm_workers.results.result_writer import ResultWriter
from llm_workers.results.spool import SpoolFile, decode
from tests.support.samples import becomes, claimed_job, logged
from utilities.payload import PayloadError

Events = list[MutableMapping[str, Any]]


class FakeQueue:
    """Takes results as `JobQueue` does; can be away, and can be choosy."""

    def __init__(self) -> None:
        self.batches: list[list[Result]] = []
        self.tries = 0
        self.away: PyMongoError | None = None
        self.refuses: dict[ObjectId, Exception] = {}
        self.belongs_to_others: set[ObjectId] = set()
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def stored(self) -> list[Result]:
        return [result for batch in self.batches for result in batch]

    def refuse(self, result: Result, error: Exception) -> None:
        self.refuses[result.job.job_id] = error

    async def store(self, results: Sequence[Result]) -> int:
        batch = list(results)
        self.tries += 1
        await self.gate.wait()
        if self.away is not None:
            raise self.away
        for result in batch:
            error = self.refuses.get(result.job.job_id)
            if error is not None and isinstance(result.outcome, Succeeded):
                raise error
        self.batches.append(batch)
        others = self.belongs_to_others
        return sum(result.job.job_id not in others for result in batch)


class Bench:
    """A writer, what it writes to, and its task."""

    def __init__(self, path: Path) -> None:
        self.queue = FakeQueue()
        self.path = path / "worker.jsonl"
        queue = cast("JobQueue", self.queue)
        self.writer = ResultWriter(queue, SpoolFile(self.path))
        self.task: asyncio.Task[None] | None = None

    @property
    def ended(self) -> bool:
        return self.task is not None and self.task.done()

    @property
    def spooled(self) -> list[Result]:
        lines = self.path.read_text(encoding="utf-8").splitlines()
        return [decode(line) for line in lines]

    def put(self, count: int) -> list[Result]:
        made = [answer(number) for number in range(count)]
        for result in made:
            self.writer.put(result)
        return made

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.task = asyncio.create_task(self.writer.run())
        try:
            yield
        finally:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task

    async def emptied(self) -> None:
        """Wait for the last result; fail at once if the writer ended."""
        assert self.task is not None
        draining = asyncio.create_task(self.writer.drain(20))
        await asyncio.wait(
            {draining, self.task}, return_when=asyncio.FIRST_COMPLETED
        )
        if not draining.done():
            draining.cancel()
            await self.task
        assert await draining


def answer(number: int) -> Result:
    metrics = Metrics(1, number, 0.5)
    return Result(claimed_job(), Succeeded(f'{{"n":{number}}}', metrics))


@pytest.fixture(autouse=True)
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    """What the writer logs."""
    return logged(monkeypatch, module)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_results_are_gathered_and_stored_in_one_bulk(
    bench: Bench,
) -> None:
    async with bench.running():
        results = bench.put(7)
        assert list(bench.writer.pending) == results
        await bench.emptied()
    assert bench.queue.batches == [results]
    assert list(bench.writer.pending) == []
    assert not bench.path.exists()


async def test_what_comes_while_storing_is_stored_next(bench: Bench) -> None:
    bench.queue.gate.clear()
    async with bench.running():
        first = bench.put(2)
        await becomes(lambda: bench.queue.tries == 1)
        second = bench.put(3)
        assert list(bench.writer.pending) == first + second
        bench.queue.gate.set()
        await bench.emptied()
    assert bench.queue.batches == [first, second]


async def test_a_bulk_has_a_limit(bench: Bench) -> None:
    async with bench.running():
        results = bench.put(201)
        await bench.emptied()
    assert [len(batch) for batch in bench.queue.batches] == [100, 100, 1]
    assert bench.queue.stored == results


@pytest.mark.parametrize(
    "error",
    [
        AutoReconnect("gone"),
        ServerSelectionTimeoutError("nowhere"),
        OperationFailure("not primary"),
    ],
)
async def test_while_the_database_is_away_answers_are_on_disk(
    bench: Bench, error: PyMongoError
) -> None:
    bench.queue.away = error
    async with bench.running():
        results = bench.put(3)
        await becomes(bench.path.exists)
        assert bench.spooled == results
        assert list(bench.writer.pending) == results
        bench.queue.away = None
        await bench.emptied()
    assert bench.queue.batches == [results]
    assert list(bench.writer.pending) == []
    assert not bench.path.exists()


async def test_what_comes_while_the_database_is_away_is_on_disk_too(
    bench: Bench,
) -> None:
    bench.queue.away = AutoReconnect("gone")
    async with bench.running():
        first = bench.put(2)
        await becomes(bench.path.exists)
        second = bench.put(2)
        await becomes(lambda: len(bench.spooled) == 4)
        assert bench.spooled == first + second
    assert bench.spooled == first + second
    assert list(bench.writer.pending) == first + second


async def test_the_wait_between_two_tries_grows_and_starts_afresh(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    really_sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 14:
            bench.queue.away = None
        await really_sleep(0)

    patched = SimpleNamespace(**{**vars(asyncio), "sleep": note})
    bench.queue.away = AutoReconnect("gone")
    bench.put(1)
    monkeypatch.setattr(module, "asyncio", patched)
    async with bench.running():
        await becomes(lambda: bench.queue.stored)
        bench.queue.away = AutoReconnect("gone again")
        bench.put(1)
        await becomes(lambda: len(slept) >= 17)
    assert slept[1:14:2] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert slept[16] == 0.1


async def test_an_outage_is_logged_without_an_answer(
    bench: Bench, events: Events
) -> None:
    bench.queue.away = AutoReconnect("gone")
    async with bench.running():
        bench.put(2)
        await becomes(lambda: events)
    assert events[0] == {
        "event": "results_wait_for_database",
        "count": 2,
        "why": "AutoReconnect",
        "log_level": "warning",
    }


@pytest.mark.parametrize(
    "error",
    [
        DocumentTooLarge("17 MiB"),
        InvalidDocument("what is this"),
        OverflowError("8-byte ints"),
        PayloadError("nested too deep"),
    ],
)
async def test_a_result_that_cannot_be_stored_fails_alone(
    bench: Bench, error: Exception
) -> None:
    async with bench.running():
        first, bad, last = bench.put(3)
        bench.queue.refuse(bad, error)
        await bench.emptied()
    stored = {result.job.job_id: result for result in bench.queue.stored}
    assert len(bench.queue.stored) == 3
    assert stored[first.job.job_id] == first
    assert stored[last.job.job_id] == last
    replaced = stored[bad.job.job_id]
    assert replaced.job == bad.job
    assert isinstance(replaced.outcome, Failed)
    assert replaced.outcome.error["errorType"] == "RESULT_NOT_STORABLE"
    assert type(error).__name__ in replaced.outcome.error["message"]


async def test_the_cost_of_a_result_that_cannot_be_stored_is_kept(
    bench: Bench,
) -> None:
    async with bench.running():
        (bad,) = bench.put(1)
        bench.queue.refuse(bad, DocumentTooLarge("17 MiB"))
        await bench.emptied()
    (stored,) = bench.queue.stored
    assert isinstance(stored.outcome, Failed)
    assert isinstance(bad.outcome, Succeeded)
    assert stored.outcome.metrics == bad.outcome.metrics


async def test_a_result_that_cannot_be_stored_is_logged(
    bench: Bench, events: Events
) -> None:
    async with bench.running():
        (bad,) = bench.put(1)
        bench.queue.refuse(bad, DocumentTooLarge("17 MiB"))
        await bench.emptied()
    (event,) = events
    assert event["event"] == "result_not_storable"
    assert event["jobId"] == str(bad.job.job_id)
    assert event["log_level"] == "error"


async def test_an_outage_while_storing_one_by_one_loses_nothing(
    bench: Bench,
) -> None:
    async with bench.running():
        first, bad, last = bench.put(3)
        bench.queue.refuse(bad, DocumentTooLarge("17 MiB"))
        bench.queue.refuse(last, AutoReconnect("gone"))
        await becomes(bench.path.exists)
        assert bench.spooled == [first, bad, last]
        del bench.queue.refuses[last.job.job_id]
        await bench.emptied()
    # Storing a result twice is harmless: its lease token has gone.
    stored = {result.job.job_id: result for result in bench.queue.stored}
    assert stored[first.job.job_id] == first
    assert isinstance(stored[bad.job.job_id].outcome, Failed)
    assert stored[last.job.job_id] == last
    assert not bench.path.exists()


async def test_while_the_database_is_slow_answers_are_on_disk(
    bench: Bench, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SLOW_SECONDS", 0.01)
    bench.queue.gate.clear()
    async with bench.running():
        results = bench.put(2)
        await becomes(bench.path.exists)
        assert bench.spooled == results
        bench.queue.gate.set()
        await bench.emptied()
    assert bench.queue.batches == [results]
    assert not bench.path.exists()
    assert [event["why"] for event in events] == ["slow"]


async def test_without_disk_and_database_answers_wait_in_memory(
    bench: Bench,
) -> None:
    bench.queue.away = AutoReconnect("gone")
    # As a full disk does: every write raises an OSError.
    bench.path.with_suffix(".tmp").mkdir()
    async with bench.running():
        results = bench.put(2)
        await becomes(lambda: bench.queue.tries >= 2 or bench.ended)
        assert not bench.ended
        bench.queue.away = None
        await bench.emptied()
    assert bench.queue.stored == results


async def test_results_that_belong_to_another_worker_are_logged(
    bench: Bench, events: Events
) -> None:
    async with bench.running():
        mine, other = bench.put(2)
        bench.queue.belongs_to_others = {other.job.job_id}
        await bench.emptied()
    assert bench.queue.batches == [[mine, other]]
    assert events == [
        {"event": "results_not_taken", "count": 1, "log_level": "warning"}
    ]


async def test_an_empty_writer_is_drained_at_once(bench: Bench) -> None:
    assert await bench.writer.drain(0) is True


async def test_draining_ends_in_time_and_leaves_the_answers_on_disk(
    bench: Bench,
) -> None:
    bench.queue.away = AutoReconnect("gone")
    async with bench.running():
        results = bench.put(2)
        await becomes(bench.path.exists)
        assert await bench.writer.drain(0.01) is False
    assert list(bench.writer.pending) == results
    assert bench.spooled == results


async def test_draining_waits_for_a_store_that_is_under_way(
    bench: Bench,
) -> None:
    bench.queue.gate.clear()
    async with bench.running():
        bench.put(1)
        await becomes(lambda: bench.queue.tries == 1)
        assert await bench.writer.drain(0.01) is False
        bench.queue.gate.set()
        assert await bench.writer.drain(20) is True
    assert len(bench.queue.stored) == 1
