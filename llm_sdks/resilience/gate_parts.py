"""What a gate keeps of each call that passes or waits."""

import asyncio
from dataclasses import dataclass

from llm_sdks import errors
from llm_sdks.resilience.backoff import Ticket
from llm_sdks.resilience.circuit_breaker import Pass
from llm_sdks.resilience.fair_queue import Turn


@dataclass(frozen=True, slots=True)
class Passed:
    """Permission of both the breaker and the backoff."""

    breaker: Pass
    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended: well, with an error, or (neither) cancelled."""

    error: errors.LLMError | None = None
    well: bool = False


class Place:
    """A call that waits for its place, in its own event loop."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.free = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def offer(self) -> bool:
        """Wake the call; False if its loop has ended."""
        try:
            self._loop.call_soon_threadsafe(self.free.set)
        except RuntimeError:
            return False
        return True
