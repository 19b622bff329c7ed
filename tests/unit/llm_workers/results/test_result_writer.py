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
    BulkWriteError,
    DocumentTooLarge,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from api.models.metrics import Metrics
from api.services.queue.job_outcomes import Result
from api.services.queue.job_queue import JobQueue
from api.services.queue.job_work import (
    Failed,
    Outcome,
    Requeued,
    Succeeded,
)
from llm_workers.results import judgement
from llm_workers.results import result_writer as module
from llm_workers.results.result_writer import (
    ResultWriter,
    WriterLimits,
    WriterTimes,
)
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
        # As a server does: the code of each write that it refuses, and
        # how long an error it takes in its place.
        self.writes_refused: dict[ObjectId, int] = {}
        self.longest_error: int | None = None
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
        if refused := self._refused(batch):
            details = {"writeErrors": refused, "nMatched": 0}
            accepted = [r for r in batch if not self._is_refused(r)]
            self.batches.append(accepted)
            details["nMatched"] = len(accepted)
            raise BulkWriteError(details)
        self.batches.append(batch)
        others = self.belongs_to_others
        return sum(result.job.job_id not in others for result in batch)

    def _refused(self, batch: Sequence[Result]) -> list[dict[str, Any]]:
        return [
            {"index": index, "code": self.writes_refused[result.job.job_id]}
            for index, result in enumerate(batch)
            if self._is_refused(result)
        ]

    def _is_refused(self, result: Result) -> bool:
        if result.job.job_id not in self.writes_refused:
            return False
        if self.longest_error is None or not isinstance(
            result.outcome, Failed
        ):
            return True
        return len(str(result.outcome.error)) > self.longest_error


class Bench:
    """A writer, what it writes to, and its task."""

    def __init__(self, path: Path) -> None:
        self.queue = FakeQueue()
        self.path = path / "worker.jsonl"
        queue = cast("JobQueue", self.queue)
        self.writer = ResultWriter(queue, SpoolFile(self.path))
        self._queue = queue
        self.task: asyncio.Task[None] | None = None

    def impatient(self) -> None:
        """Take another writer, which soon takes the database for slow."""
        self.writer = ResultWriter(
            self._queue,
            SpoolFile(self.path),
            WriterTimes(slow=0.01, first_retry=0.001, last_retry=0.001),
            WriterLimits(tries=3),
        )

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
        results = bench.put(401)
        await bench.emptied()
    assert [len(batch) for batch in bench.queue.batches] == [200, 200, 1]
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
        UnicodeEncodeError("utf-8", "\ud83d", 0, 1, "half a character"),
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
    assert stored.outcome.error["failedResponseData"] == '{"n":0}'


async def test_a_result_that_cannot_be_stored_is_logged(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = logged(monkeypatch, judgement)
    async with bench.running():
        (bad,) = bench.put(1)
        bench.queue.refuse(bad, DocumentTooLarge("17 MiB"))
        await bench.emptied()
    (event,) = events
    assert event["event"] == "result_refused"
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
    bench: Bench, events: Events
) -> None:
    bench.impatient()
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


async def test_a_write_that_the_server_refuses_ends_its_own_job_only(
    bench: Bench,
) -> None:
    bench.queue.longest_error = 5_000
    async with bench.running():
        first, bad, last = bench.put(3)
        bench.queue.writes_refused[bad.job.job_id] = 17419
        await bench.emptied()
    stored = {result.job.job_id: result for result in bench.queue.stored}
    assert stored[first.job.job_id] == first
    assert stored[last.job.job_id] == last
    replaced = stored[bad.job.job_id].outcome
    assert isinstance(replaced, Failed)
    assert replaced.error["errorType"] == "RESULT_NOT_STORABLE"
    assert "17419" in replaced.error["message"]
    assert not bench.path.exists()


