"""The way to the database: clients, documents, soft deletion.

Everything here works on any server that speaks MongoDB's protocol: no
transactions, no pipeline updates, no dates inside updates (see `clock`).
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import bson
import stamina
from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient, UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DuplicateKeyError,
    PyMongoError,
    ServerSelectionTimeoutError,
)
from pymongo.results import UpdateResult

from utilities.clock import Clock, now_ms
from utilities.slices import in_slices

__all__ = [
    "ClientManager",
    "Document",
    "Documents",
    "DuplicateKeyError",
    "Filter",
    "ObjectId",
    "Sort",
    "StoreError",
    "current_actor",
    "retrying",
]

Document = dict[str, Any]
Filter = Mapping[str, Any]
Sort = Sequence[tuple[str, int]]
T = TypeVar("T")

# What any use of the store can raise, for those who do not know the driver.
StoreError = PyMongoError

DUPLICATE_KEY_CODE = 11000
# Documents that a server sends at once, if it can.
_BATCH = 1000
# No operation of ours takes so long, on a server that is well.
_LONGEST_ANSWER_MS = 30_000

# Who is acting, for `_metadata`: a client's id, `admin` or `worker`.
current_actor: ContextVar[str | None] = ContextVar(
    "current_actor", default=None
)


class ClientManager:
    """Hands out one asynchronous client per event loop.

    pymongo's asynchronous client belongs to the loop it was made on; each
    worker thread has a loop, and so a client, of its own.
    """

    def __init__(
        self, connection_string: str, db_name: str, timeout_seconds: float = 4
    ) -> None:
        """Take the address; nothing is connected before it is needed.

        `timeout_seconds` is how long an operation looks for a server that
        cannot be reached.
        """
        self._connection_string = connection_string
        self._db_name = db_name
        self._timeout_ms = round(timeout_seconds * 1000)
        self._lock = threading.Lock()
        self._clients: WeakKeyDictionary[
            asyncio.AbstractEventLoop, AsyncMongoClient[Document]
        ] = WeakKeyDictionary()

    def database(self) -> AsyncDatabase[Document]:
        """Return the database by the running loop's client."""
        loop = asyncio.get_running_loop()
        with self._lock:
            client = self._clients.get(loop)
            if client is None:
                client = self._clients[loop] = AsyncMongoClient(
                    self._connection_string,
                    appname="metasync",
                    connectTimeoutMS=self._timeout_ms,
                    serverSelectionTimeoutMS=self._timeout_ms,
                    # A line that is dead without a word: some firewalls
                    # forget one that was quiet for a while.
                    socketTimeoutMS=_LONGEST_ANSWER_MS,
                )
        return client[self._db_name]

    async def ping(self) -> None:
        """Ask the server for a sign of life.

        Raises:
            pymongo.errors.PyMongoError: it gave none.
        """
        await self.database().command("ping")

    async def hello(self) -> Document:
        """Ask the server, the primary of several, who it is.

        Raises:
            pymongo.errors.PyMongoError: it did not answer.
        """
        return await self.database().client.admin.command("hello")

    async def close(self) -> None:
        """Close the running loop's client, if it has one."""
        with self._lock:
            client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()


async def retrying(operation: Callable[[], Awaitable[T]]) -> T:
    """Run an operation that may safely run twice, again if the line breaks.

    A server that cannot be found at all is not waited for again: the
    driver has already looked for it for some seconds.
    """
    async for attempt in stamina.retry_context(
        on=_worth_a_retry,
        attempts=3,
        timeout=5.0,
        wait_initial=0.1,
        wait_jitter=0.1,
    ):
        with attempt:
            return await operation()
    raise AssertionError  # pragma: no cover - the loop returns or raises


def _worth_a_retry(error: Exception) -> bool:
    return isinstance(error, AutoReconnect) and not isinstance(
        error, ServerSelectionTimeoutError
    )


