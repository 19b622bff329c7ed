"""Takes events from requests, and stores them beside the requests.

A request only appends to a file and to a list. If the database is away,
both grow to their bounds; what is then lost is counted, logged, and
recorded itself when the database is back. Work is never held up.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from api.services.access.audit.chain import Head, chained, seal
from api.services.access.audit.events import (
    DONE,
    FAILED,
    Event,
    new_event_id,
    put_together,
)
from api.services.access.audit.journal import Journal
from api.services.monitoring.observer import NOBODY, Observer
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import (
    Document,
    Documents,
    ObjectId,
    StoreError,
)
from utilities.tasks import Loop

ENTRIES: Final = "audit_entries"
CHAINS: Final = "audit_chains"
MOST_EVENTS: Final = 20_000
_EVERY_SECONDS = 0.5
_BLOCK = 500
_LAST_SECONDS = 5.0
# Chains whose heads a new chain records.
_MOST_HEADS = 50
_SERVICE: Final = "service"

log = structlog.get_logger(__name__)

Listener = Callable[[Sequence[Event]], None]


@dataclass(slots=True)
class AuditCounts:
    """What has become of events, since the start."""

    stored: int = 0
    lost: int = 0


class AuditLog:
    """The events of one process that are not stored yet.

    `listen` gets those that are, such as what sends them on.
    """

    def __init__(
        self,
        journal: Journal,
        clock: Clock = now_ms,
        observer: Observer = NOBODY,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._observer = observer
        self._events: list[Event] = []
        # Segments that wait: their files, and their events.
        self.waiting: deque[tuple[Path, list[Event]]] = deque()
        self._held = 0
        self.counts = AuditCounts()
        self._not_told = 0

    def add(self, event: Event) -> None:
        """Take an event; returns at once and never raises."""
        if self._held >= MOST_EVENTS:
            self.counts.lost += 1
            self._observer.audited("lost", 1)
            self._not_told += 1
            if self._not_told == 1:
                log.error("audit_full", held=self._held)
            return
        self._held += 1
        self._events.append(event)
        self._journal.append(event)

    def next_segment(self) -> None:
        """Close the segment that is open; its events wait to be stored."""
        if self._not_told:
            lost, self._not_told = self._not_told, 0
            self._held += 1
            event = self.of_service("audit.lost", FAILED, f"{lost} events")
            self._events.append(event)
            self._journal.append(event)
        if self._events:
            path = self._journal.next_segment()
            self.waiting.append((path, self._events))
            self._events = []

    def stored(self) -> None:
        """Forget the first segment that waits: the database has it."""
        path, events = self.waiting.popleft()
        self._held -= len(events)
        self.counts.stored += len(events)
        self._observer.audited("stored", len(events))
        self._journal.remove(path)

    def of_service(self, action: str, outcome: str, reason: str) -> Event:
        """Make an event of the audit itself."""
        now = self._clock()
        return Event(
            id=new_event_id(),
            at=now,
            until=now,
            actor=_SERVICE,
            name=_SERVICE,
            by=None,
            address="",
            action=action,
            path="",
            target=None,
            status=0,
            outcome=outcome,
            reason=reason,
        )


class AuditWriter(Loop):
    """Chains events and stores them, until stopped."""

    name = "audit"
    vital = False

    def __init__(
        self,
        audit: AuditLog,
        journal: Journal,
        entries: Documents,
        chains: Documents,
        *,
        chain: str,
        key: bytes,
        listeners: Sequence[Listener] = (),
    ) -> None:
        super().__init__()
        self._audit = audit
        self._journal = journal
        self._entries = entries
        self._chains = chains
        self._key = key
        self._head = Head(chain)
        self._listeners = listeners
        # What was made of the first segment, until it is stored.
        self._made: tuple[list[Document], Head, list[Event]] | None = None

    async def run(self) -> None:
        """Store what comes."""
        self.attach()
        try:
            await self._begin()
            while not self.stopping:
                await self.pause(_EVERY_SECONDS)
                await self._store_all()
        finally:
            await self._end()

    async def _begin(self) -> None:
        """Record that a chain begins, and how the others were."""
        if self._head.number == 0:
            heads = await self._chains.find_all({})
            heads.sort(key=lambda each: int(each["updatedAt"]), reverse=True)
            shown = [
                f"{each['_id']}:{each['number']}:{each['hash']}"
                for each in heads[:_MOST_HEADS]
            ]
            event = self._audit.of_service("audit.started", DONE, "")
            began = replace(event, ids=tuple(shown), things=len(heads))
            await self._store([began])
        for _, events in self._journal.left_by_others():
            # Of those that are stored already, nothing is stored twice.
            await self._store(put_together(events))

    async def _end(self) -> None:
        try:
            async with asyncio.timeout(_LAST_SECONDS):
                await self._store_all()
        except (StoreError, TimeoutError):
            log.warning("audit_kept_for_next_start")
        finally:
            if self.stopping:
                self._journal.close()

    async def _store_all(self) -> None:
        self._audit.next_segment()
        try:
            while self._audit.waiting:
                await self._store_first()
        except StoreError as error:
            if self.complaint is None:
                log.warning("audit_waits", error=type(error).__name__)
            self.complaint = "entries wait for the database"
        else:
            self.complaint = None

    async def _store_first(self) -> None:
        if self._made is None:
            events = put_together(self._audit.waiting[0][1])
            documents, head = chained(self._key, self._head, events)
            self._made = documents, head, events
        await self._put(*self._made)
        self._made = None
        self._audit.stored()

    async def _store(self, events: Sequence[Event]) -> None:
        known = await self._known([event.id for event in events])
        new = [event for event in events if event.id not in known]
        documents, head = chained(self._key, self._head, new)
        await self._put(documents, head, new)

    async def _known(self, ids: Sequence[str]) -> set[str]:
        found = await self._entries.find_all(
            {"_id": {"$in": [ObjectId(each) for each in ids]}}, ["_id"]
        )
        return {str(each["_id"]) for each in found}

    async def _put(
        self,
        documents: Sequence[Document],
        head: Head,
        events: Sequence[Event],
    ) -> None:
        for start in range(0, len(documents), _BLOCK):
            await self._entries.insert_many(documents[start : start + _BLOCK])
        await self._chains.put_each([self._head_document(head)])
        self._head = head
        for listen in self._listeners:
            listen(events)

    def _head_document(self, head: Head) -> Document:
        return {
            "_id": head.chain,
            "number": head.number,
            "hash": head.hash,
            "seal": seal(self._key, head),
            "updatedAt": now_ms(),
        }
