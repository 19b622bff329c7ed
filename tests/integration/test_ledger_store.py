"""The ledger over every store: each charge counts once."""

from typing import Any

import pytest

from api.models.charge import Charge, Posting
from api.models.cost import UNITS
from api.models.job_status import JobStatus
from api.models.job_update_models import JobUpdate
from api.models.metrics import Metrics
from api.services.limits.ledger import (
    COUNTERS,
    JOURNAL,
    OPEN_SECONDS,
    Ledger,
    units_of,
)
from api.services.limits.ledger_recovery import LedgerRecovery
from api.services.queue.job_outcomes import Result
from api.services.queue.job_queue import JobQueue
from api.services.queue.job_work import (
    ClaimedJob,
    Failed,
    Outcome,
    Requeued,
    Succeeded,
)
from api.services.shared.caller import Caller
from api.services.shared.settlement import Block
from tests.support.store import Store
from utilities.cosmos_connector import Document, Documents, StoreError

DONE = Succeeded("{}", Metrics())
CHARGE = Charge("m", "USD", 1, 10, 3, 2, 5, 1, 7 * UNITS + 4)


class Interrupted(Ledger):
    """A process that dies, or loses the database, at one of its steps."""

    dies_at = ""

    async def open(self, collection: str, ids: Any) -> Block:
        block = await super().open(collection, ids)
        self._die("opened")
        return block

    async def settle(self, block: Block, postings: Any) -> None:
        if self.dies_at == "stored":
            return
        if self.dies_at == "added":
            # All but the last step: the entry stays.
            self._journal = Silent(self._counters._clients, JOURNAL)
        await super().settle(block, postings)

    def _die(self, step: str) -> None:
        if self.dies_at == step:
            raise StoreError(step)


class Silent(Documents):
    """Removes nothing."""

    async def erase(self, where: Any) -> None:  # noqa: ARG002 - the interface
        raise StoreError("gone")


class Books:
    """The ledger of a store, and a queue that settles with it."""

    def __init__(self, store: Store, dies_at: str = "") -> None:
        clients = store.application.clients
        self.store = store
        self.counters = Documents(clients, COUNTERS)
        self.journal = Documents(clients, JOURNAL)
        self.ledger = Interrupted(self.counters, self.journal, "p", store.time)
        self.ledger.dies_at = dies_at
        self.queue = JobQueue(
            Documents(clients, "jobs"),
            lease_seconds=30,
            max_attempts=3,
            ledger=self.ledger,
            clock=store.time,
        )
        self.recovery = LedgerRecovery(
            Ledger(self.counters, self.journal, "other", store.time),
            self.journal,
            {"jobs": Documents(clients, "jobs")},
            store.time,
        )

    async def claim(self, count: int = 1) -> list[ClaimedJob]:
        await self.store.submit(count)
        jobs = await self.store.claim()
        for job in jobs:
            job.bill.add(CHARGE)
        return jobs

    async def keep(
        self, jobs: list[ClaimedJob], outcome: Outcome = DONE
    ) -> int:
        return await self.queue.store([Result(job, outcome) for job in jobs])

    async def counted(self) -> Document:
        """Give what the client's counters hold."""
        own = {"clientId": self.store.client.client_id, "day": {"$gt": "0"}}
        found = await self.counters.find_all(own)
        if not found:
            return {}
        (counter,) = found
        return counter

    async def requests(self) -> int:
        return int((await self.counted()).get("requests", 0))

    async def entries(self) -> list[Document]:
        return await self.journal.find_all({})


@pytest.fixture
async def books(store: Store) -> Books:
    books = Books(store)
    await books.journal.erase({})
    return books


async def test_a_block_is_added_to_its_counter(books: Books) -> None:
    assert await books.keep(await books.claim(3)) == 3
    counter = await books.counted()
    assert counter["requests"] == 3
    assert counter["inputTokens"] == 30
    assert counter["cachedTokens"] == 9
    assert counter["cacheWriteTokens"] == 6
    assert counter["outputTokens"] == 15
    assert counter["reasoningTokens"] == 3
    assert units_of(counter) == 3 * CHARGE.units
    assert (counter["model"], counter["operation"]) == ("m", "o")
    assert await books.entries() == []


async def test_marks_of_closed_blocks_go(books: Books) -> None:
    for _ in range(4):
        await books.keep(await books.claim())
    marks = [name for name in await books.counted() if "block_" in name]
    assert len(marks) == 1


@pytest.mark.parametrize("step", ["stored", "added"])
async def test_a_block_whose_process_died_is_added_once(
    books: Books, step: str
) -> None:
    books.ledger.dies_at = step
    await books.keep(await books.claim(2))
    assert await books.requests() == (0 if step == "stored" else 2)
    for _ in range(2):
        await books.recovery.settle_of_process("p")
    assert await books.requests() == 2
    assert await books.entries() == []


