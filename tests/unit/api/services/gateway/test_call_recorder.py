from collections.abc import Callable, Sequence

import pytest

from api.models.charge import Bill, Charge
from api.services.gateway import call_recorder
from api.services.gateway.call_recorder import CallRecorder, EndedCall
from api.services.limits.ledger import COUNTERS, JOURNAL, Ledger
from api.services.limits.ledger_recovery import LedgerRecovery
from utilities.cosmos_connector import Document, ObjectId, StoreError
from utilities.store.in_memory import (
    InMemoryClientManager,
    InMemoryDocuments,
)


class Flaky(InMemoryDocuments):
    """Loses its connection some times, before or after it has stored."""

    before = 0
    after = 0

    async def insert_many(
        self, documents: Sequence[Document]
    ) -> tuple[list[Document], list[int]]:
        if self.before:
            self.before -= 1
            raise StoreError("away")
        found = await super().insert_many(documents)
        if self.after:
            self.after -= 1
            raise StoreError("away")
        return found


class Books:
    """A recorder and the ledger behind it, in memory."""

    def __init__(self) -> None:
        clients = InMemoryClientManager()
        self.streams = Flaky("streams", clients=clients)
        self.counters = InMemoryDocuments(COUNTERS, clients=clients)
        self.journal = InMemoryDocuments(JOURNAL, clients=clients)
        self.now = 1_000_000_000_000
        self.ledger = Ledger(
            self.counters, self.journal, "me", lambda: self.now
        )
        self.recorder = CallRecorder(self.streams, self.ledger, "me", 0.0)

    def add(self, *, charged: bool = True) -> None:
        bill = Bill()
        if charged:
            bill.add(Charge("gpt", "USD", 1, 10, 0, 0, 5, 0, 7))
        document = {
            "_id": ObjectId(),
            "clientId": "c",
            "operation": "gateway",
        }
        self.recorder.add(EndedCall(document, bill))

    async def written(self, count: int) -> None:
        await self.recorder.stop()
        assert len(await self.streams.find({})) == count

    async def requests(self) -> int:
        return sum(each["requests"] for each in await self.counters.find({}))

    async def recover(self) -> None:
        """Settle what is left over, as another process does later."""
        self.now += 3600 * 1000
        settled = {"streams": self.streams}
        recovery = LedgerRecovery(
            self.ledger, self.journal, settled, lambda: self.now
        )
        await recovery.settle_of_process("me")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_recorder, "_AGAIN_SECONDS", 0.0)


async def test_calls_are_written_together_and_charged_once() -> None:
    books = Books()
    for _ in range(250):
        books.add()
    books.add(charged=False)
    await books.written(251)
    assert await books.requests() == 250
    assert await books.journal.find({}) == []


def before(books: Books) -> None:
    books.streams.before = 2


def after(books: Books) -> None:
    books.streams.after = 2


@pytest.mark.parametrize("fails", [before, after])
async def test_a_lost_connection_charges_nothing_twice(
    fails: Callable[[Books], None],
) -> None:
    books = Books()
    fails(books)
    for _ in range(3):
        books.add()
    await books.written(3)
    await books.recover()
    assert len(await books.streams.find({})) == 3
    assert await books.requests() == 3


async def test_not_more_wait_than_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(call_recorder, "_MOST_WAITING", 5)
    books = Books()
    for _ in range(9):
        books.add()
    await books.written(5)
    assert await books.requests() == 5
