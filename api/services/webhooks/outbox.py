"""The outbox: events that are kept until every webhook has them."""

import hashlib
import secrets
from collections.abc import Sequence

from api.models.webhook_models import TEST_EVENT, DeliveryStatus
from api.services.shared.events import Event
from api.services.webhooks.directory import Directory, Target
from utilities import payload
from utilities.clock import Clock, now_ms, to_datetime
from utilities.cosmos_connector import Document, Documents, ObjectId
from utilities.signals import Signals
from utilities.slices import blocks, in_slices

DELIVERIES = "deliveries"
_BLOCK = 500


class Outbox:
    """Makes deliveries of events; it is the `EventSink` of the process."""

    def __init__(
        self,
        deliveries: Documents,
        directory: Directory,
        signals: Signals,
        clock: Clock = now_ms,
    ) -> None:
        self._deliveries = deliveries
        self._directory = directory
        self._signals = signals
        self._clock = clock

    async def emit(self, event: Event) -> None:
        """Keep one event for the webhooks that want it.

        Raises:
            StoreError: the database did not take it.
        """
        await self.emit_all([event])

    async def emit_all(self, events: Sequence[Event]) -> None:
        """Keep events; those that were kept before stay as they are.

        Raises:
            StoreError: not all are kept; it is safe to repeat.
        """
        now = self._clock()
        wanted = [
            (target, event)
            for event in events
            for target in self._directory.wanting(event)
        ]
        documents = await in_slices(lambda each: _of(*each, now), wanted)
        for block in blocks(documents, _BLOCK):
            await self._deliveries.insert_many(block)
        if documents:
            self._signals.publish(DELIVERIES)

    async def test(self, target: Target) -> Document:
        """Send an event to one webhook only, whatever it has chosen."""
        now = self._clock()
        data = {"webhookId": target.webhook_id}
        message = _message(TEST_EVENT, now, data)
        made = _delivery(target, None, TEST_EVENT, message, now)
        stored = await self._deliveries.insert(made)
        self._signals.publish(DELIVERIES)
        return stored


def _of(target: Target, event: Event, now: int) -> Document:
    message = _message(event.type, event.at, dict(event.data))
    made = _delivery(target, event.key, event.type, message, now)
    return made | {"clientId": event.client_id or target.client_id}


def _message(kind: str, at: int, data: Document) -> str:
    time = to_datetime(at).isoformat().replace("+00:00", "Z")
    return payload.dump({"type": kind, "timestamp": time, "data": data})


def _delivery(
    target: Target, key: str | None, kind: str, message: str, now: int
) -> Document:
    event_id = f"msg_{_digest(key or secrets.token_hex(16)).hex()}"
    return {
        # The same event is delivered to a webhook once.
        "_id": ObjectId(_digest(f"{target.webhook_id}\x00{event_id}")),
        "webhookId": target.webhook_id,
        "clientId": target.client_id,
        "eventId": event_id,
        "type": kind,
        "payload": message,
        "status": DeliveryStatus.PENDING,
        "attempts": 0,
        "madeAt": now,
        # The first attempt after which time is over counts from here.
        "since": now,
        "nextAttemptAt": now,
    }


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:12]
