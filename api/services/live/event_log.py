"""Ends of jobs, as all processes tell them to each other.

Whichever process finds out that jobs have ended writes it down here, and
each process with somebody who watches reads it. Nothing is written while
nobody watches, in any process.
"""

import itertools
import secrets
from collections import deque
from collections.abc import Sequence
from typing import Any

from api.services.live.live_event import LiveEvent
from api.services.shared.events import Event
from utilities import payload
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import Document, Documents
from utilities.signals import Signals

EVENTS_LOGGED = "eventsLogged"
LOG, INTEREST = "live_events", "live_interest"
# How long a process counts as one with somebody who watches.
INTEREST_MS = 15_000
KEPT_MS = 600_000
# What was written at the same time by another process may come later.
_OVERLAP_MS = 3_000
_MOST_READ = 500
_ERASED_AT_ONCE = 500


class EventLog:
    """The log, and who reads it."""

    def __init__(
        self,
        log: Documents,
        interest: Documents,
        process_id: str,
        signals: Signals,
        clock: Clock = now_ms,
    ) -> None:
        self._log = log
        self._interest = interest
        self._process_id = process_id
        self._signals = signals
        self._clock = clock
        self._is_wanted = False
        # What one process writes in the same ms stays in order.
        self._numbers = itertools.count()
        self._known: deque[str] = deque(maxlen=_MOST_READ)

    async def announce(self) -> None:
        """Say that this process reads, for some seconds to come.

        Raises:
            StoreError: nobody knows it.
        """
        until = self._clock() + INTEREST_MS
        await self._interest.put_each(
            [
                {
                    "_id": self._process_id,
                    "until": until,
                    "_metadata.isDeleted": False,
                }
            ]
        )

    async def look_for_interest(self) -> bool:
        """Find out whether any process reads, and remember it.

        Raises:
            StoreError: it is as it was known before.
        """
        found = await self._interest.find(
            {"until": {"$gt": self._clock()}}, limit=1
        )
        self._is_wanted = bool(found)
        return self._is_wanted

    async def emit_all(self, events: Sequence[Event]) -> None:
        """Write events down, if anybody reads them.

        Raises:
            StoreError: they are not written.
        """
        if not self._is_wanted or not events:
            return
        document = {
            # Not an ObjectId: two processes may not make the same one.
            "_id": secrets.token_hex(12),
            "at": self._clock(),
            "number": next(self._numbers),
            "events": payload.dump([_stored(each) for each in events]),
        }
        await self._log.insert(document)
        self._signals.publish(EVENTS_LOGGED)

    async def read(self, since: int) -> list[LiveEvent]:
        """Return what was written since a time in ms, and shortly before.

        What was returned before is left out.

        Raises:
            StoreError: it cannot be read now.
        """
        where = {"at": {"$gte": since - _OVERLAP_MS}}
        found = await self._log.find(
            where, sort=[("at", -1)], limit=_MOST_READ
        )
        known = set(self._known)
        new = [each for each in found if each["_id"] not in known]
        new.sort(key=lambda each: (each["at"], each["number"]))
        self._known += [each["_id"] for each in new]
        return [event for each in new for event in _events_of(each)]

    async def prune(self) -> None:
        """Remove what is old.

        Raises:
            StoreError: it is still there.
        """
        old = {"at": {"$lt": self._clock() - KEPT_MS}}
        await self._log.erase_some(old, _ERASED_AT_ONCE)
        gone = {"until": {"$lt": self._clock() - KEPT_MS}}
        await self._interest.erase_some(gone, _ERASED_AT_ONCE)


def _stored(event: Event) -> dict[str, Any]:
    return {
        "type": event.type,
        "at": event.at,
        "clientId": event.client_id,
        "key": event.key or secrets.token_hex(8),
        "data": dict(event.data),
    }


def _events_of(document: Document) -> list[LiveEvent]:
    """Read a document: its events, and what they say of batches."""
    stored = payload.load(document["events"])
    events = [
        LiveEvent.of(
            each["type"],
            each["at"],
            each["data"],
            client_id=each["clientId"],
            key=each["key"],
        )
        for each in stored
    ]
    return events + _of_batches(document, stored)


def _of_batches(
    document: Document, stored: Sequence[dict[str, Any]]
) -> list[LiveEvent]:
    ended: dict[tuple[str, str], dict[str, int]] = {}
    for each in stored:
        batch_key = each["data"].get("batchKey")
        if batch_key:
            counts = ended.setdefault((each["clientId"], batch_key), {})
            status = each["data"]["status"]
            counts[status] = counts.get(status, 0) + 1
    return [
        LiveEvent.of(
            "batch.progressed",
            document["at"],
            {"batchKey": batch_key, "clientId": client_id, "ended": counts},
            client_id=client_id,
            key=f"{document['_id']}\x00{client_id}\x00{batch_key}",
        )
        for (client_id, batch_key), counts in ended.items()
    ]