async def test_a_block_that_was_never_stored_counts_nothing(
    books: Books,
) -> None:
    books.ledger.dies_at = "opened"
    jobs = await books.claim()
    with pytest.raises(StoreError):
        await books.keep(jobs)
    # The same results come again, in another block.
    books.ledger.dies_at = ""
    assert await books.keep(jobs) == 1
    await books.recovery.settle_of_process("p")
    assert await books.requests() == 1


async def test_results_that_are_stored_twice_count_once(
    books: Books,
) -> None:
    books.ledger.dies_at = "stored"
    jobs = await books.claim(2)
    await books.keep(jobs)
    books.ledger.dies_at = ""
    assert await books.keep(jobs) == 0
    await books.recovery.settle_of_process("p")
    assert await books.requests() == 2


async def test_old_blocks_are_settled_by_any_process(books: Books) -> None:
    books.ledger.dies_at = "stored"
    await books.keep(await books.claim())
    assert await books.recovery.settle_old() == 0
    books.store.time.now += round(OPEN_SECONDS * 1000) + 1
    assert await books.recovery.settle_old() == 1
    assert await books.requests() == 1


async def test_every_try_of_a_job_is_charged(books: Books) -> None:
    (job,) = await books.claim()
    back = Requeued(books.store.time.now, counted=False, reason="busy")
    # Its process dies, and another one stores the next try before that.
    books.ledger.dies_at = "stored"
    await books.keep([job], back)
    books.ledger.dies_at = ""
    (again,) = await books.store.claim()
    again.bill.add(CHARGE)
    await books.keep([again], Failed({"errorType": "X", "message": "x"}))
    assert await books.requests() == 1
    await books.recovery.settle_of_process("p")
    assert await books.requests() == 2


async def give_up(store: Store, job: ClaimedJob) -> None:
    jobs = store.application.services.jobs
    update = JobUpdate(status=JobStatus.ERROR_PROCESSING)
    await jobs.update(str(job.job_id), update, Caller(is_admin=True))


async def delete(store: Store, job: ClaimedJob) -> None:
    jobs = store.application.services.jobs
    await jobs.delete(str(job.job_id), store.client)


async def change(store: Store, job: ClaimedJob) -> None:
    store.time.now += 31_000
    await store.queue.return_expired()
    jobs = store.application.services.jobs
    update = JobUpdate(request_data={"other": 1})
    await jobs.update(str(job.job_id), update, store.client)


@pytest.mark.parametrize("happens", [give_up, delete, change])
async def test_an_answer_that_nobody_wants_is_charged(
    books: Books, happens: Any
) -> None:
    first, second = await books.claim(2)
    await happens(books.store, first)
    assert await books.keep([first, second]) == 1
    assert await books.requests() == 2
    # However often it comes.
    await books.keep([first])
    assert await books.requests() == 2


async def test_the_same_call_of_another_worker_is_charged_once(
    books: Books,
) -> None:
    (job,) = await books.claim()
    books.store.time.now += 31_000
    await books.store.queue.return_expired()
    (other,) = await books.store.claim()
    other.bill.add(CHARGE)
    assert await books.keep([job]) == 0
    assert await books.keep([other]) == 1
    assert await books.requests() == 1


async def test_deleting_a_job_changes_nothing(books: Books) -> None:
    (job,) = await books.claim()
    await books.keep([job])
    await delete(books.store, job)
    assert await books.requests() == 1


async def test_runs_and_currencies_have_counters_of_their_own(
    books: Books,
) -> None:
    client = str(books.store.client.client_id)
    block = await books.ledger.open("jobs", [])
    charges = [CHARGE, Charge("m", "EUR", 1), Charge("m", "", 1)]
    postings = [Posting(client, "o", "run-1", each) for each in charges]
    await books.ledger.settle(block, postings)
    found = await books.counters.find_all({"clientId": client})
    keys = sorted((each["runId"], each["currency"]) for each in found)
    assert keys == sorted(
        (run, each.currency) for run in ("", "run-1") for each in charges
    )


async def test_sums_pass_what_one_number_can_hold(books: Books) -> None:
    client = str(books.store.client.client_id)
    huge = Charge("m", "USD", units=10**15 * UNITS + 3)
    for _ in range(3):
        block = await books.ledger.open("jobs", [])
        await books.ledger.settle(block, [Posting(client, "o", None, huge)])
    assert units_of(await books.counted()) == 3 * huge.units


async def test_what_took_too_long_is_left_to_recovery(books: Books) -> None:
    client = str(books.store.client.client_id)
    block = await books.ledger.open("jobs", [])
    books.store.time.now += round(OPEN_SECONDS * 1000 / 2) + 1
    await books.ledger.settle(block, [Posting(client, "o", None, CHARGE)])
    assert await books.requests() == 0
    assert len(await books.entries()) == 1