class Documents:
    """One collection's documents, each with `_metadata`, none gone for good.

    Every method but `insert*` sees living documents only. Filters and
    changes are MongoDB's, from our own code, never from a request's body.
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
        metadata = self._new_metadata(created_at)
        stored = document | {"_metadata": metadata}
        first_try = True

        async def operation() -> None:
            nonlocal first_try
            retried, first_try = not first_try, False
            try:
                await self.raw.insert_one(stored)
            except DuplicateKeyError:
                if not (retried and await self._is_stored(stored)):
                    raise

        await retrying(operation)
        return stored

    async def insert_many(
        self, documents: Sequence[Document]
    ) -> tuple[list[Document], list[int]]:
        """Store many new documents, each with its `_id`, in one message.

        Returns what was to be stored, and the indexes of those whose
        `_id` was already taken.
        """
        metadata = self._new_metadata()
        stored = await in_slices(
            lambda doc: doc | {"_metadata": dict(metadata)}, documents
        )
        # Encoded here, since the driver would encode all in one stretch.
        encoded = await in_slices(_encoded, stored)

        async def operation() -> list[int]:
            try:
                await self.raw.insert_many(encoded, ordered=False)
            except BulkWriteError as error:
                return _duplicate_indexes(error)
            return []

        return stored, await retrying(operation)

    async def find_one(
        self, where: Filter, sort: Sort | None = None
    ) -> Document | None:
        """Return the first living document that matches, or None."""
        return await retrying(
            lambda: self.raw.find_one(_living(where), sort=sort)
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
            cursor = self.raw.find(_living(where), fields).sort(list(sort))
            # Left to itself, a server sends the first 101 alone.
            cursor = cursor.limit(limit).batch_size(limit or _BATCH)
            return await cursor.to_list()

        return await retrying(operation)

    async def aggregate(
        self, where: Filter, stages: Sequence[Document]
    ) -> list[Document]:
        """Run a pipeline over the living documents that match."""

        async def operation() -> list[Document]:
            pipeline = [{"$match": _living(where)}, *stages]
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
        fields = {**changes, **self._touched()}
        matched = await self._write(
            lambda: self.raw.update_one(_living(where), {"$set": fields}),
            {"_id": where["_id"], **fields},
        )
        if not matched:
            return None
        return await retrying(lambda: self.raw.find_one({"_id": where["_id"]}))

    async def update_many(
        self, where: Filter, changes: Mapping[str, Any]
    ) -> int:
        """Set fields of every living match; returns how many matched."""
        fields = {**changes, **self._touched()}
        return await self._write(
            lambda: self.raw.update_many(_living(where), {"$set": fields}),
            {"_id": where["_id"], **fields} if "_id" in where else None,
        )

    async def update_each(
        self, updates: Sequence[tuple[Filter, Mapping[str, Any]]]
    ) -> int:
        """Make many `update`s in one message; returns how many matched."""
        touched = self._touched()
        operations = [
            UpdateOne(_living(where), {"$set": {**touched, **changes}})
            for where, changes in updates
        ]
        result = await retrying(
            lambda: self.raw.bulk_write(operations, ordered=False)
        )
        return result.matched_count

    async def soft_delete(
        self, where: Filter, changes: Mapping[str, Any] | None = None
    ) -> int:
        """Mark every living match as deleted; returns how many."""
        now, actor = self._clock(), current_actor.get()
        return await self.update_many(
            where,
            {
                **(changes or {}),
                "_metadata.isDeleted": True,
                "_metadata.deletedAt": now,
                "_metadata.deletedBy": actor,
            },
        )

    async def _write(
        self,
        write: Callable[[], Awaitable[UpdateResult]],
        own: Filter | None,
    ) -> int:
        """Write, again if the line breaks; return how many matched.

        `own` finds what the write itself has left: an earlier try whose
        answer got lost must not look like somebody else's change.
        """
        tries = 0

        async def operation() -> int:
            nonlocal tries
            tries += 1
            return (await write()).matched_count

        matched = await retrying(operation)
        if matched == 0 and tries > 1 and own is not None:
            found = await retrying(lambda: self.raw.find(own, {}).to_list())
            return len(found)
        return matched

    async def _is_stored(self, document: Document) -> bool:
        where = {"_id": document["_id"]}
        return await self.raw.find_one(where, {"_id": 1}) is not None

    def _new_metadata(self, created_at: int | None = None) -> Document:
        now = self._clock() if created_at is None else created_at
        actor = current_actor.get()
        return {
            "isDeleted": False,
            "createdAt": now,
            "updatedAt": now,
            "deletedAt": None,
            "archivedAt": None,
            "createdBy": actor,
            "updatedBy": actor,
            "deletedBy": None,
        }

    def _touched(self) -> Document:
        return {
            "_metadata.updatedAt": self._clock(),
            "_metadata.updatedBy": current_actor.get(),
        }


def _encoded(document: Document) -> Any:  # noqa: ANN401 - the driver takes both kinds
    return RawBSONDocument(bson.encode(document))


def _living(where: Filter) -> Document:
    return {**where, "_metadata.isDeleted": False}


def _duplicate_indexes(error: BulkWriteError) -> list[int]:
    problems = error.details["writeErrors"]
    if any(item["code"] != DUPLICATE_KEY_CODE for item in problems):
        raise error
    return [item["index"] for item in problems]
