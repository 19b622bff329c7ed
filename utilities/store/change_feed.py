"""Changes in the database, as reported by the database itself.

Only replica sets and sharded clusters of MongoDB have change streams.
"""

from dataclasses import dataclass
from typing import Protocol

from pymongo.asynchronous.change_stream import AsyncChangeStream
from pymongo.errors import AutoReconnect, OperationFailure

from utilities.cosmos_connector import ClientManager, Document

_WAIT_MS = 1000
# Statuses are theirs who write them; this one makes work.
_PENDING = "PENDING"

# Events are many and may carry 16 MB each: what wakes no worker stays on the
# server, and of the rest only what is needed comes here.
PIPELINE: list[Document] = [
    {
        "$match": {
            "$or": [
                {"ns.coll": "jobs", "operationType": "insert"},
                {
                    "ns.coll": "jobs",
                    "operationType": "update",
                    "updateDescription.updatedFields.status": _PENDING,
                },
                {
                    "ns.coll": {"$in": ["workers", "runs"]},
                    "operationType": {"$in": ["insert", "update"]},
                },
            ]
        }
    },
    {
        "$project": {
            "ns.coll": 1,
            "fullDocument.clientId": 1,
            "fullDocument.availableAt": 1,
        }
    },
]


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one document; of a job, whose it is and when it is due.

    Both are None where the document was gone before it could be read.
    """

    collection: str
    client_id: str | None = None
    available_at: int | None = None


class Stream(Protocol):
    """An open change stream."""

    async def next(self) -> Change | None:
        """Return the next change; None if there is none for a while.

        Raises:
            pymongo.errors.PyMongoError: the stream has ended.
        """

    async def close(self) -> None:
        """Let the server forget it."""


class Feed(Protocol):
    """Where change streams come from."""

    async def open(self) -> Stream | None:
        """Begin with what changes from now on; None if there are none."""


class ChangeFeed:
    """The change streams of a database."""

    def __init__(self, clients: ClientManager) -> None:
        self._clients = clients

    async def open(self) -> Stream | None:
        """Begin with what changes from now on.

        Returns None where the server has no change streams.

        Raises:
            pymongo.errors.ConnectionFailure: the server did not answer.
        """
        if not await self._may_have_streams():
            return None
        try:
            stream = await self._clients.database().watch(
                PIPELINE,
                full_document="updateLookup",
                max_await_time_ms=_WAIT_MS,
            )
        except OperationFailure:
            # Not the right kind of server, or no right to use them.
            return None
        return _DriverStream(stream)

    async def _may_have_streams(self) -> bool:
        # Asked first: a server of another make may take the request for a
        # stream, and never tell anything.
        hello = await self._clients.database().command("hello")
        return "setName" in hello or hello.get("msg") == "isdbgrid"


class _DriverStream:
    """The driver's stream, which resumes by itself after a failover."""

    def __init__(self, stream: AsyncChangeStream[Document]) -> None:
        self._stream = stream

    async def next(self) -> Change | None:
        event = await self._stream.try_next()
        if event is not None:
            return read(event)
        if not self._stream.alive:
            raise AutoReconnect("the server has ended the change stream")
        return None

    async def close(self) -> None:
        await self._stream.close()


def read(event: Document) -> Change:
    """Read what came through `PIPELINE`."""
    document = event.get("fullDocument") or {}
    return Change(
        event["ns"]["coll"],
        document.get("clientId"),
        document.get("availableAt"),
    )
