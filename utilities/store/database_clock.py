"""One clock for all machines: the database's.

Leases, holds and due times are written by one process and read by
another. Were each to go by its own clock, a machine that is some seconds
fast would take the others' jobs away. So every process measures how far
the database's clock is from its own and keeps time by that.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import ClientManager, StoreError
from utilities.tasks import Loop

_EVERY_SECONDS = 5.0
# An answer that took longer says too little about when it was given.
_LONGEST_ROUND_TRIP_MS = 1000.0
# A machine whose own clock is further off than this is worth a word.
_WORTH_TELLING_MS = 1000

log = structlog.get_logger(__name__)


def monotonic_ms() -> float:
    """Return the time since some moment, in ms; it never jumps."""
    return time.monotonic() * 1000


class DatabaseClock:
    """Gives the database's time, to half a round trip; safe in threads.

    Cristian's algorithm: the server's time was right somewhere between
    question and answer, so the middle is wrong by half of that at most.
    Between two measurements the machine's monotonic clock counts on:
    somebody who sets the machine's time moves nothing here. Until the
    first measurement, and with a server that does not tell its time, it
    is the machine's own wall clock.
    """

    def __init__(
        self,
        *,
        own: Clock = now_ms,
        timer: Callable[[], float] = monotonic_ms,
    ) -> None:
        self._own = own
        self._timer = timer
        self._ahead_of_timer: float | None = None
        self._told = False

    def __call__(self) -> int:
        """Return the time in milliseconds since 1970, UTC."""
        if self._ahead_of_timer is None:
            return self._own()
        return round(self._timer() + self._ahead_of_timer)

    async def measure(self, clients: ClientManager) -> None:
        """Ask the database for its time.

        Raises:
            pymongo.errors.PyMongoError: it cannot be asked.
        """
        before = self._timer()
        local_time = (await clients.hello()).get("localTime")
        after = self._timer()
        if not isinstance(local_time, datetime):
            return
        if after - before > _LONGEST_ROUND_TRIP_MS:
            return
        self._ahead_of_timer = _ms(local_time) - (before + after) / 2
        self._tell_once()

    def _tell_once(self) -> None:
        difference = self() - self._own()
        if abs(difference) > _WORTH_TELLING_MS and not self._told:
            self._told = True
            log.warning(
                "clock_differs",
                ownClockBehindMs=difference,
                advice="the database's clock is used; set this machine's",
            )


class ClockKeeper(Loop):
    """Keeps a process's clock by the database's."""

    def __init__(self, clock: DatabaseClock, clients: ClientManager) -> None:
        super().__init__()
        self._clock = clock
        self._clients = clients

    async def run(self) -> None:
        """Measure every few seconds until told to stop."""
        self.attach()
        while not self.stopping:
            try:
                await self._clock.measure(self._clients)
            except StoreError as error:
                # What was measured last stays good for hours.
                log.info("clock_not_measured", error=type(error).__name__)
            await self.pause(_EVERY_SECONDS)


def _ms(moment: datetime) -> float:
    # The driver gives naive datetimes in UTC, unless it is told otherwise.
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.timestamp() * 1000
