"""Settles blocks whose process died, or lost the database, meanwhile."""

from collections.abc import Mapping, Sequence

import structlog

from api.services.limits.ledger import OPEN_SECONDS, Ledger
from api.services.shared.settlement import (
    POSTING_FIELDS,
    Block,
    postings_of,
)
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import (
    Document,
    Documents,
    Filter,
    ObjectId,
    StoreError,
)
from utilities.tasks import Loop

_EVERY_SECONDS = 60.0

log = structlog.get_logger(__name__)


class LedgerRecovery(Loop):
    """Looks for blocks that have been open for too long.

    Those of a process that is known to be dead need no wait.
    """

    name = "ledger"
    vital = False

    def __init__(
        self,
        ledger: Ledger,
        journal: Documents,
        collections: Mapping[str, Documents],
        clock: Clock = now_ms,
        every_seconds: float = _EVERY_SECONDS,
    ) -> None:
        super().__init__()
        self._ledger = ledger
        self._journal = journal
        self._collections = collections
        self._clock = clock
        self._every_seconds = every_seconds

    async def run(self) -> None:
        """Check repeatedly until stopped."""
        self.attach()
        while not self.stopping:
            try:
                await self.settle_old()
            except StoreError as error:
                log.warning("ledger_waits", error=type(error).__name__)
            await self.pause(self._every_seconds)

    async def settle_old(self) -> int:
        """Settle blocks that no process works on any more."""
        oldest = self._clock() - round(OPEN_SECONDS * 1000)
        return await self._settle({"openedAt": {"$lt": oldest}})

    async def settle_of_process(self, process_id: str) -> int:
        """Settle the blocks of a process that is known to be dead."""
        return await self._settle({"process": process_id})

    async def _settle(self, where: Filter) -> int:
        found = await self._journal.find(where)
        for entry in found:
            documents = await self._documents_of(entry)
            block = Block(entry["_id"], entry["openedAt"])
            await self._ledger.add(
                block,
                [
                    posting
                    for document in documents
                    for posting in postings_of(document, block.block_id)
                ],
            )
            log.info("block_recovered", block=block.block_id)
        return len(found)

    async def _documents_of(self, entry: Document) -> Sequence[Document]:
        documents = self._collections[entry["collection"]]
        ids = [ObjectId(each) for each in entry["ids"]]
        return await documents.find_all(
            {"_id": {"$in": ids}}, fields=POSTING_FIELDS
        )
