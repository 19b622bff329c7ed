"""Settle what is stored in blocks: each charge is added exactly once.

No transactions are needed. A block is opened in the ledger's journal; then
the results are stored, each with its charges and the block's id in one
write; then the ledger adds them up and ends the journal's entry. If a
process dies in between, the entry tells which documents carry the block.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from api.models.charge import Bill, Charged, Posting, Spend, load_charged
from utilities.cosmos_connector import ObjectId

# The field with the charges of a document, as text.
CHARGED = "charged"
# What `postings_of` needs of a document.
POSTING_FIELDS = ("clientId", "operation", CHARGED)
# What a stream is charged as.
STREAM = "stream"


@dataclass(frozen=True, slots=True)
class Block:
    """Documents that are settled together; opened at a time (ms)."""

    block_id: str
    opened_at: int


class Settles(Protocol):
    """The ledger, as those who store results see it."""

    async def open(self, collection: str, ids: Sequence[ObjectId]) -> Block:
        """Open a block for documents of a collection.

        Raises:
            StoreError: it is not open; nothing may be stored with it.
        """

    async def settle(
        self, block: Block, postings: Iterable[Posting | Spend]
    ) -> None:
        """Add up a block's charges, and close it.

        Never raises for the store: what fails is recovered later.
        """


def postings_of(
    document: dict[str, Any], block_id: str
) -> list[Posting | Spend]:
    """Read what a stored document was charged with in a block."""
    return [
        posting
        for each in load_charged(document.get(CHARGED))
        if each.block == block_id
        for posting in each.postings(
            document["clientId"], document.get("operation") or STREAM
        )
    ]


def new_charged(
    attempt: str,
    block: Block,
    run_id: str | None,
    bill: Bill,
    process_id: str,
) -> Charged:
    """Put a block's id to the charges of an attempt."""
    return Charged(
        attempt,
        block.block_id,
        run_id,
        tuple(bill.charges),
        process_id,
        dict(bill.spent),
    )
