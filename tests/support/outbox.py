"""The way from a note to a delivery, over any store."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from api.services.queue.job_queue import JobQueue
from api.services.shared.client_states import ClientStates
from api.services.shared.endings import COLLECTION, EndingKind, Endings
from api.services.webhooks.collector import EndedCollector
from api.services.webhooks.delivery_store import DeliveryStore
from api.services.webhooks.directory import Directory
from api.services.webhooks.outbox import Outbox
from tests.support.store import Store, Time
from utilities.cosmos_connector import Documents, ObjectId
from utilities.signals import Signals

HOOK = "a" * 24


@dataclass
class Parts:
    """What makes deliveries of ended jobs."""

    time: Time
    queue: JobQueue
    endings: Endings
    collector: EndedCollector
    outbox: Outbox
    directory: Directory
    deliveries: DeliveryStore
    documents: Any

    async def told(self) -> list[dict[str, Any]]:
        """Return all deliveries."""
        found: list[dict[str, Any]]
        found = await self.documents("webhook_deliveries").find({})
        return found

    async def notes(self) -> int:
        """Count the notes."""
        return len(await self.documents(COLLECTION).find({}))

    async def collect(self) -> None:
        """Look at all notes."""
        self.time.now += 61_000
        await self.collector.collect()


async def make_parts(store: Store) -> Parts:
    """Wire them over a store, with one webhook of its client."""
    clients = store.application.clients
    for name in (COLLECTION, "webhook_deliveries", "webhooks"):
        await Documents(clients, name).erase({})
    time, signals = store.time, Signals()
    documents = partial(Documents, clients, clock=time)
    endings = Endings(documents(COLLECTION), signals, time)
    states = ClientStates(documents("clients"))
    directory = Directory(documents("webhooks"), endings, states)
    deliveries = documents("webhook_deliveries")
    outbox = Outbox(deliveries, directory, signals, time)
    await documents("webhooks").insert(
        {
            "_id": ObjectId(HOOK),
            "clientId": store.client.client_id,
            "url": "https://example.com",
            "events": ["job.processed", "job.failed", "model.resumed"],
            "enabled": True,
            "salt": "s",
        }
    )
    await directory.refresh()
    queue = JobQueue(
        documents("jobs"),
        lease_seconds=30,
        max_attempts=1,
        clock=time,
        endings=endings,
    )
    collector = EndedCollector(
        documents(COLLECTION),
        {EndingKind.JOB: documents("jobs"), EndingKind.RUN: documents("runs")},
        directory,
        outbox,
        signals,
        time,
    )
    return Parts(
        time,
        queue,
        endings,
        collector,
        outbox,
        directory,
        DeliveryStore(deliveries, time),
        documents,
    )
