"""The calls of this process whose clients watch them."""

import asyncio
from typing import Protocol

from api.services.calls.live_stream import STOPPED

_STOP_SECONDS = 5.0
_WAS_STOPPED = "The service was stopped"


class Live(Protocol):
    """One that runs."""

    task: asyncio.Task[None]

    def stop(self, kind: str, message: str) -> None:
        """End it; its record says why."""


class LiveCalls:
    """Knows which run, and whose they are."""

    def __init__(self) -> None:
        self._live: dict[Live, str] = {}

    def add(self, live: Live, client_id: str) -> None:
        """Take one that has begun; it leaves when it has ended."""
        self._live[live] = client_id
        live.task.add_done_callback(lambda _: self._live.pop(live, None))

    def clients(self) -> set[str]:
        """Return the clients that have any."""
        return set(self._live.values())

    def end_of_client(self, client_id: str, kind: str, message: str) -> int:
        """End a client's; return how many."""
        ended = [
            one for one, owner in self._live.items() if owner == client_id
        ]
        for live in ended:
            live.stop(kind, message)
        return len(ended)

    async def end_within(self, seconds: float) -> None:
        """Give all this time, then end them."""
        tasks = [live.task for live in self._live]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        self._stop_all()

    async def stop(self) -> None:
        """End all, and see them ended."""
        tasks = [live.task for live in self._live]
        self._stop_all()
        if tasks:
            await asyncio.wait(tasks, timeout=_STOP_SECONDS)

    def _stop_all(self) -> None:
        for live in list(self._live):
            live.stop(STOPPED, _WAS_STOPPED)
