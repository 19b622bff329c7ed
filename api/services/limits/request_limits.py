"""How many requests a client may send in each minute, to all processes.

The database counts. Each process takes requests from the count in blocks,
before it lets them through, so that no more get through than the limit, and
most requests ask no database. A block is a small part of the limit: what
one process has taken and does not use is missing to the others until the
minute ends.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from utilities.cosmos_connector import (
    Documents,
    DuplicateKeyError,
    retrying,
)

MINUTE_MS: Final = 60_000
# Blocks that a limit is divided into.
BLOCKS: Final = 20
_MOST_TRIES = 3


@dataclass(frozen=True, slots=True)
class RequestQuota:
    """What is left of a client's limit, for one request."""

    limit: int
    remaining: int
    reset_seconds: int
    is_granted: bool


class RequestCounts:
    """The counts in the database: one document a client and minute."""

    def __init__(self, counts: Documents) -> None:
        self._counts = counts

    async def add(self, client_id: str, minute: int, requests: int) -> int:
        """Count requests; return how many there are with them.

        After a lost connection, they may be counted twice.
        """
        key = f"{client_id}:{minute}"
        for _ in range(_MOST_TRIES):
            found = await retrying(
                lambda: self._counts.raw.find_one_and_update(
                    {"_id": key},
                    {"$inc": {"requests": requests}},
                    return_document=True,
                )
            )
            if found is not None:
                return int(found["requests"])
            first = {"_id": key, "minute": minute, "requests": requests}
            try:
                await retrying(lambda: self._counts.raw.insert_one(first))  # noqa: B023 - awaited here
            except DuplicateKeyError:
                continue
            return requests
        return requests

    async def drop_before(self, minute: int) -> None:
        """Remove the counts of minutes that have ended."""
        where = {"minute": {"$lt": minute}}
        await retrying(lambda: self._counts.raw.delete_many(where))


@dataclass(slots=True)
class _Minute:
    """What this process has taken for one client in one minute."""

    limit: int
    left: int = 0
    # All that is counted, when this process asked last.
    counted: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def needs_block(self) -> bool:
        return not self.left and self.counted < self.limit

    def quota(self, now_ms: int, *, is_granted: bool) -> RequestQuota:
        others = max(0, self.limit - self.counted)
        return RequestQuota(
            limit=self.limit,
            remaining=self.left + others if is_granted else 0,
            reset_seconds=math.ceil((MINUTE_MS - now_ms % MINUTE_MS) / 1000),
            is_granted=is_granted,
        )


class RequestLimits:
    """Counts the requests of clients; for one event loop.

    `default` is the limit of clients without one of their own; 0 means no
    limit, and costs nothing.
    """

    def __init__(
        self, counts: RequestCounts, default: int, clock: Callable[[], int]
    ) -> None:
        self._counts = counts
        self._default = default
        self._clock = clock
        self._minute = self._tidied = 0
        self._clients: dict[str, _Minute] = {}

    async def take(
        self, client_id: str, own_limit: int | None
    ) -> RequestQuota | None:
        """Count a request of a client; None if it has no limit."""
        limit = self._default if own_limit is None else own_limit
        if not limit:
            return None
        now = self._clock()
        minute = now // MINUTE_MS
        state = self._state(client_id, minute, limit)
        if state.needs_block:
            async with state.lock:
                await self._take_block(client_id, minute, state)
        if not state.left:
            return state.quota(now, is_granted=False)
        state.left -= 1
        return state.quota(now, is_granted=True)

    def _state(self, client_id: str, minute: int, limit: int) -> _Minute:
        if minute != self._minute:
            self._minute = minute
            self._clients.clear()
        state = self._clients.get(client_id)
        if state is None or state.limit != limit:
            state = self._clients[client_id] = _Minute(limit)
        return state

    async def _take_block(
        self, client_id: str, minute: int, state: _Minute
    ) -> None:
        if not state.needs_block:
            return  # another request has just taken one
        block = max(1, state.limit // BLOCKS)
        state.counted = await self._counts.add(client_id, minute, block)
        beyond = max(0, state.counted - state.limit)
        state.left += max(0, block - beyond)
        if self._tidied != minute:
            self._tidied = minute
            await self._counts.drop_before(minute - 1)
