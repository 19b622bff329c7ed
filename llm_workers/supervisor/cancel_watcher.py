"""Stops the calls of jobs that have been canceled, in this process."""

from collections.abc import Callable

import structlog

from api.services.queue.cancellations import (
    JOBS_CANCELED,
    Canceled,
    Cancellations,
)
from utilities.cosmos_connector import StoreError
from utilities.signals import Signals
from utilities.tasks import Loop

# What another process cancels is found by polling a list that is empty
# nearly always.
_EVERY_SECONDS = 0.5

log = structlog.get_logger(__name__)


class CancelWatcher(Loop):
    """Passes on which of this process's jobs have been canceled."""

    name = "cancellations"
    vital = False

    def __init__(
        self,
        cancellations: Cancellations,
        process_id: str,
        cancel: Callable[[Canceled], None],
        signals: Signals,
        every_seconds: float = _EVERY_SECONDS,
    ) -> None:
        super().__init__()
        self._cancellations = cancellations
        self._process_id = process_id
        self._cancel = cancel
        self._signals = signals
        self._every_seconds = every_seconds

    async def run(self) -> None:
        """Watch until stopped."""
        self.attach()
        self._signals.subscribe(JOBS_CANCELED, self.wake_safely)
        try:
            await self._cancellations.clear()
            while not self.stopping:
                await self._look()
                await self.pause(self._every_seconds)
        finally:
            self._signals.unsubscribe(JOBS_CANCELED, self.wake_safely)

    async def _look(self) -> None:
        try:
            canceled = await self._cancellations.take(self._process_id)
        except StoreError as error:
            log.info("cancellations_not_read", error=type(error).__name__)
            return
        if canceled:
            log.info("jobs_canceled", count=len(canceled))
            self._cancel(canceled)
