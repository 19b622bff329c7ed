"""Batches of both vendors: made, listed, cancelled, removed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from api.core.errors import (
    ConflictError,
    NotFoundError,
    ParameterError,
    RuleError,
)
from api.models.batch_models import (
    PREFIXES,
    Batch,
    BatchStatus,
    FileRecord,
    Vendor,
)
from api.services.batches.batch_store import BatchStore, new_document
from api.services.batches.file_service import DEFAULT_SECONDS, FileService
from api.services.batches.paging import (
    Listed,
    Window,
    listed,
    new_sequence,
    object_id_of,
)
from llm_sdks.forwarding import Interface
from utilities import payload
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import Document, DuplicateKeyError, ObjectId

WINDOW_SECONDS: Final = 86_400
# As Anthropic keeps results.
RESULT_SECONDS: Final = 29 * 86_400
# A status that this vendor's interface does not have.
_LOOKS_IN_PROGRESS = (Vendor.ANTHROPIC, BatchStatus.FINALIZING)
# A batch may have a megabyte of errors, and a page has many batches.
_LISTED = [
    "_metadata",
    *(
        str(each.alias)
        for name, each in Batch.model_fields.items()
        if name not in {"errors", "metadata"}
    ),
]
_CANCELABLE = (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS)


@dataclass(frozen=True, slots=True)
class NewBatch:
    """What a client wants; `notes` are its own words on it."""

    vendor: Vendor
    interface: Interface
    input_file: FileRecord
    notes: Mapping[str, str] | None = None
    output_seconds: int = DEFAULT_SECONDS
    # Of the request, those that are part of the vendor's interface.
    headers: Mapping[str, str] | None = None
    # How many lines there are, if they have been counted.
    total: int = 0


class BatchService:
    """Keeps the batches of all clients; each sees its own."""

    def __init__(
        self, store: BatchStore, files: FileService, clock: Clock = now_ms
    ) -> None:
        self._store = store
        self._files = files
        self._clock = clock

    async def create(
        self, client_id: str, new: NewBatch, key: str | None = None
    ) -> Batch:
        """Store a batch; it is worked on soon.

        The same `key` again answers the first one.

        Raises:
            ParameterError: that one is another batch.
        """
        now = self._clock()
        document: Document = {
            **new_document(
                client_id,
                new.vendor,
                new.interface,
                new.input_file.file_id,
                now,
                new_sequence(now),
                WINDOW_SECONDS,
            ),
            "outputSeconds": new.output_seconds,
            "total": new.total,
        }
        if new.headers:
            document["headers"] = payload.dump(dict(new.headers))
        if key is not None:
            document["_id"] = _id_of(client_id, new.vendor, key)
        if new.notes is not None:
            document["notes"] = payload.dump(dict(new.notes))
        try:
            return await self._store.add(document)
        except DuplicateKeyError:
            first = await self._store.get(str(document["_id"]))
            if first is None:
                raise
        await self._check_same(first, new)
        return first

    async def _check_same(self, first: Batch, new: NewBatch) -> None:
        source = await self._files.of_id(first.input_file_id)
        digest = new.input_file.digest
        is_other = source is not None and source.digest != digest
        if is_other or first.interface != new.interface:
            raise ParameterError(
                "This Idempotency-Key was used for another batch",
                "Idempotency-Key",
            )

    async def get(self, client_id: str, vendor: Vendor, shown: str) -> Batch:
        """Return one of a client's batches.

        Raises:
            NotFoundError: there is none.
        """
        own_id = object_id_of(shown, PREFIXES[vendor])
        found = None
        if own_id is not None:
            found = await self._store.documents.find_one(
                {"_id": own_id, "clientId": client_id, "vendor": vendor}
            )
        if found is None:
            raise NotFoundError(f"The batch {shown[:100]!r} was")
        return Batch.from_document(found)

    async def page(
        self, client_id: str, vendor: Vendor, window: Window
    ) -> Listed[Batch]:
        """List a client's batches, the newest first, without their errors.

        Raises:
            ParameterError: the id that it is to begin with is none of them.
        """
        found = await listed(
            self._store.documents,
            {"clientId": client_id, "vendor": vendor},
            window,
            PREFIXES[vendor],
            _LISTED,
        )
        items = [Batch.from_document(each) for each in found.items]
        return Listed(items, found.has_more)

    async def cancel(
        self, client_id: str, vendor: Vendor, shown: str
    ) -> Batch:
        """Have a batch end soon; what is answered is kept.

        Raises:
            NotFoundError: there is none.
            ConflictError: it is ending, or has ended.
        """
        while True:
            batch = await self.get(client_id, vendor, shown)
            if batch.status is BatchStatus.CANCELLING:
                return batch
            if (batch.vendor, batch.status) == _LOOKS_IN_PROGRESS:
                # There is nothing left to be cancelled.
                return batch
            if batch.status not in _CANCELABLE:
                raise ConflictError(
                    f"Cannot cancel a batch with status '{batch.status}'."
                )
            moved = await self._store.move(batch, BatchStatus.CANCELLING)
            if moved is not None:
                return moved

    async def remove(self, client_id: str, vendor: Vendor, shown: str) -> None:
        """Remove a batch that has ended, with its results.

        Raises:
            NotFoundError: there is none.
            RuleError: it has not ended.
        """
        batch = await self.get(client_id, vendor, shown)
        if not batch.has_ended:
            raise RuleError(
                "The batch is still in progress; cancel it, or wait for its "
                "end"
            )
        for file_id in (batch.output_file_id, batch.input_file_id):
            if file_id is not None:
                await self._files.discard(file_id)
        await self._store.erase(batch)

    async def results(
        self, client_id: str, vendor: Vendor, shown: str
    ) -> FileRecord:
        """Return the file with a batch's results.

        Raises:
            NotFoundError: there is no such batch, or no results yet.
        """
        batch = await self.get(client_id, vendor, shown)
        found = None
        if batch.output_file_id is not None and batch.has_ended:
            found = await self._files.of_id(batch.output_file_id)
        if found is None:
            raise NotFoundError(f"Results of the batch {shown[:100]!r} were")
        return found


def _id_of(client_id: str, vendor: Vendor, key: str) -> ObjectId:
    text = f"batch\x00{client_id}\x00{vendor}\x00{key}"
    digest = hashlib.sha256(text.encode(errors="replace"))
    return ObjectId(digest.digest()[:12])


def shown_batch_id(batch: Batch) -> str:
    """Give a batch's id as it is shown."""
    return f"{PREFIXES[batch.vendor]}{batch.batch_id}"
