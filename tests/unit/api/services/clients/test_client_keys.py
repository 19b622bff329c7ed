import asyncio
import time
from collections.abc import Sequence
from typing import Any, cast

import pytest

from api.core import security
from api.core.errors import WrongKeyError
from api.services.clients import client_keys
from api.services.clients.client_keys import KEEP_SECONDS, ClientKeys
from api.services.clients.client_service import ClientService
from utilities.cosmos_connector import Document, Documents, StoreError


class Clients:
    """Stands for the collection; counts what it is asked."""

    def __init__(self) -> None:
        self.digests: dict[str, str] = {"a": "1", "b": "2"}
        self.asked: list[list[str]] = []
        self.error: BaseException | None = None
        self.is_asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def find(
        self, where: Document, *, fields: Sequence[str]
    ) -> list[Document]:
        assert "keyDigest" in fields
        assert where["enabled"] is True
        ids = where["clientId"]["$in"]
        self.asked.append(ids)
        self.is_asked.set()
        found = [
            {"clientId": each, "keyDigest": self.digests[each]}
            for each in ids
            if each in self.digests
        ]
        await self.gate.wait()
        if self.error:
            raise self.error
        return found


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clients() -> Clients:
    return Clients()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(clients: Clients, clock: Clock) -> ClientKeys:
    return ClientKeys(cast("Documents", clients), clock)


async def digest_of(keys: ClientKeys, client_id: str) -> str | None:
    key = await keys.read(client_id)
    return None if key is None else key.digest


async def test_a_key_is_kept_from_before_it_was_read(
    keys: ClientKeys, clients: Clients, clock: Clock
) -> None:
    clients.gate.clear()
    reading = asyncio.create_task(digest_of(keys, "a"))
    await clients.is_asked.wait()
    clock.now += 0.75
    clients.gate.set()
    assert await reading == "1"
    assert keys.kept("a") is not None
    clock.now += KEEP_SECONDS - 0.75
    assert keys.kept("a") is None


async def test_what_is_read_while_it_changes_is_not_kept(
    keys: ClientKeys, clients: Clients
) -> None:
    clients.gate.clear()
    reading = asyncio.create_task(digest_of(keys, "a"))
    await clients.is_asked.wait()
    keys.forget("a")
    clients.gate.set()
    assert await reading == "1"
    assert keys.kept("a") is None


async def test_a_thousand_keys_at_once_cost_a_few_questions(
    keys: ClientKeys, clients: Clients
) -> None:
    ids = ["a", "b", *(f"x{number}" for number in range(1000))]
    found = await asyncio.gather(*(digest_of(keys, each) for each in ids))
    assert found[:2] == ["1", "2"]
    assert not any(found[2:])
    assert len(clients.asked) == 3


async def test_a_question_that_runs_is_not_joined(
    keys: ClientKeys, clients: Clients
) -> None:
    clients.gate.clear()
    first = asyncio.create_task(digest_of(keys, "a"))
    await clients.is_asked.wait()
    # From here on, the answer must be the new one.
    clients.digests["a"] = "new"
    second = asyncio.create_task(digest_of(keys, "a"))
    await asyncio.sleep(0)
    clients.gate.set()
    assert [await first, await second] == ["1", "new"]


async def test_a_failure_reaches_all_who_asked_and_the_next_one_works(
    keys: ClientKeys, clients: Clients
) -> None:
    clients.error = StoreError("away")
    asked = [digest_of(keys, each) for each in ("a", "a", "b")]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(each) for each in found] == [StoreError] * 3
    clients.error = None
    assert await digest_of(keys, "a") == "1"


async def test_a_caller_that_goes_away_ends_it_for_nobody_else(
    keys: ClientKeys, clients: Clients
) -> None:
    clients.gate.clear()
    gone = asyncio.create_task(digest_of(keys, "a"))
    other = asyncio.create_task(digest_of(keys, "a"))
    await clients.is_asked.wait()
    gone.cancel()
    clients.gate.set()
    assert await other == "1"


async def test_an_endless_id_asks_nobody(
    keys: ClientKeys, clients: Clients
) -> None:
    assert await keys.read("x" * 10_000) is None
    assert clients.asked == []


async def test_memory_is_bounded(
    keys: ClientKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_keys, "MOST_KEPT", 1)
    await digest_of(keys, "a")
    await digest_of(keys, "b")
    assert keys.kept("a") is None
    assert keys.kept("b") is not None


def new_service(clients: Clients) -> ClientService:
    nobody: Any = None
    return ClientService(cast("Documents", clients), nobody, "pepper")


async def test_a_known_key_is_checked_in_memory(clients: Clients) -> None:
    service = new_service(clients)
    clients.digests["a"] = security.digest("right", "pepper")
    for _ in range(10):
        assert (await service.authenticate("a", "right")).client_id == "a"
    assert len(clients.asked) == 1


async def test_a_key_that_does_not_fit_is_looked_up(clients: Clients) -> None:
    service = new_service(clients)
    clients.digests["a"] = security.digest("old", "pepper")
    await service.authenticate("a", "old")
    clients.digests["a"] = security.digest("new", "pepper")
    await service.authenticate("a", "new")
    for client_id in ("a", "nobody"):
        with pytest.raises(WrongKeyError):
            await service.authenticate(client_id, "old")


@pytest.mark.timing
async def test_a_known_key_takes_less_than_0_2_ms(clients: Clients) -> None:
    service, count = new_service(clients), 5000
    clients.digests["a"] = security.digest("k" * 64, "pepper")
    started = time.process_time()
    for _ in range(count):
        await service.authenticate("a", "k" * 64)
    assert (time.process_time() - started) / count < 0.0002
