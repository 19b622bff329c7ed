"""One clock for all machines: the database's.

Leases and due times are written by one process and read by another. With
its own clock, a machine that is some seconds fast would take the others'
jobs away. So every process measures how far the database's clock is from
its own and uses that time.

A person may change the database's clock, by an hour for example. Durations
must not change then: no lease expires early, no job waits an hour. Each
process continues with its old time, and a record in the database gives it
to other processes. The difference is corrected slowly.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import structlog

from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import ClientManager, StoreError
from utilities.tasks import Loop

_EVERY_SECONDS = 5.0
# An answer that took longer says too little about when it was given.
_LONGEST_ROUND_TRIP_MS = 1000.0
# A machine whose own clock is further off than this is worth a log line.
_WORTH_TELLING_MS = 1000
# Two measurements that differ by more are a jump of the database's clock.
_JUMP_MS = 2000.0
# How fast the difference after a jump is worked off: an hour in ten.
_RATE = 0.1
_CLOCK_COLLECTION = "clock"

log = structlog.get_logger(__name__)


def monotonic_ms() -> float:
    """Return the time since some moment, in ms; it never jumps.

    Where the system has such a clock, it goes on while the machine is
    suspended, as the database's does.
    """
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    if boot_time is None:
        return time.monotonic() * 1000
    return time.clock_gettime(boot_time) * 1000


@dataclass(frozen=True, slots=True)
class Bridge:
    """How far the processes' time is ahead of the server's after a jump.

    `lead` is in ms, at the server's time `at` (ms); it gets smaller from
    then on.
    """

    lead: float
    at: float

    def left(self, server: float) -> float:
        """Return the lead that is left at a server's time."""
        worked_off = _RATE * max(server - self.at, 0.0)
        size = max(abs(self.lead) - worked_off, 0.0)
        return size if self.lead > 0 else -size


class ClockRecord(Protocol):
    """Where processes tell each other about a jump."""

    async def read(self) -> Bridge | None:
        """Return the last bridge, if there has been one."""
        ...

    async def write(self, bridge: Bridge) -> None:
        """Tell the others."""
        ...


class StoredClockRecord:
    """One document in the database."""

    def __init__(self, clients: ClientManager) -> None:
        self._clients = clients

    async def read(self) -> Bridge | None:
        """Return the last bridge, if there has been one."""
        collection = self._clients.database()[_CLOCK_COLLECTION]
        found = await collection.find_one({"_id": "bridge"})
        if found is None:
            return None
        return Bridge(float(found["lead"]), float(found["at"]))

    async def write(self, bridge: Bridge) -> None:
        """Tell the others."""
        fields = {"lead": bridge.lead, "at": bridge.at}
        await self._clients.database()[_CLOCK_COLLECTION].update_one(
            {"_id": "bridge"}, {"$set": fields}, upsert=True
        )


class DatabaseClock:
    """Gives the database's time, to half a round trip; safe in threads.

    Cristian's algorithm: the server's time was right somewhere between
    question and answer, so the middle is wrong by half of that at most.
    Between two measurements the machine's monotonic clock counts on:
    setting the machine's time changes nothing here. Until the first
    measurement, and with a server that does not tell its time, it is the
    machine's wall clock, without its jumps.
    """

    def __init__(
        self,
        *,
        own: Clock = now_ms,
        timer: Callable[[], float] = monotonic_ms,
    ) -> None:
        self._own = own
        self._timer = timer
        self._ahead_of_timer = own() - timer()
        self._bridge: Bridge | None = None
        self._told = False
        self.measured = False

    def __call__(self) -> int:
        """Return the time in milliseconds since 1970, UTC."""
        if not self.measured:
            self._follow_own()
        return round(self._timer() + self._ahead_of_timer)

    def _follow_own(self) -> None:
        """Follow the machine's clock, but none of its jumps."""
        ahead = self._own() - self._timer()
        if abs(ahead - self._ahead_of_timer) <= _JUMP_MS:
            self._ahead_of_timer = ahead

    async def measure(
        self, clients: ClientManager, record: ClockRecord | None = None
    ) -> None:
        """Ask the database for its time.

        Raises:
            pymongo.errors.PyMongoError: it cannot be asked.
        """
        before = self._timer()
        server = _server_ms((await clients.hello()).get("localTime"))
        after = self._timer()
        if server is None or after - before > _LONGEST_ROUND_TRIP_MS:
            return
        moment = (before + after) / 2
        if self.measured:
            shown = await self._continued(server, moment, record)
        else:
            self._bridge = await record.read() if record else None
            shown = self._bridged(server)
        self._ahead_of_timer = shown - moment
        self.measured = True
        self._tell_once()

    async def _continued(
        self, server: float, moment: float, record: ClockRecord | None
    ) -> float:
        """Return the time to use, independent of the server's jumps."""
        expected = moment + self._ahead_of_timer
        if abs(self._bridged(server) - expected) <= _JUMP_MS:
            return self._bridged(server)
        told = await record.read() if record else None
        if told and abs(server + told.left(server) - expected) <= _JUMP_MS:
            self._bridge = told  # another process was faster
            return self._bridged(server)
        jump = self._bridged(server) - expected
        bridge = Bridge(expected - server, server)
        if record:
            await record.write(bridge)
        self._bridge = bridge
        log.warning(
            "clock_jumped",
            seconds=round(jump / 1000, 1),
            advice="the database's clock was changed; the old time is used "
            "and corrected slowly",
        )
        return expected

    def _bridged(self, server: float) -> float:
        return server + (self._bridge.left(server) if self._bridge else 0.0)

    def _tell_once(self) -> None:
        difference = self() - self._own()
        if abs(difference) > _WORTH_TELLING_MS and not self._told:
            self._told = True
            log.warning(
                "clock_differs",
                ownClockBehindMs=difference,
                advice="the database's clock is used; correct this machine's "
                "clock",
            )


class ClockKeeper(Loop):
    """Measures the database's time every few seconds."""

    name = "clock"
    vital = False

    def __init__(
        self,
        clock: DatabaseClock,
        clients: ClientManager,
        record: ClockRecord | None = None,
    ) -> None:
        super().__init__()
        self._clock = clock
        self._clients = clients
        self._record = record

    async def run(self) -> None:
        """Measure until stopped."""
        self.attach()
        while not self.stopping:
            try:
                await self._clock.measure(self._clients, self._record)
            except StoreError as error:
                # What was measured last stays good for hours.
                log.info("clock_not_measured", error=type(error).__name__)
            self._tell()
            await self.pause(_EVERY_SECONDS)

    def _tell(self) -> None:
        if self._clock.measured:
            self.complaint = None
        elif self.complaint is None:
            self.complaint = (
                "the database does not give its time: this machine's clock "
                "is used and must be correct"
            )
            log.warning("clock_unknown", advice=self.complaint)


def _server_ms(told: object) -> float | None:
    """Read `localTime`: a datetime, or milliseconds since 1970."""
    if isinstance(told, int) and not isinstance(told, bool):
        return float(told)
    if not isinstance(told, datetime):
        return None
    # The driver gives naive datetimes in UTC, unless configured otherwise.
    aware = told if told.tzinfo else told.replace(tzinfo=UTC)
    return aware.timestamp() * 1000
