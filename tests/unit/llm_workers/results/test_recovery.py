"""What dead processes have left is stored, and never stops anybody."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
from pymongo.errors import AutoReconnect, BulkWriteError

from api.models.metrics import Metrics
from api.services.keeping.erasure import ErasedClients
from api.services.queue.job_outcomes import Result
from api.services.queue.job_queue import JobQueue
from api.services.queue.job_work import Failed, Succeeded
from api.services.queue.worker_leases import WorkerLeases
from llm_workers.results.recovery import SpoolRecovery
from llm_workers.results.spool import Spool, decode
from tests.support.samples import becomes, claimed_job
from utilities.store.in_memory import InMemoryDocuments


class Server:
    """The queue and the leases, as far as recovery uses them."""

    def __init__(self) -> None:
        self.stored: list[Result] = []
        self.blocks: list[int] = []
        self.returned: list[str] = []
        self.released: list[str] = []
        self.away = False
        self.tries = 0
        self.refuses_token: str | None = None

    async def store(self, results: Sequence[Result]) -> int:
        self.tries += 1
        if self.away:
            raise AutoReconnect("gone")
        self.blocks.append(len(results))
        refused = [
            {"index": index, "code": 121}
            for index, result in enumerate(results)
            if result.job.lease_token == self.refuses_token
        ]
        bad = {problem["index"] for problem in refused}
        good = [r for index, r in enumerate(results) if index not in bad]
        self.stored += good
        if refused:
            raise BulkWriteError(
                {"writeErrors": refused, "nMatched": len(good)}
            )
        return len(results)

    async def return_of_process(self, process: str) -> tuple[int, int]:
        self.returned.append(process)
        return 0, 0

    async def release_all(self, process: str) -> None:
        self.released.append(process)


@pytest.fixture
def server() -> Server:
    return Server()


def dead(data_dir: Path, *results: Result) -> str:
    spool = Spool(data_dir)
    spool.file("worker").write(results)
    spool.close()
    return spool.process_id


def answers(count: int, token: str = "t") -> list[Result]:
    return [
        Result(claimed_job(lease_token=token), Succeeded("{}", Metrics()))
        for _ in range(count)
    ]


@asynccontextmanager
async def recovering(
    data_dir: Path, server: Server, *erased: str
) -> AsyncIterator[None]:
    erasures = InMemoryDocuments("erasures")
    for client_id in erased:
        await erasures.insert({"_id": client_id, "status": "DONE"})
    part = SpoolRecovery(
        Spool(data_dir),
        cast("JobQueue", server),
        cast("WorkerLeases", server),
        ErasedClients(erasures),
        every_seconds=0.01,
    )
    task = asyncio.create_task(part.run())
    try:
        yield
        assert not task.done()
    finally:
        part.stop()
        await task


async def test_the_answers_are_stored_in_blocks_then_the_jobs_returned(
    data_dir: Path, server: Server
) -> None:
    results = answers(250)
    process = dead(data_dir, *results)
    async with recovering(data_dir, server):
        await becomes(lambda: server.released)
        await becomes(lambda: not list((data_dir / "spool").iterdir()))
    assert server.stored == results
    assert server.blocks == [100, 100, 50]
    assert server.returned == server.released == [process]


async def test_a_result_that_is_refused_holds_up_no_other(
    data_dir: Path, server: Server
) -> None:
    server.refuses_token = "refused"
    bad, good = answers(1, "refused"), answers(3)
    process = dead(data_dir, *bad, *good)
    async with recovering(data_dir, server):
        await becomes(lambda: server.released)
    assert server.stored == good
    kept = data_dir / "spool-unreadable" / f"{process}.jsonl"
    assert decode(kept.read_text().strip()) == bad[0]
    assert not isinstance(server.stored[0].outcome, Failed)


async def test_while_the_database_is_away_everything_stays_on_disk(
    data_dir: Path, server: Server
) -> None:
    results = answers(2)
    server.away = True
    dead(data_dir, *results)
    async with recovering(data_dir, server):
        await becomes(lambda: server.tries >= 2)
        assert server.returned == []
        server.away = False
        await becomes(lambda: server.released)
    assert server.stored == results


async def test_what_erased_clients_left_is_dropped(
    data_dir: Path, server: Server
) -> None:
    gone = Result(claimed_job(client_id="gone"), Succeeded("{}", Metrics()))
    kept = answers(1)
    dead(data_dir, gone, *kept)
    async with recovering(data_dir, server, "gone"):
        await becomes(lambda: not list((data_dir / "spool").iterdir()))
    assert server.stored == kept
