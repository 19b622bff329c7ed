"""Leases slots and places for the calls of this process."""

import structlog

from api.models.limit_models import CallLimits
from api.services.limits.limiter import Limiter
from api.services.shared.client_states import ClientStates
from utilities.clock import Clock
from utilities.cosmos_connector import StoreError
from utilities.tasks import Loop

# How often the limits of clients are read.
_READ_MS = 2000
_LONGEST_PAUSE = 2.0
_SHORTEST_PAUSE = 0.005
_AFTER_ERROR = 0.2

log = structlog.get_logger(__name__)


class LimitKeeper(Loop):
    """Runs beside the workers and the streams of a process."""

    name = "limits"
    vital = False

    def __init__(
        self, limiter: Limiter, clients: ClientStates, clock: Clock
    ) -> None:
        super().__init__()
        self._limiter = limiter
        self._clients = clients
        self._clock = clock
        self._next_read = 0

    async def run(self) -> None:
        """Lease what is wanted until stopped."""
        self.attach()
        self._limiter.wake = self.wake_safely
        while not self.stopping:
            await self.pause(await self._round())

    async def _round(self) -> float:
        try:
            if self._clock() >= self._next_read:
                await self._read()
            due = await self._limiter.renew()
            self.complaint = None
        except StoreError as error:
            self.complaint = f"calls wait: {type(error).__name__}"
            log.warning("limits_not_leased", error=type(error).__name__)
            return _AFTER_ERROR
        # No longer than until the next reading: a pause that ends just
        # before it would take as long again.
        wait: float = self._next_read - self._clock()
        if due is not None:
            wait = min(wait, due)
        return min(max(wait / 1000, _SHORTEST_PAUSE), _LONGEST_PAUSE)

    async def _read(self) -> None:
        found = await self._clients.settings()
        limits: dict[str, CallLimits] = {}
        weights: dict[str, float] = {}
        for client_id, fields in found.items():
            try:
                if fields["limits"] is not None:
                    given = CallLimits.model_validate(fields["limits"])
                    limits[client_id] = given
                weights[client_id] = float(fields["weight"] or 1)
            except ValueError as error:
                log.warning(
                    "client_limits_broken",
                    clientId=client_id,
                    error=type(error).__name__,
                )
        self._limiter.set_clients(limits, weights)
        self._limiter.forget_unset()
        self._next_read = self._clock() + _READ_MS
