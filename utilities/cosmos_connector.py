"""Access to the database: clients, documents, soft deletion.

Everything here works on any server that speaks MongoDB's protocol: no
transactions, no pipeline updates, no dates inside updates (see `clock`).
Code outside the store takes the driver's names that it needs from here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import bson
from bson import ObjectId
from bson.errors import BSONError, InvalidDocument, InvalidId
from bson.raw_bson import RawBSONDocument
from pymongo import UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import (
    BulkWriteError,
    DocumentTooLarge,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
)

from utilities.clock import Clock, now_ms
from utilities.slices import in_slices
from utilities.store import metadata
from utilities.store.clients import ClientManager
from utilities.store.conditions import living, unchanged
from utilities.store.metadata import WRITE_ID, current_actor
from utilities.store.refusals import (
    duplicate_indexes,
    is_storable,
    is_transient,
    is_unavailable,
)
from utilities.store.retries import retrying

__all__ = [
    "BSONError",
    "BulkWriteError",
    "ClientManager",
    "Document",
    "DocumentTooLarge",
    "Documents",
    "DuplicateKeyError",
    "Filter",
    "InvalidDocument",
    "InvalidId",
    "ObjectId",
    "OperationFailure",
    "Sort",
    "StoreError",
    "current_actor",
    "is_storable",
    "is_transient",
    "is_unavailable",
    "retrying",
]

Document = dict[str, Any]
Filter = Mapping[str, Any]
Sort = Sequence[tuple[str, int]]

# The base of all errors of the store.
StoreError = PyMongoError

# Documents that a server sends at once, if it can.
_BATCH = 1000


class Documents:
    """One collection's documents, with `_metadata` and soft deletion.

    Methods see documents that are not deleted, unless they say otherwise.
    Filters and changes are MongoDB's, from our own code, never from a
    request's body. Each write is repeated after a lost connection and
    after a conflict, and its result is the same as without them.
    """

    def __init__(
        self, clients: ClientManager, name: str, clock: Clock = now_ms
    ) -> None:
        self._clients = clients
        self._name = name
        self._clock = clock

    @property
    def raw(self) -> AsyncCollection[Document]:
        """The driver's collection, for the job queue's bulk operations."""
        return self._clients.database()[self._name]

    async def insert(
        self, document: Document, created_at: int | None = None
    ) -> Document:
        """Store a new document, which must carry its `_id`.

        `created_at` (ms) is now, unless the document knows it already.

        Raises:
            DuplicateKeyError: the `_id` or a unique field is taken.
        """
        made = metadata.created(
            self._clock() if created_at is None else created_at
        )
        stored = document | {"_metadata": made}
        tries = 0

        async def operation() -> None:
            nonlocal tries
            tries += 1
            try:
                await self.raw.insert_one(stored)
            except DuplicateKeyError:
                if tries == 1 or not await self._own(
                    {"_id": stored["_id"]}, made["writeId"]
                ):
                    raise

        await retrying(operation)
        return stored

    async def insert_many(
        self, documents: Sequence[Document]
    ) -> tuple[list[Document], list[int]]:
        """Store many new documents, each with its `_id`, in one message.

        Fields of `_metadata` that a document brings are kept.

        Returns what was to be stored, and the indexes of those whose
        `_id` was already taken.
        """
        made = metadata.created(self._clock())
        stored = await in_slices(
            lambda doc: (
                doc | {"_metadata": {**made, **doc.get("_metadata", {})}}
            ),
            documents,
        )
        # Encoded here, since the driver would encode all in one stretch.
        encoded = await in_slices(_encoded, stored)
        tries = 0

        async def operation() -> list[int]:
            nonlocal tries
            tries += 1
            try:
                await self.raw.insert_many(encoded, ordered=False)
            except BulkWriteError as error:
                return duplicate_indexes(error)
            return []

        taken = await retrying(operation)
        if taken and tries > 1:
            ids = [stored[index]["_id"] for index in taken]
            own = await self._own({"_id": {"$in": ids}}, made["writeId"])
            # A document that repeats an `_id` of the same message has not
            # been stored.
            first = {
                doc["_id"]: i for i, doc in reversed([*enumerate(stored)])
            }
            taken = [
                i
                for i in taken
                if stored[i]["_id"] not in own or first[stored[i]["_id"]] != i
            ]
        return stored, taken

    async def find_one(
        self, where: Filter, sort: Sort | None = None
    ) -> Document | None:
        """Return the first living document that matches, or None."""
        return await retrying(
            lambda: self.raw.find_one(living(where), sort=sort)
        )

    async def find(
        self,
        where: Filter,
        *,
        sort: Sort = (("_id", 1),),
        limit: int = 0,
        fields: Sequence[str] | None = None,
    ) -> list[Document]:
        """Return the living documents that match; `limit` 0 means all."""

        async def operation() -> list[Document]:
            cursor = self.raw.find(living(where), fields).sort(list(sort))
            # By default, a server sends the first 101 alone.
            cursor = cursor.limit(limit).batch_size(limit or _BATCH)
            return await cursor.to_list()

        return await retrying(operation)

    async def find_all(
        self,
        where: Filter,
        fields: Sequence[str] | None = None,
        *,
        sort: Sort = (),
        limit: int = 0,
    ) -> list[Document]:
        """Return the documents that match, also deleted ones."""

        async def operation() -> list[Document]:
            cursor = self.raw.find(where, fields)
            if sort:
                cursor = cursor.sort(list(sort))
            return await cursor.limit(limit).batch_size(_BATCH).to_list()

        return await retrying(operation)

    async def aggregate(
        self, where: Filter, stages: Sequence[Document]
    ) -> list[Document]:
        """Run a pipeline over the living documents that match."""

        async def operation() -> list[Document]:
            pipeline = [{"$match": living(where)}, *stages]
            return await (await self.raw.aggregate(pipeline)).to_list()

        return await retrying(operation)

    async def update(
        self, where: Filter, changes: Mapping[str, Any]
    ) -> Document | None:
        """Set fields of one living document; compare and set by `where`.

        `where` must name it by `_id`. Returns the document as it is then,
        or None if none matched.

        Raises:
            DuplicateKeyError: a unique field is taken.
        """
        # Two steps: the embedded server's find-and-modify hides errors.
        if not await self._set(where, changes):
            return None
        return await retrying(lambda: self.raw.find_one({"_id": where["_id"]}))

    async def update_many(
        self, where: Filter, changes: Mapping[str, Any]
    ) -> int:
        """Set fields of every match; returns how many matched."""
        return await self._set(where, changes, many=True)

    async def update_each(
        self,
        updates: Sequence[tuple[Filter, Mapping[str, Any]]],
        unset: Sequence[str] = (),
    ) -> int:
        """Make many `update`s in one message; returns how many matched.

        `unset` names fields that are removed from each of them.

        Raises:
            BulkWriteError: the server refused some; the others are made.
        """
        touched = metadata.touched(self._clock())
        removed = {"$unset": dict.fromkeys(unset, "")} if unset else {}
        operations = [
            UpdateOne(
                living(where), {"$set": {**touched, **changes}} | removed
            )
            for where, changes in updates
        ]
        tries = 0

        async def operation() -> int:
            nonlocal tries
            tries += 1
            result = await self.raw.bulk_write(operations, ordered=False)
            return result.matched_count

        matched = await retrying(operation)
        if tries > 1 and matched < len(updates):
            ids = [where["_id"] for where, _ in updates]
            own = await self._own({"_id": {"$in": ids}}, touched[WRITE_ID])
            return max(matched, len(own))
        return matched

    async def patch(self, where: Filter, update: Document) -> int:
        """Make one update of every match and leave `_metadata` as it is.

        It must be safe to repeat. Returns how many the last try matched.
        """
        result = await retrying(
            lambda: self.raw.update_many(living(where), update)
        )
        return result.matched_count

    async def patch_each(
        self, updates: Sequence[tuple[Filter, Document]]
    ) -> int:
        """Make many updates in one message, also of deleted documents.

        As `patch`: each must be safe to repeat, and may be refused by its
        condition. Returns how many the last try matched.
        """
        operations = [UpdateOne(where, update) for where, update in updates]
        result = await retrying(
            lambda: self.raw.bulk_write(operations, ordered=False)
        )
        return result.matched_count

    async def put_each(self, documents: Sequence[Document]) -> None:
        """Set the fields of documents by `_id`; make those that are not.

        For short-lived records: `_metadata` is the caller's business.
        """
        operations = [
            UpdateOne(
                {"_id": document["_id"]},
                {"$set": {k: v for k, v in document.items() if k != "_id"}},
                upsert=True,
            )
            for document in documents
        ]
        await retrying(lambda: self.raw.bulk_write(operations, ordered=False))

    async def erase(self, where: Filter) -> None:
        """Remove every match from the database, also deleted ones."""
        await retrying(lambda: self.raw.delete_many(where))

    async def erase_some(self, where: Filter, limit: int) -> int:
        """Remove some matches, also deleted ones; return how many."""
        found = await retrying(
            lambda: self.raw.find(where, ["_id"]).limit(limit).to_list()
        )
        if found:
            ids = [document["_id"] for document in found]
            await self.erase({"_id": {"$in": ids}})
        return len(found)

    async def soft_delete(
        self, where: Filter, changes: Mapping[str, Any] | None = None
    ) -> int:
        """Mark every living match as deleted; returns how many."""
        deleted = metadata.deleted(self._clock())
        return await self.update_many(where, {**(changes or {}), **deleted})

    async def _set(
        self,
        where: Filter,
        changes: Mapping[str, Any],
        *,
        many: bool = False,
    ) -> int:
        """Set fields; return how many matched, an earlier try included.

        What an earlier try has written, whose answer was lost, must not
        look like somebody else's change.
        """
        fields = {**metadata.touched(self._clock()), **changes}
        tries = 0

        async def operation() -> int:
            nonlocal tries
            tries += 1
            raw = self.raw
            write = raw.update_many if many else raw.update_one
            result = await write(living(where), {"$set": fields})
            return result.matched_count

        matched = await retrying(operation)
        if tries > 1:
            still = unchanged(where, fields)
            own = await self._own(still, fields[WRITE_ID])
            return max(matched, len(own))
        return matched

    async def _own(self, where: Filter, write_id: str) -> set[Any]:
        """Return the ids of the matches that one write has written."""
        marked = {**where, WRITE_ID: write_id}
        found = await retrying(
            lambda: self.raw.find(marked, ["_id"]).to_list()
        )
        return {document["_id"] for document in found}


def _encoded(document: Document) -> Any:  # noqa: ANN401 - the driver takes both kinds
    return RawBSONDocument(bson.encode(document))
