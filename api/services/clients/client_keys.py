"""The digests of clients' keys, as requests need them."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from utilities.cosmos_connector import Document, Documents

# A key that was rotated, or whose client was disabled, by another process
# is accepted for this time, and no longer.
KEEP_SECONDS = 1.0
MOST_KEPT = 10_000
# Ids of one question to the database.
_BLOCK = 500
# No id of a client is longer: what comes may be anything.
_LONGEST_ID = 64
_FIELDS = ("clientId", "keyDigest", "apiRequestsPerMinute", "gateway")


@dataclass(frozen=True, slots=True)
class ClientKey:
    """What an enabled client is checked by."""

    client_id: str
    digest: str
    requests_per_minute: int | None = None
    # Of its calls through the vendors' interfaces.
    keeps_texts: bool = True
    max_wait_seconds: float = 0.0


class ClientKeys:
    """Reads enabled clients' keys, and keeps them for a moment.

    At most one question to the database runs at a time: ids that are asked
    for meanwhile share the next one. Keys that are sent in masses cost the
    database no more than that.
    """

    def __init__(
        self,
        clients: Documents,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients = clients
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, ClientKey]] = OrderedDict()
        self._changes = 0
        self._asked: dict[str, asyncio.Future[ClientKey | None]] = {}
        self._reader: asyncio.Task[None] | None = None

    def kept(self, client_id: str) -> ClientKey | None:
        """Return what was read a moment ago, if anything was."""
        read_at, key = self._kept.get(client_id, (0.0, None))
        if key is None or self._clock() - read_at >= KEEP_SECONDS:
            return None
        return key

    async def read(self, client_id: str) -> ClientKey | None:
        """Return it as it is in the database now."""
        if len(client_id) > _LONGEST_ID:
            return None
        loop = asyncio.get_running_loop()
        future = self._asked.get(client_id)
        if future is None:
            future = self._asked[client_id] = loop.create_future()
        if self._reader is None:
            self._reader = loop.create_task(self._read_asked())
        # One caller that goes away must not end it for the others.
        return await asyncio.shield(future)

    def forget(self, client_id: str) -> None:
        """Keep nothing that was read before now: the client has changed."""
        self._changes += 1
        self._kept.pop(client_id, None)

    async def _read_asked(self) -> None:
        try:
            while self._asked:
                ids = list(self._asked)[:_BLOCK]
                futures = {each: self._asked.pop(each) for each in ids}
                await self._answer(futures)
        finally:
            self._reader = None

    async def _answer(
        self, futures: dict[str, asyncio.Future[ClientKey | None]]
    ) -> None:
        try:
            found = await self._find(list(futures))
        except BaseException as error:
            for future in futures.values():
                future.set_exception(error)
                # Its callers may have gone.
                future.exception()
            if not isinstance(error, Exception):
                raise
        else:
            for client_id, future in futures.items():
                future.set_result(found.get(client_id))

    async def _find(self, ids: list[str]) -> dict[str, ClientKey]:
        started, changes = self._clock(), self._changes
        documents = await self._clients.find(
            {"clientId": {"$in": ids}, "enabled": True},
            fields=[*_FIELDS],
        )
        found = {each["clientId"]: _client_key(each) for each in documents}
        if changes == self._changes:
            for client_id, key in found.items():
                self._keep(client_id, (started, key))
        return found

    def _keep(self, client_id: str, read: tuple[float, ClientKey]) -> None:
        self._kept[client_id] = read
        self._kept.move_to_end(client_id)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)


def _client_key(document: Document) -> ClientKey:
    gateway = document.get("gateway") or {}
    return ClientKey(
        document["clientId"],
        document["keyDigest"],
        document.get("apiRequestsPerMinute"),
        gateway.get("keepTexts", True),
        gateway.get("maxWaitSeconds", 0.0),
    )