@pytest.mark.parametrize("makes", ["Succeeded", "Failed", "Requeued"])
async def test_of_an_answer_that_is_too_large_is_kept_what_fits(
    bench: Bench, makes: str
) -> None:
    text = "".join(f"{n:07d}" for n in range(300_000 // 7))
    answered = Succeeded(text, Metrics(1, 2, 0.5))
    outcomes: dict[str, Outcome] = {
        "Succeeded": answered,
        "Failed": Failed({"errorType": "X", "failedResponseData": text}),
        "Requeued": Requeued(0, counted=True, reason="", checkpoint=answered),
    }
    outcome = outcomes[makes]
    bench.queue.longest_error = 100_000
    async with bench.running():
        result = Result(claimed_job(), outcome)
        bench.queue.writes_refused[result.job.job_id] = 17419
        bench.writer.put(result)
        await bench.emptied()
    (stored,) = bench.queue.stored
    assert isinstance(stored.outcome, Failed)
    kept = stored.outcome.error["failedResponseData"]
    assert len(kept) > 50_000
    assert text.startswith(kept)
    assert stored.outcome.error["shortened"] is True


async def test_a_result_that_is_refused_in_every_form_is_kept_on_disk(
    bench: Bench,
) -> None:
    async with bench.running():
        (bad,) = bench.put(1)
        bench.queue.writes_refused[bad.job.job_id] = 121
        await bench.emptied()
        assert not bench.writer.pending
        (other,) = bench.put(1)
        await bench.emptied()
    assert bench.queue.stored == [other]
    aside = bench.path.parent / "spool-unreadable" / "worker.jsonl"
    assert decode(aside.read_text().strip()) == bad


async def test_an_error_that_passes_is_waited_for_but_not_for_ever(
    bench: Bench,
) -> None:
    bench.impatient()
    bench.queue.longest_error = 100_000
    async with bench.running():
        busy, other = bench.put(2)
        bench.queue.writes_refused[busy.job.job_id] = 16500
        await becomes(lambda: bench.queue.tries >= 3)
        assert bench.queue.stored[0] == other
        assert busy in bench.writer.pending
        await bench.emptied()
    last = bench.queue.stored[-1]
    assert last.job == busy.job
    assert isinstance(last.outcome, Failed)


async def test_an_error_that_has_passed_costs_nothing(bench: Bench) -> None:
    async with bench.running():
        (busy,) = bench.put(1)
        bench.queue.writes_refused[busy.job.job_id] = 112
        await becomes(lambda: bench.queue.tries >= 1)
        del bench.queue.writes_refused[busy.job.job_id]
        await bench.emptied()
    assert bench.queue.stored == [busy]


async def test_what_comes_while_the_database_hangs_is_on_disk_at_the_end(
    bench: Bench, events: Events
) -> None:
    bench.impatient()
    bench.queue.gate.clear()
    async with bench.running():
        first = bench.put(2)
        await becomes(bench.path.exists)
        second = bench.put(3)
        assert await bench.writer.drain(0) is False
    await bench.writer.close()
    assert bench.spooled == first + second
    assert events[-1]["event"] == "results_left_in_spool"
    assert events[-1]["count"] == 5


async def test_the_end_says_so_if_answers_are_lost(
    bench: Bench, events: Events
) -> None:
    bench.path.with_suffix(".tmp").mkdir()
    bench.put(2)
    await bench.writer.close()
    assert events[-1]["event"] == "results_lost"


async def test_a_writer_that_holds_much_says_so(bench: Bench) -> None:
    writer = ResultWriter(
        bench._queue,
        SpoolFile(bench.path),
        limits=WriterLimits(results=5, characters=100),
    )
    for number in range(6):
        assert not writer.is_full
        writer.put(answer(number))
    assert writer.is_full
    bench.writer = writer
    async with bench.running():
        await bench.emptied()
    assert not writer.is_full
    writer.put(Result(claimed_job(), Succeeded("x" * 101, Metrics())))
    assert writer.is_full


async def test_one_result_that_is_no_json_keeps_no_other_from_the_disk(
    bench: Bench,
) -> None:
    bench.queue.away = AutoReconnect("gone")
    bad = Result(claimed_job(), Succeeded("\ud800", Metrics()))
    async with bench.running():
        bench.writer.put(bad)
        (good,) = bench.put(1)
        await becomes(bench.path.exists)
        assert bench.spooled == [good]
