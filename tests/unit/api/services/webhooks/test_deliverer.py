"""Lanes of deliveries, with a receiver that is a function."""

import asyncio
import socket
from collections.abc import Callable
from typing import Self, cast

import pytest

from api.models.webhook_models import EventType
from api.services.shared.client_states import ClientStates
from api.services.shared.endings import Endings
from api.services.shared.events import Event
from api.services.webhooks.deliverer import Deliverer
from api.services.webhooks.delivery_store import DeliveryStore
from api.services.webhooks.directory import Directory
from api.services.webhooks.outbox import Outbox
from api.services.webhooks.resolver import OwnResolver
from api.services.webhooks.sender import Answer, Sender, SendTimes
from api.services.webhooks.signing import Signer
from tests.support.receiver import Receiver, running_receiver
from tests.support.samples import becomes
from tests.support.store import Time
from utilities.cosmos_connector import Document, ObjectId
from utilities.signals import Signals
from utilities.store.in_memory import InMemoryClientManager, InMemoryDocuments

HOOK = "a" * 24
GOOD = Answer(0.1, 200)
BAD = Answer(0.1, 500, error="status 500")


class FakeSender:
    """Answers as it is told; counts what is under way."""

    def __init__(self, answer: Callable[[], Answer]) -> None:
        self.answer = answer
        self.sent = self.at_once = self.most_at_once = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Do nothing."""

    async def send(self, *_: object) -> Answer:
        self.sent += 1
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        return self.answer()


class Delivery:
    """A webhook, its outbox and its deliverer, in memory."""

    def __init__(self, answer: Callable[[], Answer]) -> None:
        clients, time, signals = InMemoryClientManager(), Time(), Signals()
        self.time = time
        self.webhooks = InMemoryDocuments("webhooks", time, clients)
        self.deliveries = InMemoryDocuments("deliveries", time, clients)
        notes = InMemoryDocuments("notes", time, clients)
        self.directory = Directory(
            self.webhooks,
            Endings(notes, signals, time),
            ClientStates(InMemoryDocuments("clients", time, clients)),
        )
        self.outbox = Outbox(self.deliveries, self.directory, signals, time)
        self.sender = FakeSender(answer)
        self.part = Deliverer(
            DeliveryStore(self.deliveries, time),
            self.directory,
            Signer("pepper"),
            lambda: cast("Sender", self.sender),
            signals,
            self.disable,
            clock=time,
        )

    async def disable(self, webhook_id: str) -> None:
        await self.webhooks.update(
            {"_id": ObjectId(webhook_id)}, {"enabled": False}
        )

    async def add(self, count: int) -> None:
        if not self.directory.get(HOOK):
            hook: Document = {
                "_id": ObjectId(HOOK),
                "clientId": None,
                "url": "https://example.com",
                "events": [EventType.MODEL_RESUMED],
                "enabled": True,
                "salt": "s",
            }
            await self.webhooks.insert(hook)
            await self.directory.refresh()
        event = Event(EventType.MODEL_RESUMED, {}, 1)
        await self.outbox.emit_all([event] * count)

    async def until(self, status: str, count: int) -> None:
        where = {"status": status}
        async with asyncio.timeout(5):
            # The store has no event to wait for.
            while len(await self.deliveries.find(where)) < count:  # noqa: ASYNC110 - as said
                await asyncio.sleep(0.01)

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(self.part.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.part.stop()
        await self.task


async def test_what_failed_is_sent_at_once_after_the_first_success() -> None:
    answers = {"now": BAD}
    async with Delivery(lambda: answers["now"]) as delivery:
        await delivery.add(10)
        await becomes(lambda: delivery.sender.sent == 10)
        answers["now"] = GOOD
        # The clock stands still: nothing of it is due by itself.
        await delivery.add(1)
        await delivery.until("DELIVERED", 11)


async def test_a_receiver_that_fails_gets_one_message_at_a_time() -> None:
    async with Delivery(lambda: BAD) as delivery:
        await delivery.add(5)
        await becomes(lambda: delivery.sender.sent == 5)
        delivery.sender.most_at_once = 0
        await delivery.add(20)
        await becomes(lambda: delivery.sender.sent == 25)
        assert delivery.sender.most_at_once == 1


async def test_a_receiver_that_is_well_gets_many_at_once() -> None:
    async with Delivery(lambda: GOOD) as delivery:
        await delivery.add(200)
        await delivery.until("DELIVERED", 200)
        assert 16 <= delivery.sender.most_at_once <= 32


async def test_a_defect_of_one_delivery_ends_nothing() -> None:
    def raises() -> Answer:
        raise RuntimeError("a defect")

    async with Delivery(raises) as delivery:
        await delivery.add(1)
        await becomes(lambda: delivery.sender.sent == 1)
        delivery.sender.answer = lambda: GOOD
        delivery.time.now += 26_000
        delivery.part.wake()
        await delivery.until("DELIVERED", 1)


async def send_to(receiver: Receiver, total: float) -> Answer:
    times = SendTimes(total=total)
    async with Sender(allow_private=True, times=times) as sender:
        return await sender.send(receiver.url, {}, "{}")


async def test_a_receiver_that_does_not_answer_is_not_waited_for() -> None:
    with running_receiver() as receiver:
        receiver.delay = 3
        answer = await send_to(receiver, 0.1)
    assert answer.error == "no answer in time"
    assert answer.seconds < 1


async def test_nobody_at_the_address() -> None:
    with running_receiver() as receiver:
        pass
    answer = await send_to(receiver, 5)
    assert answer.error == "it cannot be connected to"
    assert answer.status is None


async def test_a_name_that_is_none() -> None:
    async with Sender(allow_private=False) as sender:
        answer = await sender.send("https://nowhere.invalid/", {}, "{}")
    assert answer.error == "the host was not found"


async def test_names_are_looked_up_on_threads_of_their_own() -> None:
    resolver = OwnResolver()
    found = await resolver.resolve("localhost", 80, socket.AF_INET)
    await resolver.close()
    assert [each["host"] for each in found] == ["127.0.0.1"]
    assert {each["port"] for each in found} == {80}
    with pytest.raises(RuntimeError):
        await resolver.resolve("localhost")
