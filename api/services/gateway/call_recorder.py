"""Stores what was called: some calls at once, soon after they have ended.

The client has its answer by then. A block of the ledger settles what the
calls of one write have cost, so that each is charged exactly once.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from api.models.charge import Bill, dump_charged
from api.services.shared.settlement import (
    CHARGED,
    Block,
    Settles,
    new_charged,
    postings_of,
)
from utilities.cosmos_connector import Document, Documents, StoreError

# A write is made so long after a call has ended. It delays the calls of that
# moment by some milliseconds, so that fewer are better.
_SECONDS = 0.1
_AGAIN_SECONDS = 1.0
_AT_ONCE = 200
# Records that wait while the database is away; more would fill the memory.
_MOST_WAITING = 10_000
_STOP_SECONDS = 5.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EndedCall:
    """A call that has ended: its record, and what it is charged with."""

    document: Document
    bill: Bill


class CallRecorder:
    """Writes the records of one event loop."""

    def __init__(
        self,
        documents: Documents,
        ledger: Settles,
        process_id: str,
        seconds: float = _SECONDS,
    ) -> None:
        self._documents = documents
        self._ledger = ledger
        self._process_id = process_id
        self._seconds = seconds
        self._waiting: deque[EndedCall] = deque()
        self._writer: asyncio.Task[None] | None = None

    def add(self, ended: EndedCall) -> None:
        """Take a call's record; returns at once."""
        if len(self._waiting) >= _MOST_WAITING:
            log.error("call_not_recorded", waiting=len(self._waiting))
            return
        self._waiting.append(ended)
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_soon())

    async def stop(self) -> None:
        """Write what waits."""
        if self._writer is not None:
            self._seconds = 0.0
            await asyncio.wait([self._writer], timeout=_STOP_SECONDS)

    async def _write_soon(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(self._seconds)
                await self._write_some()
        finally:
            self._writer = None

    async def _write_some(self) -> None:
        count = min(len(self._waiting), _AT_ONCE)
        calls = [self._waiting.popleft() for _ in range(count)]
        try:
            await self._write(calls)
        except StoreError as error:
            log.warning("calls_not_recorded_yet", error=type(error).__name__)
            self._waiting.extendleft(reversed(calls))
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _write(self, calls: Sequence[EndedCall]) -> None:
        ids = [each.document["_id"] for each in calls if each.bill]
        if not ids:
            await self._documents.insert_many([c.document for c in calls])
            return
        block = await self._ledger.open("streams", ids)
        documents = [self._charged(each, block) for each in calls]
        stored, taken = await self._documents.insert_many(documents)
        # Those were stored by a try before; its own block settles them.
        new = [doc for i, doc in enumerate(stored) if i not in set(taken)]
        postings = [
            posting
            for document in new
            for posting in postings_of(document, block.block_id)
        ]
        await self._ledger.settle(block, postings)

    def _charged(self, ended: EndedCall, block: Block) -> Document:
        if not ended.bill:
            return ended.document
        charged = new_charged("", block, None, ended.bill, self._process_id)
        return {**ended.document, CHARGED: dump_charged(None, charged)}
