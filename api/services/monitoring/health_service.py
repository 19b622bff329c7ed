"""Whether this process can work: the database, the disk, its parts."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from api.models.health_models import (
    Check,
    CheckStatus,
    DatabaseCheck,
    ReadinessChecks,
)
from utilities.clock import Clock, now_ms, to_datetime
from utilities.cosmos_connector import (
    ClientManager,
    DuplicateKeyError,
    OperationFailure,
    StoreError,
)
from utilities.supervision import PartError, PartState

# Raises `PartError` while something that the process needs cannot be used.
Probe = Callable[[], Awaitable[None]]

_COLLECTION = "readiness"
# Several writers of one document at the same time.
_WRITE_CONFLICT = 112


@dataclass(frozen=True, slots=True)
class HealthTimes:
    """How long a probe may take and how long its answer is kept (s)."""

    # A load balancer does not wait longer.
    probe: float = 2.0
    # So that many callers cost one write.
    kept: float = 1.0


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The checks, and whether the process can take work."""

    ready: bool
    checks: ReadinessChecks


class HealthService:
    """Probes the database and the disk; shows the parts of the process."""

    def __init__(
        self,
        clients: ClientManager,
        parts: Callable[[], Mapping[str, PartState]] = dict,
        *,
        clock: Clock = now_ms,
        times: HealthTimes | None = None,
    ) -> None:
        self._clients = clients
        self._parts = parts
        self._clock = clock
        self._times = times or HealthTimes()
        self._probes: dict[str, Probe] = {}
        self._since: dict[str, tuple[str | None, int]] = {}
        self._lock = asyncio.Lock()
        self._kept: tuple[float, DatabaseCheck, dict[str, Check]] | None = None

    def watch(self, name: str, probe: Probe) -> None:
        """Add a check of something that this process needs."""
        self._probes[name] = probe

    async def report(self) -> HealthReport:
        """Say whether work can be taken, and how each part is."""
        database, probed = await self._probed()
        states = self._parts()
        parts = {name: self._shown(state) for name, state in states.items()}
        ready = all(
            check.status is not CheckStatus.UNHEALTHY
            for check in (database, *probed.values(), *parts.values())
        )
        checks = ReadinessChecks.of(database, {**parts, **probed})
        return HealthReport(ready, checks)

    async def _probed(self) -> tuple[DatabaseCheck, dict[str, Check]]:
        # One caller probes; those that come meanwhile get its answer.
        async with self._lock:
            if self._kept is None or self._kept[0] < time.monotonic():
                database, others = await asyncio.gather(
                    self._database(), self._others()
                )
                until = time.monotonic() + self._times.kept
                self._kept = (until, database, others)
            _, database, others = self._kept
            return database, others

    async def _others(self) -> dict[str, Check]:
        checks = await asyncio.gather(
            *(self._run(name, probe) for name, probe in self._probes.items())
        )
        return dict(zip(self._probes, checks, strict=True))

    async def _database(self) -> DatabaseCheck:
        error = await self._write_error()
        connected = error is None or await self._answers()
        return DatabaseCheck(
            status=_status(error),
            since=self._since_when("database", error),
            error=error,
            database="connected" if connected else "disconnected",
        )

    async def _write_error(self) -> str | None:
        """Write one small document; say why that did not work."""
        update = {"$set": {"at": self._clock()}}
        try:
            async with asyncio.timeout(self._times.probe):
                collection = self._clients.database()[_COLLECTION]
                await collection.update_one(
                    {"_id": "write"}, update, upsert=True
                )
        except DuplicateKeyError:
            return None  # another process inserted it in this moment
        except TimeoutError:
            return f"a write took longer than {self._times.probe:g} s"
        except OperationFailure as error:
            if error.code == _WRITE_CONFLICT:
                return None
            return f"a write was refused with code {error.code}"
        except StoreError as error:
            return f"a write failed: {type(error).__name__}"
        return None

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(self._times.probe):
                await self._clients.ping()
        except (StoreError, TimeoutError):
            return False
        return True

    async def _run(self, name: str, probe: Probe) -> Check:
        error = None
        try:
            async with asyncio.timeout(self._times.probe):
                await probe()
        except PartError as problem:
            error = str(problem)
        except TimeoutError:
            error = f"no answer within {self._times.probe:g} s"
        return Check(
            status=_status(error),
            since=self._since_when(name, error),
            error=error,
        )

    def _shown(self, state: PartState) -> Check:
        return Check(
            status=_status(state.error, vital=state.vital),
            since=to_datetime(state.since),
            error=state.error,
        )

    def _since_when(self, name: str, error: str | None) -> datetime:
        known = self._since.get(name)
        if known is None or known[0] != error:
            known = self._since[name] = (error, self._clock())
        return to_datetime(known[1])


def _status(error: str | None, *, vital: bool = True) -> CheckStatus:
    if error is None:
        return CheckStatus.HEALTHY
    return CheckStatus.UNHEALTHY if vital else CheckStatus.DEGRADED
